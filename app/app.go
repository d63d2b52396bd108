// Package app is the running process: processors, API and periodic tasks on one log and its stores.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	"github.com/slipstream-rec/slipstream/stream/record"
)

// App is one running process: the log, the stores, the selected processors and the API.
type App struct {
	cfg     config.Config
	log     *slog.Logger
	metrics *telemetry.Metrics
	kafka   *Kafka
	engines *Engines
	logID   string
	// epoch is the log's epoch at the start of the process.
	epoch int
	// actions is the table of actions that the configuration declares.
	actions *schemas.Actions

	erasures *processors.Erasures
	factors  *processors.ItemFactors
	// unlisted is set when countItems has said it.
	unlisted    atomic.Bool
	recommender *recommend.Recommender
	followers   []*stream.Follower
	// pending count the effects of finished batches that are not in the stores yet, by processor.
	pending []func() int
	// only are the processors that run here.
	only []string
	// embedded is set for the embedded broker, which may lose committed offsets.
	embedded bool

	version string
	started time.Time
	// listening receives the address of the HTTP server once.
	listening chan string
	ready     chan struct{}
	once      sync.Once
	// stopping is when the process was asked to stop; nil until then.
	stopping atomic.Pointer[time.Time]
	health   health
	gaps     gaps
	// outages are those of the engines, also from the time when the process was started.
	outages  *outages
	troubles troubles
	// starting answers /readyz until the server does; nil if it cannot.
	starting *starting
}

// gaps are the lists made for the gaps that are worked on, and when they were last logged.
type gaps struct {
	mu     sync.Mutex
	lists  map[record.TopicPartition]int
	logged map[record.TopicPartition]time.Time
}

// apiName is the name of the API for --only.
const apiName = "api"

// ProcessorNames returns the names that --only accepts: the processors and the API.
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

