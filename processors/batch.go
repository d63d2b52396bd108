// Package processors holds the decisions, one file per processor: what a batch of events does to
// the stores and which events follow from it.
//
// A processor is a function of the events and of what the stores say. It knows no Kafka, no
// Watermill, no driver and no clock (time comes in as a function). It reports unwell records by
// *fault.Rejected and everything else by the class of its error; what follows from them is decided
// elsewhere, in one place (package stream's guard).
package processors

import (
	"context"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Processor handles batches of the partitions that this process owns.
type Processor interface {
	// Assign prepares for partitions, before their first batch. It may be called again for a
	// partition, after Revoke or without.
	Assign(ctx context.Context, parts []record.Assignment) error
	// Revoke forgets partitions whose work has ended here.
	Revoke(parts []record.TopicPartition)
	// Handle brings about the effects of b. Batches of one partition come one at a time, in order;
	// of several partitions at once.
	Handle(ctx context.Context, b *record.Batch) error
}

// Emitter writes messages to the log.
type Emitter interface {
	// Emit returns after every message is acknowledged by all replicas, or with an error; then some
	// may have been written.
	Emit(ctx context.Context, batch []record.Record) error
}

// Log reads partitions of the log without a group.
type Log interface {
	// Read calls f for the records of a partition with from ≤ offset < to, in order. A negative to
	// means to the end as it is now. Offsets that are gone are skipped. The record is f's to keep.
	Read(
		ctx context.Context,
		topic string,
		partition int,
		from, to int64,
		f func(*record.Record) error,
	) error
}

// stateless is embedded by processors that keep nothing per partition.
type stateless struct{}

func (stateless) Assign(context.Context, []record.Assignment) error { return nil }
func (stateless) Revoke([]record.TopicPartition)                    {}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
