//go:build linux

package torture

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// finding collects what is wrong, with the first few examples.
type finding struct {
	Count    int
	Examples []string
}

func (f *finding) add(format string, args ...any) {
	f.Count++
	if len(f.Examples) < 8 {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

// Verdict is the comparison of the stores with the log and of the log with the ledger. Everything
// but the totals must be zero.
type Verdict struct {
	Records, Repeats, Rows, Lists, Users, Edges, Items, DeadLetters, Erased int
	// Ahead counts events that said they were later than the log allows; Misplaced records that
	// groups had to forward, ForwardedTwice those that stand twice in their topic, which a reader
	// notices; Unreadable batches.
	Ahead, Misplaced, ForwardedTwice, Unreadable int

	Lost, Doubled, Undead, WronglyPoisoned, NotPoisoned, DeadLetterRows finding
	ListsLost, ListsDoubled, HourSums, DaySums, WrongEdges              finding
	WrongUsers, ErasedLeft, WrongItems, Unanswered                      finding
	Aborted, WrongTimes, NotForwarded, WronglyForwarded                 finding
}

// Problems lists what is not zero.
func (v *Verdict) Problems() []string {
	var out []string
	for _, f := range []struct {
		name string
		*finding
	}{
		{"events lost", &v.Lost},
		{"events doubled", &v.Doubled},
		{"rows that should not be there", &v.Undead},
		{"wrongly poisoned", &v.WronglyPoisoned},
		{"planted but not poisoned", &v.NotPoisoned},
		{"rows of dead letters that differ from the poison topics", &v.DeadLetterRows},
		{"lists lost", &v.ListsLost},
		{"lists doubled", &v.ListsDoubled},
		{"sums per item and hour that differ from a recount", &v.HourSums},
		{"sums per user and day that differ from a recount", &v.DaySums},
		{"edges that differ", &v.WrongEdges},
		{"users whose history, seen set or count differs", &v.WrongUsers},
		{"traces of erased people", &v.ErasedLeft},
		{"items that differ", &v.WrongItems},
		{"changes of a user that no list answers", &v.Unanswered},
		{"events of aborted transactions that are read", &v.Aborted},
		{"rows with another time", &v.WrongTimes},
		{"misplaced records that were not forwarded", &v.NotForwarded},
		{"records that were forwarded without being misplaced", &v.WronglyForwarded},
	} {
		if f.Count > 0 {
			out = append(
				out,
				fmt.Sprintf("%s: %d, such as %s", f.name, f.Count, strings.Join(f.Examples, "; ")),
			)
		}
	}
	return out
}

// verify compares. log is the log as it is after everything has come to rest.
func verify(ctx context.Context, l *ledger, log theLog, x *expected, s *stores) (*Verdict, error) {
	v := &Verdict{
		Records: x.records, Repeats: x.repeats, Rows: len(x.rows), Lists: len(x.lists),
		Users: len(x.users), Erased: len(x.erased), Ahead: x.ahead, Misplaced: len(x.misplaced),
		ForwardedTwice: x.forwardedTwice, Unreadable: len(log.unreadable),
		NotForwarded: x.notForwarded, WronglyForwarded: x.wronglyForwarded,
	}
	verifyLedger(v, l, log, x)
	for _, step := range []func(context.Context, *Verdict, theLog, *expected, *stores) error{
		verifyRows, verifyLists, verifySums, verifyLetters, verifyUsers, verifyEdges, verifyItems,
		verifyNames,
	} {
		if err := step(ctx, v, log, x, s); err != nil {
			return v, err
		}
	}
	verifyAnswered(v, log, x)
	return v, nil
}

// verifyLedger compares the log with what was sent.
func verifyLedger(v *Verdict, l *ledger, log theLog, x *expected) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.events {
		switch {
		case e.fate == aborted && x.ids[id] > 0:
			v.Aborted.add("%s of %s", id, e.topic)
		case e.fate == acknowledged && x.ids[id] == 0 && e.topic != schemas.TopicItems &&
			e.topic != schemas.TopicUsers: // those are compacted
			v.Lost.add("%s was acknowledged and is not on the log of %s", id, e.topic)
		}
	}
	if len(log.unreadable) < l.bombs {
		v.Lost.add("%d of %d batches that cannot be read", l.bombs-len(log.unreadable), l.bombs)
	}
}

func verifyRows(ctx context.Context, v *Verdict, _ theLog, x *expected, s *stores) error {
	rows, doubled, err := s.rows(ctx, "interactions", "event_id")
	if err != nil {
		return err
	}
	for _, d := range doubled {
		v.Doubled.add("%s is there twice", d)
	}
	times, err := s.times(ctx)
	if err != nil {
		return err
	}
	for p, want := range x.rows {
		if got, ok := rows[p]; !ok {
			v.Lost.add("%s (%s) has no row", want.id, p)
		} else if got.id != want.id {
			v.Doubled.add("%s: the row is of %s, want %s", p, got.id, want.id)
		} else if t := times[p]; !t.at.Equal(want.at.Truncate(time.Microsecond)) ||
			!t.client.Equal(want.client.Truncate(time.Microsecond)) { // stores keep microseconds
			v.WrongTimes.add("%s (%s) happened at %s (client: %s), want %s (client: %s)",
				want.id, p, t.at, t.client, want.at, want.client)
		}
	}
	for p, got := range rows {
		if _, ok := x.rows[p]; ok {
			continue
		}
		if _, gone := x.erased[got.user]; gone {
			v.ErasedLeft.add("interaction %s of %s at %s", got.id, got.user, p)
		} else {
			v.Undead.add("%s at %s: a repeated event, or none of the log", got.id, p)
		}
	}
	return nil
}

func verifyLists(ctx context.Context, v *Verdict, _ theLog, x *expected, s *stores) error {
	rows, doubled, err := s.rows(ctx, "recommendations", "recommendation_id")
	if err != nil {
		return err
	}
	for _, d := range doubled {
		v.ListsDoubled.add("%s is there twice", d)
	}
	for p, user := range x.lists {
		if _, ok := rows[p]; !ok {
			// a list made while its person was being erased may go
			if _, gone := x.erased[user]; !gone {
				v.ListsLost.add("%s of %s", p, user)
			}
		}
	}
	for p, got := range rows {
		if _, ok := x.lists[p]; !ok {
			if _, gone := x.erased[got.user]; gone {
				v.ErasedLeft.add("list %s of %s at %s", got.id, got.user, p)
			} else {
				v.ListsDoubled.add("%s at %s is not on the log", got.id, p)
			}
		}
	}
	return nil
}

func verifySums(ctx context.Context, v *Verdict, _ theLog, x *expected, s *stores) error {
	hours, err := s.sums(ctx, "item_hours", "item_id", "hour")
	if err != nil {
		return err
	}
	for k := range hours {
		if strings.HasPrefix(k.id, leaversItems) {
			delete(hours, k)
		}
	}
	compareSums(&v.HourSums, hours, x.hours)
	days, err := s.sums(ctx, "user_days", "user_id", "day")
	if err != nil {
		return err
	}
	compareSums(&v.DaySums, days, x.days)
	return nil
}

func compareSums(f *finding, got, want map[sumKey]uint64) {
	for k, n := range want {
		if got[k] != n {
			f.add(
				"%s %s %s: %d, want %d", k.id, k.action,
				time.Unix(k.start, 0).UTC().Format(time.RFC3339), got[k], n,
			)
		}
	}
	for k, n := range got {
		if _, ok := want[k]; !ok && n > 0 {
			f.add(
				"%s %s %s: %d, want none", k.id, k.action,
				time.Unix(k.start, 0).UTC().Format(time.RFC3339), n,
			)
		}
	}
}

func verifyLetters(ctx context.Context, v *Verdict, log theLog, x *expected, s *stores) error {
	found := make(map[letter]bool)
	ids := make(map[string]bool)
	for _, g := range processors.Groups() {
		for _, r := range log.topics[record.PoisonTopic(g)] {
			l, ok := deadletter.Parse(&r, record.Names{Prefix: topicPrefix})
			if !ok {
				v.WronglyPoisoned.add("%s is no dead letter", at(&r))
				continue
			}
			key := letter{g, position{l.Origin.Topic, l.Origin.Partition, l.Origin.Offset}}
			if _, planted := x.dead[key]; !planted && !found[key] {
				v.WronglyPoisoned.add("%s by %s (%s): %s", key.at, g, l.Class, l.Reason)
			}
			if last, ok := x.last[key]; ok && (!l.Undecodable || l.LastOffset != last) {
				v.WronglyPoisoned.add("%s by %s is the dead letter of a batch up to %d, want %d",
					key.at, g, l.LastOffset, last)
			}
			found[key] = true
			ids[l.ID] = true
		}
	}
	v.DeadLetters = len(found)
	for key, name := range x.dead {
		if !found[key] {
			v.NotPoisoned.add("%s at %s by %s", name, key.at, key.group)
		}
	}
	rows, err := s.letters(ctx)
	if err != nil {
		return err
	}
	if len(rows) != len(ids) {
		v.DeadLetterRows.add("%d rows, %d dead letters", len(rows), len(ids))
	}
	return nil
}
