package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
)

// httpTimeout bounds a call of this process's own API.
const httpTimeout = 3 * time.Second

// serve answers HTTP until ctx ends.
func (a *app) serve(ctx context.Context) error {
	server, err := a.newServer()
	if err != nil {
		return err
	}
	l, err := server.Listen(ctx)
	if err != nil {
		return err
	}
	a.listening <- l.Addr().String()
	return server.Serve(ctx, l)
}

func (a *app) newServer() (*api.Server, error) {
	v, err := schemas.NewValidator()
	if err != nil {
		return nil, err
	}
	h, g := a.cfg.HTTP, producers.DefaultHTTPConfig()
	g.MaxRequestBytes, g.MaxEventBytes, g.MaxInFlightBytes = int64(h.MaxBodyBytes), int(h.MaxEventBytes), int64(h.MaxInflightBytes)
	g.EmitTimeout = min(g.EmitTimeout, h.RequestTimeout)
	g.OnEvents = func(kind schemas.Kind, _, refused int) {
		if refused > 0 {
			a.metrics.Refused(cause(kind), refused)
		}
	}
	gateway, err := producers.NewGateway(a.kafka, v, g, now)
	if err != nil {
		return nil, err
	}
	asyncAPI, err := schemas.AsyncAPI(schemas.Topics(topicsConfig(a.cfg)), a.cfg.Kafka.TopicPrefix)
	if err != nil {
		return nil, err
	}
	return api.New(h, api.Deps{
		Recommender: a.recommender, Gateway: gateway, Emitter: a.kafka, DeadLetters: letters{a.kafka, a.kafka.deadLetters()},
		Status: a.status, Checks: a.checks(), Metrics: a.metrics.Handler(), AsyncAPI: asyncAPI, Version: version, Log: a.log,
		Hooks: api.Hooks{
			Answered: a.metrics.Request,
			Served: func(list *schemas.Recommendation) {
				a.metrics.Served(list.CausedBy.Trigger, list.Strategy, list.Variant, len(list.Degraded) > 0)
			},
			Unlogged: func(lists int) { a.log.Warn("served lists could not be written to the log", "lists", lists) },
		},
	})
}

// cause names what kind of event was refused, for a metric.
func cause(kind schemas.Kind) string {
	if kind == "" {
		return "unreadable"
	}
	return string(kind)
}

// checks are what the process needs: Kafka and its groups to be of use at all; without a store it answers from what is left.
func (a *app) checks() []api.Check {
	checks := []api.Check{
		{Name: "processors", Required: true, Ping: func(context.Context) error {
			select {
			case <-a.ready:
				return nil
			default:
				return errors.New("starting: they have not joined their groups yet")
			}
		}},
		{Name: "kafka", Required: true, Ping: a.kafka.ping},
		// A stopped partition needs a person, and not that its process is passed over: it still answers.
		{Name: "partitions", Ping: func(context.Context) error { return a.health.err() }},
	}
	for _, s := range a.engines.stores {
		checks = append(checks, api.Check{Name: s.name, Ping: s.Ping})
	}
	return checks
}

// ping asks the brokers something small.
func (k *kafka) ping(ctx context.Context) error {
	_, err := k.conn.Offsets(ctx, k.prefix+schemas.TopicMeta)
	return err
}

// status is how the pipeline is, for the API.
func (a *app) status(ctx context.Context) (api.Status, error) {
	st := api.Status{Version: version, StartedAt: a.started, Engines: a.engineStatus(ctx), Groups: []api.GroupStatus{}}
	lags, err := stream.Lag(ctx, a.kafka.conn, a.kafka.groupTopics())
	if err != nil {
		return st, fmt.Errorf("read the positions of the groups: %w", err)
	}
	open, err := a.kafka.openLetters(ctx)
	if err != nil {
		return st, err
	}
	for _, l := range lags {
		name := strings.TrimPrefix(l.Group, a.kafka.prefix)
		if n := len(st.Groups); n == 0 || st.Groups[n-1].Group != name {
			st.Groups = append(st.Groups, api.GroupStatus{Group: name, OpenDeadLetters: open[name]})
		}
		g := &st.Groups[len(st.Groups)-1]
		g.Lag += l.Lag
		g.Partitions = append(g.Partitions, api.PartitionStatus{
			Topic: strings.TrimPrefix(l.Topic, a.kafka.prefix), Partition: l.Partition, Committed: l.Committed, End: l.HighWatermark, Lag: l.Lag,
		})
	}
	return st, nil
}

