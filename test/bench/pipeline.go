package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// usage is what a stretch of work has cost, in CPU seconds.
type usage struct {
	events  int
	seconds float64
	ours    float64
	engines map[string]float64
	memory  float64 // MiB, at the end
}

func (u usage) perEvent(cpu float64) float64 { return cpu / float64(u.events) * 1e6 }

func (u usage) rate() float64 { return float64(u.events) / u.seconds }

// all returns the CPU of our process and of every engine together.
func (u usage) sum() float64 {
	sum := u.ours
	for _, x := range u.engines {
		sum += x
	}
	return sum
}

// spend measures f.
func (in *installation) spend(events func() int, f func() error) (usage, error) {
	pid := in.cmd.Process.Pid
	ours, engines, start := cpuOf(pid), in.b.engines.cpu(), time.Now()
	if err := f(); err != nil {
		return usage{}, fmt.Errorf("%w\n%s", err, in.log())
	}
	u := usage{
		seconds: time.Since(start).Seconds(), ours: cpuOf(pid) - ours,
		engines: make(map[string]float64), events: events(), memory: memoryOf(pid),
	}
	if in.real {
		for name, now := range in.b.engines.cpu() {
			u.engines[name] = now - engines[name]
		}
	}
	return u, nil
}

// warm fills the catalog and lets everything work once.
func (in *installation) warm(ctx context.Context, w *world, events int) error {
	if in.only == nil || slices.Contains(in.only, schemas.GroupCatalog) || slices.Contains(
		in.only, schemas.GroupAnalytics,
	) {
		if err := in.producer.emit(ctx, w.items, func(i int) record.Record {
			return w.item(i)
		}); err != nil {
			return err
		}
	}
	if err := in.producer.emit(ctx, events, func(int) record.Record {
		return w.mixed()
	}); err != nil {
		return err
	}
	return in.drained(ctx, 5*time.Minute)
}

// mixed is an interaction or, one time in twenty, a friendship.
func (w *world) mixed() record.Record {
	if w.rng.IntN(20) == 0 {
		return w.friendship()
	}
	return w.interaction()
}

// backlog writes n events at once and waits until everything that follows from them is done.
func (in *installation) backlog(
	ctx context.Context,
	n int,
	next func() record.Record,
) (usage, error) {
	return in.spend(func() int { return n }, func() error {
		if err := in.producer.emit(ctx, n, func(int) record.Record { return next() }); err != nil {
			return err
		}
		return in.drained(ctx, 15*time.Minute)
	})
}

// steady is what a time of live traffic was like.
type steady struct {
	usage
	rate         int
	lags         []int64 // once a second
	offered      int
	caughtUpLate float64 // seconds after the last event until everything was done
}

// flat tells whether the lag did not grow: the last third is not higher than the middle third by
// more than half a second's events, which is noise where batches are collected for two seconds on
// purpose.
func (s steady) flat() bool {
	n := len(s.lags)
	if n < 6 {
		return true
	}
	mean := func(x []int64) float64 {
		var sum int64
		for _, v := range x {
			sum += v
		}
		return float64(sum) / float64(len(x))
	}
	return mean(s.lags[2*n/3:]) <= mean(s.lags[n/3:2*n/3])+float64(s.rate)/2
}

func (in *installation) steady(
	ctx context.Context,
	rate int,
	d time.Duration,
	next func() record.Record,
) (steady, error) {
	s := steady{rate: rate}
	var err error
	s.usage, err = in.spend(func() int { return s.offered }, func() error {
		looks := make(chan struct{}, 1)
		done := make(chan error, 1)
		go func() {
			var failed error
			for range looks {
				if total, _, err := in.lag(ctx); err == nil {
					s.lags = append(s.lags, total)
				} else {
					failed = err
				}
			}
			done <- failed
		}()
		var err error
		s.offered, err = in.producer.live(ctx, rate, d, next, func(int, int) {
			select {
			case looks <- struct{}{}:
			default:
			}
		})
		close(looks)
		if lerr := <-done; err == nil {
			err = lerr
		}
		if err != nil {
			return err
		}
		ended := time.Now()
		err = in.drained(ctx, 5*time.Minute)
		s.caughtUpLate = time.Since(ended).Seconds()
		return err
	})
	return s, err
}

// setup is one way to run a part of the pipeline.
type setup struct {
	label string
	only  []string
	next  func(w *world) record.Record
}

func setups() []setup {
	interactions := (*world).interaction
	return []setup{
		{"analytics", []string{schemas.GroupAnalytics}, interactions},
		{
			"vectors (embed, catalog)",
			[]string{schemas.GroupEmbed, schemas.GroupCatalog},
			interactions,
		},
		{"friendships (graph)", []string{schemas.GroupGraph}, (*world).friendship},
		{
			"all three stores",
			[]string{
				schemas.GroupAnalytics, schemas.GroupEmbed, schemas.GroupCatalog,
				schemas.GroupGraph,
			},
			(*world).mixed,
		},
		{"everything, lists published", nil, (*world).mixed},
	}
}

