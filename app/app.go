package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream"
)

// app is one running process: the log, the stores, the processors that were asked for, and the API.
type App struct {
	cfg     config.Config
	log     *slog.Logger
	metrics *telemetry.Metrics
	kafka   *Kafka
	engines *Engines
	logID   string

	erasures    *processors.Erasures
	rows        *processors.Rows
	recommender *recommend.Recommender
	followers   []*stream.Follower
	// indexed tells whether all items that catalog works on stand in the index as on the log; nil where catalog does not run.
	indexed func() bool
	// only are the processors that run here.
	only []string
	// embedded is set when the broker is the embedded one, whose offsets may be forgotten.
	embedded bool

	version string
	started time.Time
	// listening gets the API's address once.
	listening chan string
	ready     chan struct{}
	once      sync.Once
	health    health
}

// ProcessorNames are the names --only takes: the consumer groups and the API.
func ProcessorNames() []string {
	return append(schemas.Groups(), schemas.GroupPeriodic, "api")
}

func ParseOnly(only []string) ([]string, error) {
	if len(only) == 0 {
		return ProcessorNames(), nil
	}
	for _, name := range only {
		if !slices.Contains(ProcessorNames(), name) {
			return nil, fmt.Errorf("--only %q: want some of %s", name, strings.Join(ProcessorNames(), ", "))
		}
	}
	return only, nil
}

