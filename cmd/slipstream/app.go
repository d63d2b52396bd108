package main

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

	"github.com/slipstream-rec/slipstream/internal/config"
	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream"
)

// app is one running process: the log, the stores, the processors that were asked for, and the API.
type app struct {
	cfg     config.Config
	log     *slog.Logger
	metrics *telemetry.Metrics
	kafka   *kafka
	engines *engines
	logID   string

	erasures    *processors.Erasures
	rows        *processors.Rows
	recommender *recommend.Recommender
	tails       []*stream.Tail
	// indexed tells whether all items that catalog works on stand in the index as on the log; nil where catalog does not run.
	indexed func() bool
	// only are the processors that run here.
	only []string
	// embedded is set when the broker is the embedded one, whose offsets may be forgotten.
	embedded bool

	started time.Time
	// listening gets the API's address once.
	listening chan string
	ready     chan struct{}
	once      sync.Once
	health    health
}

// processorNames are the names --only takes: the consumer groups and the API.
func processorNames() []string {
	return append(schemas.Groups(), schemas.GroupPeriodic, "api")
}

func parseOnly(only []string) ([]string, error) {
	if len(only) == 0 {
		return processorNames(), nil
	}
	for _, name := range only {
		if !slices.Contains(processorNames(), name) {
			return nil, fmt.Errorf("--only %q: want some of %s", name, strings.Join(processorNames(), ", "))
		}
	}
	return only, nil
}

// newApp prepares topics and stores and fills what every process holds in memory. Close it.
func newApp(ctx context.Context, cfg config.Config, log *slog.Logger, k *kafka, e *engines, metrics *telemetry.Metrics, only []string, embedded bool) (*app, error) {
	a := &app{cfg: cfg, log: log, metrics: metrics, kafka: k, engines: e, only: only, embedded: embedded, started: now().UTC(), ready: make(chan struct{}), listening: make(chan string, 1)}
	if err := k.ensureTopics(ctx, cfg); err != nil {
		return nil, err
	}
	if err := e.migrate(ctx); err != nil {
		return nil, err
	}
	var err error
	if a.logID, err = k.logID(ctx, true); err != nil {
		return nil, err
	}
	if err := e.adopt(ctx, a.logID, func(groups []string) (int64, error) { return k.consumed(ctx, groups) }); err != nil {
		return nil, err
	}
	mcfg := modelConfig(cfg)
	if err := mcfg.Validate(); err != nil {
		return nil, err
	}
	a.erasures = processors.NewErasures()
	a.rows = processors.NewRows(mcfg)
	a.recommender = recommend.New(recommend.Stores{Users: e.users, Items: e.items, Graph: e.graph}, a.erasures, recommenderConfig(cfg, mcfg, log), now)
	a.tails = append(a.tails, k.tail(schemas.TopicErasures, a.erasures.Apply))
	if a.runs(schemas.GroupEmbed) || a.runs(schemas.GroupCatalog) {
		a.tails = append(a.tails, k.tail(schemas.TopicItemVectors, a.rows.Apply))
	}
	if a.runs(schemas.GroupRecommend) || a.runs("api") {
		a.tails = append(a.tails, k.tail(schemas.TopicTrending, a.recommender.ApplyTrending), k.tail(schemas.TopicItems, a.recommender.ApplyItem))
	}
	return a, nil
}

func recommenderConfig(cfg config.Config, m model.Config, log *slog.Logger) recommend.Config {
	c := recommend.DefaultConfig()
	c.Model, c.Log = m, log
	c.Length, c.Candidates, c.TakenReturn = cfg.Recommend.ListLength, cfg.Recommend.Candidates, cfg.Recommend.AllowTaken
	c.Holdout, c.TTL, c.Friends, c.Variant = cfg.Recommend.HoldoutShare, cfg.Recommend.TTL, cfg.Recommend.FriendsLimit, cfg.Recommend.Variant
	c.Blend.Diversity = cfg.Recommend.Diversity
	return c
}

func (a *app) runs(name string) bool { return slices.Contains(a.only, name) }

