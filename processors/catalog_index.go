package processors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/sinks"
)

// indexRest is the pause after a write to the index, as a multiple of its duration.
const indexRest = 20

// An item is written to the index again when it was taken or when it has moved far since the last
// write: its vector by more than vectorTolerance of its length (about a hundredth of a score) or
// its bias by more than biasTolerance, in log-odds. Smaller changes come mostly from other items
// being taken. They wait until nothing has moved for indexAllAfter, or until indexAllEvery has
// passed. In a small catalog nearly every vector moves a little all the time, and that hardly
// changes any list.
const (
	vectorTolerance = 0.1
	biasTolerance   = 0.05
	indexAllAfter   = 3 * time.Second
	indexAllEvery   = 30 * time.Second
)

// IndexDue writes changed items to the index, each at most once per IndexEvery, or more often when
// writes are fast. Call it many times a second. After an error the items that were not written stay
// due.
func (p *Catalog) IndexDue(ctx context.Context) error {
	var errs []error
	for _, part := range p.assignedParts() {
		part.mu.Lock()
		if begun := p.now(); begun.Sub(part.lastIndexed) >= part.pause {
			if due := p.due(part, begun); len(due) > 0 {
				err := p.index(ctx, part, due)
				part.lastIndexed = p.now()
				if part.pause = p.cfg.IndexEvery; err == nil {
					part.pause = min(p.cfg.IndexEvery, indexRest*part.lastIndexed.Sub(begun))
				}
				errs = append(errs, err)
			}
		}
		part.mu.Unlock()
	}
	return errors.Join(errs...)
}

// IndexAll writes all items that are stale in the index. Call it after the last batch.
func (p *Catalog) IndexAll(ctx context.Context) error {
	var errs []error
	for _, part := range p.assignedParts() {
		part.mu.Lock()
		errs = append(errs, p.index(ctx, part, slices.Collect(maps.Keys(part.dirty))))
		part.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Pending returns the number of items that are stale in the index.
func (p *Catalog) Pending() int {
	n := 0
	for _, part := range p.assignedParts() {
		part.mu.Lock()
		n += len(part.dirty)
		part.mu.Unlock()
	}
	return n
}

// due returns the items to write now: all dirty ones when it is time for that, else those that have
// moved far since the last check.
func (p *Catalog) due(part *catalogPart, now time.Time) []string {
	if len(part.moved) > 0 {
		part.lastMoved = now
	}
	if now.Sub(part.lastIndexedAll) >= indexAllEvery || now.Sub(part.lastMoved) >= indexAllAfter {
		part.lastIndexedAll = now
		return slices.Collect(maps.Keys(part.dirty))
	}
	if len(part.moved) == 0 {
		return nil
	}
	t := p.factors.table
	vector := make([]float32, t.Config().Dim+1)
	var due []string
	p.factors.mu.RLock()
	defer p.factors.mu.RUnlock()
	for id := range part.moved {
		old, ok := part.indexed[id]
		i := t.Lookup(model.KeyOf(id))
		if ok && i != model.None &&
			old.count == float64(t.Count(i)) { //nolint:gocritic // counts are whole numbers
			if t.Vector(i, vector); isNear(vector, old.vector) {
				delete(part.moved, id)
				continue
			}
		}
		due = append(due, id)
	}
	return due
}

// isNear tells whether two points of an item (vector, then bias) give nearly the same scores.
func isNear(a, b []float32) bool {
	n := len(a) - 1
	if d := model.BiasScale * float64(a[n]-b[n]); math.Abs(d) > biasTolerance {
		return false
	}
	return model.Distance(a[:n], b[:n]) <= vectorTolerance*model.Length(b[:n])
}

// indexBatch bounds one call to the index: about 500 bytes per item.
const indexBatch = 500

// index writes the items' points, and removes those of items that have left. The caller holds the
// part's lock.
func (p *Catalog) index(ctx context.Context, part *catalogPart, ids []string) error {
	for chunk := range slices.Chunk(ids, indexBatch) {
		points := make([]sinks.Item, 0, len(chunk))
		var gone []sinks.ItemVersion
		p.factors.mu.RLock()
		for _, id := range chunk {
			if e := part.entries[id]; e != nil {
				points = append(points, p.point(id, e))
			} else {
				gone = append(gone, sinks.ItemVersion{
					ID: id, Version: p.factors.touchRead(id).version,
				})
			}
		}
		p.factors.mu.RUnlock()
		if len(gone) > 0 {
			if err := p.items.DeleteItems(ctx, gone); err != nil {
				return fmt.Errorf("remove %d items from the index: %w", len(gone), err)
			}
		}
		if len(points) > 0 {
			if err := p.items.PutItems(ctx, points); err != nil {
				return fmt.Errorf("index %d items: %w", len(points), err)
			}
		}
		for _, id := range chunk {
			delete(part.dirty, id)
			delete(part.moved, id)
			delete(part.indexed, id)
		}
		for i := range points {
			x := &points[i]
			part.indexed[x.Content.ItemID] = indexedItem{vector: x.Vector, count: x.Count}
		}
	}
	return nil
}

// point returns the item's point. The caller holds the factors' lock for reading.
func (p *Catalog) point(id string, e *entry) sinks.Item {
	t := p.factors.table
	x := sinks.Item{
		Content: e.content, Version: p.factors.touchRead(id).version, ChangedAt: e.changedAt,
	}
	if p.factors.touchRead(id).left != 0 {
		return x // its title alone
	}
	x.Vector = make([]float32, t.Config().Dim+1)
	x.ContentVector = model.ContentVector(e.content.Features(), p.cfg.ContentDim)
	if i := t.Lookup(model.KeyOf(id)); i != model.None {
		t.Vector(i, x.Vector)
		x.Count = float64(t.Count(i))
	}
	return x
}
