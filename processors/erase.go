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
				Processor: NewErase(d.Streams.Emit, d.Erasures, d.Settings.Partitions),
			}
		},
	}
}

// Erase distributes the erasure of a user from the topic users. It writes first to the compacted
// topic erasures, so that late events are dropped; then a marker into every topic keyed by user, so
// that each processor erases in order with the user's events; and last tombstones to every
// partition of the compacted topic users: compaction goes by partition, and a producer with another
// partitioner puts attributes anywhere.
type Erase struct {
	stateless
	emit     Emitter
	erasures *Erasures
	// marked are the topics that get a marker for each erasure.
	marked []string
	// partitions is the number of partitions of users.
	partitions int
}

var _ Processor = (*Erase)(nil)

// NewErase returns the processor of the topic users, which has the given number of partitions. It
// knows the erasures of before from erasures.
func NewErase(emit Emitter, erasures *Erasures, partitions int) *Erase {
	return &Erase{
		emit: emit, erasures: erasures, marked: schemas.MarkedTopics(),
		partitions: max(partitions, 1),
	}
}

// Handle distributes the erasures of b. It is idempotent: markers carry the time of the
// erasure, which is when the log took its event first.
func (p *Erase) Handle(ctx context.Context, b *record.Batch) error {
	var (
		known, markers, tombstones []record.Record
		rejects                    fault.Reject
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
		known = append(known, x.Message())
		marker := u.Message()
		for _, topic := range p.marked {
			m := marker
			m.Topic = topic
			markers = append(markers, m)
		}
		// The current list is recommend's: the marker in profile-changes withdraws it, in line.
		for partition := range p.partitions {
			tombstones = append(tombstones, record.Record{
				Topic: schemas.TopicUsers, Partition: partition, Key: marker.Key,
			})
		}
	}
	for _, step := range [][]record.Record{known, markers, tombstones} {
		if err := p.emit.Emit(ctx, step); err != nil {
			return fmt.Errorf("spread erasures (%d messages): %w", len(step), err)
		}
	}
	return rejects.Err()
}
