package processors

import (
	"context"
	"errors"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// holdsGradients tells whether a record of another topic is one of gradients, replayed.
func holdsGradients(r *record.Record) bool {
	return firstTopic(r, schemas.GroupCatalog, catalogInputs()) == schemas.TopicItemGradients
}

// handleGradients applies the gradients of b. What cannot be decoded goes to rejects.
func (p *Catalog) handleGradients(
	ctx context.Context, part *catalogPart, b *record.Batch, rejects *fault.Reject,
) error {
	var newer error
	p.factors.mu.Lock()
	part.sums.Reset()
	for i := range b.Records {
		r := &b.Records[i]
		if b.Topic != schemas.TopicItemGradients && !holdsGradients(r) {
			continue
		}
		err := p.merge(part, r)
		if errors.Is(err, model.ErrNewerFormat) {
			// The partition waits for the upgrade. Messages before this one are applied now, and
			// skipped when the batch is delivered again.
			newer = fault.Transientf("%s/%d/%d: %w: upgrade this instance",
				r.Topic, r.Partition, r.Offset, err)
			break
		}
		if err != nil {
			rejects.Add(i, fault.As(fault.Permanent, err))
		}
	}
	p.factors.table.Apply(part.sums)
	p.factors.mu.Unlock()
	if err := p.publish(ctx, part, b.CheckLease); err != nil {
		return err
	}
	return newer
}

// merge adds the gradients of one message to the part's sums, except for items that have already
// applied the message. The caller holds the factors' lock.
func (p *Catalog) merge(part *catalogPart, r *record.Record) error {
	src, at, sums, err := decodeGradients(r.Value)
	if err != nil {
		return err
	}
	var fresh []string
	events := make(map[string]bool)
	err = part.sums.MergeWhere(sums, func(id string, count uint32) bool {
		m := p.factors.touchRead(id)
		if m.applied.has(src, at) || p.isLate(m, r, count) {
			return false
		}
		fresh, events[id] = append(fresh, id), count > 0
		return true
	})
	if err != nil {
		return err
	}
	for _, id := range fresh {
		m := p.factors.touch(id)
		m.applied.set(src, at)
		m.version++
		part.unpublished[id] = struct{}{}
		if model.IsFeatureID(id) {
			continue
		}
		m.left = 0
		delete(part.left, id)
		if events[id] || m.seen == 0 {
			m.sawAt(r.LogTime())
		}
		e := part.entries[id]
		if e == nil {
			e = &entry{content: schemas.Item{ItemID: id}}
			part.entries[id] = e
		}
		e.changedAt = latest(e.changedAt, r.Time)
	}
	return nil
}
