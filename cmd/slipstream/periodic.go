package main

import (
	"context"
	"sync"

	"github.com/slipstream-rec/slipstream/processors"
)

// periodic runs jobs on one instance at a time: the one that owns the single partition of the topic its group reads.
type periodic struct {
	a   *app
	job *processors.TrendingJob

	mu   sync.Mutex
	stop func()
}

var _ processors.Processor = (*periodic)(nil)

func (a *app) periodic(job *processors.TrendingJob) *periodic { return &periodic{a: a, job: job} }

// Assign starts the jobs.
func (p *periodic) Assign(_ context.Context, parts []processors.Assignment) error {
	p.end()
	if len(parts) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		// The first run must not wait for the interval: a new installation has no list yet.
		if err := p.job.Run(ctx); err != nil && ctx.Err() == nil {
			p.a.log.Warn("trending is not computed yet", "error", err)
		}
		_ = p.a.every(ctx, p.a.cfg.Recommend.TrendingInterval, "compute trending", p.job.Run)
	})
	p.mu.Lock()
	p.stop = func() { cancel(); wg.Wait() }
	p.mu.Unlock()
	return nil
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
