package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/guard"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// guardHooks turns the events of the guard into metrics and readiness.
func (a *App) guardHooks() guard.Hooks {
	m := a.metrics
	return guard.Hooks{
		Done: func(_ context.Context, e guard.BatchDone) {
			what := inGroup{e.Group, e.TopicPartition}
			a.health.goesOn(what)
			m.Stage("handle", e.Group, e.Duration)
			if e.Outcome != guard.OutcomeLeft {
				m.Consumed(e.Group, e.Topic, e.Records)
				a.troubles.works(what.String())
				a.troubles.works(e.Handler)
			}
		},
		Retrying: func(_ context.Context, e guard.Retrying) {
			m.Retried(e.Group, e.Class.String(), 1)
			a.health.fails(e.Handler, e.Err)
			switch what := (inGroup{e.Group, e.TopicPartition}); {
			case fault.Waits(e.Err):
				a.health.waits(what, e.Err)
				a.troubles.fails(what.String(), e.Err)
			default:
				a.health.goesOn(what) // it fails for another reason now
				a.troubles.fails(e.Handler, e.Err)
			}
		},
		Moved: func(_ context.Context, e guard.Moved) {
			if e.DeadLetter {
				m.Poisoned(e.Group, e.Origin.Topic, e.Class.String(), 1)
			}
		},
		Breaker: func(handler, state string) {
			m.SetBreaker(handler, state)
			a.health.setBreaker(handler, state)
		},
	}
}

func (a *App) subscriberHooks(group string) stream.SubscriberHooks {
	m := a.metrics
	return stream.SubscriberHooks{
		Emitted: func(b *record.Batch, _ int) {
			bytes := 0
			for i := range b.Records {
				bytes += len(b.Records[i].Key) + len(b.Records[i].Value)
			}
			m.Batch(group, b.Topic, len(b.Records), bytes)
		},
		Fetched: func(_ []string, _, _ int, d time.Duration) { m.Stage("fetch", group, d) },
		Committed: func(_ int, d time.Duration, err error) {
			m.Stage("commit", group, d)
			if err == nil {
				a.troubles.works(member(group))
			}
		},
		Generation: func(_, partitions int) {
			m.SetAssigned(group, partitions)
			// Whatever was wrong is looked at anew, here or where the partition is now.
			a.health.startsOver(group)
			m.SetStopped(group, 0)
			if partitions > 0 {
				a.troubles.works(member(group))
			}
		},
		RecordsLost: func(tp record.TopicPartition, first, last int64) {
			m.Lost(group, tp.Topic, last-first+1)
			a.log.Error(
				"records were deleted before the group read them: it goes on behind them; "+
					"more instances or a longer retention help", "group", group,
				"partition", tp.String(), "first", first, "last", last,
			)
		},
		PartitionStopped: func(tp record.TopicPartition, err error) {
			m.SetStopped(group, a.health.stop(inGroup{group, tp}, err))
		},
		PartitionResumed: func(tp record.TopicPartition) {
			m.SetStopped(group, a.health.resume(inGroup{group, tp}))
		},
		Error: func(err error) { a.troubles.fails(member(group), err) },
	}
}

// member is what the log calls the part of a process that reads for a group.
func member(group string) string { return "consumer group " + group }

// GroupTopics lists the topics of each consumer group.
func (k *Kafka) GroupTopics() map[string][]string {
	return processors.GroupTopics(k.retryDelays)
}

// consumed returns how many records the groups have committed.
func (k *Kafka) consumed(ctx context.Context, groups []string) (int64, error) {
	all := k.GroupTopics()
	want := make(map[string][]string)
	for _, g := range groups {
		want[g] = all[g]
	}
	lags, err := admin.Lag(ctx, k.conn, want)
	if err != nil {
		return 0, fmt.Errorf("read the positions of %v: %w", groups, err)
	}
	var n int64
	for _, l := range lags {
		n += max(0, l.Committed)
	}
	return n, nil
}

// countList updates the metrics for a list that an event has caused.
func (a *App) countList(list *schemas.Recommendation) {
	a.metrics.Served(list.CausedBy.Trigger, list.Strategy, list.Variant, len(list.Degraded) > 0)
	if t := list.CausedBy.AcceptedAt; !t.IsZero() {
		a.metrics.Freshness(now().Sub(t))
	}
}

