package app

import (
	"context"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
)

// Every runs f at an interval until ctx ends. A failure is logged when it begins and when it ends,
// not each time.
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
			a.log.Warn("recurring work fails and is tried again", "work", name, "error", err)
		case err == nil && failing:
			a.log.Info("recurring work succeeds again", "work", name)
		}
		failing = err != nil
	}
}

// beginInterval is the time between runs that find nothing yet: a new installation should soon know
// what is trending.
const beginInterval = time.Second

// repeat runs a task at once, again until it has begun, and then at its interval.
func (a *App) repeat(ctx context.Context, t processors.Task) {
	for {
		if err := t.Run(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("recurring work fails and is tried again", "work", t.Name, "error", err)
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
