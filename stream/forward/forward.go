// Package forward writes records of one topic again to another one, exactly once: a record that
// stands in a partition which its key does not choose goes to the one that owns the key.
//
// What makes it exactly once is the batch intent (record.Intent). A batch that is repeated has the
// same bounds and the same records, and its intent has the time at which it was begun. So whoever
// repeats it reads what stands in the target partitions from that time on, finds by their origin
// the records that were forwarded before, and writes the rest.
//
// One case is left: a process that was paused right before writing, so long that its successor has
// repeated the batch meanwhile, writes when it resumes. Its requests are under way before it can
// notice that its lease is over. So the reader of the target drops an origin (record.Origin) that
// it has seen before, within its window of recent ids.
package forward

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Log reads and writes the log.
type Log interface {
	// Read calls f for the records of a partition with from ≤ offset < to, in order. A negative to
	// is the current end of the partition.
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

// Emitter writes records to the log.
type Emitter interface {
	// Emit returns when all in-sync replicas have acknowledged every record, or with an error.
	Emit(ctx context.Context, batch []record.Record) error
}

// Config holds the settings of a Forwarder.
type Config struct {
	// Topic is the target. Its records have the log time of the broker (LogAppendTime).
	Topic string
	// Partitions is the number of partitions of the target.
	Partitions int
	// MaxClockSkew is how far the clock of a process may be ahead of a broker's. A repeated batch
	// reads the target from the time of its intent less MaxClockSkew.
	MaxClockSkew time.Duration
}

// Forwarder forwards records of batches. It is safe for concurrent use by batches of different
// partitions; those of one partition come one at a time.
type Forwarder struct {
	log  Log
	emit Emitter
	cfg  Config

	mu sync.Mutex
	// tried is, for each partition, the end of what this process has begun to forward: a batch that
	// begins before it is tried again, whatever it says itself.
	tried map[record.TopicPartition]int64
}

// New returns a Forwarder to the topic of cfg.
func New(log Log, emit Emitter, cfg Config) *Forwarder {
	return &Forwarder{
		log: log, emit: emit, cfg: cfg, tried: make(map[record.TopicPartition]int64),
	}
}

// Move says where a record of a batch is to go.
type Move struct {
	// Index is the record's place in the batch, from 0.
	Index int
	// Key is the key of the forwarded record. It chooses the partition (record.PartitionOf).
	Key []byte
	// Value takes the place of the record's value, unless it is nil.
	Value []byte
}

// Forward writes the records that moves name to the target, in order, unless they stand there
// already. The batch must have been delivered under an intent; without one only repeats by this
// process are noticed. It checks the batch's lease right before it writes.
//
// rejected are the records that the broker refuses for good, by their index in the batch; the
// others are on the log then. With an error the batch has to be handled again: it is transient or
// unknown when not every record was acknowledged, and canceled without the lease.
func (f *Forwarder) Forward(
	ctx context.Context, b *record.Batch, moves []Move,
) (rejected []fault.Rejection, err error) {
	if len(moves) == 0 {
		return nil, nil
	}
	if f.again(b) {
		there, err := f.standing(ctx, b, moves)
		if err != nil {
			return nil, fmt.Errorf("look for what was forwarded from %s, offsets %d to %d: %w",
				b.TopicPartition(), b.First, b.Last, err)
		}
		moves = slices.DeleteFunc(slices.Clone(moves), func(m Move) bool {
			_, ok := there[b.Records[m.Index].Origin()]
			return ok
		})
		if len(moves) == 0 {
			return nil, nil
		}
	}
	out := make([]record.Record, len(moves))
	for i, m := range moves {
		out[i] = record.Forwarded(&b.Records[m.Index], f.target(m.Key), m.Key)
		if m.Value != nil {
			out[i].Value = m.Value
		}
	}
	if err := b.CheckLease(ctx); err != nil {
		return nil, err
	}
	return f.write(ctx, b, moves, out)
}

// target returns the partition that a key chooses.
func (f *Forwarder) target(key []byte) record.TopicPartition {
	return record.TopicPartition{
		Topic: f.cfg.Topic, Partition: record.PartitionOf(key, f.cfg.Partitions),
	}
}

// again tells whether records of the batch may have been forwarded before.
func (f *Forwarder) again(b *record.Batch) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	tp := b.TopicPartition()
	end, ok := f.tried[tp]
	f.tried[tp] = max(end, b.Last+1)
	return b.Repeat || ok && b.First < end
}

// standing returns the origins of this batch that stand in the partitions which the moves go to.
func (f *Forwarder) standing(
	ctx context.Context, b *record.Batch, moves []Move,
) (map[record.Origin]struct{}, error) {
	targets := make(map[int]struct{})
	for _, m := range moves {
		targets[f.target(m.Key).Partition] = struct{}{}
	}
	there := make(map[record.Origin]struct{})
	for n := range targets {
		from := int64(0)
		if !b.Begun.IsZero() {
			var err error
			since := b.Begun.Add(-f.cfg.MaxClockSkew)
			if from, err = f.log.OffsetAt(ctx, f.cfg.Topic, n, since); err != nil {
				return nil, err
			}
		}
		err := f.log.Read(ctx, f.cfg.Topic, n, from, -1, func(r *record.Record) error {
			o, err := record.OriginOf(r)
			if err == nil && o.TopicPartition == b.TopicPartition() &&
				o.Offset >= b.First && o.Offset <= b.Last {
				there[o] = struct{}{}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return there, nil
}

// rejections is the error of an emitter that names the records which were not acknowledged.
type rejections interface {
	error
	Rejections() []fault.Rejection
}

// write writes the records and names those that the broker refuses for good.
func (f *Forwarder) write(
	ctx context.Context, b *record.Batch, moves []Move, out []record.Record,
) (rejected []fault.Rejection, err error) {
	if err = f.emit.Emit(ctx, out); err == nil {
		return nil, nil
	}
	err = fmt.Errorf("forward %d records of %s to %s: %w",
		len(out), b.TopicPartition(), f.cfg.Topic, err)
	var named rejections
	if fault.ClassOf(err) != fault.Permanent || !errors.As(err, &named) {
		return nil, err
	}
	for _, x := range named.Rejections() {
		rejected = append(rejected, fault.Rejection{
			Index: moves[x.Index].Index,
			Err:   fault.As(fault.Permanent, fmt.Errorf("forward to %s: %w", f.cfg.Topic, x.Err)),
		})
	}
	return rejected, nil
}