// Options say how a process differs from the whole on its engines.
type Options struct {
	// Only names the processors to run here, of ProcessorNames; nil runs all of them.
	Only []string
	// Embedded uses the embedded store in cfg.DataDir in place of Qdrant, Neo4j and ClickHouse. The broker is
	// then an embedded one too, which may forget offsets.
	Embedded bool
	// WaitForEngines is how long Open waits for engines that are not there yet. 0 fails at once.
	WaitForEngines time.Duration
	// Version is what the API tells of the build.
	Version string
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Open connects to the log and the stores, creates or upgrades what they need, and prepares what a process holds
// in memory. Errors of class fault.Transient mean that an engine is away; others say what to do. Close the App.
func Open(ctx context.Context, cfg config.Config, o Options) (*App, error) {
	only, err := ParseOnly(o.Only)
	if err != nil {
		return nil, err
	}
	o.Only = only
	if o.Log == nil {
		o.Log = slog.Default()
	}
	metrics := telemetry.NewMetrics(o.Version)
	return untilThere(ctx, o.Log, o.WaitForEngines, func(ctx context.Context) (*App, error) {
		return open(ctx, cfg, o, metrics)
	})
}

func open(ctx context.Context, cfg config.Config, o Options, metrics *telemetry.Metrics) (_ *App, err error) {
	a := &App{
		cfg: cfg, log: o.Log, metrics: metrics, only: o.Only, embedded: o.Embedded, version: o.Version,
		started: now().UTC(), ready: make(chan struct{}), listening: make(chan string, 1),
	}
	defer func() {
		if err != nil {
			_ = a.Close()
		}
	}()
	if a.kafka, err = OpenKafka(ctx, cfg); err != nil {
		return nil, err
	}
	a.kafka.metrics = metrics
	if o.Embedded {
		a.engines, err = OpenEmbedded(ctx, cfg.DataDir)
	} else {
		a.engines, err = OpenReal(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	if a.logID, err = Migrate(ctx, cfg, a.kafka, a.engines); err != nil {
		return nil, err
	}
	return a, a.prepare()
}

// Migrate creates or upgrades topics and stores and returns the id of the log, which it writes into empty stores.
// Running it again changes nothing. An error that waiting does not repair names the command to run.
func Migrate(ctx context.Context, cfg config.Config, k *Kafka, e *Engines) (logID string, err error) {
	if err := k.EnsureTopics(ctx, cfg); err != nil {
		return "", err
	}
	if err := e.Migrate(ctx); err != nil {
		return "", err
	}
	if logID, err = k.LogID(ctx); err != nil {
		return "", err
	}
	return logID, e.adopt(ctx, logID, func(groups []string) (int64, error) { return k.consumed(ctx, groups) })
}

// prepare fills what every process holds in memory and names the topics that it follows.
func (a *App) prepare() error {
	m := ModelConfig(a.cfg)
	if err := m.Validate(); err != nil {
		return err
	}
	k, e := a.kafka, a.engines
	a.erasures = processors.NewErasures()
	a.rows = processors.NewRows(m)
	stores := recommend.Stores{Users: e.Users, Items: e.Items, Graph: e.Graph}
	a.recommender = recommend.New(stores, a.erasures, RecommendConfig(a.cfg, m, a.log), now)
	a.followers = append(a.followers, k.Follower(schemas.TopicErasures, a.log, a.erasures.Apply))
	if a.runs(schemas.GroupEmbed) || a.runs(schemas.GroupCatalog) {
		a.followers = append(a.followers, k.Follower(schemas.TopicItemVectors, a.log, a.rows.Apply))
	}
	if a.runs(schemas.GroupRecommend) || a.runs("api") {
		a.followers = append(a.followers,
			k.Follower(schemas.TopicTrending, a.log, a.recommender.ApplyTrending),
			k.Follower(schemas.TopicItems, a.log, a.recommender.ApplyItem))
	}
	return nil
}

// RecommendConfig is what the configuration says of lists.
func RecommendConfig(cfg config.Config, m model.Config, log *slog.Logger) recommend.Config {
	c := recommend.DefaultConfig()
	c.Model, c.Log = m, log
	c.Length, c.Candidates, c.TakenReturn = cfg.Recommend.ListLength, cfg.Recommend.Candidates, cfg.Recommend.AllowTaken
	c.Holdout, c.TTL, c.Friends, c.Variant = cfg.Recommend.HoldoutShare, cfg.Recommend.TTL, cfg.Recommend.FriendsLimit, cfg.Recommend.Variant
	c.Blend.Diversity = cfg.Recommend.Diversity
	return c
}

func (a *App) runs(name string) bool { return slices.Contains(a.only, name) }

// Run works until ctx ends, then drains and returns. Call it once.
func (a *App) Run(ctx context.Context) error {
	relaxCollector(a.embedded)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	support, sctx := errgroup.WithContext(background)
	for _, f := range a.followers {
		support.Go(func() error { return f.Run(sctx) })
	}
	if err := catchUp(ctx, a.log, followerReport, a.followers); err != nil {
		stopBackground()
		if failed := support.Wait(); failed != nil {
			return failed // the others were stopped because of it
		}
		return fault.IgnoreCanceled(err)
	}
	router, flushes, err := a.router()
	if err != nil {
		stopBackground()
		return errors.Join(err, support.Wait())
	}
	for _, f := range flushes {
		support.Go(func() error { return a.Every(sctx, f.interval, f.name, f.run) })
	}
	support.Go(func() error { return a.Every(sctx, 5*time.Second, "measure lag", a.measureLag) })

	work, wctx := errgroup.WithContext(ctx)
	work.Go(func() error { return router.Run(wctx) })
	work.Go(func() error {
		select {
		case <-router.Running():
			a.once.Do(func() { close(a.ready) })
		case <-wctx.Done():
		}
		return nil
	})
	if a.runs("api") {
		work.Go(func() error { return a.serve(wctx) })
	}
	work.Go(func() error { // a follower that fails must stop the work that relies on it
		select {
		case <-sctx.Done():
			if ctx.Err() == nil {
				return context.Cause(sctx) // the error of the follower
			}
		case <-wctx.Done():
		}
		return nil
	})
	err = work.Wait()
	// What was learned and not yet indexed goes out before the stores close.
	final, cancel := context.WithTimeout(background, a.cfg.Stream.StopTimeout)
	defer cancel()
	for _, f := range flushes {
		if f.atEnd != nil {
			err = errors.Join(err, f.atEnd(final))
		}
	}
	stopBackground()
	failed := support.Wait()
	if errors.Is(err, failed) { // it has ended the work
		failed = nil
	}
	return errors.Join(err, failed)
}

// flush is work that recurs.
type flush struct {
	name     string
	interval time.Duration
	run      func(context.Context) error
	atEnd    func(context.Context) error
}

// Every runs f at an interval until ctx ends. A failure is logged when it begins and when it ends, not each time.
func (a *App) Every(ctx context.Context, interval time.Duration, name string, f func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := f(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			a.log.Warn("recurring work fails and is tried again", "work", name, "error", err)
		case err == nil && failing:
			a.log.Info("recurring work succeeds again", "work", name)
		}
		failing = err != nil
	}
}

// router builds the handlers of the processors that run here.
func (a *App) router() (*stream.Router, []flush, error) {
	cfg := stream.DefaultRouterConfig()
	cfg.CloseTimeout, cfg.Log = a.cfg.Stream.StopTimeout, a.log
	router, err := stream.NewRouter(cfg)
	if err != nil {
		return nil, nil, err
	}
	var flushes []flush
	n := a.cfg.Topics.Partitions
	e := a.engines
	type part struct {
		group  string
		topics []string
		make   func() processors.Processor
		ranges bool
		free   bool // of order: records in trouble may step aside
	}
	parts := []part{
		{group: schemas.GroupEmbed, ranges: true, topics: []string{schemas.TopicInteractions, schemas.ReplayTopic(schemas.GroupEmbed)}, make: func() processors.Processor {
			c := processors.DefaultEmbedConfig(n)
			c.RecentIDs = a.cfg.Stream.RecentIDs
			p := processors.NewEmbed(e.Users, a.kafka, a.kafka, a.rows, a.erasures, c)
			flushes = append(flushes, flush{name: "look after erased users", interval: 10 * time.Second, run: p.Flush})
			return p
		}},
		{group: schemas.GroupCatalog, ranges: true, topics: []string{schemas.TopicItems, schemas.TopicItemUpdates, schemas.ReplayTopic(schemas.GroupCatalog)}, make: func() processors.Processor {
			p := processors.NewCatalog(e.Items, a.kafka, a.kafka, a.rows, processors.DefaultCatalogConfig(n), now)
			a.indexed = func() bool { return p.Pending() == 0 }
			flushes = append(flushes, flush{"index items", 50 * time.Millisecond, p.Flush, p.Settle})
			return p
		}},
		{group: schemas.GroupBefriend, free: true, topics: []string{schemas.TopicFriendships, schemas.ReplayTopic(schemas.GroupBefriend)}, make: func() processors.Processor {
			p := processors.NewBefriend(e.Graph, a.kafka, a.erasures).WithLog(a.kafka)
			flushes = append(flushes, flush{name: "look after erased friends", interval: 10 * time.Second, run: p.Flush})
			return p
		}},
		{group: schemas.GroupAggregate, ranges: true, topics: AnalyticsTopics(), make: func() processors.Processor {
			p := processors.NewAggregate(e.Analytics, a.kafka, a.erasures, a.cfg.Stream.RecentIDs)
			flushes = append(flushes, flush{"write progress", 2 * time.Second, p.Flush, p.Flush})
			return p
		}},
		{group: schemas.GroupRecommend, free: true, topics: []string{schemas.TopicProfiles, schemas.ReplayTopic(schemas.GroupRecommend)}, make: func() processors.Processor {
			p := processors.NewRecommend(a.recommender.WithStoreTimeout(listTimeout), a.kafka, a.erasures)
			p.Published = a.countList
			return p
		}},
		{group: schemas.GroupErase, free: true, topics: []string{schemas.TopicUsers, schemas.ReplayTopic(schemas.GroupErase)}, make: func() processors.Processor {
			return processors.NewErase(a.kafka)
		}},
	}
	for _, p := range parts {
		if !a.runs(p.group) {
			continue
		}
		if err := a.handle(router, p.group, p.topics, p.make(), p.ranges, p.free); err != nil {
			return nil, nil, err
		}
	}
	if a.runs(schemas.GroupPeriodic) {
		if err := a.handle(router, schemas.GroupPeriodic, []string{schemas.TopicMeta}, a.periodic(), false, false); err != nil {
			return nil, nil, err
		}
	}
	return router, flushes, nil
}

// Gradient sums are collected until there are learnBytes of them, but at most for stream.learn_interval, before their rows take one step and are published: fewer,
// larger steps are stabler, and a row is a kilobyte that every step writes again. An event draws a hundred rows, so that after a few hundred events nearly
// every row of a small catalogue has moved, and waiting for more of them costs nothing. The bytes keep the window within what the learner bears
// (about an event per item of the catalogue) when a backlog comes in: rowBytes for each row of the partition, where that is more, so that a larger catalogue is not
// written more often.
const (
	learnBytes = 512 << 10
	rowBytes   = 1 << 10
)

// patientFetch is for how many bytes the broker may hold a fetch where batches wait for seconds anyway. catalog's may not: it reads new items with the same fetch,
// and lists are made of them at once.
const patientFetch = 64 << 10

// conflation is how long changes of profiles may wait for more of the same user when making lists is slow: one list answers them all.
// A batch of changes, which are small, holds conflated times as many as one of events, so that of a backlog fewer lists are made that the next event would make stale.
const (
	conflation = 250 * time.Millisecond
	conflated  = 4
)

// listTimeout bounds each store when lists are made for the topic: nobody waits for the answer, and waiting is better than a poorer list.
const listTimeout = 5 * time.Second

// AnalyticsTopics are what analysts see.
func AnalyticsTopics() []string {
	topics := []string{schemas.TopicInteractions, schemas.TopicRecommendations, schemas.TopicItems, schemas.TopicUsers, schemas.ReplayTopic(schemas.GroupAggregate)}
	for _, g := range schemas.Groups() {
		topics = append(topics, schemas.PoisonTopic(g))
	}
	return topics
}

func (a *App) trendingQuery() sinks.TrendingQuery {
	return sinks.TrendingQuery{HalfLife: a.cfg.Recommend.TrendingHalfLife, N: 200, Weights: map[schemas.Action]float64{
		schemas.View: 0.3, schemas.Click: 0.5, schemas.Like: 1, schemas.Rate: 1, schemas.AddToCart: 1, schemas.Purchase: 2, schemas.Watch: 1,
	}}
}

func (a *App) handle(router *stream.Router, group string, topics []string, p processors.Processor, ranges, free bool) error {
	full := a.kafka.prefix + group
	named := make([]string, len(topics))
	for i, t := range topics {
		named[i] = a.kafka.prefix + t
	}
	s := a.subscriberConfig(full)
	s.Ranges = ranges
	switch group {
	case schemas.GroupRecommend:
		s.Linger, s.MaxRecords = max(s.Linger, conflation), conflated*s.MaxRecords
	case schemas.GroupAggregate:
		// An insert costs the store much the same with one row as with a thousand, and a fetch the broker.
		s.FetchMinBytes = patientFetch
		s.TopicLinger = map[string]time.Duration{a.kafka.prefix + schemas.TopicInteractions: a.cfg.Stream.InsertInterval, a.kafka.prefix + schemas.TopicRecommendations: a.cfg.Stream.InsertInterval}
	case schemas.GroupCatalog:
		s.TopicLinger = map[string]time.Duration{a.kafka.prefix + schemas.TopicItemUpdates: a.cfg.Stream.LearnInterval}
		most := s.MaxBytes
		s.PartitionBytes = func(tp stream.TopicPartition) int {
			if tp.Topic != a.kafka.prefix+schemas.TopicItemUpdates {
				return 0
			}
			return min(most, max(learnBytes, a.rows.Len()/a.cfg.Topics.Partitions*rowBytes))
		}
	}
	s.Assigned = func(ctx context.Context, in []stream.Assignment) error { return p.Assign(ctx, a.kafka.assignments(in)) }
	s.Revoked = func(in []stream.TopicPartition) { p.Revoke(a.kafka.revoked(in)) }
	sub, err := stream.NewSubscriber(a.kafka.conn, s)
	if err != nil {
		return fmt.Errorf("subscriber of %s: %w", group, err)
	}
	o := stream.Options{
		Name: group, Group: full, Topics: named, Subscriber: sub, Handler: a.kafka.handler(a.logID, p), Emitter: a.kafka.pub,
		MaxAttempts: a.cfg.Guard.MaxAttempts, Timeout: a.cfg.Stream.SessionTimeout * 2 / 3,
		Backoff:    stream.Backoff{First: a.cfg.Guard.MinBackoff, Max: a.cfg.Guard.MaxBackoff},
		Breaker:    stream.Breaker{Failures: uint(a.cfg.Guard.BreakerFailures), Delay: a.cfg.Guard.BreakerDelay},
		Splittable: group != schemas.GroupAggregate, Hooks: a.guardHooks(),
	}
	if free && len(a.cfg.Topics.RetryDelays) > 0 {
		r := a.subscriberConfig(stream.RetryGroup(full))
		retrySub, err := stream.NewSubscriber(a.kafka.conn, r)
		if err != nil {
			return fmt.Errorf("retry subscriber of %s: %w", group, err)
		}
		o.Retry = &stream.Retry{Delays: a.cfg.Topics.RetryDelays, Subscriber: retrySub}
	}
	if err := router.Handle(o); err != nil {
		return fmt.Errorf("handler %s: %w", group, err)
	}
	return nil
}

func (a *App) subscriberConfig(group string) stream.SubscriberConfig {
	s := stream.DefaultSubscriberConfig(group)
	c := a.cfg.Stream
	s.MaxRecords, s.MaxBytes, s.Linger = c.MaxRecords, int(c.MaxBytes), c.Linger
	s.SessionTimeout, s.HeartbeatInterval, s.RebalanceTimeout, s.RequestTimeout = c.SessionTimeout, c.HeartbeatInterval, c.RebalanceTimeout, c.RequestTimeout
	s.DrainTimeout = min(c.SessionTimeout/5, c.RebalanceTimeout/2)
	s.Logger = a.log
	if a.embedded {
		s.OffsetPolicy = stream.GoToFirst
	}
	s.Hooks = a.subscriberHooks(strings.TrimPrefix(group, a.kafka.prefix))
	return s
}

// Close closes the stores and the log.
func (a *App) Close() error {
	var errs []error
	if a.engines != nil {
		errs = append(errs, a.engines.Close())
	}
	if a.kafka != nil {
		errs = append(errs, a.kafka.Close())
	}
	return errors.Join(errs...)
}

// Config returns the configuration of the process.
func (a *App) Config() config.Config { return a.cfg }

// Only returns the names of the processors that run here.
func (a *App) Only() []string { return a.only }

// LogID returns the id of the log whose events the stores hold.
func (a *App) LogID() string { return a.logID }

// Kafka returns the connection to the log. It is closed with the App.
func (a *App) Kafka() *Kafka { return a.kafka }

// Engines returns the stores. They are closed with the App.
func (a *App) Engines() *Engines { return a.engines }

// Ready is closed when the processors have joined their groups.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Listening gets the address of the API, once.
func (a *App) Listening() <-chan string { return a.listening }

// Indexed tells whether every item that this process owns stands in the index as on the log.
func (a *App) Indexed() bool { return a.indexed == nil || a.indexed() }

// Rates returns the process's counters since its start.
func (a *App) Rates() (Totals, error) {
	t, err := a.metrics.Totals()
	return Totals{Produced: t.Produced, Poisoned: t.Poisoned, Consumed: t.Consumed, Lag: t.Lag}, err
}

// Totals are counters of a process since its start, and its lag now.
type Totals struct {
	Produced int64
	// Consumed counts records by consumer group; Lag by group too.
	Consumed map[string]int64
	Lag      map[string]int64
	Poisoned int64
}
