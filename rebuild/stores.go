package rebuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/clickhouse"
	"github.com/slipstream-rec/slipstream/sinks/qdrant"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// spansOf returns the spans of a group that are not empty.
func spansOf(places []place, group string) []processors.Span {
	var out []processors.Span
	for i := range places {
		if s := places[i].span; places[i].group == group && s.From < s.To {
			out = append(out, s)
		}
	}
	return out
}

// streams reads the log and discards what is emitted.
func (r *rebuild) streams() processors.Streams {
	return processors.Streams{Log: r.kafka, Emit: processors.Discard{}, Letters: r.kafka}
}

// userStore is what a rebuild needs of a store of users.
type userStore interface {
	processors.UserStore
	CountUsers(ctx context.Context) (int64, error)
}

// itemStore is what a rebuild needs of a store of items.
type itemStore interface {
	processors.ItemStore
	CountItems(ctx context.Context) (int64, error)
}

// graphStore is what a rebuild needs of the graph.
type graphStore interface {
	processors.EdgeStore
	Migrate(ctx context.Context) error
	SetLogID(ctx context.Context, id string) error
	CountEdges(ctx context.Context) (int64, error)
}

// analyticsStore is what a rebuild needs of the analytics store.
type analyticsStore interface {
	processors.RowStore
	CountInteractions(ctx context.Context) (sinks.Counts, error)
}

// vectors makes users and items. Items come from the compacted topics, as when catalog is assigned
// a partition; users from their interactions, with the item factors as they are now.
type vectors struct {
	r       *rebuild
	users   userStore
	items   itemStore
	factors *processors.ItemFactors
	embed   *processors.Embed
	// assigned are the partitions that embed has prepared for.
	assigned map[partitionOf]bool
}

func (r *rebuild) newVectors(users userStore, items itemStore) (*vectors, error) {
	m := app.ModelConfig(r.cfg)
	if err := m.Validate(); err != nil {
		return nil, err
	}
	c := processors.DefaultEmbedConfig(r.cfg.Topics.Partitions)
	c.RecentIDs, c.Epoch, c.Actions = r.cfg.Stream.RecentIDs, r.epoch, r.actions
	v := &vectors{
		r: r, users: users, items: items, factors: processors.NewItemFactors(m),
		assigned: make(map[partitionOf]bool),
	}
	v.embed = processors.NewEmbed(
		users, r.streams(), v.factors, r.erasures,
		c,
	)
	return v, nil
}

// takeItems brings the item index up to the log. The higher version stays, so it does not matter
// that catalog runs.
func (v *vectors) takeItems(ctx context.Context) error {
	c := processors.DefaultCatalogConfig(v.r.cfg.Topics.Partitions)
	p := processors.NewCatalog(
		v.items, v.r.streams(), v.factors, c,
		time.Now,
	)
	parts := make([]record.Assignment, c.Partitions)
	for n := range parts {
		parts[n] = record.Assignment{
			TopicPartition: record.TopicPartition{Topic: schemas.TopicItems, Partition: n},
			Committed:      -1,
		}
	}
	if err := p.Assign(ctx, parts); err != nil {
		return err
	}
	return p.IndexAll(ctx)
}

func (v *vectors) fill(ctx context.Context, places []place) error {
	if err := v.takeItems(ctx); err != nil {
		return err
	}
	spans := spansOf(places, schemas.GroupEmbed)
	var parts []record.Assignment
	for _, s := range spans {
		if key := (partitionOf{schemas.GroupEmbed, s.Topic, s.Partition}); !v.assigned[key] {
			v.assigned[key] = true
			parts = append(parts, record.Assignment{
				TopicPartition: record.TopicPartition{Topic: s.Topic, Partition: s.Partition},
				Next:           s.From, Committed: -1,
			})
		}
	}
	// Its ring of negatives begins with items of the catalog.
	if err := v.embed.Assign(ctx, parts); err != nil {
		return err
	}
	replay, err := v.r.replay(schemas.GroupEmbed, v.embed)
	if err != nil {
		return err
	}
	return byPartition(ctx, spans, replay)
}

func (v *vectors) learned() processors.Learned { return v.factors.Learned() }

func (v *vectors) count(ctx context.Context) (string, error) {
	users, err := v.users.CountUsers(ctx)
	if err != nil {
		return "", err
	}
	items, err := v.items.CountItems(ctx)
	return fmt.Sprintf("%d users, %d items", users, items), err
}

// qdrantRebuild fills collections of the next version and switches the aliases.
type qdrantRebuild struct {
	r    *rebuild
	live *qdrant.Store

	beside *qdrant.Store
	*vectors
}

func (s *qdrantRebuild) groups() (all, exclusive []string) {
	// catalog may run: of two versions of an item the higher stays, whoever writes it.
	return processors.Filling(
			processors.StoreUsers,
			processors.StoreItems,
		), processors.Filling(
			processors.StoreUsers,
		)
}

