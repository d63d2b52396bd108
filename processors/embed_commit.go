package processors

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// commit applies the effects in the order that loses nothing (see Embed).
func (p *Embed) commit(
	ctx context.Context, part *embedPart, b *record.Batch, changed []*changedUser,
	erased map[string]sinks.UserErasure, deferred map[string]*deferral,
) error {
	if len(changed)+len(erased)+len(deferred) == 0 {
		return nil
	}
	if err := b.CheckLease(ctx); err != nil {
		return err
	}
	gradients, err := p.gradientMessages(part, b)
	if err != nil {
		return err
	}
	if err := p.emit.Emit(ctx, gradients); err != nil {
		return fmt.Errorf("emit gradient sums: %w", err)
	}
	points := make([]sinks.User, 0, len(changed))
	due := make([]record.Record, 0, len(changed)+len(deferred))
	for _, c := range changed {
		if c.moved {
			points = append(points, c.state.point)
		}
		due = append(due, profileChange(b, c.first, c.last, &c.event).Message())
	}
	for _, d := range deferred {
		m := RepairRequest(profileChange(b, d.first, d.last, &d.event))
		m.Partition = b.Partition
		due = append(due, m)
	}
	if err := b.CheckLease(ctx); err != nil {
		return err
	}
	src := sinks.Source{Topic: b.Topic, Partition: b.Partition}
	if err := p.users.PutUsers(ctx, src, points); err != nil {
		return fmt.Errorf("write %d users: %w", len(points), err)
	}
	for _, c := range changed {
		if c.state.repaired && c.moved {
			if !c.state.returned {
				p.cfg.Repaired(c.state.point.ID, int(c.state.model.Events))
			}
			c.state.repaired, c.state.returned, c.state.pending = false, false, nil
		}
	}
	if err := p.forget(ctx, src, slices.Collect(maps.Values(erased))); err != nil {
		return err
	}
	if err := p.emit.Emit(ctx, due); err != nil {
		return fmt.Errorf("emit %d changed profiles: %w", len(due), err)
	}
	for _, c := range changed {
		part.cache.Add(c.state.point.ID, c.state)
	}
	for id, e := range erased {
		part.cache.Remove(id)
		part.erased[id] = &erasedUser{b.Topic, e, erasureRechecks}
	}
	return nil
}

// profileChange returns the change of a user's profile by the records of a batch from index first
// to last.
func profileChange(b *record.Batch, first, last int, e *embedEvent) *schemas.ProfileChanged {
	x := &e.x
	r, oldest := causeOf(&b.Records[last]), causeOf(&b.Records[first])
	return &schemas.ProfileChanged{
		UserID: x.UserID, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		EventID: x.EventID, OccurredAt: x.OccurredAt,
		RecordedAt: latest(recordedAt(r, x.OccurredAt), e.recorded), AcceptedAt: oldest.Time,
	}
}

// causeOf returns a record of a batch as of its origin: what analysts know it by.
func causeOf(r *record.Record) *record.Record {
	if origin, err := atOrigin(r, schemas.GroupEmbed); err == nil {
		return origin
	}
	return r
}
