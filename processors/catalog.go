package processors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/forward"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// CatalogDeclaration declares the processor of items and of their gradients.
func CatalogDeclaration() Declaration {
	return Declaration{
		Name:         schemas.GroupCatalog,
		Inputs:       catalogInputs(),
		BatchIntents: true, Splittable: true, Forwards: schemas.TopicItems,
		Writes: []Store{StoreItems}, Fills: "vectors of items",
		Tune: catalogTuning,
		New: func(d Deps) Instance {
			c := DefaultCatalogConfig(d.Settings.Partitions)
			c.MaxClockSkew, c.Misplaced = d.Settings.MaxClockSkew, d.Hooks.Misplaced
			p := NewCatalog(d.Items, d.Streams, d.ItemFactors, c, d.Now)
			return Instance{Processor: p, Pending: p.Pending, Tasks: []Task{
				{
					Name: "index items", Interval: 50 * time.Millisecond, Run: p.IndexDue,
					AtEnd: p.IndexAll,
				},
			}}
		},
	}
}

func catalogInputs() []string { return []string{schemas.TopicItems, schemas.TopicItemGradients} }

// Gradients accumulate for at most Settings.LearnInterval or learnBytes. Then item factors take one
// step and are published. Fewer, larger steps are more stable, and every step writes whole items
// again. An event touches about a hundred items, so after a few hundred events nearly every item of
// a small catalog has moved, and waiting longer costs nothing.
//
// The byte limit matters in a backlog. Learning stays stable while a step sums up at most about one
// event per item of the catalog. For a large catalog the limit is bytesPerItem per item of the
// partition, so that its items are not written more often.
const (
	learnBytes   = 512 << 10
	bytesPerItem = 1 << 10
)

func catalogTuning(d Deps) Tuning {
	return Tuning{
		TopicLinger: map[string]time.Duration{schemas.TopicItemGradients: d.Settings.LearnInterval},
		BatchBytes: func(topic string) int {
			if topic != schemas.TopicItemGradients {
				return 0
			}
			return max(learnBytes, d.ItemFactors.Len()/d.Settings.Partitions*bytesPerItem)
		},
	}
}

// CatalogConfig holds the settings of Catalog.
type CatalogConfig struct {
	// Partitions is the number of partitions of items, item-gradients and item-vectors.
	Partitions int
	// IndexEvery is the maximum time until an item that was taken, or has moved far, is written to
	// the vector index. The time is also at most indexRest times the duration of the last write, so
	// in light traffic an item hardly waits. Default 1 s.
	IndexEvery time.Duration
	// ContentDim is the length of content vectors. Default 64.
	ContentDim int
	// MaxClockSkew is forward.Config.MaxClockSkew. Default 5 minutes.
	MaxClockSkew time.Duration
	// Misplaced is EmbedConfig.Misplaced, for catalog.misplaced.
	Misplaced func(Misplaced)
}

// DefaultCatalogConfig returns the defaults for n partitions.
func DefaultCatalogConfig(n int) CatalogConfig {
	return CatalogConfig{
		Partitions: n, IndexEvery: time.Second, ContentDim: model.DefaultContentDim,
		MaxClockSkew: 5 * time.Minute,
	}
}

// ItemStore is what Catalog needs of the store of items. sinktest.Items says what its methods
// promise.
type ItemStore interface {
	PutItems(ctx context.Context, batch []sinks.Item) error
	ItemVersions(ctx context.Context, f func(id string, version uint64) error) error
}

// Catalog owns the items of its partitions. It reads their content, updates their factors with the
// gradient sums of embed, writes both to the compacted topic item-vectors (its only durable state)
// and keeps the vector index up to date.
type Catalog struct {
	items   ItemStore
	emit    Emitter
	log     Log
	streams Streams
	factors *ItemFactors
	cfg     CatalogConfig
	now     func() time.Time
	forward *forward.Forwarder

	mu    sync.Mutex
	parts map[int]*catalogPart
}

var _ Processor = (*Catalog)(nil)

// NewCatalog returns the processor of the topics items, item-gradients, catalog.misplaced and
// catalog.replay.
func NewCatalog(
	items ItemStore, streams Streams, factors *ItemFactors, cfg CatalogConfig, now func() time.Time,
) *Catalog {
	if cfg.Misplaced == nil {
		cfg.Misplaced = func(Misplaced) {}
	}
	return &Catalog{
		items: items, emit: streams.Emit, log: streams.Log, streams: streams, factors: factors,
		cfg: cfg, now: now, parts: make(map[int]*catalogPart),
		forward: newForwarder(schemas.GroupCatalog, streams, cfg.Partitions, cfg.MaxClockSkew),
	}
}

