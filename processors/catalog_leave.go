package processors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

const (
	// itemsLeaveAtOnce bounds the tombstones of one write to the log.
	itemsLeaveAtOnce = 500
	// tombstoneLife is how long the tombstone of an id without a title stays. It is longer than
	// gradients, and the dead letters of them, are kept.
	tombstoneLife = 35 * 24 * time.Hour
	// lateWrites is how long after an item has left its point is removed again, where an owner
	// before, who was paused, may have written it since.
	lateWrites = time.Hour
)

// itemLeaveInterval is the time between two looks for items that have to leave. A look reads what
// is in memory, and no store.
func itemLeaveInterval(ttl time.Duration) time.Duration {
	const longest = 10 * time.Minute
	if ttl <= 0 {
		return longest
	}
	return min(longest, max(ttl/4, time.Second))
}

// checkLease returns nil while this process surely owns the partition.
func (part *catalogPart) checkLease(ctx context.Context) error {
	if part.lease == nil {
		return nil
	}
	return part.lease.Check(ctx)
}

// listed tells whether the catalog has an entry that was not withdrawn.
func (e *entry) listed() bool { return e.place != nil && !e.content.Withdrawn }

// isLate tells whether the sums in r, which have count events of an item, come too late for it: it
// has left. Only an event brings it back for which it would have stayed. In sums without an event
// of it, it is what others took before, or a negative: their sender did not know yet.
func (p *Catalog) isLate(m *factorsMeta, r *record.Record, count uint32) bool {
	if m.left == 0 {
		return false
	}
	at := r.LogTime()
	return count == 0 || p.cfg.ItemTTL > 0 && !at.IsZero() &&
		at.UnixMilli() < m.left-p.cfg.ItemTTL.Milliseconds()
}

// restoreKept adds what the records of item-vectors say of items beside their numbers. The caller
// holds the part's lock.
func (p *Catalog) restoreKept(part *catalogPart) {
	p.factors.mu.Lock()
	defer p.factors.mu.Unlock()
	for id, e := range part.entries {
		m := p.factors.touch(id)
		if m.seen == 0 { // an older program wrote it
			m.sawAt(e.changedAt)
		}
		if x, ok := m.keptContent(); ok {
			e.content = x
		}
	}
}

// restoreLeft leaves of items that have left what their owner left of them. The caller holds the
// part's lock.
func (p *Catalog) restoreLeft(part *catalogPart) {
	p.factors.mu.RLock()
	defer p.factors.mu.RUnlock()
	for id, e := range part.entries {
		if at := p.factors.touchRead(id).left; at != 0 && !e.listed() {
			part.left[id] = at
			part.reduce(id, e)
		}
	}
}

// reduce leaves the title of an item that has left, for the histories of those who took it.
func (part *catalogPart) reduce(id string, e *entry) {
	if e.content.Title == "" {
		delete(part.entries, id)
		return
	}
	e.content = titleOf(&e.content)
	delete(part.left, id) // for good
}

// ExpireItems lets items leave that have no catalog entry, or were withdrawn, and have had no event
// for the configured time. It also removes points that the log does not know.
func (p *Catalog) ExpireItems(ctx context.Context) error {
	var errs []error
	for _, part := range p.assignedParts() {
		if err := p.expirePart(ctx, part); err != nil {
			errs = append(errs, fmt.Errorf("items of partition %d leave: %w", part.number, err))
		}
	}
	return errors.Join(errs...)
}

// expirePart lets go of the lock between steps, so that batches do not wait long.
func (p *Catalog) expirePart(ctx context.Context, part *catalogPart) error {
	for more := true; more; {
		var err error
		if more, err = p.expireSome(ctx, part); err != nil {
			return err
		}
	}
	part.mu.Lock()
	defer part.mu.Unlock()
	if !part.restored {
		return nil
	}
	if err := part.checkLease(ctx); err != nil {
		return err
	}
	return p.removeLatePoints(ctx, part)
}

