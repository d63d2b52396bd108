package processors

import (
	"context"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// PeriodicDeclaration declares the periodic tasks that run on one instance only.
func PeriodicDeclaration() Declaration {
	return Declaration{
		Name: schemas.GroupPeriodic, Inputs: []string{schemas.TopicMeta}, Internal: true,
		Fills: "what is trending, and expiry; measures lag",
		New: func(d Deps) Instance {
			c := d.Settings
			trending := NewTrendingJob(d.Analytics, d.Streams.Emit, c.Trending, d.Now)
			expiry := NewExpiryJob(d.Users, d.Streams, d.Erasures, ExpiryConfig{
				Partitions: c.Partitions, UserTTL: c.UserTTL,
			}, d.Now)
			return Instance{Processor: NewPeriodic(d.Repeat, append([]Task{
				{
					Name: "compute trending", Interval: c.TrendingInterval, Run: trending.Run,
					Begun: trending.Found,
				},
				{Name: "expire users and lists", Interval: expiryInterval, Run: expiry.Run},
			}, d.OnOne...))}
		},
	}
}

// expiryInterval is the time between two runs of expiry. Lists and users live for days.
const expiryInterval = time.Hour

// Periodic runs tasks on one instance at a time: the owner of the single partition of its input
// topic.
type Periodic struct {
	tasks []Task
	// repeat runs a task at its interval until ctx ends.
	repeat func(ctx context.Context, t Task)

	mu   sync.Mutex
	stop func()
}

var _ Processor = (*Periodic)(nil)

// NewPeriodic returns the processor. repeat runs a task at once and then at its interval, until ctx
// ends.
func NewPeriodic(repeat func(ctx context.Context, t Task), tasks []Task) *Periodic {
	return &Periodic{repeat: repeat, tasks: tasks}
}

// Assign starts the tasks.
func (p *Periodic) Assign(ctx context.Context, parts []record.Assignment) error {
	p.end()
	if len(parts) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	for _, t := range p.tasks {
		wg.Go(func() { p.repeat(ctx, t) })
	}
	p.mu.Lock()
	p.stop = func() { cancel(); wg.Wait() }
	p.mu.Unlock()
	return nil
}

// Revoke stops the tasks.
func (p *Periodic) Revoke([]record.TopicPartition) { p.end() }

func (p *Periodic) end() {
	p.mu.Lock()
	stop := p.stop
	p.stop = nil
	p.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// Handle ignores the records: only owning the partition matters.
func (p *Periodic) Handle(context.Context, *record.Batch) error { return nil }
