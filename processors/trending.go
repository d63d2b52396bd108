package processors

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// TrendSource is what a TrendingJob needs of the analytics store. sinktest.Analytics says what its
// method promises.
type TrendSource interface {
	TrendingItems(ctx context.Context, q sinks.TrendingQuery) ([]sinks.Scored, error)
}

// TrendingJob computes the trending list from the hourly rollups.
type TrendingJob struct {
	store TrendSource
	emit  Emitter
	query sinks.TrendingQuery
	now   func() time.Time
	found atomic.Bool
}

// NewTrendingJob returns the job; query.Until is set at each run.
func NewTrendingJob(
	store TrendSource,
	emit Emitter,
	query sinks.TrendingQuery,
	now func() time.Time,
) *TrendingJob {
	return &TrendingJob{store: store, emit: emit, query: query, now: now}
}

// Found tells whether a run has published a list.
func (t *TrendingJob) Found() bool { return t.found.Load() }

// Run computes and publishes the list. An empty store publishes nothing.
func (t *TrendingJob) Run(ctx context.Context) error {
	scored, err := t.store.TrendingItems(ctx, t.query)
	if err != nil {
		return fmt.Errorf("compute trending items: %w", err)
	}
	if len(scored) == 0 {
		return nil
	}
	list := schemas.Trending{ComputedAt: t.now().UTC(), HalfLife: t.query.HalfLife.String()}
	for _, s := range scored {
		list.Items = append(list.Items, schemas.TrendingItem{ItemID: s.ItemID, Score: s.Score})
	}
	if err := t.emit.Emit(ctx, []record.Record{list.Message()}); err != nil {
		return fmt.Errorf("publish trending items: %w", err)
	}
	t.found.Store(true)
	return nil
}
