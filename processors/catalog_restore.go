package processors

import (
	"context"
	"fmt"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Assign restores the factors and the content of the partitions from the log, and finds the items
// that are stale in the index.
func (p *Catalog) Assign(ctx context.Context, parts []record.Assignment) error {
	partitions := make(map[int]bool)
	for _, a := range parts {
		partitions[a.Partition] = true
		part := p.part(a.Partition)
		part.mu.Lock()
		part.lease = a.Lease
		part.mu.Unlock()
	}
	letter, err := p.streams.lettersOf(ctx, schemas.GroupCatalog)
	if err != nil {
		return err
	}
	for n := range partitions {
		if err := p.restore(ctx, n, letter); err != nil {
			return fmt.Errorf("restore items of partition %d: %w", n, err)
		}
	}
	indexed := make(map[string]uint64)
	if err := p.items.ItemVersions(ctx, func(id string, version uint64) error {
		if partitions[record.PartitionOf([]byte(id), p.cfg.Partitions)] {
			indexed[id] = version
		}
		return nil
	}); err != nil {
		return fmt.Errorf("read versions of the item index: %w", err)
	}
	for n := range partitions {
		p.compareIndex(p.part(n), indexed)
	}
	return nil
}

// compareIndex notes what is stale in the index, of which indexed are the versions.
func (p *Catalog) compareIndex(part *catalogPart, indexed map[string]uint64) {
	part.mu.Lock()
	defer part.mu.Unlock()
	p.factors.mu.RLock()
	defer p.factors.mu.RUnlock()
	for id := range part.entries {
		if p.factors.touchRead(id).version > indexed[id] {
			part.dirty[id], part.moved[id] = struct{}{}, struct{}{}
		}
	}
	for id, version := range indexed {
		if record.PartitionOf([]byte(id), p.cfg.Partitions) != part.number {
			continue
		}
		if _, left := part.left[id]; left { // a late writer, or a removal that was cut off
			part.dirty[id], part.moved[id] = struct{}{}, struct{}{}
		}
		if version > p.factors.touchRead(id).version {
			part.orphans[id] = version
		}
	}
}

// restore reads a partition. letter tells which records of items became dead letters: one that was
// replayed counts by its record in the replay topic, one that was not does not count.
func (p *Catalog) restore(
	ctx context.Context, n int, letter func(*record.Record) bool,
) error {
	part := p.part(n)
	part.mu.Lock()
	defer part.mu.Unlock()
	clear(part.entries)
	clear(part.unpublished)
	clear(part.dirty)
	clear(part.moved)
	clear(part.indexed)
	clear(part.left)
	clear(part.orphans)
	part.counted, part.restored = nil, false
	restore := p.factors.restorer()
	err := p.log.Read(ctx, schemas.TopicItemVectors, n, 0, -1, func(r *record.Record) error {
		if id := string(r.Key); len(r.Value) == 0 {
			delete(part.entries, id)
		} else if !model.IsFeatureID(id) {
			part.entries[id] = &entry{
				content: schemas.Item{ItemID: id}, changedAt: r.Time,
			}
		}
		return restore(r)
	})
	if err != nil {
		return err
	}
	p.restoreKept(part)
	for _, topic := range []string{
		schemas.TopicItems, misplacedItems, record.ReplayTopic(schemas.GroupCatalog),
	} {
		err := p.log.Read(ctx, topic, n, 0, -1, func(r *record.Record) error {
			if letter(r) {
				return nil
			}
			// Else it became a dead letter, or was forwarded.
			if x, at, err := p.item(r); err == nil && p.owns(n, x.ItemID) {
				part.acceptContent(x, at, recordedAt(r, x.OccurredAt))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	p.restoreLeft(part)
	part.restored = true
	return nil
}
