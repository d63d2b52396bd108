package sinks

import (
	"math"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// AudienceTime is how long stores keep who said what of an item in an hour.
const AudienceTime = 35 * 24 * time.Hour

// TrendingQuery asks what is popular among people. A person counts once an item, by the weight of
// the best that he or she said of it, and the less the longer ago that was.
type TrendingQuery struct {
	// Until is the end of the period; zero means the newest event in the store (public data sets
	// are from the past).
	Until time.Time
	// HalfLife is the age at which a person counts half, more than 0.
	HalfLife time.Duration
	// Weights are what a person counts who says something, more than 0. A meaning without one does
	// not count.
	Weights map[schemas.Meaning]float64
	N       int
}

// TrendingWindow is a period before the end of a query. Each one includes those before it.
type TrendingWindow struct {
	Age time.Duration
	// Decay is what a person counts whose newest word is in this window and in none before it.
	Decay float64
}

// windows is the number of windows: an event of a month ago can stand in a list that is short.
const windows = 8

// Windows returns the windows: the first is a quarter of the half-life, each other one twice as
// long as the one before. The last one ends with AudienceTime at the latest.
func (q *TrendingQuery) Windows() (out []TrendingWindow) {
	var from time.Duration
	for to := q.HalfLife / 4; len(out) < windows && from < AudienceTime; to *= 2 {
		to = min(max(to, 1), AudienceTime)
		middle := from + (to-from)/2
		out = append(out, TrendingWindow{
			Age: to, Decay: math.Exp2(-float64(middle) / float64(q.HalfLife)),
		})
		from = to
	}
	return out
}

// TrendingStep is a difference between weights.
type TrendingStep struct {
	// Meanings are those that weigh as much or more, in the order of their names.
	Meanings []schemas.Meaning
	// Adds is what a person counts more who says one of them.
	Adds float64
}

// Steps returns the weights as steps from 0 to the highest. A person who says several things counts
// in each step once.
func (q *TrendingQuery) Steps() (out []TrendingStep) {
	var weights []float64
	for _, w := range q.Weights {
		if w > 0 {
			weights = append(weights, w)
		}
	}
	slices.Sort(weights)
	below := 0.0
	for _, w := range slices.Compact(weights) {
		step := TrendingStep{Adds: w - below}
		for m, of := range q.Weights {
			if of >= w {
				step.Meanings = append(step.Meanings, m)
			}
		}
		slices.Sort(step.Meanings)
		out, below = append(out, step), w
	}
	return out
}

// Hours returns the first hour of each window, for hours that start at a multiple of an hour since
// 1970. What happened in an hour counts as of its middle. The hour of until, the last one, is in
// every window.
func (q *TrendingQuery) Hours(until, last time.Time) []time.Time {
	last = last.UTC().Truncate(time.Hour)
	var out []time.Time
	for _, w := range q.Windows() {
		first := until.UTC().Add(-w.Age - time.Hour/2)
		if hour := first.Truncate(time.Hour); hour.Before(first) {
			first = hour.Add(time.Hour)
		}
		if first.After(last) {
			first = last
		}
		out = append(out, first)
	}
	return out
}
