package app

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// lookInterval is the time between two looks at the parts of the readiness.
	lookInterval = 5 * time.Second
	// lookTimeout bounds a look: an engine that is frozen does not answer at all.
	lookTimeout = 2 * time.Second
)

// followersLabel stands for the group in the metric of the partitions that cannot be read.
const followersLabel = "followers"

// look asks what /readyz asks. It shows the answers as metrics, since alerts must not depend on
// somebody who asks for /readyz, and logs what goes away and what is back.
func (a *App) look(ctx context.Context) error {
	parts := a.parts()
	errs := ask(ctx, parts)
	select {
	case <-ctx.Done():
		return nil
	default:
	}
	ready := a.stopping.Load() == nil
	engines := make(map[string]error)
	for i, p := range parts {
		a.metrics.SetCheck(p.Name, errs[i] == nil)
		ready = ready && (errs[i] == nil || !p.Required)
		if p.engine != "" && engines[p.engine] == nil {
			engines[p.engine] = errs[i]
		}
	}
	a.metrics.SetReady(ready)
	for _, engine := range slices.Sorted(maps.Keys(engines)) {
		a.outages.tellOutage(a.log, engine, engines[engine], outagePatience,
			func(engine string) (int64, error) { return a.behind(ctx, engine) })
	}
	for _, f := range a.followers {
		if p := f.Progress(); p.Err != nil {
			a.troubles.fails("follow "+p.Topic, p.Err)
		} else {
			a.troubles.works("follow " + p.Topic)
		}
	}
	a.troubles.report(a.log, a.outages.explains())
	damaged, _ := a.damagedFollowers()
	a.metrics.SetStopped(followersLabel, damaged)
	for _, group := range a.only {
		if group != apiName {
			a.metrics.SetWaiting(group, a.health.waitingOf(group))
		}
	}
	return nil
}

// ask asks all parts at once and returns their errors.
func ask(ctx context.Context, parts []part) []error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() { errs[i] = p.Ping(ctx) })
	}
	wg.Wait()
	return errs
}