func (s *qdrantRebuild) begin(ctx context.Context) error {
	last, err := s.dropOld(ctx)
	if err != nil {
		return err
	}
	s.beside = s.live.Beside(last + 1)
	if err := s.beside.Migrate(ctx); err != nil {
		return err
	}
	s.vectors, err = s.r.newVectors(s.beside.Users(), s.beside.Items())
	return err
}

// dropOld removes collections that are not the live ones, and returns the highest version there is
// or was.
func (s *qdrantRebuild) dropOld(ctx context.Context) (int, error) {
	all, live, err := s.live.Versions(ctx)
	if err != nil {
		return 0, err
	}
	last := live
	for _, v := range all {
		last = max(last, v)
		if v == live {
			continue
		}
		if err := s.live.Beside(v).Drop(ctx); err != nil {
			return 0, err
		}
	}
	return last, nil
}

func (s *qdrantRebuild) finish(ctx context.Context) (string, error) {
	for _, c := range []interface {
		SetLogID(ctx context.Context, id string) error
	}{s.beside.Users(), s.beside.Items()} {
		if err := c.SetLogID(ctx, s.r.logID); err != nil {
			return "", err
		}
	}
	if err := s.beside.Switch(ctx); err != nil {
		return "", err
	}
	// What catalog wrote to the old collection since the last look at the log.
	if err := s.takeItems(ctx); err != nil {
		return "", err
	}
	if _, err := s.dropOld(ctx); err != nil {
		return "", err
	}
	return s.count(ctx)
}

// graphRebuild empties the graph and applies every edge again: edges do not depend on order or
// repetition, so graph may run meanwhile.
type graphRebuild struct {
	r     *rebuild
	store graphStore
	// clear empties the store.
	clear  func(ctx context.Context) error
	replay *processors.Replay
}

func (s *graphRebuild) groups() (all, exclusive []string) {
	return processors.Filling(processors.StoreGraph), nil
}

func (s *graphRebuild) begin(ctx context.Context) error {
	if err := s.store.Migrate(ctx); err != nil {
		return err
	}
	// Without a log id, a graph that is only half there when this ends early is noticed at the next
	// start.
	if err := s.store.SetLogID(ctx, ""); err != nil {
		return err
	}
	if err := s.clear(ctx); err != nil {
		return err
	}
	return s.prepare()
}

func (s *graphRebuild) prepare() (err error) {
	p := processors.NewGraph(s.store, s.r.streams(), s.r.erasures)
	s.replay, err = s.r.replay(schemas.GroupGraph, p)
	return err
}

func (s *graphRebuild) fill(ctx context.Context, places []place) error {
	return byPartition(ctx, spansOf(places, schemas.GroupGraph), s.replay)
}

func (s *graphRebuild) finish(ctx context.Context) (string, error) {
	if err := s.store.SetLogID(ctx, s.r.logID); err != nil {
		return "", err
	}
	return s.count(ctx)
}

func (s *graphRebuild) count(ctx context.Context) (string, error) {
	n, err := s.store.CountEdges(ctx)
	return fmt.Sprintf("%d friendships", n), err
}

// tables makes the rows and sums of analysts.
type tables struct {
	r     *rebuild
	store analyticsStore

	mu         sync.Mutex
	aggregates map[partitionOf]*processors.Analytics
}

// analytics returns the processor of one partition. It knows an erasure from the start unless its
// marker stands in that partition: then it learns of it there, so that what came before is counted
// without a name, as it was the first time.
func (t *tables) analytics(ctx context.Context, s processors.Span) (*processors.Analytics, error) {
	key := partitionOf{schemas.GroupAnalytics, s.Topic, s.Partition}
	t.mu.Lock()
	p := t.aggregates[key]
	t.mu.Unlock()
	if p != nil {
		return p, nil
	}
	known := t.r.erasures
	switch {
	case strings.HasSuffix(s.Topic, record.PoisonTopic("")):
		known = t.r.letters
	case known.Len() > 0 &&
		(s.Topic == schemas.TopicInteractions || s.Topic == schemas.TopicRecommendations):
		marked, err := processors.Marked(ctx, t.r.kafka, s.Topic, s.Partition, s.From)
		if err != nil {
			return nil, err
		}
		known = known.Without(marked)
	}
	p = processors.NewAnalytics(
		t.r.kafka.RowStore(t.store), t.r.kafka, known, t.r.actions,
		t.r.cfg.Stream.RecentIDs,
	)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.aggregates == nil {
		t.aggregates = make(map[partitionOf]*processors.Analytics)
	}
	t.aggregates[key] = p
	return p, nil
}