// pipeline measures events into each store alone and together.
func (b *bench) pipeline(ctx context.Context) (*section, error) {
	s := &section{Title: "Pipeline: from the log into the stores"}
	s.Notes = append(s.Notes, fmt.Sprintf(
		"Users %s, items %s; at any time a twentieth of the "+
			"users is active. \"All three stores\" and \"everything\": one event in twenty is a "+
			"friendship. "+
			"Backlog: %s events are written as fast as the log accepts them; measured from the "+
			"first write until every consumer group, those of derived topics included, has "+
			"committed the end (which is up to half a second after its last effect). "+
			"Live: events come evenly for %d s; the lag is summed over all groups. CPU in "+
			"microseconds per event: \"ours\" is the process slipstream (on the embedded engines "+
			"with broker and stores in it), then each engine's process; the load generator is in "+
			"none of them.",
		number(
			baseUsers,
			0,
		),
		number(baseItems, 0),
		number(float64(b.o.backlog), 0),
		b.o.liveSeconds,
	))
	back := table{
		Title: "Backlog",
		Columns: append([]string{"stores", "events/s", "ours, CPU µs per event"}, append(
			slices.Clone(engineNames), "all, CPU µs per event", "our memory, MiB",
		)...),
	}
	live := table{
		Title: "Live",
		Columns: append([]string{
			"stores", "offered per second", "lag: first third", "lag: last third", "lag flat",
			"done after the last event", "ours, CPU µs per event",
		}, engineNames...),
	}
	c := chart{Title: "Events per second into the stores (backlog)", Unit: "events/s"}
	for _, real := range []bool{true, false} {
		if real && !b.engines.stores {
			s.Notes = append(s.Notes, "No real engines were named.")
			continue
		}
		for i, x := range setups() {
			if b.o.smoke && i != 3 || !strings.Contains(engineKind(real)+": "+x.label, b.o.match) {
				continue // in the smoke test the whole with lists is looked at by freshness
			}
			if err := b.measure(ctx, x, real, &back, &live, &c); err != nil {
				return nil, fmt.Errorf("%s: %w", x.label, err)
			}
		}
	}
	s.Tables, s.Charts = []table{back, live}, []chart{c}
	return s, nil
}

func engineKind(real bool) string {
	if real {
		return "real"
	}
	return "embedded"
}

func (b *bench) measure(
	ctx context.Context,
	x setup,
	real bool,
	back, live *table,
	c *chart,
) error {
	kind := engineKind(real)
	in, err := b.start(ctx, "pipeline "+kind+" "+x.label, real, x.only)
	if err != nil {
		return err
	}
	defer in.stop()
	w := newWorld(1, baseUsers, baseItems)
	if err := in.warm(ctx, w, b.o.backlog/10); err != nil {
		return err
	}
	u, err := in.backlog(ctx, b.o.backlog, func() record.Record { return x.next(w) })
	if err != nil {
		return err
	}
	label := kind + ": " + x.label
	b.say(
		"  %-45s %8.0f events/s, ours %.0f µs, all %.0f µs per event", label, u.rate(),
		u.perEvent(u.ours), u.perEvent(u.sum()),
	)
	back.add(append([]string{label, number(u.rate(), 0), number(u.perEvent(u.ours), 0)}, append(
		u.split(), number(u.perEvent(u.sum()), 0), number(u.memory, 0),
	)...)...)
	c.add(label, u.rate())
	if len(x.only) == 1 {
		return nil // live traffic is measured on the whole
	}
	rates := []int{4000}
	if b.o.smoke {
		rates = []int{200}
	} else if real && u.rate() > 8000 {
		rates = append(rates, 6000)
	}
	for _, rate := range rates {
		st, err := in.steady(
			ctx, rate, time.Duration(b.o.liveSeconds)*time.Second,
			func() record.Record { return x.next(w) },
		)
		if err != nil {
			return err
		}
		n := max(1, len(st.lags)/3)
		b.say(
			"  %-45s live %d/s: lag %v, flat %v, ours %.0f µs", label, rate, st.lags, st.flat(),
			st.perEvent(st.ours),
		)
		live.add(append([]string{
			label, number(float64(st.offered)/float64(b.o.liveSeconds), 0),
			average(st.lags[:min(n, len(st.lags))]), average(st.lags[max(0, len(st.lags)-n):]),
			map[bool]string{true: "yes", false: "no"}[st.flat()], number(st.caughtUpLate, 1) + " s",
			number(st.perEvent(st.ours), 0),
		}, st.split()...)...)
	}
	return in.check(ctx, w)
}

func average(x []int64) string {
	if len(x) == 0 {
		return "–"
	}
	var sum int64
	for _, v := range x {
		sum += v
	}
	return number(float64(sum)/float64(len(x)), 0)
}

// split lists the CPU of each engine per event.
func (u usage) split() []string {
	out := make([]string, len(engineNames))
	for i, name := range engineNames {
		out[i] = "–"
		if x, ok := u.engines[name]; ok {
			out[i] = number(u.perEvent(x), 0)
		}
	}
	return out
}

// check fails when the process has complained: a figure from a run with errors is worth nothing.
func (in *installation) check(ctx context.Context, _ *world) error {
	total, by, err := in.lag(ctx)
	if err != nil {
		return err
	}
	if total != 0 {
		return fmt.Errorf("events are left over: %v", by)
	}
	for _, word := range []string{"level=ERROR", "panic"} {
		if log := in.log(); strings.Contains(log, word) {
			return fmt.Errorf("the process complained:\n%s", log)
		}
	}
	return in.noDeadLetters(ctx)
}

func (in *installation) noDeadLetters(ctx context.Context) error {
	var topics []string
	for _, g := range processors.Groups() {
		topics = append(topics, record.PoisonTopic(g))
	}
	bounds, err := in.conn.Offsets(ctx, topics...)
	if err != nil {
		return err
	}
	for tp, b := range bounds {
		if b.HighWatermark > 0 {
			return fmt.Errorf("%d dead letters in %s", b.HighWatermark, tp.Topic)
		}
	}
	return nil
}
