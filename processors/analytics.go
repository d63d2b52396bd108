package processors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// RowStore is what Analytics needs of the analytics store. sinktest.Analytics says what its methods
// promise.
type RowStore interface {
	Insert(ctx context.Context, r record.Range, rows sinks.Rows) error
	EraseUsers(ctx context.Context, users []sinks.Erasure) error
	SetProgress(ctx context.Context, p []sinks.Progress) error
	GetProgress(ctx context.Context) ([]sinks.Progress, error)
}

// AnalyticsDeclaration declares the processor of rows for analysts.
func AnalyticsDeclaration() Declaration {
	return Declaration{
		Name: schemas.GroupAnalytics, ReadsDeadLetters: true,
		Inputs:       analyticsInputs(),
		BatchIntents: true,
		Writes:       []Store{StoreAnalytics}, Fills: "rows and sums for analysts",
		Tune: func(d Deps) Tuning {
			// An insert of one row costs the store about as much as one of a thousand rows. The
			// same holds for a fetch from the broker.
			return Tuning{FetchMinBytes: 64 << 10, TopicLinger: map[string]time.Duration{
				schemas.TopicInteractions:    d.Settings.InsertInterval,
				schemas.TopicRecommendations: d.Settings.InsertInterval,
			}}
		},
		New: func(d Deps) Instance {
			p := NewAnalytics(
				d.Analytics, d.Streams.Log, d.Erasures, d.Settings.Actions,
				d.Settings.RecentIDs,
			)
			return Instance{Processor: p, Tasks: []Task{
				{
					Name: "write progress", Interval: 2 * time.Second, Run: p.WriteProgress,
					AtEnd: p.WriteProgress,
				},
				{Name: "recheck erased rows", Interval: erasureInterval, Run: p.RecheckErasures},
			}}
		},
	}
}

func analyticsInputs() []string {
	return []string{
		schemas.TopicInteractions, schemas.TopicRecommendations, schemas.TopicItems,
		schemas.TopicUsers,
	}
}

// Analytics writes rows for analysts: interactions, served lists, the catalog, users' attributes
// and dead letters. Rows depend on the log alone and each range is one insert. So a repeated range
// is the same insert again, and the store drops it.
type Analytics struct {
	store    RowStore
	log      Log
	erasures *Erasures
	actions  *schemas.Actions
	// recentIDs is the size of the deduplication window, in offsets per partition.
	recentIDs int
	// erased are erased again for a while: a misplaced event stands in another partition than the
	// marker of the erasure.
	erased recentErasures

	mu       sync.Mutex
	windows  map[partitionKey]*window
	progress map[partitionKey]sinks.Progress
	// unsaved are the partitions with progress since the last WriteProgress.
	unsaved map[partitionKey]struct{}
}

type partitionKey struct {
	topic     string
	partition int
}

var _ Processor = (*Analytics)(nil)

// NewAnalytics returns the processor of the topics interactions, recommendations, items, users,
// analytics.replay and every dead-letter topic. actions is the table of actions, nil that of the
// built-in ones. recentIDs is the size of the deduplication window, in offsets per partition.
func NewAnalytics(
	store RowStore, log Log, erasures *Erasures, actions *schemas.Actions, recentIDs int,
) *Analytics {
	return &Analytics{
		store: store, log: log, erasures: erasures, actions: orBuiltIn(actions),
		recentIDs: recentIDs,
		windows:   make(map[partitionKey]*window), progress: make(map[partitionKey]sinks.Progress),
		unsaved: make(map[partitionKey]struct{}),
	}
}

// Assign rebuilds the deduplication windows from the log. If the store has progress in a partition
// where the group has no committed offset, the offsets were lost. Going on would count everything
// again, so that is a permanent error.
func (p *Analytics) Assign(ctx context.Context, parts []record.Assignment) error {
	stored, err := p.store.GetProgress(ctx)
	if err != nil {
		return fmt.Errorf("read progress: %w", err)
	}
	done := make(map[partitionKey]int64, len(stored))
	for _, x := range stored {
		done[partitionKey{x.Topic, x.Partition}] = x.Offset
	}
	for _, a := range parts {
		if offset, ok := done[partitionKey{a.Topic, a.Partition}]; ok && a.Committed < 0 &&
			offset >= a.Next {
			return fault.Permanentf("the store holds %s/%d up to offset %d but the consumer "+
				"group has no position there (its offsets expired or were deleted): run "+
				"\"slipstream rebuild --store clickhouse\"",
				a.Topic, a.Partition, offset)
		}
	}
	for _, a := range parts {
		if !holdsInteractions(a.Topic) {
			continue
		}
		w := newWindow(p.recentIDs)
		err := p.log.Read(
			ctx,
			a.Topic,
			a.Partition,
			max(0, a.Next-int64(p.recentIDs)),
			a.Next,
			func(r *record.Record) error {
				p.look(w, r)
				return nil
			},
		)
		if err != nil {
			return fmt.Errorf("rebuild recent ids of %s/%d: %w", a.Topic, a.Partition, err)
		}
		p.mu.Lock()
		p.windows[partitionKey{a.Topic, a.Partition}] = w
		p.mu.Unlock()
	}
	return nil
}

