// Package stream is Watermill on kafka-go: publisher, subscriber, guard, readers of the log, and the embedded broker. It is the only
// package that names either library, and it knows no business words.
//
// The unit of work is a Batch: the next records of one partition, in order, carried by one Watermill message. See
// docs/ARCHITECTURE.md for the life of one event, and docs/adr/0001 to 0003 for the decisions.
package stream

import (
	"context"
	"fmt"
	"time"
)

// Header is one header of a record. Keys may repeat.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of the log. Key and Value are owned by the receiver of the batch until it is acknowledged.
type Record struct {
	Topic string
	// Partition is the partition the record was read from; on the way out a negative number lets the key decide
	// (murmur2, as the Java client does).
	Partition int
	Offset    int64
	// Time is the time of producing, never the time of the event; zero on the way out means now.
	Time       time.Time
	Key, Value []byte
	Headers    []Header
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

// AnyPartition lets the key of a record choose its partition.
const AnyPartition = -1

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int
}

func (tp TopicPartition) String() string { return fmt.Sprintf("%s/%d", tp.Topic, tp.Partition) }

// Batch is the next records of one partition, in order, and the range of offsets they were taken from.
type Batch struct {
	Group string
	TopicPartition
	// First and Last are the inclusive bounds of the range. On a compacted topic fewer offsets than that hold a record. A
	// batch that is delivered again after a crash, to whomever, has the same bounds (subscriptions with written-down ranges).
	First, Last int64
	// Records are the records of the range but those that are excluded.
	Records []Record
	// Repeat is true when an earlier delivery of the same range may have had effects.
	Repeat bool
	// HighWatermark is the offset after the newest record of the partition when the batch was fetched.
	HighWatermark int64

	// control is how the subscriber that made the batch lets its range be changed and its lease be checked.
	control control
}

// control is what a Batch needs from the subscriber it came from.
type control interface {
	// checkLease returns nil while this member surely owns the partition.
	checkLease(ctx context.Context) error
	// exclude writes the offsets into the range's metadata (first-last!k) and takes the records out of the batch.
	exclude(ctx context.Context, offsets []int64) error
	// draining is closed when the member's generation ends.
	draining() <-chan struct{}
}

// CheckLease returns nil while this process surely still owns the batch's partition: the last successful heartbeat is younger than half the
// session time-out. Call it right before every effect. Otherwise it returns a fault.Canceled error: another member may have the partition
// already, and the batch is to be left alone.
func (b *Batch) CheckLease(ctx context.Context) error {
	if b.control == nil {
		return nil
	}
	return b.control.checkLease(ctx)
}

// Draining is closed when the member is stopping, or about to hand the partition over: finish what is nearly done, and do not begin to wait.
// A guard that holds a batch back selects on it and Nacks. The message's context ends a little later. Nil (never closed) for a batch without a
// subscriber.
func (b *Batch) Draining() <-chan struct{} {
	if b.control == nil {
		return nil
	}
	return b.control.draining()
}

// Exclude takes the records at the given offsets out of the batch, durably: the offsets are written into the range's metadata before the call
// returns, so that whoever repeats the range leaves out the same records. Without written-down ranges it lasts as long as this member owns the
// partition. An offset outside the range, or a list too long for a commit's metadata, is a permanent error.
func (b *Batch) Exclude(ctx context.Context, offsets ...int64) error {
	if b.control == nil || len(offsets) == 0 {
		return nil
	}
	return b.control.exclude(ctx, offsets)
}

// Handler processes one batch. It returns nil when every effect is durable, a *fault.Rejected when every record's effects but the listed ones' are,
// or another error, by whose class the guard decides. A handler must be ready to see the same batch again.
type Handler func(ctx context.Context, b *Batch) error