// Options selects what a process runs and on which engines.
type Options struct {
	// Only names the processors to run here, of ProcessorNames; nil runs all of them.
	Only []string
	// Embedded uses the embedded store in cfg.DataDir instead of Qdrant, Neo4j and ClickHouse. The
	// broker is then the embedded one too, which may lose committed offsets.
	Embedded bool
	// HTTP is where the HTTP server listens; nil opens cfg.HTTP.Addr. Until Run serves there, it
	// answers /healthz, /readyz and /metrics. Run or Close closes it.
	HTTP net.Listener
	// WaitForEngines is how long Open waits for engines that are not reachable. 0 fails at once.
	WaitForEngines time.Duration
	// Version is the version of the build that the API shows.
	Version string
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Open connects to the log and the stores, migrates them, and prepares the state that a process
// holds in memory. An error of class fault.Transient means that an engine is not reachable; other
// errors say what to do. Close the App.
func Open(ctx context.Context, cfg config.Config, o Options) (*App, error) {
	only, err := ParseOnly(o.Only)
	if err != nil {
		return nil, err
	}
	o.Only = only
	if o.Log == nil {
		o.Log = slog.Default()
	}
	actions, err := Actions(cfg)
	if err != nil {
		return nil, err
	}
	s, err := newStarting(ctx, cfg, o)
	if err != nil {
		return nil, err
	}
	a, err := retryStart(ctx, o.WaitForEngines, func(ctx context.Context) (*App, error) {
		a, err := openApp(ctx, cfg, o, s, actions)
		s.outages.tellStart(ctx, o.Log, a, err)
		return a, err
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	a.starting = s
	return a, nil
}

func openApp(
	ctx context.Context,
	cfg config.Config,
	o Options,
	s *starting,
	actions *schemas.Actions,
) (_ *App, err error) {
	a := &App{
		cfg: cfg, log: o.Log, metrics: s.metrics, only: o.Only, embedded: o.Embedded,
		version: o.Version, outages: s.outages, actions: actions,
		gaps: gaps{
			lists:  make(map[record.TopicPartition]int),
			logged: make(map[record.TopicPartition]time.Time),
		},
		started: now().UTC(), ready: make(chan struct{}), listening: make(chan string, 1),
	}
	defer func() {
		if err != nil {
			_ = a.Close()
		}
	}()
	if a.kafka, err = OpenKafka(ctx, cfg); err != nil {
		return nil, ofEngine(engineKafka, err)
	}
	a.kafka.metrics = s.metrics
	if o.Embedded {
		a.engines, err = OpenEmbedded(ctx, cfg.DataDir)
	} else {
		a.engines, err = OpenReal(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	if !o.Embedded { // dev has no other command that alters topics
		if err := a.kafka.RequireLogTimes(ctx, cfg); err != nil {
			return nil, err
		}
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
// the id of the log, which it writes into empty stores. A new log keeps model.dim, and one with
// another is refused. Running it again changes nothing. An error
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
	if err := k.EstablishSkew(ctx, cfg); err != nil {
		return "", err
	}
	if err := k.MoveGroups(ctx); err != nil {
		return "", err
	}
	if err := k.CheckDim(ctx, cfg.Model.Dim); err != nil {
		return "", err
	}
	if err := k.NoteForwarding(ctx); err != nil {
		return "", err
	}
	if err := e.Migrate(ctx); err != nil {
		return "", err
	}
	if logID, err = k.LogID(ctx); err != nil {
		return "", err
	}
	err = e.adopt(
		ctx, logID,
		func(groups []string) (int64, error) { return k.consumed(ctx, groups) },
	)
	if err != nil {
		return "", err
	}
	// Last, so that a wrong setting that another check refuses is not kept.
	return logID, k.keepDim(ctx, cfg.Model.Dim)
}

// prepare creates the state that a process holds in memory and the followers that fill it.
func (a *App) prepare() error {
	m := ModelConfig(a.cfg)
	if err := m.Validate(); err != nil {
		return err
	}
	k, e := a.kafka, a.engines
	a.erasures = processors.NewErasures()
	a.factors = processors.NewItemFactors(m)
	c := RecommendConfig(a.cfg, m, a.log)
	c.Actions = a.actions
	stores := recommend.Stores{Users: e.Users, Items: e.Items, Graph: e.Graph}
	c.Degraded = func(part string, err error) {
		a.troubles.requestFails("lists without "+part, err)
	}
	a.recommender = recommend.New(stores, a.erasures, c, now)
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

// RecommendConfig returns the configuration of the recommender, with the built-in actions.
func RecommendConfig(cfg config.Config, m model.Config, log *slog.Logger) recommend.Config {
	c := recommend.DefaultConfig()
	c.Model, c.Log = m, log
	r := cfg.Recommend
	c.Length, c.Candidates, c.TakenReturn = r.ListLength, r.Candidates, r.AllowTaken
	c.CatalogOnly = r.CatalogOnly
	c.Holdout, c.TTL, c.Friends, c.Variant = r.HoldoutShare, r.TTL, r.FriendsLimit, r.Variant
	c.Blend.Diversity, c.Blend.NewShare, c.Locale = r.Diversity, r.NewShare, r.Locale
	return c
}

func (a *App) runs(name string) bool { return slices.Contains(a.only, name) }

// Run processes events until ctx ends, then drains and returns. Call it once.
func (a *App) Run(ctx context.Context) error {
	relaxGC(a.embedded)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	support, sctx := errgroup.WithContext(background)
	for _, f := range a.followers {
		support.Go(func() error { return f.Run(sctx) })
	}
	if err := catchUp(ctx, a.log, followerReport, a.followers); err != nil {
		stopBackground()
		if failed := support.Wait(); failed != nil {
			return failed // the other followers were stopped because of it
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
	support.Go(func() error { return a.Every(sctx, lookInterval, "look at health", a.look) })

	defer context.AfterFunc(ctx, func() {
		now := time.Now()
		a.stopping.Store(&now)
		a.metrics.SetReady(false)
	})()
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
	work.Go(func() error { return a.serve(wctx) })
	work.Go(func() error { // a failed follower must stop the processors that rely on it
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
	// Learned vectors that are not indexed yet are written before the stores close. An engine that
	// is away must not add its time to what the log that is away has taken: a stop has one limit.
	final, cancel := context.WithTimeout(background, a.timeToEnd(a.stopping.Load()))
	defer cancel()
	for _, t := range tasks {
		if t.AtEnd != nil {
			err = errors.Join(err, t.AtEnd(final))
		}
	}
	stopBackground()
	failed := support.Wait()
	if errors.Is(err, failed) { // err contains it already
		failed = nil
	}
	return errors.Join(err, failed)
}

// timeToEnd returns how long the last writes may take: what is left of the longest stop that the
// configuration allows, and a second at least. began is when the process was asked to stop, nil if
// it stops by itself.
func (a *App) timeToEnd(began *time.Time) time.Duration {
	left := a.cfg.Stream.StopTimeout
	if began != nil {
		limit := max(
			a.cfg.HTTP.DrainDelay+a.cfg.HTTP.ShutdownTimeout, a.cfg.Stream.StopTimeout,
		)
		left = min(left, limit-time.Since(*began))
	}
	return max(left, time.Second)
}

// Close closes the stores and the log.
func (a *App) Close() error {
	var errs []error
	if a.starting != nil {
		errs = append(errs, a.starting.close())
	}
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

// Listening receives the address of the HTTP server once. A process without the API serves health
// and metrics there.
func (a *App) Listening() <-chan string { return a.listening }

// Indexed reports whether the index holds the newest version of every item of this process.
func (a *App) Indexed() bool {
	for _, pending := range a.pending {
		if pending() > 0 {
			return false
		}
	}
	return true
}
