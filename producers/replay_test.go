package producers_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/schemas"
)

func dataset(t *testing.T) *datasets.Dataset {
	t.Helper()
	d, err := datasets.Open(t.Context(), datasets.Config{Path: "datasets/testdata/ml-100k"})
	require.NoError(t, err)
	return d // 3 items, 3 users, 5 interactions
}

func TestReplayKeepsTheOrder(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{0, 1, 2, 100} {
		t.Run(fmt.Sprint(batch), func(t *testing.T) {
			t.Parallel()
			log := &logEmitter{}
			var steps []producers.ReplayProgress
			p, err := producers.Replay(t.Context(), dataset(t), log, producers.ReplayOptions{Batch: batch, Progress: func(p producers.ReplayProgress) { steps = append(steps, p) }})
			require.NoError(t, err)
			var want []schemas.Message
			for m := range dataset(t).Messages() {
				want = append(want, m)
			}
			require.Equal(t, want, log.messages())
			require.Equal(t, 11, p.Done)
			require.Equal(t, 11, p.Total)
			require.Equal(t, 5, p.Interactions)
			require.Equal(t, p, steps[len(steps)-1])
		})
	}
}

func TestReplayStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	log := &logEmitter{}
	p, err := producers.Replay(t.Context(), dataset(t), log, producers.ReplayOptions{Limit: 2})
	require.NoError(t, err)
	require.Len(t, log.messages(), 8)
	require.Equal(t, 2, p.Interactions)
	require.Equal(t, 8, p.Total)
}

func TestReplayHoldsItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &logEmitter{}
		started := time.Now()
		_, err := producers.Replay(t.Context(), dataset(t), log, producers.ReplayOptions{Rate: 2})
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, time.Since(started), "five interactions at 0, 0.5, … 2 s")
		require.Len(t, log.batches, 6)
	})
}

func TestReplayOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		log := &logEmitter{}
		log.plan = func(_ context.Context, b []schemas.Message) error {
			switch calls++; calls {
			case 1, 2, 3:
				return fault.Transientf("no leader")
			case 4:
				return &producers.EmitError{Total: len(b), Failed: []fault.Rejection{{Index: 4, Err: fault.Transientf("no leader")}}}
			}
			return nil
		}
		_, err := producers.Replay(t.Context(), dataset(t), log, producers.ReplayOptions{})
		require.NoError(t, err)
		require.Len(t, log.messages(), 11, "each message once")
	})
}

func TestReplayEndsWhenRefusedOrCanceled(t *testing.T) {
	t.Parallel()
	log := &logEmitter{plan: func(context.Context, []schemas.Message) error { return fault.Permanentf("too large") }}
	_, err := producers.Replay(t.Context(), dataset(t), log, producers.ReplayOptions{})
	require.ErrorContains(t, err, `replay, after 0 of 11 messages: message with key "1" for items is refused: too large`)

	ctx, cancel := context.WithCancel(t.Context())
	log = &logEmitter{plan: func(context.Context, []schemas.Message) error { cancel(); return fault.Transientf("down") }}
	_, err = producers.Replay(ctx, dataset(t), log, producers.ReplayOptions{})
	require.ErrorIs(t, err, context.Canceled)
}
