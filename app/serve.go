package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/producers/gateway"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
)

// BaseURL returns the URL of the API for callers on this machine. The API listens on addr.
func BaseURL(addr string) string {
	if strings.HasPrefix(addr, ":") || strings.HasPrefix(addr, "0.0.0.0:") {
		addr = "127.0.0.1" + addr[strings.LastIndexByte(addr, ':'):]
	}
	return "http://" + addr
}

// serve answers HTTP until ctx ends.
func (a *App) serve(ctx context.Context) error {
	server, err := a.newServer()
	if err != nil {
		return err
	}
	l, err := a.takeListener(ctx, server)
	if err != nil {
		return err
	}
	a.listening <- l.Addr().String()
	return server.Serve(ctx, l)
}

// newServer returns the server of the API, or one of health and metrics for a process without it.
func (a *App) newServer() (*api.Server, error) {
	if !a.runs(apiName) {
		return api.NewProbes(a.cfg.HTTP, api.Deps{
			Checks: a.checks(), Metrics: a.metrics.Handler(), Log: a.log,
			Hooks: api.Hooks{Answered: a.metrics.Request},
		}), nil
	}
	v, err := schemas.NewValidator(a.actions)
	if err != nil {
		return nil, err
	}
	h, g := a.cfg.HTTP, gateway.DefaultConfig()
	g.MaxRequestBytes, g.MaxEventBytes = int64(h.MaxBodyBytes), int(h.MaxEventBytes)
	g.MaxInFlightBytes = int64(h.MaxInflightBytes)
	g.EmitTimeout = min(g.EmitTimeout, h.RequestTimeout)
	g.OnEvents = func(kind schemas.Kind, _, refused int) {
		if refused > 0 {
			a.metrics.Refused(cause(kind), refused)
		}
	}
	a.startRefused()
	gateway, err := gateway.New(a.kafka, v, g, now)
	if err != nil {
		return nil, err
	}
	asyncAPI, err := schemas.AsyncAPI(
		schemas.Topics(TopicsConfig(a.cfg)), a.cfg.Kafka.TopicPrefix, a.actions,
	)
	if err != nil {
		return nil, err
	}
	return api.New(h, api.Deps{
		Recommender: a.recommender, Gateway: gateway, Emitter: a.kafka,
		DeadLetters: a.kafka.DeadLetters(), Plans: a.kafka.DeadLetters(),
		Status: a.status, Checks: a.checks(), Metrics: a.metrics.Handler(), AsyncAPI: asyncAPI,
		Actions: a.actions, Version: a.version, Log: a.log,
		Hooks: api.Hooks{
			Answered: a.metrics.Request,
			Served: func(list *schemas.Recommendation) {
				a.metrics.Served(
					list.CausedBy.Trigger, list.Strategy, list.Variant, len(list.Degraded) > 0,
				)
			},
			Unlogged: func(lists int) {
				a.troubles.requestFails(
					"served lists", fmt.Errorf("%d were not written to the log", lists),
				)
			},
			Failed: func(doing string, err error) {
				a.troubles.requestFails("a request: "+doing, err)
			},
		},
	})
}

// cause returns the metric label for a refused event of the kind.
func cause(kind schemas.Kind) string {
	if kind == "" {
		return "unreadable"
	}
	return string(kind)
}

// part is a part of the readiness.
type part struct {
	api.Check
	// engine is the name of the engine that is asked; empty for a part of the process.
	engine string
}

