package sinks

import (
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

// TrendingQuery asks what was popular: the sum over interactions of Weights[action] * 2^(-(Until -
// occurred_at) / HalfLife), from hourly rollups.
type TrendingQuery struct {
	// Until is the end of the period; zero means the newest event in the store (public data sets
	// are from the past).
	Until    time.Time
	HalfLife time.Duration
	Weights  map[schemas.Action]float64
	N        int
}

// Counts are the totals of the raw rows and of each rollup. In an intact store without erasures
// they are equal.
type Counts struct {
	Rows, ItemHours, UserDays int64
}
