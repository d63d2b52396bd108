package fault_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
)

func TestBackoffDoublesUpToItsBoundWithJitter(t *testing.T) {
	t.Parallel()
	b := fault.Backoff{First: 100 * time.Millisecond, Max: time.Second}
	for i, milliseconds := range []int{100, 200, 400, 800, 1000, 1000} {
		nominal := time.Duration(milliseconds) * time.Millisecond
		assert.False(t, i > 0 && i < 5 && b.AtMax())
		got := b.Next()
		assert.LessOrEqual(t, got, nominal, "wait %d", i)
		assert.Greater(t, got, nominal/2, "wait %d", i)
	}
	assert.True(t, b.AtMax())
	b.Reset()
	assert.LessOrEqual(t, b.Next(), 100*time.Millisecond)
	assert.LessOrEqual(t, b.After(1000), time.Second, "many failures do not overflow")

	seen := map[time.Duration]bool{}
	for range 20 {
		seen[b.After(5)] = true
	}
	assert.Greater(t, len(seen), 1, "two that fail together do not come back together")
	assert.Zero(t, (&fault.Backoff{}).Next())
}

func TestRetryWaitsOutWhatIsTransient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := fault.Backoff{First: time.Second, Max: 4 * time.Second}
		calls := 0
		start := time.Now()
		require.NoError(t, fault.Retry(t.Context(), b, func() error {
			if calls++; calls < 4 {
				return fault.Transientf("not yet")
			}
			return nil
		}))
		assert.Equal(t, 4, calls)
		assert.Greater(t, time.Since(start), 3500*time.Millisecond)

		bad := fault.Permanentf("never")
		require.ErrorIs(t, fault.Retry(t.Context(), b, func() error { return bad }), bad)

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := fault.Retry(ctx, b, func() error { return fault.Transientf("the broker is away") })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "the broker is away")

		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		err = fault.Retry(
			ctx, b,
			func() error { return errors.New("a driver's error under a canceled context") },
		)
		assert.Equal(t, fault.Canceled, fault.ClassOf(err))
		assert.False(t, fault.Sleep(ctx, 0))
	})
}
