package eval

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// Options say how a stream is judged.
type Options struct {
	// K is the length of the lists judged. Default 10.
	K int
	// Sample is the share of events judged, chosen by a hash of their place, the same for every
	// method. 0 means all.
	Sample float64
	// Warmup is the share of the stream, from its start, that is only learned. Default 0.1.
	Warmup float64
	// Windows is the number of parts of equal length for the quality over time. Default 20.
	Windows int
	// TakenAgain judges events on items the user has taken before and leaves taken items in the
	// ranking; otherwise such events are learned and not judged.
	TakenAgain bool
	// OnList is called with every list judged, before its event is learned. The list is valid
	// during the call.
	OnList func(e Event, list []int32) error
	// Progress is called now and then with the number of events done.
	Progress func(done int)
}

func (o Options) withDefaults() Options {
	if o.K == 0 {
		o.K = 10
	}
	if o.Sample == 0 {
		o.Sample = 1
	}
	if o.Windows == 0 {
		o.Windows = 20
	}
	return o
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	switch {
	case o.K < 0 || o.K > 1000:
		return fmt.Errorf("k is %d: want 1 to 1000", o.K)
	case !(o.Sample >= 0 && o.Sample <= 1):
		return fmt.Errorf("sample is %v: want a share from 0 to 1", o.Sample)
	case !(o.Warmup >= 0 && o.Warmup < 1):
		return fmt.Errorf("warm-up is %v: want a share from 0 to below 1", o.Warmup)
	case o.Windows < 0 || o.Windows > 1000:
		return fmt.Errorf("windows is %d: want 1 to 1000", o.Windows)
	}
	return nil
}

// Result is the evaluation of one method on one stream.
type Result struct {
	Method string `json:"method"`
	K      int    `json:"k"`
	Events int    `json:"events"`
	// Repeats is the number of events on items that the user had taken before; they are not judged
	// unless asked for.
	Repeats int `json:"repeats"`
	Quality
	// Windows is the quality over the stream, each of the same number of events.
	Windows []Group `json:"windows"`
	// ByHistory groups judged events by the number of items the user had taken, ByItem by the
	// number of events the item had had.
	ByHistory []Group `json:"by_history"`
	ByItem    []Group `json:"by_item"`
	// Coverage is the share of the items known at the end that stood in at least one list judged.
	Coverage float64 `json:"coverage"`
	// LearnMicros is CPU time of learning one event, measured on a sample of the events, in
	// microseconds.
	LearnMicros float64 `json:"learn_us"`
	// JudgeMicros is the CPU time for scoring the catalog and making one list.
	JudgeMicros float64 `json:"judge_us"`
}

// Prequential tests, then learns, for each event in order of time. Before an event, it ranks all
// known items that the user has not taken. An item is known when somebody has taken it or the
// catalog describes it; an unknown item counts as a miss.
//
// Source: Vinagre, Jorge and Gama, "Evaluation of recommender systems in streaming environments",
// 2014.
func Prequential(ctx context.Context, d *Data, m Method, o Options) (Result, error) {
	if err := o.Validate(); err != nil {
		return Result{}, err
	}
	if len(d.Events) == 0 {
		return Result{}, errors.New("no events to judge")
	}
	o = o.withDefaults()
	j, later := newJudge(d), dislikesOf(d.Events)
	res := Result{Method: m.Name(), K: o.K, Events: len(d.Events)}
	var all tally
	windows := make([]tally, o.Windows)
	byHistory, byItem := make([]tally, len(historyBounds.from)), make([]tally, len(itemBounds.from))
	shown := make([]bool, len(d.Items))
	var learning, judging stopwatch
	warmup := int(o.Warmup * float64(len(d.Events)))
	for n, e := range d.Events {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return Result{}, err
			}
			if o.Progress != nil {
				o.Progress(n)
			}
		}
		again := j.hasTaken(e.User, e.Item)
		if again {
			res.Repeats++
		}
		if n >= warmup && (!again || o.TakenAgain) && sampled(n, o.Sample) {
			judging.start(n)
			rank, list := j.rank(m, e, o)
			judging.stop(n)
			for _, i := range list {
				shown[i] = true
			}
			x := judged{rank, e.liked(), len(list), later.among(list, e.User, n)}
			all.add(x, o.K)
			windows[n*o.Windows/len(d.Events)].add(x, o.K)
			byHistory[historyBounds.group(len(j.taken[e.User]))].add(x, o.K)
			byItem[itemBounds.group(j.counts[e.Item])].add(x, o.K)
			if o.OnList != nil {
				if err := o.OnList(e, list); err != nil {
					return Result{}, fmt.Errorf("write list: %w", err)
				}
			}
		}
		learning.start(n)
		m.Learn(e, uint64(n))
		learning.stop(n)
		j.learn(e, again)
	}
	res.Quality = all.quality()
	for n := range windows {
		if windows[n].judged > 0 {
			name := fmt.Sprintf("%d-%d %%", 100*n/o.Windows, 100*(n+1)/o.Windows)
			res.Windows = append(res.Windows, Group{name, windows[n].quality()})
		}
	}
	res.ByHistory, res.ByItem = groups(historyBounds, byHistory), groups(itemBounds, byItem)
	known, seen := 0, 0
	for i := range d.Items {
		if j.known[i] {
			known++
			if shown[i] {
				seen++
			}
		}
	}
	if known > 0 {
		res.Coverage = float64(seen) / float64(known)
	}
	res.LearnMicros, res.JudgeMicros = learning.micros(), judging.micros()
	return res, nil
}

