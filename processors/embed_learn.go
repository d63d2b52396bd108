package processors

import (
	"cmp"
	"slices"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// changedUser is a user whose state changed in this batch, or in an earlier, interrupted delivery
// of it.
type changedUser struct {
	state *userState
	// moved is false when the store already has the new state. Then only the profile change is
	// emitted, in case the earlier delivery did not.
	moved bool
	// first and last are the indexes of the oldest and newest record of the user.
	first, last int
	event       embedEvent // the newest
}

// learn updates states and collects gradient sums. It returns the changed users and those to erase.
func (p *Embed) learn(
	part *embedPart, b *record.Batch, events []embedEvent, states map[string]*userState,
) (changed []*changedUser, erased map[string]sinks.UserErasure) {
	ids := make([]string, 0, len(events))
	for i := range events {
		if e := &events[i]; e.erased || e.repair {
			ids = append(ids, "")
		} else {
			ids = append(ids, e.x.ItemID)
		}
	}
	pending := make(map[string]int) // where the rows of a user's pending events begin
	for id, s := range states {
		if len(s.pending) > 0 {
			pending[id], ids = len(ids), append(ids, itemsOf(s.pending)...)
		}
	}
	rows := p.factors.rlockRows(ids)
	defer p.factors.mu.RUnlock()
	part.sums.Reset()
	for id, at := range pending {
		s := states[id]
		for i := range s.pending {
			p.step(part, s, rows[at+i], &s.pending[i])
		}
	}
	byUser := make(map[string]*changedUser, len(states))
	erased = make(map[string]sinks.UserErasure)
	for i := range events {
		e, r := &events[i], &b.Records[events[i].index]
		s := states[e.x.UserID]
		at := p.position(r.Offset)
		absorbed, ok := s.point.Positions[b.Topic]
		repeated := ok && at <= absorbed // the user's state already has it
		if e.erased && repeated {
			delete(byUser, e.x.UserID)
			continue
		}
		if e.erased {
			*s = userState{point: sinks.User{ID: e.x.UserID}}
			delete(byUser, e.x.UserID)
			erased[e.x.UserID] = sinks.UserErasure{
				ID: e.x.UserID, Position: at, At: e.x.OccurredAt,
			}
			continue
		}
		if e.repair && !repeated && !s.repaired {
			continue // the state is sound: an earlier request repaired it
		}
		delete(erased, e.x.UserID)
		c := byUser[e.x.UserID]
		if c == nil {
			c = &changedUser{state: s, first: e.index}
			byUser[e.x.UserID] = c
		}
		c.last, c.event = e.index, *e
		if repeated {
			continue
		}
		c.moved = true
		if e.repair {
			s.absorbed(b.Topic, at)
			continue
		}
		p.step(part, s, rows[i], &pendingEvent{
			e.x, b.Topic, b.Partition, r.Offset, e.recorded, e.older,
		})
	}
	dim := p.factors.table.Config().Dim
	for _, c := range byUser {
		changed = append(changed, c)
		if !c.moved {
			continue
		}
		c.state.point.State = c.state.model.Append(nil)
		c.state.point.Vector = make([]float32, dim+1)
		part.learner.Query(&c.state.model, c.state.point.Vector)
	}
	// In the order of their events: what recommend has answered tells what it has not, see
	// answeredNote.
	slices.SortFunc(changed, func(a, b *changedUser) int { return cmp.Compare(a.first, b.first) })
	return changed, erased
}

// step learns from one event.
func (p *Embed) step(part *embedPart, s *userState, item model.Index, e *pendingEvent) {
	event := p.modelEvent(item, e)
	if e.older {
		part.learner.Replay(&s.model, event)
	} else {
		part.learner.Gradients(&s.model, event, part.sums)
	}
	s.moved(e.topic, p.position(e.offset), e.OccurredAt, e.recorded)
}

func (p *Embed) modelEvent(item model.Index, e *pendingEvent) model.Event {
	r := p.rule(&e.Interaction)
	return model.Event{
		Item: item, Strength: float32(r.Weight), Takes: r.Takes || r.Refuses, Label: r.Label(),
		Retracts: r.Meaning.Bad(), At: e.OccurredAt.Unix(),
		Seed: seedOf(e.topic, e.partition, e.offset),
	}
}

// seedOf derives the seed from the event's position, so that a retry draws the same negatives.
func seedOf(topic string, partition int, offset int64) uint64 {
	return uint64(offset)*0x9e3779b97f4a7c15 ^ uint64(partition)<<32 ^ schemas.Key(topic)
}