// catalogPart is the state of one partition number, for all input topics.
type catalogPart struct {
	mu      sync.Mutex
	sums    *model.Sums
	entries map[string]*entry
	// unpublished are ids whose factors changed in memory but are not on the log yet. dirty are
	// items that are on the log but not in the index yet. moved is the part of dirty that IndexDue
	// has not checked since the change.
	unpublished, dirty, moved map[string]struct{}
	// indexed is what this process last wrote to the index.
	indexed map[string]indexedItem
	// lastIndexed is the time of the last write to the index, lastMoved the last time that IndexDue
	// saw a change, lastIndexedAll the last time that all dirty items were written.
	lastIndexed, lastMoved, lastIndexedAll time.Time
	// pause is the least time between lastIndexed and the next write.
	pause time.Duration
}

// indexedItem is what an item's point in the index was made of.
type indexedItem struct {
	vector []float32
	count  float64
}

// entry is an item's content and the place of its record, nil if there is none.
type entry struct {
	content   schemas.Item
	place     *place
	changedAt time.Time
}

func (p *Catalog) part(partition int) *catalogPart {
	p.mu.Lock()
	defer p.mu.Unlock()
	if part := p.parts[partition]; part != nil {
		return part
	}
	part := &catalogPart{
		sums: model.NewSums(p.factors.table), entries: make(map[string]*entry),
		unpublished: make(map[string]struct{}), dirty: make(map[string]struct{}),
		moved: make(map[string]struct{}), indexed: make(map[string]indexedItem),
	}
	p.parts[partition] = part
	return part
}

// assignedParts returns the partitions that this process owns.
func (p *Catalog) assignedParts() []*catalogPart {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.parts))
}

// Assign restores the factors and the content of the partitions from the log, and finds the items
// that are stale in the index.
func (p *Catalog) Assign(ctx context.Context, parts []record.Assignment) error {
	partitions := make(map[int]bool)
	for _, a := range parts {
		partitions[a.Partition] = true
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
		part := p.part(n)
		part.mu.Lock()
		p.factors.mu.RLock()
		for id := range part.entries {
			if p.factors.touchRead(id).version > indexed[id] {
				part.dirty[id], part.moved[id] = struct{}{}, struct{}{}
			}
		}
		p.factors.mu.RUnlock()
		part.mu.Unlock()
	}
	return nil
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
	return nil
}

// acceptContent stores an item's content unless newer content is known. It returns whether it did.
func (part *catalogPart) acceptContent(x schemas.Item, from place, at time.Time) bool {
	e := part.entries[x.ItemID]
	if e == nil {
		e = &entry{}
		part.entries[x.ItemID] = e
	}
	if e.place != nil && from.compare(*e.place) < 0 {
		return false
	}
	if x.Withdrawn {
		// A withdrawal has no other content. The old title is still needed for reasons: the item
		// stays in users' histories.
		withdrawn := e.content
		withdrawn.ItemID, withdrawn.Withdrawn = x.ItemID, true
		x = withdrawn
	}
	e.content, e.place, e.changedAt = x, &from, at
	return true
}

// Revoke drops the state of the partitions. Their factors stay as a cache.
func (p *Catalog) Revoke(parts []record.TopicPartition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range parts {
		delete(p.parts, a.Partition)
	}
}

// Handle applies item content or gradients.
func (p *Catalog) Handle(ctx context.Context, b *record.Batch) error {
	part := p.part(b.Partition)
	part.mu.Lock()
	defer part.mu.Unlock()
	if b.Topic == schemas.TopicItemGradients {
		var rejects fault.Reject
		return cmp.Or(p.handleGradients(ctx, part, b, &rejects), rejects.Err())
	}
	return p.handleItems(ctx, part, b)
}