func (a *app) engineStatus(ctx context.Context) []api.EngineStatus {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	type engine struct {
		name string
		ping func(context.Context) error
	}
	engines := []engine{{"kafka", a.kafka.ping}}
	for _, s := range a.engines.stores {
		engines = append(engines, engine{s.name, s.Ping})
	}
	out := make([]api.EngineStatus, len(engines))
	var wg sync.WaitGroup
	for i, e := range engines {
		wg.Go(func() {
			out[i] = api.EngineStatus{Name: e.name, Up: true}
			if err := e.ping(ctx); err != nil {
				out[i].Up, out[i].Error = false, err.Error()
			}
		})
	}
	wg.Wait()
	return out
}

// letters are the dead letters in the vocabulary of the API: groups and topics without their prefix.
type letters struct {
	kafka *kafka
	*stream.DeadLetters
}

var _ api.DeadLetters = letters{}

func (l letters) filter(f api.DeadLetterFilter) stream.DeadLetterFilter {
	out := stream.DeadLetterFilter{
		IDs: f.IDs, Reason: f.Reason, Class: f.Class, Since: f.Since, Until: f.Until, State: stream.DeadLetterState(f.State), Limit: f.Limit,
	}
	if f.Group != "" {
		out.Group = l.kafka.prefix + f.Group
	}
	if f.Topic != "" {
		out.Topic = l.kafka.prefix + f.Topic
	}
	return out
}

// List implements api.DeadLetters.
func (l letters) List(ctx context.Context, f api.DeadLetterFilter) ([]api.DeadLetter, error) {
	found, err := l.DeadLetters.List(ctx, l.filter(f))
	if err != nil {
		return nil, err
	}
	out := make([]api.DeadLetter, len(found))
	for i := range found {
		out[i] = l.view(&found[i])
	}
	return out, nil
}

// Get implements api.DeadLetters.
func (l letters) Get(ctx context.Context, id string) (api.DeadLetter, error) {
	found, err := l.DeadLetters.Get(ctx, id)
	if errors.Is(err, stream.ErrNoDeadLetter) {
		return api.DeadLetter{}, fmt.Errorf("%w: %s", api.ErrNoDeadLetter, id)
	}
	if err != nil {
		return api.DeadLetter{}, err
	}
	return l.view(&found), nil
}

// Replay implements api.DeadLetters.
func (l letters) Replay(ctx context.Context, f api.DeadLetterFilter, rate float64, reason string) (int, error) {
	return l.DeadLetters.Replay(ctx, l.filter(f), stream.ReplayOptions{Rate: rate, Reason: reason})
}

// Drop implements api.DeadLetters.
func (l letters) Drop(ctx context.Context, f api.DeadLetterFilter, reason string) (int, error) {
	return l.DeadLetters.Drop(ctx, l.filter(f), reason)
}

func (l letters) view(x *stream.DeadLetter) api.DeadLetter {
	trim := func(s string) string { return strings.TrimPrefix(s, l.kafka.prefix) }
	out := api.DeadLetter{
		ID: x.ID, Group: trim(x.Group), Topic: trim(x.Origin.Topic), Partition: x.Origin.Partition, Offset: x.Origin.Offset, RecordedAt: x.Time,
		Class: x.Class.String(), Reason: x.Reason, Attempts: x.Attempts, FirstFailure: x.FirstFailure, LastFailure: x.LastFailure,
		SetAside: x.SetAside, State: string(x.State), ResolvedAt: x.ResolvedAt, Resolution: x.Resolution, Key: x.Key, Value: x.Value,
	}
	for _, h := range x.Headers {
		out.Headers = append(out.Headers, api.Header{Name: h.Key, Value: slices.Clone(h.Value)})
	}
	return out
}
