package processors

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
			c.ItemTTL, c.Counted = d.Settings.ItemTTL, d.Hooks.ItemsCounted
			p := NewCatalog(d.Items, d.Streams, d.ItemFactors, c, d.Now)
			return Instance{Processor: p, Pending: p.Pending, Tasks: []Task{
				{
					Name: "index items", Interval: 50 * time.Millisecond, Run: p.IndexDue,
					AtEnd: p.IndexAll,
				},
				{
					Name: "count items", Interval: itemCountInterval, Run: p.NoteItems,
					Begun: p.Noted,
				},
				{
					Name: "let items leave", Run: p.ExpireItems,
					Interval: itemLeaveInterval(c.ItemTTL),
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
	// ItemTTL is the time without events after which an item leaves that has no catalog entry, or
	// was withdrawn; 0 is never.
	ItemTTL time.Duration
	// Counted is called when the counts of items of this process have changed; nil is nobody.
	Counted func(ItemCounts)
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
	DeleteItems(ctx context.Context, batch []sinks.ItemVersion) error
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
	mu     sync.Mutex
	number int
	// lease is the ownership of the partition; nil never ends.
	lease   record.Lease
	sums    *model.Sums
	entries map[string]*entry
	// restored is set while the state is whole: nothing leaves before.
	restored bool
	// left are ids that have left and have no title, with the time in Unix milliseconds.
	left map[string]int64
	// orphans are versions of points in the index that the log does not know.
	orphans map[string]uint64
	// counted is what was last noted of the items, and when.
	counted   *ItemCounts
	countedAt time.Time
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
		number: partition, left: make(map[string]int64), orphans: make(map[string]uint64),
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
		e, m := part.entries[id], p.factors.touch(id)
		m.version++
		m.left = 0
		m.sawAt(e.changedAt)
		m.keep(&e.content)
		delete(part.left, id)
		part.unpublished[id] = struct{}{}
	}
	p.factors.mu.Unlock()
	if err := p.publish(ctx, part, b.CheckLease); err != nil {
		return err
	}
	// The batch is done only when its new content can be searched. Learned changes may wait for
	// IndexDue.
	if err := p.index(ctx, part, slices.Collect(maps.Keys(changed))); err != nil {
		return err
	}
	return rejects.Err()
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
		// A withdrawal has no other content. What the item was is still needed for reasons: it
		// stays in users' histories.
		e.content.ItemID = x.ItemID
		x = keepOf(&e.content)
	}
	e.content, e.place, e.changedAt = x, &from, at
	return true
}

// publish writes changed factors to item-vectors. Ids stay unpublished until the write succeeds, so
// a retry publishes what an earlier attempt applied.
func (p *Catalog) publish(
	ctx context.Context, part *catalogPart, lease func(context.Context) error,
) error {
	if len(part.unpublished) == 0 {
		return nil
	}
	out := make([]record.Record, 0, len(part.unpublished))
	p.factors.mu.RLock()
	for id := range part.unpublished {
		out = append(out, record.Record{
			Topic: schemas.TopicItemVectors, Partition: part.number, Key: []byte(id),
			Value: p.factors.appendRecord(nil, id),
			Headers: schemas.Envelope{
				Kind: schemas.KindItemVectorUpdated,
			}.Headers(
				schemas.ContentTypeBinary,
			),
		})
	}
	p.factors.mu.RUnlock()
	if err := lease(ctx); err != nil {
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
