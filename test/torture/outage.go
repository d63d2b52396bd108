//go:build linux

package torture

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Outage is what one engine's being down for a while did.
type Outage struct {
	Engine string
	Down   time.Duration
	// Waiting is how many records the groups that need the engine had before them when it came
	// back.
	Waiting int64
	// FirstStep is how long after the engine served again the first of them was worked off;
	// CaughtUp when no more were left than usual, which is what batches collect for a while on
	// purpose.
	FirstStep, CaughtUp time.Duration
	// Rate is records a second from the first step on, new ones included.
	Rate float64
	// Others is how many records a second the other groups worked off meanwhile, OthersLag the most
	// they had before them.
	Others    float64
	OthersLag int64
	// Before and Highest are the memory of the largest instance before and during the outage, in
	// bytes.
	Before, Highest int64
	// DeadLetters is how many there were afterwards: none.
	DeadLetters int64
	Answers     answers
}

func (o *Outage) String() string {
	s := fmt.Sprintf(
		"%-10s down %.0f s: %d records waiting, first worked off after %.1f s, "+
			"caught up after %.1f s (%.0f a second), %d dead letters; memory %d MiB before, at "+
			"most "+
			"%d MiB",
		o.Engine,
		o.Down.Seconds(),
		o.Waiting,
		o.FirstStep.Seconds(),
		o.CaughtUp.Seconds(),
		o.Rate,
		o.DeadLetters,
		o.Before>>20,
		o.Highest>>20,
	)
	if o.Engine != engineKafka {
		s += fmt.Sprintf("; the other groups worked off %.0f a second, never more than %d "+
			"behind; recommendations: %d whole, %d degraded, %d refused",
			o.Others, o.OthersLag, o.Answers.Whole, o.Answers.Degraded, o.Answers.Refused)
	}
	return s
}

// needs lists the groups that cannot work without an engine. Lists wait for vectors, and do without
// friends.
func needs(engine string) []string {
	switch engine {
	case engineQdrant:
		return append(
			processors.Filling(processors.StoreUsers, processors.StoreItems),
			schemas.GroupRecommend,
		)
	case engineNeo4j:
		return processors.Filling(processors.StoreGraph)
	case engineClickHouse:
		return processors.Filling(processors.StoreAnalytics)
	}
	return processors.Groups()
}

// Stop is what a graceful stop of all instances under load did.
type Stop struct {
	Slowest time.Duration
	// Intents counts the batch intents that were left, whose batches a restart would repeat.
	Intents int
}

