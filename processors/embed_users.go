package processors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// userState is a user's point, decoded.
type userState struct {
	point sinks.User
	model model.User
	// repaired is set when the state was made anew from the log, because the stored one is corrupt
	// or, if returned is set, holds what is erased. pending are the events still to be learned from
	// then (see repair and keepReturned).
	repaired, returned bool
	pending            []pendingEvent
}

// load returns the states of the events' users, from the cache or the store, with new states for
// unknown users. corrupt holds the points whose states cannot be decoded.
func (p *Embed) load(
	ctx context.Context, part *embedPart, b *record.Batch, events []embedEvent,
) (states map[string]*userState, corrupt map[string]*sinks.User, err error) {
	states, corrupt = make(map[string]*userState, len(events)), make(map[string]*sinks.User)
	var missing []string
	for i := range events {
		id := events[i].x.UserID
		if _, ok := states[id]; ok {
			continue
		}
		s, ok := part.cache.Get(id)
		if !ok {
			missing = append(missing, id)
		}
		states[id] = s
	}
	points, err := p.users.GetUsers(ctx, missing)
	if err != nil {
		return nil, nil, fmt.Errorf("read %d users: %w", len(missing), err)
	}
	for i, point := range points {
		s := &userState{point: point}
		if point.Damaged == nil &&
			p.erasures.Covers(point.ID, point.LastEventAt, point.ChangedAt) {
			continue // a late write restored an erased user
		}
		if point.Erased() {
			states[point.ID] = s
			continue
		}
		err := s.model.Decode(point.State)
		if point.Damaged != nil && !errors.Is(err, model.ErrNewerFormat) {
			err = point.Damaged
		}
		switch {
		case errors.Is(err, model.ErrNewerFormat):
			return nil, nil, newerState(point.ID, err)
		case err != nil:
			if s = part.repairFor(b).result(&points[i]); s == nil {
				corrupt[point.ID] = &points[i]
				p.cfg.Corrupt(point.ID, err)
				continue
			}
		}
		states[point.ID] = s
	}
	for _, id := range missing {
		switch {
		case corrupt[id] != nil:
			delete(states, id)
		case states[id] == nil:
			states[id] = &userState{point: sinks.User{ID: id}}
		}
	}
	return states, corrupt, nil
}

// newerState is the error with which a partition waits when a newer version of the program wrote
// the state of one of its users.
func newerState(userID string, err error) error {
	return fault.Wait(fmt.Errorf("the state of user %q was written by a newer version; "+
		"finish the rolling upgrade, the partition waits until then: %w", userID, err))
}

// deferral is a user with a corrupt state whose events a batch skips.
type deferral struct {
	first, last int // indexes of the oldest and newest record skipped
	event       embedEvent
}

// leaveOut removes the events of users with corrupt states from a batch. Events from an erasure on
// stay, since they need no earlier state; for these users it adds blank states.
func (p *Embed) leaveOut(
	b *record.Batch,
	events []embedEvent,
	corrupt map[string]*sinks.User,
	states map[string]*userState,
) ([]embedEvent, map[string]*deferral) {
	erasedAt := make(map[string]int)
	for i := range events {
		point := corrupt[events[i].x.UserID]
		if point == nil || !events[i].erased {
			continue
		}
		absorbed, ok := point.Positions[b.Topic]
		if !ok || p.position(b.Records[events[i].index].Offset) > absorbed {
			erasedAt[point.ID] = i
			states[point.ID] = &userState{
				point: sinks.User{ID: point.ID, Positions: point.Positions},
			}
		}
	}
	deferred := make(map[string]*deferral)
	kept := events[:0:0]
	for i := range events {
		e := &events[i]
		if corrupt[e.x.UserID] == nil {
			kept = append(kept, *e)
			continue
		}
		if at, ok := erasedAt[e.x.UserID]; ok {
			if i >= at {
				kept = append(kept, *e)
			}
			continue
		}
		d := deferred[e.x.UserID]
		if d == nil {
			d = &deferral{first: e.index}
			deferred[e.x.UserID] = d
		}
		d.last, d.event = e.index, *e
	}
	return kept, deferred
}

func (s *userState) moved(topic string, at sinks.Position, occurred, recorded time.Time) {
	s.absorbed(topic, at)
	s.point.LastEventAt = latest(s.point.LastEventAt, occurred)
	s.point.ChangedAt = latest(s.point.ChangedAt, recorded)
}

func (s *userState) absorbed(topic string, at sinks.Position) {
	positions := make(map[string]sinks.Position, len(s.point.Positions)+1)
	for k, v := range s.point.Positions {
		positions[k] = v
	}
	positions[topic] = at
	s.point.Positions = positions
}