func (p *Catalog) handleItems(ctx context.Context, part *catalogPart, b *record.Batch) error {
	var rejects fault.Reject
	if b.Topic == record.ReplayTopic(schemas.GroupCatalog) {
		if err := p.handleGradients(ctx, part, b, &rejects); err != nil {
			return err
		}
	}
	changed := make(map[string]struct{})
	moves := &misplaced{group: schemas.GroupCatalog, topic: b.Topic}
	for i := range b.Records {
		r := &b.Records[i]
		if holdsGradients(r) {
			continue
		}
		x, at, err := p.item(r)
		if err != nil {
			rejects.Add(i, fault.As(fault.Permanent, err))
			continue
		}
		if !p.owns(b.Partition, x.ItemID) {
			moves.add(moveOf(i, r, &x), x.Source)
			continue
		}
		if part.acceptContent(x, at, recordedAt(r, x.OccurredAt)) {
			changed[x.ItemID] = struct{}{}
		}
	}
	if err := moves.forward(ctx, p.forward, b, &rejects, p.cfg.Misplaced); err != nil {
		return err
	}
	p.factors.mu.Lock()
	for id := range changed {
		p.factors.table.SetFeatures(p.factors.table.Intern(id), part.entries[id].content.Features())
		p.factors.touch(id).version++
		part.unpublished[id] = struct{}{}
	}
	p.factors.mu.Unlock()
	if err := p.publish(ctx, part, b); err != nil {
		return err
	}
	// The batch is done only when its new content can be searched. Learned changes may wait for
	// IndexDue.
	if err := p.index(ctx, part, slices.Collect(maps.Keys(changed))); err != nil {
		return err
	}
	return rejects.Err()
}

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
	if err := p.publish(ctx, part, b); err != nil {
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
	err = part.sums.MergeWhere(sums, func(id string) bool {
		if p.factors.touchRead(id).applied.has(src, at) {
			return false
		}
		fresh = append(fresh, id)
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
		e := part.entries[id]
		if e == nil {
			e = &entry{content: schemas.Item{ItemID: id}}
			part.entries[id] = e
		}
		e.changedAt = latest(e.changedAt, r.Time)
	}
	return nil
}

// publish writes changed factors to item-vectors. Ids stay unpublished until the write succeeds, so
// a retry publishes what an earlier attempt applied.
func (p *Catalog) publish(ctx context.Context, part *catalogPart, b *record.Batch) error {
	if len(part.unpublished) == 0 {
		return nil
	}
	out := make([]record.Record, 0, len(part.unpublished))
	p.factors.mu.RLock()
	for id := range part.unpublished {
		out = append(out, record.Record{
			Topic: schemas.TopicItemVectors, Partition: b.Partition, Key: []byte(id),
			Value: p.factors.appendRecord(nil, id),
			Headers: schemas.Envelope{
				Kind: schemas.KindItemVectorUpdated,
			}.Headers(
				schemas.ContentTypeBinary,
			),
		})
	}
	p.factors.mu.RUnlock()
	if err := b.CheckLease(ctx); err != nil {
		return err
	}
	if err := p.emit.Emit(ctx, out); err != nil {
		return fmt.Errorf("emit %d item vectors: %w", len(out), err)
	}
	for id := range part.unpublished {
		if !model.IsFeatureID(id) {
			part.dirty[id], part.moved[id] = struct{}{}, struct{}{}
		}
	}
	clear(part.unpublished)
	return nil
}

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

// index writes the items' points. The caller holds the part's lock.
func (p *Catalog) index(ctx context.Context, part *catalogPart, ids []string) error {
	for chunk := range slices.Chunk(ids, indexBatch) {
		points := make([]sinks.Item, 0, len(chunk))
		p.factors.mu.RLock()
		for _, id := range chunk {
			points = append(points, p.point(id, part.entries[id]))
		}
		p.factors.mu.RUnlock()
		if err := p.items.PutItems(ctx, points); err != nil {
			return fmt.Errorf("index %d items: %w", len(points), err)
		}
		for i, id := range chunk {
			delete(part.dirty, id)
			delete(part.moved, id)
			part.indexed[id] = indexedItem{vector: points[i].Vector, count: points[i].Count}
		}
	}
	return nil
}

// point returns the item's point. The caller holds the factors' lock for reading.
func (p *Catalog) point(id string, e *entry) sinks.Item {
	t := p.factors.table
	x := sinks.Item{
		Content: e.content, Version: p.factors.touchRead(id).version, ChangedAt: e.changedAt,
		Vector: make([]float32, t.Config().Dim+1),
	}
	x.ContentVector = model.ContentVector(e.content.Features(), p.cfg.ContentDim)
	if i := t.Lookup(model.KeyOf(id)); i != model.None {
		t.Vector(i, x.Vector)
		x.Count = float64(t.Count(i))
	}
	return x
}