func holdsInteractions(topic string) bool {
	return topic == schemas.TopicInteractions || topic == analyticsReplay
}

// analyticsReplay is the topic of replayed records of every input.
var analyticsReplay = record.ReplayTopic(schemas.GroupAnalytics)

// look adds a record of before to the window of its partition.
func (p *Analytics) look(w *window, r *record.Record) {
	if firstTopic(r, schemas.GroupAnalytics, analyticsInputs()) != schemas.TopicInteractions {
		if p.decodable(r) {
			w.replayed(r)
		}
		return
	}
	x, err := decodeDeclared(r, p.actions)
	switch {
	case err == nil:
		w.seen(r.Offset, identity(r, &x))
	case errors.Is(err, schemas.ErrErasureMarker):
		var erased []sinks.Erasure
		if appendErasure(&erased, r) == nil {
			p.erased.remember(erased)
		}
	}
}

// Revoke drops the windows of the partitions. Their progress is still written by the next
// WriteProgress; a store that is further ahead ignores it.
func (p *Analytics) Revoke(parts []record.TopicPartition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range parts {
		delete(p.windows, partitionKey{a.Topic, a.Partition})
	}
}

func (p *Analytics) window(b *record.Batch) *window {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := partitionKey{b.Topic, b.Partition}
	w := p.windows[key]
	if w == nil {
		w = newWindow(p.recentIDs)
		p.windows[key] = w
	}
	return w
}

// Handle inserts the rows of the batch and applies its erasures.
func (p *Analytics) Handle(ctx context.Context, b *record.Batch) error {
	if err := b.CheckLease(ctx); err != nil {
		return err
	}
	in := insertion{p: p, batch: b}
	parts, err := in.parts()
	if err != nil {
		return err
	}
	for _, x := range parts {
		if err := p.store.Insert(ctx, b.Range, x.rows); err != nil {
			err = fmt.Errorf("insert %d rows of %s: %w", x.rows.Len(), b.Topic, err)
			return byRecord(err, x.records)
		}
	}
	if err := p.store.EraseUsers(ctx, in.erased); err != nil {
		return fmt.Errorf("erase %d users: %w", len(in.erased), err)
	}
	p.erased.remember(in.erased)
	p.note(b, in.newest)
	return in.rejects.Err()
}

// note records the partition's progress for the next WriteProgress.
func (p *Analytics) note(b *record.Batch, newest time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := partitionKey{b.Topic, b.Partition}
	next := sinks.Progress{
		Topic: b.Topic, Partition: b.Partition, Offset: b.Last,
		OccurredAt: latest(p.progress[key].OccurredAt, newest),
		RecordedAt: p.progress[key].RecordedAt,
	}
	if n := len(b.Records); n > 0 {
		next.RecordedAt = latest(next.RecordedAt, b.Records[n-1].Time)
	}
	p.progress[key] = next
	p.unsaved[key] = struct{}{}
}

// RecheckErasures erases recently erased users again. Call it every ten seconds.
func (p *Analytics) RecheckErasures(ctx context.Context) error {
	return p.erased.again(ctx, p.store.EraseUsers)
}

// WriteProgress writes up to which offset each partition is complete. Call it every few seconds.
// The stored progress may be behind, never ahead.
func (p *Analytics) WriteProgress(ctx context.Context) error {
	p.mu.Lock()
	moved := p.unsaved
	p.unsaved = make(map[partitionKey]struct{})
	batch := make([]sinks.Progress, 0, len(moved))
	for key := range moved {
		if x, ok := p.progress[key]; ok {
			batch = append(batch, x)
		}
	}
	p.mu.Unlock()
	if err := p.store.SetProgress(ctx, batch); err != nil {
		p.mu.Lock()
		maps.Copy(p.unsaved, moved)
		p.mu.Unlock()
		return fmt.Errorf("write progress of %d partitions: %w", len(batch), err)
	}
	return nil
}