// RunOutages takes each engine away for a while, under load, one after the other, then stops and
// starts all instances, and compares the stores in the end.
func RunOutages(
	ctx context.Context,
	cfg Config,
	paths Paths,
	down time.Duration,
	diary io.Writer,
) (outages []*Outage, stopped *Stop, v *Verdict, err error) {
	h := newHarness(cfg, paths.Dir, diary)
	defer h.close()
	supervised, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if err := h.prepare(supervised, &wg, paths); err != nil {
		return nil, nil, nil, err
	}
	playing, stopPlaying := context.WithCancel(ctx)
	defer stopPlaying()
	h.mu.Lock()
	h.injecting = time.Now()
	h.mu.Unlock()
	var audience sync.WaitGroup
	audience.Go(func() { h.load.run(playing, ctx) })
	wait(ctx, 10*time.Second)
	for _, engine := range []string{engineQdrant, engineNeo4j, engineClickHouse, engineKafka} {
		o, err := h.outage(ctx, engine, down)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("outage of %s: %w", engine, err)
		}
		h.note("%s", o)
		outages = append(outages, o)
		wait(ctx, 5*time.Second)
	}
	if stopped, err = h.stopAll(ctx); err != nil {
		return nil, nil, nil, err
	}
	stopPlaying()
	audience.Wait()
	if err := h.awaitIdle(ctx, h.direct, cfg.CatchUpTimeout); err != nil {
		return nil, nil, nil, err
	}
	wait(ctx, lookAfter)
	log, err := h.readAll(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	expected, err := expect(log)
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := h.openStores(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	defer s.Close()
	v, err = verify(ctx, h.ledger, log, expected, s)
	return outages, stopped, v, err
}

// stopAll stops every instance at once, under load, and starts them again.
func (h *harness) stopAll(ctx context.Context) (*Stop, error) {
	out := &Stop{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, x := range h.instances[:h.cfg.Instances] {
		x.want(false)
		wg.Go(func() {
			took, err := x.stop(stopLimit)
			mu.Lock()
			defer mu.Unlock()
			if out.Slowest = max(out.Slowest, took); err != nil {
				h.note("%v", err)
			}
		})
	}
	wg.Wait()
	var err error
	if _, out.Intents, err = lag(ctx, h.direct); err != nil {
		return nil, err
	}
	h.note("stopped under load within %s, %d batch intents left", out.Slowest, out.Intents)
	for _, x := range h.instances[:h.cfg.Instances] {
		x.want(true)
	}
	wait(ctx, 10*time.Second)
	return out, nil
}

// standing is where the groups are.
type standing struct{ done, before int64 }

func (h *harness) standings(ctx context.Context) (map[string]standing, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	lags, err := admin.Lag(ctx, h.direct, groupTopics())
	if err != nil {
		return nil, err
	}
	out := make(map[string]standing)
	for _, l := range lags {
		g := l.Group
		s := out[g]
		s.done += max(0, l.Committed)
		s.before += l.Lag
		out[g] = s
	}
	return out, nil
}

func total(s map[string]standing, groups []string) (t standing) {
	for _, g := range groups {
		t.done += s[g].done
		t.before += s[g].before
	}
	return t
}

func (h *harness) highestRSS() int64 {
	var out int64
	for _, x := range h.instances {
		out = max(out, x.rss())
	}
	return out
}

func (h *harness) letters(ctx context.Context) (int64, error) {
	var topics []string
	for _, g := range processors.Groups() {
		topics = append(topics, record.PoisonTopic(g))
	}
	bounds, err := h.direct.Offsets(ctx, topics...)
	if err != nil {
		return 0, err
	}
	var n int64
	for b := range maps.Values(bounds) {
		n += b.HighWatermark
	}
	return n, nil
}

func (h *harness) outage(ctx context.Context, engine string, down time.Duration) (*Outage, error) {
	o := &Outage{Engine: engine, Before: h.highestRSS()}
	lettersBefore, err := h.letters(ctx)
	if err != nil {
		return nil, err
	}
	affected := needs(engine)
	others := slices.DeleteFunc(
		processors.Groups(), func(g string) bool { return slices.Contains(affected, g) },
	)
	h.ledger.count(func(l *ledger) { l.answers = answers{} })
	begin, err := h.standings(ctx)
	if err != nil {
		return nil, err
	}
	usual, err := h.usual(ctx, affected)
	if err != nil {
		return nil, err
	}
	h.note("%s goes down, %d records before %v", engine, usual, affected)
	since := time.Now()
	if err := h.services.verb(ctx, "kill", engine); err != nil {
		return nil, err
	}
	for time.Since(since) < down && wait(ctx, time.Second) {
		o.Highest = max(o.Highest, h.highestRSS())
		if engine == engineKafka {
			continue
		}
		if s, err := h.standings(ctx); err == nil {
			o.OthersLag = max(o.OthersLag, total(s, others).before)
		}
	}
	o.Down = time.Since(since)
	h.ledger.count(func(l *ledger) { o.Answers = l.answers })
	if engine != engineKafka {
		s, err := h.standings(ctx)
		if err != nil {
			return nil, err
		}
		o.Others = float64(total(s, others).done-total(begin, others).done) / o.Down.Seconds()
	}
	if err := h.services.verb(ctx, "start", engine); err != nil {
		return nil, err
	}
	if err := h.catchUp(ctx, o, affected, usual); err != nil {
		return nil, err
	}
	after, err := h.letters(ctx)
	o.DeadLetters = after - lettersBefore
	return o, err
}

// usual is the most that groups have before them within some seconds of ordinary work.
func (h *harness) usual(ctx context.Context, groups []string) (most int64, err error) {
	for range 12 {
		s, err := h.standings(ctx)
		if err != nil {
			return 0, err
		}
		most = max(most, total(s, groups).before)
		if !wait(ctx, 250*time.Millisecond) {
			return 0, ctx.Err()
		}
	}
	return most, nil
}

// catchUp watches the groups that had to wait.
func (h *harness) catchUp(ctx context.Context, o *Outage, affected []string, usual int64) error {
	served := time.Now()
	var base standing
	for known := false; ; {
		o.Highest = max(o.Highest, h.highestRSS())
		s, err := h.standings(ctx)
		if now := total(s, affected); err == nil {
			switch {
			case !known:
				known, base, o.Waiting = true, now, now.before
			case o.FirstStep == 0 && now.done > base.done:
				o.FirstStep = time.Since(served)
			}
			if o.FirstStep > 0 && now.before <= max(usual, int64(4*h.cfg.Rate)) {
				o.CaughtUp = time.Since(served)
				o.Rate = float64(now.done-base.done) / max(
					o.CaughtUp-o.FirstStep, 500*time.Millisecond,
				).Seconds()
				return nil
			}
		}
		if time.Since(served) > h.cfg.CatchUpTimeout {
			return fmt.Errorf("not caught up after %s: %v", h.cfg.CatchUpTimeout, s)
		}
		if !wait(ctx, 250*time.Millisecond) {
			return ctx.Err()
		}
	}
}