// countItems says at the start, and when it begins later, that items without a catalog entry are
// recommended.
func (a *App) countItems(n processors.ItemCounts) {
	if n.WithoutEntry == 0 || a.cfg.Recommend.CatalogOnly ||
		!a.unlisted.CompareAndSwap(false, true) {
		return
	}
	a.log.Info("items without a catalog entry are recommended: ids that only events name. They "+
		"leave after recommend.item_ttl without an event; recommend.catalog_only leaves them out. "+
		"slipstream status has the numbers of all instances",
		"without_entry", n.WithoutEntry, "items", n.Items)
}

// Degraded returns an error that names the partitions which stopped or wait and the processors that
// keep failing, or nil.
func (a *App) Degraded() error { return a.health.err() }

func (a *App) corruptUser(userID string, err error) {
	a.log.Warn("the state of a user is corrupt: the user is rebuilt from the log",
		"user", userID, "error", err)
}

func (a *App) repairedUser(userID string, events int) {
	a.metrics.Repaired()
	a.log.Info(
		"a user with a corrupt state was rebuilt from the log", "user", userID, "events", events,
	)
}

// inGroup is a partition as a group works on it. Another group may go on with the same partition.
type inGroup struct {
	group string
	record.TopicPartition
}

// String returns the words that /readyz has for it.
func (p inGroup) String() string { return p.group + " at " + p.TopicPartition.String() }

// health tracks the partitions that stopped or wait. It is safe for concurrent use.
type health struct {
	mu sync.Mutex
	// stopped are the partitions that wait for an operator, until the group's next generation.
	stopped map[inGroup]error
	// waiting are the partitions that wait and continue by themselves.
	waiting map[inGroup]error
	// failing are the handlers whose circuit breaker is not closed. last is the latest failure of
	// each handler.
	failing map[string]struct{}
	last    map[string]error
}

// fails records a failure of a handler, for the case that its circuit breaker opens.
func (h *health) fails(handler string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil {
		h.last = make(map[string]error)
	}
	h.last[handler] = err
}

// setBreaker records the state of a handler's circuit breaker.
func (h *health) setBreaker(handler, state string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if state == "closed" {
		delete(h.failing, handler)
		return
	}
	if h.failing == nil {
		h.failing = make(map[string]struct{})
	}
	h.failing[handler] = struct{}{}
}

// waits records that a partition waits because of err, until goesOn.
func (h *health) waits(what inGroup, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == nil {
		h.waiting = make(map[inGroup]error)
	}
	h.waiting[what] = err
}

func (h *health) goesOn(what inGroup) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, what)
}

// stop records that a partition stopped because of err, until startsOver. It returns how many of
// the group are stopped.
func (h *health) stop(what inGroup, err error) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped == nil {
		h.stopped = make(map[inGroup]error)
	}
	h.stopped[what] = err
	return h.stoppedOf(what.group)
}

// resume forgets that a partition stopped. It returns how many of the group still are.
func (h *health) resume(what inGroup) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.stopped, what)
	return h.stoppedOf(what.group)
}

// waitingOf counts the waiting partitions of a group.
func (h *health) waitingOf(group string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.waiting {
		if p.group == group {
			n++
		}
	}
	return n
}

// stoppedOf counts the stopped partitions of a group. The lock is held.
func (h *health) stoppedOf(group string) (n int) {
	for p := range h.stopped {
		if p.group == group {
			n++
		}
	}
	return n
}

// startsOver forgets what is wrong with the partitions of a group: its partitions are assigned
// anew, and each is looked at again by the process that gets it.
func (h *health) startsOver(group string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	mine := func(p inGroup, _ error) bool { return p.group == group }
	maps.DeleteFunc(h.stopped, mine)
	maps.DeleteFunc(h.waiting, mine)
}

// err returns an error that names every partition which stopped or waits, and every handler that
// keeps failing, or nil.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines []string
	for what, err := range h.stopped {
		lines = append(lines, fmt.Sprintf("%s: %s", what, err))
	}
	for what, err := range h.waiting {
		lines = append(lines, fmt.Sprintf("%s waits: %s", what, err))
	}
	for handler := range h.failing {
		err := h.last[handler]
		if err == nil {
			err = errors.New("it fails")
		}
		lines = append(
			lines, fmt.Sprintf("%s keeps failing, its breaker is open: %s", handler, err),
		)
	}
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines) // the same answer while nothing changes
	return errors.New(strings.Join(lines, "\n"))
}
