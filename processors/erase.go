package processors

import (
	"context"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// EraseDeclaration declares the processor of erasures.
func EraseDeclaration() Declaration {
	return Declaration{
		Name: schemas.GroupErase, Inputs: []string{schemas.TopicUsers},
		Splittable: true, RetryTopics: true,
		Fills: "erasures",
		New: func(d Deps) Instance {
			return Instance{
				Processor: NewErase(d.Streams, d.Erasures, d.Settings.Partitions),
			}
		},
	}
}

// Erase distributes the erasure of a user from the topic users. It writes first to the compacted
// topic erasures, so that late events are dropped; then a marker into every topic keyed by user, so
// that each processor erases in order with the user's events; and last tombstones to every
// partition of the compacted topic users: compaction goes by partition, and a producer with another
// partitioner puts attributes anywhere. A partition where the person has written since gets none:
// there compaction forgets what was before by itself.
type Erase struct {
	stateless
	emit     Emitter
	log      Log
	erasures *Erasures
	// marked are the topics that get a marker for each erasure.
	marked []string
	// partitions is the number of partitions of users.
	partitions int
}

var _ Processor = (*Erase)(nil)

// NewErase returns the processor of the topic users, which has the given number of partitions. It
// knows the erasures of before from erasures.
func NewErase(streams Streams, erasures *Erasures, partitions int) *Erase {
	return &Erase{
		emit: streams.Emit, log: streams.Log, erasures: erasures, marked: schemas.MarkedTopics(),
		partitions: max(partitions, 1),
	}
}

// Handle distributes the erasures of b. It is idempotent: markers carry the time of the
// erasure, which is when the log took its event first.
func (p *Erase) Handle(ctx context.Context, b *record.Batch) error {
	var (
		known, markers []record.Record
		spread         []erasedPerson
		rejects        fault.Reject
	)
	for i := range b.Records {
		r := &b.Records[i]
		if len(r.Value) == 0 {
			continue
		}
		u, err := schemas.DecodeUser(r)
		if err != nil {
			rejects.Add(i, fault.As(fault.Permanent, err))
			continue
		}
		if !u.Erased {
			continue
		}
		// The time of the erasure is the log's: what the client says may be years ahead, or behind
		// what the person's phone says of the last events.
		x := p.erasures.Of(&u, r)
		u.OccurredAt, u.ClientTime = x.ErasedAt, time.Time{}
		known, spread = append(known, x.Message()), append(spread, erasedPerson{u.UserID, x})
		marker := u.Message()
		for _, topic := range p.marked {
			m := marker
			m.Topic = topic
			markers = append(markers, m)
		}
	}
	for _, step := range [][]record.Record{known, markers} {
		if err := p.emit.Emit(ctx, step); err != nil {
			return fmt.Errorf("spread erasures (%d messages): %w", len(step), err)
		}
	}
	tombstones, err := p.tombstones(ctx, spread)
	if err != nil {
		return err
	}
	if err := p.emit.Emit(ctx, tombstones); err != nil {
		return fmt.Errorf("forget attributes (%d tombstones): %w", len(tombstones), err)
	}
	return rejects.Err()
}

// erasedPerson is a user with the erasure that is spread.
type erasedPerson struct {
	id      string
	erasure schemas.Erasure
}

// tombstones returns those of the topic users. Who returns between the look and the writing gets
// one all the same. The current list is recommend's: the marker in profile-changes withdraws it, in
// line.
func (p *Erase) tombstones(
	ctx context.Context, spread []erasedPerson,
) (out []record.Record, err error) {
	if len(spread) == 0 {
		return nil, nil
	}
	since := spread[0].erasure.ErasedAt
	for _, x := range spread {
		p.erasures.Add(x.erasure)
		if x.erasure.ErasedAt.Before(since) {
			since = x.erasure.ErasedAt
		}
	}
	for partition := range p.partitions {
		returned, err := p.returned(ctx, partition, since)
		if err != nil {
			return nil, fmt.Errorf("look for who has returned since %s: %w", since, err)
		}
		for _, x := range spread {
			if !returned[x.id] {
				out = append(out, record.Record{
					Topic: schemas.TopicUsers, Partition: partition, Key: []byte(x.id),
				})
			}
		}
	}
	return out, nil
}

// returned tells whose newest record in a partition of users, of those since a time, has attributes
// that no erasure covers. A tombstone behind it would take them from the log, and at the next
// rebuild from the rows. It comes late when this group is behind or repeats a batch, and when an
// application sends an erasure again.
func (p *Erase) returned(
	ctx context.Context, partition int, since time.Time,
) (map[string]bool, error) {
	from, err := p.log.OffsetAt(ctx, schemas.TopicUsers, partition, since)
	if err != nil {
		return nil, err
	}
	returned := make(map[string]bool)
	err = p.log.Read(ctx, schemas.TopicUsers, partition, from, -1, func(r *record.Record) error {
		delete(returned, string(r.Key))
		if len(r.Value) == 0 {
			return nil
		}
		u, err := schemas.DecodeUser(r)
		if err == nil && !u.Erased && !p.erasures.coversEvent(u.UserID, r, u.OccurredAt) {
			returned[string(r.Key)] = true
		}
		return nil // what cannot be decoded is a dead letter of its reader
	})
	return returned, err
}
