// Package record is what every part of Slipstream says of the log: records and their headers,
// partitions, batches, the names of a group's own topics and the headers of dead letters. It
// imports nothing else of ours and does no I/O.
//
// Names of topics and groups are logical: the prefix that an installation gives them on its broker
// is known to package stream alone. The one exception are the values of the headers of dead
// letters, which stand on the log as they were written, with the prefix.
package record

import (
	"fmt"
	"time"
)

// Header is one header of a record. Keys may repeat.
type Header struct {
	Key   string
	Value []byte
}

// AnyPartition as the Partition of a record on its way to the log lets the key decide.
const AnyPartition = -1

// Record is one record of the log, read from it or on its way to it.
type Record struct {
	// Topic is the logical name.
	Topic string
	// Partition is where the record was read from. On the way out it is a partition number, or
	// AnyPartition.
	Partition int
	// Offset has no meaning on the way out.
	Offset int64
	// Time is when the log took the record, in UTC, never the time of the event: the broker's time
	// in a topic with LogAppendTime, elsewhere what the producer said. Zero is absent (see TimeOf);
	// on the way out it is now.
	Time time.Time
	// Appended tells that Time is the broker's. Then it is no earlier than those of the records
	// before it in the partition, also where the broker's clock has stepped back (see Clock). Shift
	// is by how much Time is later than what the log wrote. Both have no meaning on the way out.
	Appended bool
	Shift    time.Duration
	// TakenBy is a time at which the log had the record, if Time is absent and such a time is
	// known; else zero. It has no meaning on the way out.
	TakenBy time.Time
	// MaxAhead is how far the time of an event may be ahead of LogTime. The connection that reads
	// the record sets it, so that all readers of an event agree on its time; 0 is no bound. It has
	// no meaning on the way out.
	MaxAhead time.Duration
	Key      []byte
	// Value nil is a tombstone: compaction forgets the key.
	Value   []byte
	Headers []Header
}

// Header returns the value of the first header named key, or "".
func (r *Record) Header(key string) string {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}

// Position returns the place where the record was read.
func (r *Record) Position() Position {
	return Position{TopicPartition{r.Topic, r.Partition}, r.Offset}
}

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int
}

// String returns topic/partition.
func (tp TopicPartition) String() string { return fmt.Sprintf("%s/%d", tp.Topic, tp.Partition) }

// Position is the place of a record in the log.
type Position struct {
	TopicPartition
	Offset int64
}

// String returns topic/partition@offset.
func (p Position) String() string { return fmt.Sprintf("%s@%d", p.TopicPartition, p.Offset) }
