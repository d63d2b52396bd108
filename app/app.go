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
	// epoch is the log's when the process started.
	epoch int

	erasures    *processors.Erasures
	factors     *processors.ItemFactors
	recommender *recommend.Recommender
	followers   []*stream.Follower
	// pending are the processors' effects that are not in their stores yet although their batches
	// are done.
	pending []func() int
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

// apiName is what --only calls the API.
const apiName = "api"

// ProcessorNames are the names that --only takes: the processors and the API.
func ProcessorNames() []string {
	var names []string
	for _, d := range processors.Table() {
		names = append(names, d.Name)
	}
	return append(names, apiName)
}

// ParseOnly checks the names of --only; none means all.
func ParseOnly(only []string) ([]string, error) {
	if len(only) == 0 {
		return ProcessorNames(), nil
	}
	for _, name := range only {
		if !slices.Contains(ProcessorNames(), name) {
			return nil, fmt.Errorf(
				"--only %q: want some of %s", name, strings.Join(ProcessorNames(), ", "),
			)
		}
	}
	return only, nil
}

// Options say how a process differs from the whole on its engines.
type Options struct {
	// Only names the processors to run here, of ProcessorNames; nil runs all of them.
	Only []string
	// Embedded uses the embedded store in cfg.DataDir in place of Qdrant, Neo4j and ClickHouse. The
	// broker is then an embedded one too, which may forget offsets.
	Embedded bool
	// WaitForEngines is how long Open waits for engines that are not there yet. 0 fails at once.
	WaitForEngines time.Duration
	// Version is what the API tells of the build.
	Version string
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Open connects to the log and the stores, creates or upgrades what they need, and prepares what a
// process holds in memory. Errors of class fault.Transient mean that an engine is away; others say
// what to do. Close the App.
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

func open(
	ctx context.Context,
	cfg config.Config,
	o Options,
	metrics *telemetry.Metrics,
) (_ *App, err error) {
	a := &App{
		cfg: cfg, log: o.Log, metrics: metrics, only: o.Only, embedded: o.Embedded,
		version: o.Version,
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
	if a.epoch, err = a.kafka.Epoch(ctx); err != nil {
		return nil, err
	}
	return a, a.prepare()
}

// Migrate creates or upgrades topics and stores, moves the offsets of renamed groups, and returns
// the id of the log, which it writes into empty stores. Running it again changes nothing. An error
// that waiting does not repair names the command to run.
func Migrate(
	ctx context.Context,
	cfg config.Config,
	k *Kafka,
	e *Engines,
) (logID string, err error) {
	if err := k.EnsureTopics(ctx, cfg); err != nil {
		return "", err
	}
	if err := k.MoveGroups(ctx); err != nil {
		return "", err
	}
	if err := e.Migrate(ctx); err != nil {
		return "", err
	}
	if logID, err = k.LogID(ctx); err != nil {
		return "", err
	}
	return logID, e.adopt(
		ctx, logID,
		func(groups []string) (int64, error) { return k.consumed(ctx, groups) },
	)
}

// prepare fills what every process holds in memory and names the topics that it follows.
func (a *App) prepare() error {
	m := ModelConfig(a.cfg)
	if err := m.Validate(); err != nil {
		return err
	}
	k, e := a.kafka, a.engines
	a.erasures = processors.NewErasures()
	a.factors = processors.NewItemFactors(m)
	stores := recommend.Stores{Users: e.Users, Items: e.Items, Graph: e.Graph}
	a.recommender = recommend.New(stores, a.erasures, RecommendConfig(a.cfg, m, a.log), now)
	a.followers = append(a.followers, k.Follower(schemas.TopicErasures, a.log, a.erasures.Apply))
	if a.runs(schemas.GroupEmbed) || a.runs(schemas.GroupCatalog) {
		a.followers = append(
			a.followers, k.Follower(schemas.TopicItemVectors, a.log, a.factors.Apply),
		)
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
	router, tasks, err := a.router()
	if err != nil {
		stopBackground()
		return errors.Join(err, support.Wait())
	}
	for _, t := range tasks {
		support.Go(func() error { return a.Every(sctx, t.Interval, t.Name, t.Run) })
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
	for _, t := range tasks {
		if t.AtEnd != nil {
			err = errors.Join(err, t.AtEnd(final))
		}
	}
	stopBackground()
	failed := support.Wait()
	if errors.Is(err, failed) { // it has ended the work
		failed = nil
	}
	return errors.Join(err, failed)
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
func (a *App) Indexed() bool {
	for _, pending := range a.pending {
		if pending() > 0 {
			return false
		}
	}
	return true
}

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
