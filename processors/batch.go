// Package processors holds the processors, one file each: what a batch of events changes in the
// stores, and which events it causes.
//
// A processor depends only on the events and the contents of the stores. It knows no Kafka, no
// Watermill, no driver and no clock (time is passed in as a function). It reports failing records
// with *fault.Rejected and everything else by the class of its error. The guard (package
// stream/guard) decides what follows from that.
package processors

import (
	"context"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Processor handles batches of the partitions that this process owns.
type Processor interface {
	// Assign prepares for partitions, before their first batch. It may be called again for a
	// partition, with or without a Revoke between.
	Assign(ctx context.Context, parts []record.Assignment) error
	// Revoke drops the state of partitions that this process no longer owns.
	Revoke(parts []record.TopicPartition)
	// Handle applies the effects of b. Batches of one partition come one at a time, in order; those
	// of different partitions come concurrently.
	Handle(ctx context.Context, b *record.Batch) error
}

// Emitter writes messages to the log.
type Emitter interface {
	// Emit returns when all in-sync replicas have acknowledged every message, or with an error.
	// After an error some messages may have been written.
	Emit(ctx context.Context, batch []record.Record) error
}

// Log reads partitions of the log without a group.
type Log interface {
	// Read calls f for the records of a partition with from ≤ offset < to, in order. A negative to
	// is the current end of the partition. Deleted offsets are skipped. f may keep the record.
	Read(
		ctx context.Context,
		topic string,
		partition int,
		from, to int64,
		f func(*record.Record) error,
	) error
	// OffsetAt returns the offset of the first record whose log time is t or later, the end of the
	// partition when there is none.
	OffsetAt(ctx context.Context, topic string, partition int, t time.Time) (int64, error)
}

// stateless is embedded by processors that keep nothing per partition.
type stateless struct{}

func (stateless) Assign(context.Context, []record.Assignment) error { return nil }
func (stateless) Revoke([]record.TopicPartition)                    {}

// recordedAt returns when the log took a record whose event happened at occurred. Rows and points
// need a time; where the log has none the event's stands for it. Live, in a replay of dead letters
// and in a rebuild it is the same.
func recordedAt(r *record.Record, occurred time.Time) time.Time {
	if t := r.LogTime(); !t.IsZero() {
		return t
	}
	return occurred
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
