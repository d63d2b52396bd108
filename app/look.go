package app

import (
	"context"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/api"
)

const (
	// lookInterval is the time between two looks at the parts of the readiness.
	lookInterval = 5 * time.Second
	// lookTimeout bounds a look: an engine that is frozen does not answer at all.
	lookTimeout = 2 * time.Second
)

// followersLabel stands for the group in the metric of the partitions that cannot be read.
const followersLabel = "followers"

// look asks what /readyz asks, and shows it as metrics: alerts must not depend on somebody who
// asks for /readyz.
func (a *App) look(ctx context.Context) error {
	checks := a.checks()
	errs := ask(ctx, checks)
	if ctx.Err() != nil {
		return nil
	}
	ready := true
	for i, c := range checks {
		a.metrics.SetCheck(c.Name, errs[i] == nil)
		ready = ready && (errs[i] == nil || !c.Required)
	}
	a.metrics.SetReady(ready)
	damaged, _ := a.damagedFollowers()
	a.metrics.SetStopped(followersLabel, damaged)
	for _, group := range a.only {
		if group != apiName {
			a.metrics.SetWaiting(group, a.health.waitingOf(group))
		}
	}
	return nil
}

// ask runs all checks at once and returns their errors.
func ask(ctx context.Context, checks []api.Check) []error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { errs[i] = c.Ping(ctx) })
	}
	wg.Wait()
	return errs
}
