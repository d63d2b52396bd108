package sinks

import (
	"math"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// Progress tells up to which offset a partition's records are complete in the store.
type Progress struct {
	Topic     string
	Partition int
	// Offset is the last offset of the newest complete range; OccurredAt and RecordedAt are the
	// highest times up to it.
	Offset                 int64
	OccurredAt, RecordedAt time.Time
}

// Scored is an item with a score.
type Scored struct {
	ItemID string
	Score  float64
}

// TrendingQuery asks what was popular: the sum over interactions of their weight * 2^(-(Until -
// occurred_at) / HalfLife), from hourly rollups.
type TrendingQuery struct {
	// Until is the end of the period; zero means the newest event in the store (public data sets
	// are from the past).
	Until    time.Time
	HalfLife time.Duration
	// Weights of actions. An action without one does not count.
	Weights []TrendingWeight
	N       int
}

// TrendingWeight is what the events of an action on an item in an hour weigh, each, when the mean
// of their values is in a range.
type TrendingWeight struct {
	Action schemas.Action
	// From and To bound the mean: From <= mean < To. Of one action they do not overlap.
	From, To float64
	// WithoutValue says that the weight is also for hours in which no event has a value.
	WithoutValue bool
	Weight       float64
}

// AnyValue returns the weight of an action whose values say nothing.
func AnyValue(action schemas.Action, weight float64) TrendingWeight {
	return TrendingWeight{Action: action, To: math.MaxFloat64, WithoutValue: true, Weight: weight}
}

// WeightOf returns what each event of an action on an item in an hour weighs, of which so many have
// values, with that sum.
func (q *TrendingQuery) WeightOf(action schemas.Action, values int64, sum float64) float64 {
	for i := range q.Weights {
		w := &q.Weights[i]
		fits := w.WithoutValue
		if values > 0 {
			mean := sum / float64(values)
			fits = mean >= w.From && mean < w.To
		}
		if w.Action == action && fits {
			return w.Weight
		}
	}
	return 0
}

// Counts are the totals of the raw rows and of each rollup. In an intact store without erasures
// they are equal.
type Counts struct {
	Rows, ItemHours, UserDays int64
}