// run works until ctx ends, then drains and returns.
func (a *app) run(ctx context.Context) error {
	relaxCollector(a.embedded)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	support, sctx := errgroup.WithContext(background)
	for _, t := range a.tails {
		support.Go(func() error { return t.Run(sctx) })
	}
	for _, t := range a.tails {
		if err := t.WaitCaughtUp(ctx); err != nil {
			stopBackground()
			return errors.Join(err, support.Wait())
		}
	}
	router, flushes, err := a.router()
	if err != nil {
		stopBackground()
		return errors.Join(err, support.Wait())
	}
	for _, f := range flushes {
		support.Go(func() error { return a.every(sctx, f.interval, f.name, f.run) })
	}
	support.Go(func() error { return a.every(sctx, 5*time.Second, "measure lag", a.measureLag) })

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
	work.Go(func() error { // a dead tail must stop the work that relies on it
		select {
		case <-sctx.Done():
			if ctx.Err() == nil {
				return context.Cause(sctx)
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
	return errors.Join(err, support.Wait())
}

// flush is work that recurs.
type flush struct {
	name     string
	interval time.Duration
	run      func(context.Context) error
	atEnd    func(context.Context) error
}

// every runs f at an interval until ctx ends. A failure is logged when it begins and when it ends, not each time.
func (a *app) every(ctx context.Context, interval time.Duration, name string, f func(context.Context) error) error {
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
func (a *app) router() (*stream.Router, []flush, error) {
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
			p := processors.NewEmbed(e.users, a.kafka, a.kafka, a.rows, a.erasures, c)
			flushes = append(flushes, flush{name: "look after erased users", interval: 10 * time.Second, run: p.Flush})
			return p
		}},
		{group: schemas.GroupCatalog, ranges: true, topics: []string{schemas.TopicItems, schemas.TopicItemUpdates, schemas.ReplayTopic(schemas.GroupCatalog)}, make: func() processors.Processor {
			p := processors.NewCatalog(e.items, a.kafka, a.kafka, a.rows, processors.DefaultCatalogConfig(n), now)
			a.indexed = func() bool { return p.Pending() == 0 }
			flushes = append(flushes, flush{"index items", 50 * time.Millisecond, p.Flush, p.Settle})
			return p
		}},
		{group: schemas.GroupBefriend, free: true, topics: []string{schemas.TopicFriendships, schemas.ReplayTopic(schemas.GroupBefriend)}, make: func() processors.Processor {
			p := processors.NewBefriend(e.graph, a.kafka, a.erasures).WithLog(a.kafka)
			flushes = append(flushes, flush{name: "look after erased friends", interval: 10 * time.Second, run: p.Flush})
			return p
		}},
		{group: schemas.GroupAggregate, ranges: true, topics: aggregateTopics(), make: func() processors.Processor {
			p := processors.NewAggregate(e.analytics, a.kafka, a.erasures, a.cfg.Stream.RecentIDs)
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

// aggregateTopics are what analysts see.
func aggregateTopics() []string {
	topics := []string{schemas.TopicInteractions, schemas.TopicRecommendations, schemas.TopicItems, schemas.TopicUsers, schemas.ReplayTopic(schemas.GroupAggregate)}
	for _, g := range schemas.Groups() {
		topics = append(topics, schemas.PoisonTopic(g))
	}
	return topics
}

func (a *app) trendingQuery() sinks.TrendingQuery {
	return sinks.TrendingQuery{HalfLife: a.cfg.Recommend.TrendingHalfLife, N: 200, Weights: map[schemas.Action]float64{
		schemas.View: 0.3, schemas.Click: 0.5, schemas.Like: 1, schemas.Rate: 1, schemas.AddToCart: 1, schemas.Purchase: 2, schemas.Watch: 1,
	}}
}

func (a *app) handle(router *stream.Router, group string, topics []string, p processors.Processor, ranges, free bool) error {
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

func (a *app) subscriberConfig(group string) stream.SubscriberConfig {
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
func (a *app) Close() error { return errors.Join(a.engines.Close(), a.kafka.Close()) }
