package eval

import (
	"context"
	"errors"
	"math"
)

// HeldOut is one user's item that was kept from the stream.
type HeldOut struct {
	User, Item int32
	// Negatives are items among which the held-out one is to be found.
	Negatives []int32
}

// LeaveOneOutResult is what judging one method by held-out items gave.
type LeaveOneOutResult struct {
	Method string `json:"method"`
	K      int    `json:"k"`
	Events int    `json:"events"`
	// AgainstNegatives ranks the held-out item among the given negatives, Full among all items the
	// user has not taken. Recall is the hit rate.
	AgainstNegatives Quality `json:"against_negatives"`
	Full             Quality `json:"full"`
	LearnMicros      float64 `json:"learn_us"`
}

// LeaveOneOut streams the events once, in the order of time, and then ranks each held-out item:
// among its negatives, and among the whole catalog.
//
// Source: He, Liao, Zhang, Nie, Hu and Chua, "Neural collaborative filtering", 2017 (the split);
// Krichene and Rendle, "On sampled metrics for item recommendation", 2020 (why to rank the whole
// catalog too).
func LeaveOneOut(
	ctx context.Context,
	d *Data,
	held []HeldOut,
	m Method,
	o Options,
) (LeaveOneOutResult, error) {
	if err := o.Validate(); err != nil {
		return LeaveOneOutResult{}, err
	}
	if len(d.Events) == 0 || len(held) == 0 {
		return LeaveOneOutResult{}, errors.New("nothing to learn or nothing to judge")
	}
	o = o.withDefaults()
	j := newJudge(d)
	var learning stopwatch
	for n, e := range d.Events {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return LeaveOneOutResult{}, err
			}
			if o.Progress != nil {
				o.Progress(n)
			}
		}
		learning.start(n)
		m.Learn(e, uint64(n))
		learning.stop(n)
		j.learn(e, j.hasTaken(e.User, e.Item))
	}
	var few, full tally
	for n := range held {
		if err := ctx.Err(); err != nil {
			return LeaveOneOutResult{}, err
		}
		h := &held[n]
		e := Event{User: h.User, Item: h.Item}
		rank, list := j.rank(m, e, o)
		full.add(judged{rank: rank}, o.K)
		if len(h.Negatives) > 0 {
			few.add(judged{rank: j.among(h)}, o.K)
		}
		if o.OnList != nil {
			if err := o.OnList(e, list); err != nil {
				return LeaveOneOutResult{}, err
			}
		}
	}
	return LeaveOneOutResult{
		Method: m.Name(), K: o.K, Events: len(d.Events), AgainstNegatives: few.quality(),
		Full: full.quality(), LearnMicros: learning.micros(),
	}, nil
}

// among returns the rank of the held-out item among its negatives, by the scores that rank left. Of
// equal scores the held-out one counts as the worst: a method that gives everything the same score
// has found nothing.
func (j *judge) among(h *HeldOut) int {
	target := j.scores[h.Item]
	if math.IsInf(float64(target), -1) {
		return 0
	}
	rank := 1
	for _, i := range h.Negatives {
		if j.scores[i] >= target && i != h.Item {
			rank++
		}
	}
	return rank
}
