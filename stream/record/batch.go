package record

import (
	"context"
	"time"
)

// Range is a part of one partition whose effects a store takes as one. Two deliveries of a range
// have the same bounds, so log, partition and bounds identify it.
type Range struct {
	// LogID identifies the log: a wiped broker gets another one.
	LogID     string
	Topic     string
	Partition int
	// First and Last are inclusive offsets. On a compacted topic fewer of them hold a record.
	First, Last int64
	// Repeat is true when an earlier delivery of the range may have had effects. It is no part of
	// the range's identity.
	Repeat bool
}

// TopicPartition returns the partition of the range.
func (r *Range) TopicPartition() TopicPartition { return TopicPartition{r.Topic, r.Partition} }

// Batch is the next records of one partition, in order, and the range they were taken from. The
// records belong to the receiver until the batch is acknowledged.
type Batch struct {
	Range
	// Group is the consumer group that the batch was read for.
	Group string
	// Records are those of the range without the excluded ones.
	Records []Record
	// DeadLetters are the offsets of those records that became dead letters when the group handled
	// them first. They have no effect; only their ids count as seen. A batch that a consumer group
	// delivers has none.
	DeadLetters map[int64]struct{}
	// Lost says that the records of the range were deleted before the group read them: the batch
	// has no records.
	Lost bool
	// Undecodable are the batches on the log, within the range, whose records cannot be read.
	// Normally one is a range of its own, without Records.
	Undecodable []Undecodable
	// End is the offset after the newest record of the partition that could be read when the batch
	// was fetched. Behind it stand at most records of open transactions, and what follows them.
	End int64
	// Begun is Intent.Begun of the batch's intent. Zero is unknown, also without intents.
	Begun time.Time
	// Lease is the ownership of the partition. Nil is one that never ends: a batch that was read
	// without a group.
	Lease Lease
}

// Lease is a group member's ownership of the partition that a batch came from.
type Lease interface {
	// Check returns nil while this member surely owns the partition, else an error of class
	// canceled.
	Check(ctx context.Context) error
	// Exclude takes the records at the offsets out of the batch, durably.
	Exclude(ctx context.Context, offsets ...int64) error
	// Draining is closed when the member's generation ends.
	Draining() <-chan struct{}
	// Note keeps a text beside the group's offset.
	Note(text string)
}

// LeaseFunc is a Lease that only checks: nothing drains it, and an exclusion is not kept.
type LeaseFunc func(ctx context.Context) error

// Check calls f.
func (f LeaseFunc) Check(ctx context.Context) error { return f(ctx) }

// Exclude does nothing.
func (LeaseFunc) Exclude(context.Context, ...int64) error { return nil }

// Draining returns nil: never closed.
func (LeaseFunc) Draining() <-chan struct{} { return nil }

// Note does nothing.
func (LeaseFunc) Note(string) {}

// IsDeadLetter tells whether a record of the batch became a dead letter when it was handled first.
func (b *Batch) IsDeadLetter(r *Record) bool {
	_, ok := b.DeadLetters[r.Offset]
	return ok
}

// CheckLease returns nil while this process surely still owns the batch's partition: the last
// answered heartbeat is younger than half the session timeout. Call it right before every effect.
// Otherwise it returns an error of class canceled: another member may have the partition already,
// and the batch is to be left alone.
func (b *Batch) CheckLease(ctx context.Context) error {
	if b.Lease == nil {
		return nil
	}
	return b.Lease.Check(ctx)
}

// Draining is closed when the member is stopping or about to hand the partition over: finish what
// is nearly done, and do not begin to wait. It is nil, never closed, without a lease.
func (b *Batch) Draining() <-chan struct{} {
	if b.Lease == nil {
		return nil
	}
	return b.Lease.Draining()
}

// Exclude takes the records at the offsets out of the batch. The offsets are written into the
// batch intent before the call returns, so that whoever repeats the batch leaves out the same
// records. Without intents the exclusion lasts as long as this member owns the partition. An offset
// outside the range, or a list too long for a commit's metadata, is a permanent error.
func (b *Batch) Exclude(ctx context.Context, offsets ...int64) error {
	if b.Lease == nil || len(offsets) == 0 {
		return nil
	}
	return b.Lease.Exclude(ctx, offsets...)
}

// MaxNote is the number of bytes that a note may have: what a broker keeps with an offset.
const MaxNote = 4096

// SetNote keeps a text, of at most MaxNote bytes, beside the group's offset: it is committed with
// the offset after this batch, for a lost range also while it is in work, and comes back in
// Assignment.Note. A group with batch intents keeps no notes.
func (b *Batch) SetNote(text string) {
	if b.Lease != nil && len(text) <= MaxNote {
		b.Lease.Note(text)
	}
}

// Assignment is one partition that a generation of the group has given to this member.
type Assignment struct {
	TopicPartition
	// Lease is the ownership of the partition while no batch of it is in work; nil never ends.
	Lease Lease
	// Next is the offset of the next record to be handled: the committed one, the first of an
	// uncertain intent, or where a group without a commit begins.
	Next int64
	// Committed is the group's committed offset, -1 when there is none.
	Committed int64
	// First, End and HighWatermark bound the log: the oldest offset kept, the one after the newest
	// record that can be read, and the one after the newest. The last two differ while a
	// transaction is open.
	First, End, HighWatermark int64
	// Repeat is the uncertain intent that is delivered again first, with Batch.Repeat set. Nil when
	// there is none.
	Repeat *Intent
	// Lost says that the records from Committed to First were deleted unread. The range is
	// delivered first, with Batch.Lost set.
	Lost bool
	// Note is what the group last noted beside its offset.
	Note string
}