func (t *tables) fill(ctx context.Context, places []place) error {
	var letters, others []processors.Span
	for _, s := range spansOf(places, schemas.GroupAnalytics) {
		if strings.HasSuffix(s.Topic, record.PoisonTopic("")) {
			letters = append(letters, s)
		} else {
			others = append(others, s)
		}
	}
	// An erasure takes all of the person's dead letters; those written after it come after it.
	for _, step := range [][]processors.Span{others, letters} {
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(replayWorkers)
		for _, s := range step {
			group.Go(func() error {
				p, err := t.analytics(gctx, s)
				if err != nil {
					return err
				}
				replay, err := t.r.replay(schemas.GroupAnalytics, p)
				if err != nil {
					return err
				}
				if err := replay.Run(gctx, []processors.Span{s}); err != nil {
					return err
				}
				return p.WriteProgress(gctx)
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (t *tables) count(ctx context.Context) (string, error) {
	n, err := t.store.CountInteractions(ctx)
	return fmt.Sprintf("%d interactions", n.Rows), err
}

// clickhouseRebuild fills a second database and exchanges the tables.
type clickhouseRebuild struct {
	r    *rebuild
	live *clickhouse.Store

	beside *clickhouse.Store
	tables
}

func (s *clickhouseRebuild) groups() (all, exclusive []string) {
	all = processors.Filling(processors.StoreAnalytics)
	return all, all
}

func (s *clickhouseRebuild) begin(ctx context.Context) error {
	s.beside = s.live.Beside()
	for _, step := range []func(context.Context) error{
		s.beside.Drop, s.beside.Migrate, s.live.Migrate,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.tables.r, s.store = s.r, s.beside
	return nil
}

func (s *clickhouseRebuild) finish(ctx context.Context) (string, error) {
	if err := s.beside.Switch(ctx, s.r.logID); err != nil {
		return "", err
	}
	s.store = s.live
	what, err := s.count(ctx)
	return what, errors.Join(err, s.beside.Drop(ctx))
}

// embeddedRebuild fills a second file and puts it in the place of the first.
type embeddedRebuild struct {
	r   *rebuild
	dir string

	engines *app.Engines
	*vectors
	graph graphRebuild
	rows  tables
}

func (s *embeddedRebuild) groups() (all, exclusive []string) {
	all = processors.Filling(
		processors.StoreUsers, processors.StoreItems, processors.StoreGraph,
		processors.StoreAnalytics,
	)
	return all, all
}

func (s *embeddedRebuild) begin(ctx context.Context) (err error) {
	if err := os.RemoveAll(filepath.Join(s.dir, app.RebuildFolder)); err != nil {
		return fmt.Errorf("drop the rebuild that was not finished: %w", err)
	}
	if s.engines, err = app.OpenEmbedded(ctx, filepath.Join(s.dir, app.RebuildFolder)); err != nil {
		return err
	}
	if err := s.engines.Migrate(ctx); err != nil {
		return err
	}
	s.graph = graphRebuild{r: s.r, store: s.engines.Graph}
	if err := s.graph.prepare(); err != nil {
		return err
	}
	s.rows.r, s.rows.store = s.r, s.engines.Analytics
	s.vectors, err = s.r.newVectors(s.engines.Users, s.engines.Items)
	return err
}

func (s *embeddedRebuild) fill(ctx context.Context, places []place) error {
	return errors.Join(
		s.vectors.fill(ctx, places), s.graph.fill(ctx, places), s.rows.fill(ctx, places),
	)
}

func (s *embeddedRebuild) finish(ctx context.Context) (string, error) {
	var all []string
	for _, count := range []func(context.Context) (string, error){
		s.count, s.graph.count, s.rows.count,
	} {
		what, err := count(ctx)
		if err != nil {
			return "", err
		}
		all = append(all, what)
	}
	for _, store := range s.engines.Stores {
		if err := store.SetLogID(ctx, s.r.logID); err != nil {
			return "", err
		}
	}
	if err := s.engines.Close(); err != nil {
		return "", err
	}
	return strings.Join(all, ", "), replaceStore(s.dir)
}

// close ends a rebuild that did not come to its end.
func (s *embeddedRebuild) close() error {
	if s.engines == nil {
		return nil
	}
	return s.engines.Close()
}

// replaceStore puts the new file in the place of the old one, whose journal goes with it.
func replaceStore(dir string) error {
	fresh, live := filepath.Join(
		dir,
		app.RebuildFolder,
		app.StoreFile,
	), filepath.Join(
		dir,
		app.StoreFile,
	)
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(live + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the old store's journal: %w", err)
		}
	}
	if err := os.Rename(fresh, live); err != nil {
		return fmt.Errorf("put the new store in place: %w", err)
	}
	return os.RemoveAll(filepath.Join(dir, app.RebuildFolder))
}

var (
	_ storeRebuild = (*qdrantRebuild)(nil)
	_ storeRebuild = (*graphRebuild)(nil)
	_ storeRebuild = (*clickhouseRebuild)(nil)
	_ storeRebuild = (*embeddedRebuild)(nil)

	_ learner = (*qdrantRebuild)(nil)
	_ learner = (*embeddedRebuild)(nil)
)
