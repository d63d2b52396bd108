package app

import (
	"context"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/producers/simulator"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// CurrentLists follows the compacted topic of current lists, as a service that consumes
// recommendations would.
type CurrentLists struct {
	mu    sync.RWMutex
	lists map[string]*schemas.Recommendation
	// personal is a user who has a personal list.
	personal string
}

var _ simulator.Lists = (*CurrentLists)(nil)

// NewCurrentLists returns a follower without lists.
func NewCurrentLists() *CurrentLists {
	return &CurrentLists{lists: make(map[string]*schemas.Recommendation)}
}

// Apply applies one record.
func (c *CurrentLists) Apply(r *record.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	user := string(r.Key)
	if len(r.Value) == 0 {
		delete(c.lists, user)
		if c.personal == user {
			c.personal = ""
		}
		return nil
	}
	list, err := schemas.DecodeRecommendation(r)
	if err != nil {
		return nil // a foreign record must not end the simulation
	}
	if old := c.lists[user]; old != nil && old.Version > list.Version {
		return nil // of equal versions the later stands
	}
	c.lists[user] = &list
	if c.personal == "" && list.Strategy == schemas.StrategyPersonal && len(list.Items) > 0 {
		c.personal = user
	}
	return nil
}

// Latest implements simulator.Lists.
func (c *CurrentLists) Latest(_ context.Context, userID string) (*schemas.Recommendation, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.lists[userID], nil
}

// Someone returns a user who has a personal list, or "".
func (c *CurrentLists) Someone() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.personal
}

// Simulate runs the simulated audience until ctx ends, and returns how many events it wrote. Its
// lists come from the log.
func Simulate(
	ctx context.Context, k *Kafka, log *slog.Logger, c simulator.Config, lists *CurrentLists,
) (events int, err error) {
	group, gctx := errgroup.WithContext(ctx)
	done, stop := context.WithCancel(gctx)
	follower := k.Follower(schemas.TopicRecommendationsCurrent, log, lists.Apply)
	counting := &countingEmitter{Emitter: k}
	group.Go(func() error { return follower.Run(done) })
	group.Go(func() error {
		defer stop()
		sim, err := simulator.New(c, lists, now)
		if err != nil {
			return err
		}
		return sim.Run(done, counting)
	})
	err = group.Wait()
	return counting.n, err
}

// countingEmitter counts the records of the batches that the log took whole. Not safe for
// concurrent use.
type countingEmitter struct {
	producers.Emitter
	n int
}

func (e *countingEmitter) Emit(ctx context.Context, batch []record.Record) error {
	err := e.Emitter.Emit(ctx, batch)
	if err == nil {
		e.n += len(batch)
	}
	return err
}
