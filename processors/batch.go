// Package processors holds the decisions, one file per processor: what a batch of events does to the stores and which events follow from it.
//
// A processor is a function of the events and of what the stores say. It knows no Kafka, no Watermill, no driver and no clock (time comes
// in as a function). It reports unwell records by *fault.Rejected and everything else by the class of its error; what follows from
// them is decided elsewhere, in one place (package stream's guard).
package processors

import (
	"context"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// Batch is the next records of one partition, in order, and the range they were taken from.
type Batch struct {
	schemas.Range
	Records []schemas.Record
	// Repeat is true when an earlier delivery of the same range may have had effects.
	Repeat bool
	// HighWatermark is the offset after the partition's newest record when the batch was read.
	HighWatermark int64
	// Lease returns nil while this process surely owns the partition; call it right before an effect. nil means always.
	Lease func(ctx context.Context) error
}

func (b *Batch) checkLease(ctx context.Context) error {
	if b.Lease == nil {
		return nil
	}
	return b.Lease(ctx)
}

// Processor handles batches of the partitions that this process owns.
type Processor interface {
	// Assign prepares for partitions, before their first batch. It may be called again for a partition, after Revoke or without.
	Assign(ctx context.Context, parts []Assignment) error
	// Revoke forgets partitions whose work has ended here.
	Revoke(parts []Assignment)
	// Handle brings about the effects of b. Batches of one partition come one at a time, in order; of several partitions at once.
	Handle(ctx context.Context, b *Batch) error
}

// Assignment is one partition that this process owns from now on.
type Assignment struct {
	Topic     string
	Partition int
	// Next is the offset of the next record to be handled: the committed one, or the first of a range that is in doubt.
	Next int64
	// Committed tells whether the group has ever committed here.
	Committed bool
}

// Emitter writes messages to the log.
type Emitter interface {
	// Emit returns after every message is acknowledged by all replicas, or with an error; then some may have been written.
	Emit(ctx context.Context, batch []schemas.Message) error
}

// Log reads partitions of the log without a group.
type Log interface {
	// Read calls f for the records of a partition with from ≤ offset < to, in order; to < 0 means to the end as it is now. Offsets
	// that are gone are skipped. f must not keep the record.
	Read(ctx context.Context, topic string, partition int, from, to int64, f func(*schemas.Record) error) error
}

// stateless is embedded by processors that keep nothing per partition.
type stateless struct{}

func (stateless) Assign(context.Context, []Assignment) error { return nil }
func (stateless) Revoke([]Assignment)                        {}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
