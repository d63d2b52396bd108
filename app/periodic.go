package app

import (
	"context"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
)

// periodic runs jobs on one instance at a time: the one that owns the single partition of the topic its group reads.
type periodic struct {
	a    *App
	jobs []job

	mu   sync.Mutex
	stop func()
}

// job is work that one instance repeats.
type job struct {
	name     string
	interval time.Duration
	run      func(context.Context) error
	// begun, where it is set, tells whether a run has had something to work on: until then the next one comes soon.
	begun func() bool
}

var _ processors.Processor = (*periodic)(nil)

// expiryInterval is how often what has expired is looked for: lists and users live for days.
const expiryInterval = time.Hour

func (a *App) periodic() *periodic {
	trending := processors.NewTrendingJob(a.engines.Analytics, a.kafka, a.trendingQuery(), now)
	expiry := processors.NewExpiryJob(a.engines.Users, a.kafka, a.kafka, a.cfg.Topics.Partitions, a.cfg.Recommend.UserTTL, now)
	return &periodic{a: a, jobs: []job{
		{"compute trending", a.cfg.Recommend.TrendingInterval, trending.Run, trending.Found},
		{"expire users and lists", expiryInterval, expiry.Run, nil},
	}}
}

// beginInterval is the time between runs that find nothing yet: a new installation should not be without what is trending for long.
const beginInterval = time.Second

// Assign starts the jobs. Each runs at once and then at its interval.
func (p *periodic) Assign(_ context.Context, parts []processors.Assignment) error {
	p.end()
	if len(parts) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, j := range p.jobs {
		wg.Go(func() {
			p.first(ctx, j)
			_ = p.a.Every(ctx, j.interval, j.name, j.run)
		})
	}
	p.mu.Lock()
	p.stop = func() { cancel(); wg.Wait() }
	p.mu.Unlock()
	return nil
}

// first runs a job at once, and again until it has begun.
func (p *periodic) first(ctx context.Context, j job) {
	for {
		if err := j.run(ctx); err != nil && ctx.Err() == nil {
			p.a.log.Warn("periodic work failed and is tried again", "work", j.name, "error", err)
			return
		}
		if j.begun == nil || j.begun() {
			return
		}
		wait := time.NewTimer(min(beginInterval, j.interval))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

// Revoke stops them.
func (p *periodic) Revoke([]processors.Assignment) { p.end() }

func (p *periodic) end() {
	p.mu.Lock()
	stop := p.stop
	p.stop = nil
	p.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// Handle ignores the records: owning the partition is what matters.
func (p *periodic) Handle(context.Context, *processors.Batch) error { return nil }
