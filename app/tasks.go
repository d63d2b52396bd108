package app

import (
	"context"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
)

// Every runs f at an interval until ctx ends. A series of failures has one line of the log when it
// begins and one when it is over.
func (a *App) Every(
	ctx context.Context,
	interval time.Duration,
	name string,
	f func(context.Context) error,
) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := f(ctx)
		if ctx.Err() != nil {
			return nil
		}
		a.tellTask(name, err)
	}
}

// tellTask notes how a run of a periodic task has ended.
func (a *App) tellTask(name string, err error) {
	if err != nil {
		a.troubles.fails("task: "+name, err)
	} else {
		a.troubles.works("task: " + name)
	}
}

// beginInterval is the time between runs that find no data yet, so that a new installation has
// trending items soon.
const beginInterval = time.Second

// repeat runs a task at once, retries it until it has found data, and then runs it at its interval.
// When ctx ends it runs the end of the task.
func (a *App) repeat(ctx context.Context, t processors.Task) {
	if t.AtEnd != nil {
		defer func() { _ = t.AtEnd(context.WithoutCancel(ctx)) }()
	}
	for {
		if err := t.Run(ctx); err != nil && ctx.Err() == nil {
			a.tellTask(t.Name, err)
			break
		}
		if t.Begun == nil || t.Begun() {
			break
		}
		wait := time.NewTimer(min(beginInterval, t.Interval))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
	_ = a.Every(ctx, t.Interval, t.Name, t.Run)
}
