package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go/ratelimiter"

	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
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

var errRead = errors.New("one record is enough")

// measureAge measures how old the oldest record is that a group has not read, on topics whose
// records are deleted by time: how near it is to losing some.
func (a *App) measureAge(ctx context.Context) error {
	lags, err := admin.Lag(ctx, a.kafka.conn, a.kafka.GroupTopics())
	if err != nil {
		return err
	}
	type series struct{ group, topic string }
	ages := make(map[series]time.Duration)
	for _, l := range lags {
		if !a.kafka.expires(l.Topic) {
			continue
		}
		key := series{l.Group, l.Topic}
		ages[key] = max(ages[key], 0)
		if l.Lag == 0 {
			continue
		}
		err := a.kafka.Read(ctx, l.Topic, l.Partition, max(l.Committed, 0), -1,
			func(r *record.Record) error {
				ages[key] = max(ages[key], now().Sub(r.Time))
				return errRead
			})
		if err != nil && !errors.Is(err, errRead) {
			return fmt.Errorf("age of the records that %s has not read: %w", l.Group, err)
		}
	}
	out := make([]telemetry.Age, 0, len(ages))
	for key, age := range ages {
		out = append(out, telemetry.Age{
			Group: key.group, Topic: key.topic, Age: age, Retention: a.kafka.retentions[key.topic],
		})
	}
	a.metrics.SetAges(out)
	return nil
}
