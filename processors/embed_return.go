package processors

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// How embed keeps what a person does between an erasure and its marker.
//
// An erasure covers what happened or was recorded until the log took it. Its marker is written
// later. If embed does not know of the erasure yet, an event in between moves a state that also
// holds what is to go, and a state cannot unlearn. So at the marker the state is made anew from the
// log, of the events since the erasure: those that the stored positions say were absorbed are
// replayed for the user's side alone, since the items have learned from them. The others stand in
// the batch of the marker, in front of it, and are learned now. The point is written with the
// position of the marker. So a repeated batch finds it absorbed, and does not erase again.
//
// This costs a read of the recent ids in front of the erasure, which tell repetitions. Only states
// with an event that neither happened nor was recorded until the erasure need it.

// keepReturned finds such states and makes them anew. It replaces them in states, and removes them
// from corrupt. It returns the events without those that it has dealt with; the marker of such a
// user becomes a request for what repair.go calls a rebuilt state.
func (p *Embed) keepReturned(
	ctx context.Context, part *embedPart, b *record.Batch, events []embedEvent,
	states map[string]*userState, corrupt map[string]*sinks.User,
) ([]embedEvent, error) {
	markers := make(map[string]int) // the index of a user's last one
	for i := range events {
		if events[i].erased {
			markers[events[i].x.UserID] = i
		}
	}
	users := make(map[string]*userRepair)
	for id, i := range markers {
		point := corrupt[id]
		if point == nil {
			point = &states[id].point
		}
		offset := b.Records[events[i].index].Offset
		isBack := corrupt[id] == nil && !p.erasures.Covers(id, point.LastEventAt, point.ChangedAt)
		absorbed, ok := point.Positions[b.Topic]
		switch {
		case !ok || p.position(offset) > absorbed:
			if isBack || corrupt[id] != nil || p.actsSince(events[:i], id) {
				users[id] = &userRepair{stored: point.Positions, until: offset}
			}
		case isBack: // the store has the state of an earlier delivery; a list is due all the same
			events[i].askFor(point)
		}
	}
	if len(users) == 0 {
		return events, nil
	}
	r, err := p.readReturned(ctx, part, b, users, corrupt)
	if err != nil {
		return nil, err
	}
	kept := make(map[string]int)
	for id := range users {
		s := r.stateOf(id)
		if len(r.users[id].events) == 0 {
			continue // nothing stays: the marker erases the user
		}
		s.returned = corrupt[id] == nil
		delete(corrupt, id)
		states[id], kept[id] = s, markers[id]
		last := s.point
		for _, e := range s.pending {
			last.LastEventAt = latest(last.LastEventAt, e.OccurredAt)
			last.ChangedAt = latest(last.ChangedAt, e.recorded)
		}
		events[markers[id]].askFor(&last)
	}
	out := make([]embedEvent, 0, len(events))
	for i := range events {
		if marker, ok := kept[events[i].x.UserID]; !ok || i >= marker {
			out = append(out, events[i])
		}
	}
	return out, nil
}

// askFor makes a marker a request for the list of a user whose newest event the point knows.
func (e *embedEvent) askFor(point *sinks.User) {
	e.erased, e.repair = false, true
	e.x.OccurredAt, e.recorded = point.LastEventAt, point.ChangedAt
}

// actsSince tells whether one of the events is one of the user that no erasure covers.
func (p *Embed) actsSince(events []embedEvent, id string) bool {
	return slices.ContainsFunc(events, func(e embedEvent) bool {
		return e.x.UserID == id && !e.erased && !e.repair &&
			!p.erasures.Covers(id, e.x.OccurredAt, e.recorded)
	})
}

// readReturned reads what the users have done since their erasures, up to their markers in the
// batch and to what has been absorbed of the other topics. If ctx ends before, the next attempt of
// the batch goes on where this one stopped.
func (p *Embed) readReturned(
	ctx context.Context, part *embedPart, b *record.Batch, users map[string]*userRepair,
	corrupt map[string]*sinks.User,
) (*repair, error) {
	to := make(map[string]int64)
	for id, u := range users {
		to[b.Topic] = max(to[b.Topic], u.until)
		if err := p.findAbsorbed(part, b, u, corrupt[id] != nil); err != nil {
			return nil, err
		}
		for topic, at := range u.absorbed {
			if topic != b.Topic && at.IsValid() && at.Epoch() == p.cfg.Epoch {
				to[topic] = max(to[topic], at.Offset()+1)
			}
		}
		if corrupt[id] != nil {
			for topic, next := range part.handled(b) {
				to[topic] = max(to[topic], next)
			}
		}
	}
	r := part.returning
	if r == nil || r.topic != b.Topic || r.first != b.First || r.last != b.Last ||
		!maps.EqualFunc(r.users, users, (*userRepair).sameAs) {
		var err error
		if r, err = p.newReturning(ctx, b, users, to); err != nil {
			return nil, err
		}
		part.returning = r
	}
	if err := r.read(ctx, b.Partition, to); err != nil {
		return nil, err
	}
	part.returning = nil
	return r, nil
}

// findAbsorbed sets what has been absorbed of a user's events. Of a sound state that is all that
// was handled. The state may have forgotten a position, since a marker forgets all. Of a corrupt
// one it is what the point says.
func (p *Embed) findAbsorbed(
	part *embedPart, b *record.Batch, u *userRepair, isCorrupt bool,
) error {
	u.absorbed = make(map[string]sinks.Position)
	maps.Copy(u.absorbed, u.stored)
	for _, topic := range embedInputs {
		next, ok := part.next[topic]
		if topic == b.Topic {
			next, ok = b.First, true
		}
		// Its events are pending there: see prepareRepair and finishRepair.
		if isCorrupt && (!ok || topic != b.Topic && part.unfinished[topic]) {
			return fault.Wait(fmt.Errorf(
				"read the history of an erased user: partition %d of %s is not ready",
				b.Partition, topic,
			))
		}
		if next > 0 && (!isCorrupt || len(u.stored) == 0) {
			u.absorbed[topic] = max(u.absorbed[topic], p.position(next-1))
		}
	}
	return nil
}

// newReturning begins to read where the recent ids in front of the first erasure begin.
func (p *Embed) newReturning(
	ctx context.Context, b *record.Batch, users map[string]*userRepair, to map[string]int64,
) (*repair, error) {
	r := p.newRepair(b, users)
	var since time.Time
	for id := range users {
		if at, ok := p.erasures.At(id); ok && (since.IsZero() || at.Before(since)) {
			since = at
		}
	}
	for topic := range to {
		// The clocks of brokers differ, and so do those of an event's origin and its copy.
		from, err := p.log.OffsetAt(ctx, topic, b.Partition, since.Add(-p.cfg.MaxClockSkew))
		if err != nil {
			return nil, fmt.Errorf("find the erasure in %s/%d: %w", topic, b.Partition, err)
		}
		r.next[topic] = max(0, from-int64(p.cfg.RecentIDs))
	}
	var err error
	if r.letter, err = p.streams.lettersOf(ctx, schemas.GroupEmbed); err != nil {
		return nil, err
	}
	return r, nil
}