func groups(b bounds, tallies []tally) (out []Group) {
	for n := range tallies {
		if tallies[n].judged > 0 {
			out = append(out, Group{b.names[n], tallies[n].quality()})
		}
	}
	return out
}

// sampled chooses a share of the events by a hash of their place.
func sampled(n int, share float64) bool {
	x := uint64(n)*0x9e3779b97f4a7c15 + 0x2545f4914f6cdd1d
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float64((x^x>>31)>>11)/(1<<53) < share
}

// judge holds the events so far, independent of the method.
type judge struct {
	data   *Data
	taken  [][]int32 // by user, each item once
	counts []int     // by item
	known  []bool    // by item: taken by somebody, or described
	mark   []int32   // by item: the round in which it was barred
	round  int32
	scores []float32
	top    top
}

func newJudge(d *Data) *judge {
	j := &judge{
		data: d, taken: make([][]int32, len(d.Users)), counts: make([]int, len(d.Items)),
		known: make([]bool, len(d.Items)),
		mark:  make([]int32, len(d.Items)), scores: make([]float32, len(d.Items)),
	}
	for i, f := range d.Features {
		j.known[i] = len(f) > 0
	}
	return j
}

func (j *judge) hasTaken(user, item int32) bool {
	for _, i := range j.taken[user] {
		if i == item {
			return true
		}
	}
	return false
}

func (j *judge) learn(e Event, again bool) {
	if !again {
		j.taken[e.User] = append(j.taken[e.User], e.Item)
	}
	j.counts[e.Item]++
	j.known[e.Item] = true
}

// rank lets the method score for the user of e and returns the rank of e's item, 0 if it has none,
// and the list of K.
func (j *judge) rank(m Method, e Event, o Options) (int, []int32) {
	for i := range j.scores {
		j.scores[i] = float32(math.Inf(-1))
	}
	m.Score(e.User, j.scores)
	j.round++
	if !o.TakenAgain {
		for _, i := range j.taken[e.User] {
			j.mark[i] = j.round
		}
	}
	j.top.reset(o.K)
	if lister, ok := m.(Lister); ok {
		list := lister.List(
			e.User, o.K, j.scores,
			func(i int32) bool { return j.known[i] && j.mark[i] != j.round },
		)
		for n, i := range list {
			if i == e.Item {
				return n + 1, list
			}
		}
		return 0, list
	}
	target := j.scores[e.Item]
	above := 0
	for i, s := range j.scores {
		if !j.known[i] || j.mark[i] == j.round || math.IsInf(float64(s), -1) {
			continue
		}
		if s > target || s == target && int32(i) < e.Item {
			above++
		}
		j.top.offer(int32(i), s)
	}
	if !j.known[e.Item] || math.IsInf(float64(target), -1) {
		return 0, j.top.items
	}
	return above + 1, j.top.items
}