func (p *Catalog) expireSome(ctx context.Context, part *catalogPart) (more bool, err error) {
	part.mu.Lock()
	defer part.mu.Unlock()
	if p.cfg.ItemTTL <= 0 || !part.restored {
		return false, nil
	}
	if err := part.checkLease(ctx); err != nil {
		return false, err
	}
	now := p.now()
	gone := p.leave(part, now)
	// Also what an earlier attempt could not write.
	if err := p.publish(ctx, part, part.checkLease); err != nil {
		return false, err
	}
	if err := p.index(ctx, part, gone); err != nil {
		return false, err
	}
	forgotten, err := p.forgetTombstones(ctx, part, now)
	return len(gone) == itemsLeaveAtOnce || forgotten == itemsLeaveAtOnce, err
}

// leave lets items of a part leave in memory, at most itemsLeaveAtOnce. The caller holds the part's
// lock.
func (p *Catalog) leave(part *catalogPart, now time.Time) []string {
	before := now.Add(-p.cfg.ItemTTL).UnixMilli()
	var gone []string
	p.factors.mu.RLock()
	for id, e := range part.entries {
		if m := p.factors.touchRead(id); m.left != 0 || e.listed() || m.seen >= before {
			continue
		}
		if gone = append(gone, id); len(gone) == itemsLeaveAtOnce {
			break
		}
	}
	p.factors.mu.RUnlock()
	p.factors.mu.Lock()
	defer p.factors.mu.Unlock()
	for _, id := range gone {
		e := part.entries[id]
		e.content.ItemID = id
		p.factors.leave(id, now)
		part.left[id] = now.UnixMilli()
		part.reduce(id, e)
		if e.content.Title != "" {
			p.factors.touch(id).keep(&e.content)
		}
		part.unpublished[id] = struct{}{}
	}
	return gone
}

// removeLatePoints removes points of which the log does not know, and those of items that have just
// left once more. The caller holds the part's lock.
func (p *Catalog) removeLatePoints(ctx context.Context, part *catalogPart) error {
	var points []sinks.ItemVersion
	since := p.now().Add(-min(lateWrites, p.cfg.ItemTTL)).UnixMilli()
	p.factors.mu.RLock()
	for id, version := range part.orphans {
		if known := p.factors.touchRead(id).version; known < version {
			points = append(points, sinks.ItemVersion{ID: id, Version: version})
		}
	}
	for id, at := range part.left {
		if at >= since {
			points = append(points, sinks.ItemVersion{
				ID: id, Version: p.factors.touchRead(id).version,
			})
		}
	}
	p.factors.mu.RUnlock()
	if len(points) == 0 {
		return nil
	}
	if err := p.items.DeleteItems(ctx, points); err != nil {
		return fmt.Errorf("remove %d late points from the index: %w", len(points), err)
	}
	for id := range part.orphans {
		if part.entries[id] != nil {
			part.dirty[id], part.moved[id] = struct{}{}, struct{}{}
		}
	}
	clear(part.orphans)
	return nil
}

// forgetTombstones removes tombstones that nothing late can need any more, so that what clients
// invent leaves nothing for good.
func (p *Catalog) forgetTombstones(
	ctx context.Context, part *catalogPart, now time.Time,
) (int, error) {
	before := now.Add(-tombstoneLife).UnixMilli()
	var out []record.Record
	for id, at := range part.left {
		if _, waits := part.dirty[id]; waits || at >= before {
			continue
		}
		out = append(out, record.Record{
			Topic: schemas.TopicItemVectors, Partition: part.number, Key: []byte(id),
			Headers: schemas.Envelope{Kind: schemas.KindItemVectorUpdated}.Headers(""),
		})
		if len(out) == itemsLeaveAtOnce {
			break
		}
	}
	if len(out) == 0 {
		return 0, nil
	}
	if err := part.checkLease(ctx); err != nil {
		return 0, err
	}
	if err := p.emit.Emit(ctx, out); err != nil {
		return 0, fmt.Errorf("remove %d tombstones of items: %w", len(out), err)
	}
	p.factors.mu.Lock()
	defer p.factors.mu.Unlock()
	for i := range out {
		id := string(out[i].Key)
		p.factors.remove(id)
		delete(part.left, id)
	}
	return len(out), nil
}
