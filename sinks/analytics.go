package sinks

import "time"

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

// Counts are the totals of the raw rows and of each rollup. In an intact store without erasures
// they are equal.
type Counts struct {
	Rows, ItemHours, UserDays int64
}
