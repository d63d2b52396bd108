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
	// repaired is set when the state was rebuilt because the stored one is corrupt. pending are the
	// events still to be learned from then (see repair).
	repaired bool
	pending  []pendingEvent
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
