package app

import (
	"context"
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/ratelimiter"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// pace returns a function that waits until n more lists may be made, of so many a second.
func pace(perSecond int) func(ctx context.Context, n int) error {
	limiter := ratelimiter.NewSmooth[any](uint(max(perSecond, 1)), time.Second)
	return func(ctx context.Context, n int) error {
		return limiter.AcquirePermits(ctx, uint(max(n, 0)))
	}
}

// gapLogInterval is the time between two log lines about the same gap.
const gapLogInterval = 30 * time.Second

// gapProgress shows how far the lists are for users whose profile changes were deleted unread.
func (a *App) gapProgress(g processors.GapProgress) {
	tp := record.TopicPartition{Topic: schemas.TopicProfileChanges, Partition: g.Partition}
	what := inGroup{schemas.GroupRecommend, tp}
	a.gaps.mu.Lock()
	before := a.gaps.lists[tp]
	a.gaps.lists[tp] = g.Lists
	due := g.Done || now().Sub(a.gaps.logged[tp]) >= gapLogInterval
	if due {
		a.gaps.logged[tp] = now()
	}
	if g.Done {
		delete(a.gaps.lists, tp)
		delete(a.gaps.logged, tp)
	}
	a.gaps.mu.Unlock()
	a.metrics.GapLists(max(0, g.Lists-before))
	since := "ever"
	if !g.Since.IsZero() {
		since = g.Since.Format(time.RFC3339)
	}
	if g.Done {
		a.health.goesOn(what)
	} else {
		a.health.waits(what, fmt.Errorf("it makes lists for all who have changed since %s, "+
			"the latest first: %d so far, %s", since, g.Lists, reached(g.At)))
	}
	if due {
		a.log.Info(
			"lists for users whose profile changes were deleted unread", "partition", tp.String(),
			"first", g.First, "last", g.Last, "since", since, "lists", g.Lists, "done", g.Done,
		)
	}
}

func reached(at time.Time) string {
	if at.IsZero() {
		return "at the beginning"
	}
	return "now at " + at.Format(time.RFC3339)
}
