package app

import (
	"context"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
)

// Every runs f at an interval until ctx ends. It logs the first failure of a series and the first
// success after it.
func (a *App) Every(
	ctx context.Context,
	interval time.Duration,
	name string,
	f func(context.Context) error,
) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := f(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			a.log.Warn("a periodic task failed and is retried", "task", name, "error", err)
		case err == nil && failing:
			a.log.Info("a periodic task succeeded again", "task", name)
		}
		failing = err != nil
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
			a.log.Warn("a periodic task failed and is retried", "task", t.Name, "error", err)
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