// parts returns what the readiness consists of. Kafka and the consumer groups are required. Without
// a store the process is degraded: it answers from the other stores.
func (a *App) parts() []part {
	parts := []part{
		{Check: api.Check{Name: "processors", Required: true, Ping: func(context.Context) error {
			select {
			case <-a.ready:
				return nil
			default:
				return errStarting
			}
		}}},
		{api.Check{Name: engineKafka, Required: true, Ping: a.kafka.ping}, engineKafka},
		// A stopped partition needs an operator. Its process still answers, so it stays ready.
		{Check: api.Check{Name: "partitions", Ping: func(context.Context) error {
			return a.health.err()
		}}},
		{Check: api.Check{Name: "followers", Ping: func(context.Context) error {
			_, err := a.damagedFollowers()
			return err
		}}},
	}
	for _, s := range a.engines.Stores {
		parts = append(parts, part{api.Check{Name: s.Name, Ping: s.Ping}, storeArgument(s.Name)})
	}
	return parts
}

var errStarting = errors.New("starting: they have not joined their groups yet")

// checks returns the readiness checks. They say since when an engine is away, and for an hour that
// it was.
func (a *App) checks() []api.Check {
	parts := a.parts()
	checks := make([]api.Check, len(parts))
	for i, p := range parts {
		checks[i] = p.Check
		if p.engine == "" {
			continue
		}
		checks[i].Ping = func(ctx context.Context) error {
			return a.outages.explain(p.engine, p.Ping(ctx))
		}
		checks[i].Note = func() string {
			x, _ := a.outages.last(p.engine)
			return x.note()
		}
	}
	return checks
}

// ping checks that the brokers answer.
func (k *Kafka) ping(ctx context.Context) error {
	_, err := k.conn.Offsets(ctx, schemas.TopicMeta)
	return err
}

// status returns the state of the pipeline for the API.
func (a *App) status(ctx context.Context) (api.Status, error) {
	st := api.Status{
		Version: a.version, StartedAt: a.started, Engines: a.engineStatus(ctx),
		Groups: []api.GroupStatus{},
	}
	lags, err := admin.Lag(ctx, a.kafka.conn, a.kafka.GroupTopics())
	if err != nil {
		return st, fmt.Errorf("read the positions of the groups: %w", err)
	}
	open, err := a.kafka.letters.Open(ctx)
	if err != nil {
		return st, err
	}
	items, err := processors.ReadItemCounts(ctx, a.kafka)
	if err != nil {
		return st, err
	}
	st.Items = api.ItemStatus(items)
	for _, l := range lags {
		name := l.Group
		if n := len(st.Groups); n == 0 || st.Groups[n-1].Group != name {
			st.Groups = append(st.Groups, api.GroupStatus{Group: name, OpenDeadLetters: open[name]})
		}
		g := &st.Groups[len(st.Groups)-1]
		g.Lag += l.Lag
		g.Partitions = append(g.Partitions, api.PartitionStatus{
			Topic: l.Topic, Partition: l.Partition, Committed: l.Committed, End: l.End,
			Lag: l.Lag, Undecided: l.Undecided,
		})
	}
	return st, nil
}

func (a *App) engineStatus(ctx context.Context) []api.EngineStatus {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	type engine struct {
		name string
		ping func(context.Context) error
	}
	engines := []engine{{engineKafka, a.kafka.ping}}
	for _, s := range a.engines.Stores {
		engines = append(engines, engine{s.Name, s.Ping})
	}
	since := func(name string) *api.Outage {
		x, ok := a.outages.last(storeArgument(name))
		if !ok {
			return nil
		}
		o := &api.Outage{Since: x.since.UTC()}
		if !x.back.IsZero() {
			back := x.back.UTC()
			o.Until = &back
			if x.behind >= 0 {
				o.ChangesBehind = &x.behind
			}
		}
		return o
	}
	out := make([]api.EngineStatus, len(engines))
	var wg sync.WaitGroup
	for i, e := range engines {
		wg.Go(func() {
			out[i] = api.EngineStatus{Name: e.name, Up: true}
			if err := e.ping(ctx); err != nil {
				out[i].Up, out[i].Error = false, err.Error()
				_ = a.outages.explain(storeArgument(e.name), err)
			}
			out[i].Outage = since(e.name)
		})
	}
	wg.Wait()
	return out
}
