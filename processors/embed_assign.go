package processors

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Assign rebuilds the deduplication window and, the first time, the ring of negatives from the log.
// It drops cached users: another member may have changed them.
func (p *Embed) Assign(ctx context.Context, parts []record.Assignment) error {
	seeded, pairs := p.seedNegatives(len(parts)), make(map[userItem]struct{})
	for _, a := range parts {
		part := p.part(a.Partition)
		part.mu.Lock()
		part.cache.Purge()
		part.next[a.Topic], part.unfinished[a.Topic], part.repair = a.Next, false, nil
		w := newWindow(p.cfg.RecentIDs)
		err := p.log.Read(
			ctx,
			a.Topic,
			a.Partition,
			max(0, a.Next-int64(p.cfg.RecentIDs)),
			a.Next,
			func(r *record.Record) error {
				x, _, err := p.interaction(r)
				if errors.Is(err, schemas.ErrErasureMarker) {
					u, err := schemas.DecodeUser(r)
					if err == nil && p.checkMarker(r, u.UserID) == nil {
						w.seen(r.Offset, markerIdentity(&u))
						part.erased[u.UserID] = &erasedUser{a.Topic, sinks.UserErasure{
							ID: u.UserID, Position: p.position(r.Offset), At: u.OccurredAt,
						}, erasureRechecks}
					}
					return nil
				}
				if err == nil { // else it became a dead letter when first read
					w.seen(r.Offset, identity(r, &x))
					if a.Next-r.Offset <= seeded {
						p.addNegative(&x, pairs)
					}
				}
				return nil
			},
		)
		if err == nil {
			part.windows[a.Topic] = w
		}
		part.mu.Unlock()
		if err != nil {
			return fmt.Errorf("rebuild recent ids of %s/%d: %w", a.Topic, a.Partition, err)
		}
	}
	return nil
}

// seedNegatives fills the ring of negatives by the items' counts, once, and returns how many of the
// latest events of each of n partitions to add. Later the ring follows the events learned here and,
// through the counts, those learned elsewhere.
func (p *Embed) seedNegatives(n int) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seeded || n == 0 {
		return 0
	}
	p.seeded = true
	p.factors.mu.RLock()
	defer p.factors.mu.RUnlock()
	p.factors.table.FillNegatives(p.factors.table.Config().Seed)
	return int64(p.factors.table.Config().Buffer / n)
}

// userItem is a user and an item that he or she took.
type userItem struct{ user, item model.Key }

// addNegative adds the item of a past positive event to the ring of negatives, the first time that
// its user took it: one person does not fill the ring. pairs are those that have been added.
func (p *Embed) addNegative(x *schemas.Interaction, pairs map[userItem]struct{}) {
	pair := userItem{model.KeyOf(x.UserID), model.KeyOf(x.ItemID)}
	if _, added := pairs[pair]; added || p.rule(x).Weight <= 0 {
		return
	}
	pairs[pair] = struct{}{}
	p.factors.mu.RLock()
	defer p.factors.mu.RUnlock()
	if i := p.factors.table.Lookup(pair.item); i != model.None {
		p.factors.table.AddNegative(i)
	}
}

// Revoke drops the state of the partitions.
func (p *Embed) Revoke(parts []record.TopicPartition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range parts {
		delete(p.parts, a.Partition)
	}
}
