package datasets_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/emittest"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func dataset(t *testing.T) *datasets.Dataset {
	t.Helper()
	d, err := datasets.Open(t.Context(), datasets.Config{Path: "testdata/ml-100k"})
	require.NoError(t, err)
	return d // 3 items, 3 users, 5 interactions
}

func TestReplayKeepsTheOrder(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{0, 1, 2, 100} {
		t.Run(fmt.Sprint(batch), func(t *testing.T) {
			t.Parallel()
			log := &emittest.Log{}
			var steps []datasets.ReplayProgress
			p, err := datasets.Replay(
				t.Context(), dataset(t), log,
				datasets.ReplayOptions{
					Batch:    batch,
					Progress: func(p datasets.ReplayProgress) { steps = append(steps, p) },
				},
			)
			require.NoError(t, err)
			var want []record.Record
			for m := range dataset(t).Messages() {
				want = append(want, m)
			}
			require.Equal(t, want, log.Messages())
			require.Equal(t, 11, p.Done)
			require.Equal(t, 11, p.Total)
			require.Equal(t, 5, p.Interactions)
			require.Equal(t, p, steps[len(steps)-1])
		})
	}
}

func TestReplayStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	log := &emittest.Log{}
	p, err := datasets.Replay(t.Context(), dataset(t), log, datasets.ReplayOptions{Limit: 2})
	require.NoError(t, err)
	require.Len(t, log.Messages(), 8)
	require.Equal(t, 2, p.Interactions)
	require.Equal(t, 8, p.Total)
}

func TestReplayHoldsItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &emittest.Log{}
		started := time.Now()
		_, err := datasets.Replay(t.Context(), dataset(t), log, datasets.ReplayOptions{Rate: 2})
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, time.Since(started), "five interactions at 0, 0.5, … 2 s")
		require.Len(t, log.Batches, 6)
	})
}

func TestReplayOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		log := &emittest.Log{}
		log.Plan = func(_ context.Context, b []record.Record) error {
			switch calls++; calls {
			case 1, 2, 3:
				return fault.Transientf("no leader")
			case 4:
				return &producers.EmitError{
					Total:  len(b),
					Failed: []fault.Rejection{{Index: 4, Err: fault.Transientf("no leader")}},
				}
			}
			return nil
		}
		_, err := datasets.Replay(t.Context(), dataset(t), log, datasets.ReplayOptions{})
		require.NoError(t, err)
		require.Len(t, log.Messages(), 11, "each message once")
	})
}

func TestReplayEndsWhenRefusedOrCanceled(t *testing.T) {
	t.Parallel()
	log := &emittest.Log{
		Plan: func(context.Context, []record.Record) error { return fault.Permanentf("too large") },
	}
	_, err := datasets.Replay(t.Context(), dataset(t), log, datasets.ReplayOptions{})
	require.ErrorContains(
		t, err,
		`replay, after 0 of 11 messages: message with key "1" for items is refused: too large`,
	)

	ctx, cancel := context.WithCancel(t.Context())
	log = &emittest.Log{
		Plan: func(context.Context, []record.Record) error {
			cancel()
			return fault.Transientf("down")
		},
	}
	_, err = datasets.Replay(ctx, dataset(t), log, datasets.ReplayOptions{})
	require.ErrorIs(t, err, context.Canceled)
}
