//go:build linux

package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what a run has found.
type Report struct {
	Seed           uint64
	Took, Injected time.Duration
	Faults         int
	ByKind         map[string]int
	// FaultsFailed are faults that could not be injected or undone.
	FaultsFailed []string

	// Dropped are events of transactions that were aborted for good; OverOthers and InTransactions
	// parts of OverKafka; Bombs batches that cannot be read.
	Sent, Acked, Dropped, OverHTTP, OverKafka, OverOthers, InTransactions int
	SentTwice, Planted, Bombs, Refusals, WronglyTaken                     int
	Transactions                                                          transactions
	Answers                                                               answers

	Starts, Crashes, FailedStarts, MaxRSS int64
	Stops                                 int
	SlowestStop                           time.Duration
	CaughtUp                              time.Duration

	Verdict   *Verdict
	Recall    float64
	Reference *Reference
}

// mostMemory is what no instance may need, whatever it is given to read.
const mostMemory = 600 << 20

// Problems lists everything that must not be.
func (r *Report) Problems(maxRecallLoss float64) []string {
	out := r.Verdict.Problems()
	if r.WronglyTaken > 0 {
		out = append(out, fmt.Sprintf("requests taken that had to be refused: %d", r.WronglyTaken))
	}
	if r.Crashes > 0 {
		out = append(out, fmt.Sprintf("instances that ended by themselves: %d", r.Crashes))
	}
	if r.MaxRSS > mostMemory {
		out = append(out, fmt.Sprintf("an instance took %d MiB of memory", r.MaxRSS>>20))
	}
	if ref := r.Reference; ref != nil {
		if ref.WrongUsers.Count > 0 {
			out = append(
				out,
				fmt.Sprintf(
					"users of the undisturbed run that differ: %d, such as %s",
					ref.WrongUsers.Count, strings.Join(ref.WrongUsers.Examples, "; "),
				),
			)
		}
		if r.Recall < ref.Recall*(1-maxRecallLoss) {
			out = append(
				out,
				fmt.Sprintf("Recall@10 is %.4f, of the undisturbed run %.4f", r.Recall, ref.Recall),
			)
		}
	}
	return append(out, r.FaultsFailed...)
}

// String is the report as docs/RELIABILITY.md quotes it.
func (r *Report) String() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	v := r.Verdict
	p("seed                %d", r.Seed)
	p(
		"took                %s, faults for %s, caught up %s after the last",
		r.Took.Round(time.Second), r.Injected.Round(time.Second), r.CaughtUp.Round(time.Second),
	)
	p("faults              %d", r.Faults)
	for _, k := range slices.Sorted(maps.Keys(r.ByKind)) {
		p("  %4d  %s", r.ByKind[k], k)
	}
	p(
		"events              %d sent, %d acknowledged (%d over HTTP, %d over Kafka), %d of them "+
			"sent twice on purpose",
		r.Sent, r.Acked, r.OverHTTP, r.OverKafka, r.SentTwice,
	)
	p(
		"other producers     %d events, and %d in transactions: %d committed, %d aborted, %d "+
			"uncertain, %d open for seconds",
		r.OverOthers, r.InTransactions, r.Transactions.Committed, r.Transactions.Aborted,
		r.Transactions.Uncertain, r.Transactions.Open,
	)
	p("aborted for good    %d events, %d of them are read", r.Dropped, v.Aborted.Count)
	p(
		"misplaced           %d records, %d not forwarded, %d forwarded wrongly; %d stand twice "+
			"in their topic, where the reader drops them",
		v.Misplaced, v.NotForwarded.Count, v.WronglyForwarded.Count, v.ForwardedTwice,
	)
	p("ahead of the log    %d events, %d rows with another time", v.Ahead, v.WrongTimes.Count)
	p("refused requests    %d of %d that had to be", r.Refusals, r.Refusals+r.WronglyTaken)
	p(
		"interactions        %d records, %d repetitions among them, %d rows expected", v.Records,
		v.Repeats, v.Rows,
	)
	p("lost                %d", v.Lost.Count)
	p("doubled             %d", v.Doubled.Count+v.Undead.Count)
	p("wrongly poisoned    %d", v.WronglyPoisoned.Count)
	p(
		"poisoned            %d dead letters of %d planted records and %d batches that cannot be "+
			"read, %d missing",
		v.DeadLetters, r.Planted, r.Bombs, v.NotPoisoned.Count,
	)
	p(
		"lists               %d published, %d without a row, %d doubled, %d changes unanswered",
		v.Lists, v.ListsLost.Count, v.ListsDoubled.Count, v.Unanswered.Count,
	)
	p(
		"sums                %d per item and hour and %d per user and day differ from a recount",
		v.HourSums.Count, v.DaySums.Count,
	)
	p(
		"users               %d, %d with another history, seen set or count", v.Users,
		v.WrongUsers.Count,
	)
	p("friendships         %d, %d differ", v.Edges, v.WrongEdges.Count)
	p("items               %d, %d differ", v.Items, v.WrongItems.Count)
	p("erased people       %d, %d traces left", v.Erased, v.ErasedLeft.Count)
	if r.Reference != nil {
		p("Recall@10           %.4f, undisturbed %.4f", r.Recall, r.Reference.Recall)
	}
	p(
		"recommendations     %d whole, %d degraded, %d refused or unreachable", r.Answers.Whole,
		r.Answers.Degraded, r.Answers.Refused,
	)
	p(
		"instances           %d starts, %d of them in vain while an engine was down, %d ended "+
			"by themselves, at most %d MiB",
		r.Starts, r.FailedStarts, r.Crashes, r.MaxRSS>>20,
	)
	p("graceful stops      %d, the slowest %s", r.Stops, r.SlowestStop.Round(10*time.Millisecond))
	return b.String()
}
