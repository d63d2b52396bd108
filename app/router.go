package app

import (
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/guard"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// router builds the handlers of the processors that run here, and returns their periodic tasks.
func (a *App) router() (*guard.Router, []processors.Task, error) {
	cfg := guard.DefaultRouterConfig()
	cfg.CloseTimeout, cfg.Log = a.cfg.Stream.StopTimeout, a.log
	cfg.Names = a.kafka.conn.Names()
	router, err := guard.NewRouter(cfg)
	if err != nil {
		return nil, nil, err
	}
	a.startSkipped()
	var tasks []processors.Task
	deps := a.deps()
	for _, d := range processors.Table() {
		if !a.runs(d.Name) {
			continue
		}
		in := d.New(deps)
		tasks = append(tasks, in.Tasks...)
		if in.Pending != nil {
			a.pending = append(a.pending, in.Pending)
		}
		var tuning processors.Tuning
		if d.Tune != nil {
			tuning = d.Tune(deps)
		}
		if err := a.handle(router, d, in.Processor, tuning); err != nil {
			return nil, nil, err
		}
	}
	return router, tasks, nil
}

// deps returns the dependencies of the processors.
func (a *App) deps() processors.Deps {
	e := a.engines
	return processors.Deps{
		Streams: processors.Streams{Log: a.kafka, Emit: a.kafka, Letters: a.kafka},
		Users:   e.Users, Items: e.Items, Graph: e.Graph,
		Analytics:   analyticsStore{a.kafka.RowStore(e.Analytics), e.Analytics},
		ItemFactors: a.factors, Erasures: a.erasures,
		Recommender: a.recommender.WithStoreTimeout(listTimeout),
		Settings:    a.settings(),
		Hooks: processors.Hooks{
			ListPublished: a.countList, UserCorrupt: a.corruptUser, UserRepaired: a.repairedUser,
			Gap:          a.gapProgress,
			Misplaced:    newMisplacedReport(a.metrics, a.log, now).add,
			ItemsCounted: a.countItems,
		},
		Pace:   pace(a.cfg.Recommend.CatchUpRate),
		Repeat: a.repeat, OnOne: a.lagTasks(),
		Now: now,
	}
}

// listTimeout bounds each call of a store for lists on the topic. No caller waits for such a list,
// so a slow complete list is better than a degraded one.
const listTimeout = 5 * time.Second

// settings returns the configuration of the processors.
func (a *App) settings() processors.Settings {
	c := a.cfg
	return processors.Settings{
		Partitions: c.Topics.Partitions, RecentIDs: c.Stream.RecentIDs, Epoch: a.epoch,
		InsertInterval: c.Stream.InsertInterval, LearnInterval: c.Stream.LearnInterval,
		Trending: a.trendingQuery(), TrendingInterval: c.Recommend.TrendingInterval,
		Actions: a.actions,
		UserTTL: c.Recommend.UserTTL, ItemTTL: c.Recommend.ItemTTL,
		MaxClockSkew: c.Stream.MaxClockSkew,
	}
}

// trendingQuery counts people who chose an item, and those who love it half as much again.
func (a *App) trendingQuery() sinks.TrendingQuery {
	return sinks.TrendingQuery{
		HalfLife: a.cfg.Recommend.TrendingHalfLife, N: 200,
		Weights: map[schemas.Meaning]float64{schemas.Interest: 1, schemas.Love: 1.5},
	}
}

// handle adds a processor to the router.
func (a *App) handle(
	router *guard.Router,
	d processors.Declaration,
	p processors.Processor,
	t processors.Tuning,
) error {
	s := a.subscriberConfig(d.Name)
	s.Intents = d.BatchIntents
	a.tune(&s, t)
	s.Assigned, s.Revoked = p.Assign, p.Revoke
	sub, err := stream.NewSubscriber(a.kafka.conn, s)
	if err != nil {
		return fmt.Errorf("subscriber of %s: %w", d.Name, err)
	}
	o := guard.Options{
		Name: d.Name, Group: d.Name, Topics: d.Topics(), Subscriber: sub, Handler: p.Handle,
		Emitter:     a.kafka.pub,
		MaxAttempts: a.cfg.Guard.MaxAttempts, Timeout: a.cfg.Stream.SessionTimeout * 2 / 3,
		Backoff: fault.Backoff{First: a.cfg.Guard.MinBackoff, Max: a.cfg.Guard.MaxBackoff},
		Breaker: guard.Breaker{
			Failures: uint(a.cfg.Guard.BreakerFailures), Delay: a.cfg.Guard.BreakerDelay,
		},
		Splittable: d.Splittable, Hooks: a.guardHooks(),
	}
	a.startCounters(d)
	if l, ok := p.(processors.LostHandler); ok {
		o.Lost = l.Lost
	}
	if d.RetryTopics && len(a.cfg.Topics.RetryDelays) > 0 {
		retrySub, err := stream.NewSubscriber(
			a.kafka.conn, a.subscriberConfig(record.RetryGroup(d.Name)),
		)
		if err != nil {
			return fmt.Errorf("retry subscriber of %s: %w", d.Name, err)
		}
		o.Retry = &guard.Retry{Delays: a.cfg.Topics.RetryDelays, Subscriber: retrySub}
	}
	if err := router.Handle(o); err != nil {
		return fmt.Errorf("handler %s: %w", d.Name, err)
	}
	return nil
}

// tune adapts a subscriber to its processor.
func (a *App) tune(s *stream.SubscriberConfig, t processors.Tuning) {
	s.Linger = max(s.Linger, t.MinLinger)
	s.MaxRecords *= max(1, t.BatchFactor)
	if t.FetchMinBytes > 0 {
		s.FetchMinBytes = t.FetchMinBytes
	}
	s.TopicLinger = t.TopicLinger
	if t.BatchBytes != nil {
		most := s.MaxBytes
		s.PartitionBytes = func(tp record.TopicPartition) int {
			return min(most, t.BatchBytes(tp.Topic))
		}
	}
}

func (a *App) subscriberConfig(group string) stream.SubscriberConfig {
	s := stream.DefaultSubscriberConfig(group)
	s.LogID = a.logID
	c := a.cfg.Stream
	s.MaxRecords, s.MaxBytes, s.Linger = c.MaxRecords, int(c.MaxBytes), c.Linger
	s.SessionTimeout, s.HeartbeatInterval = c.SessionTimeout, c.HeartbeatInterval
	s.RebalanceTimeout, s.RequestTimeout = c.RebalanceTimeout, c.RequestTimeout
	s.DrainTimeout = min(c.SessionTimeout/5, c.RebalanceTimeout/2)
	s.Logger = a.log
	if a.embedded {
		s.OffsetPolicy = stream.GoToFirst
	}
	s.Expires = a.kafka.expires
	s.Hooks = a.subscriberHooks(group)
	return s
}
