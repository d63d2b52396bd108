package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
)

func TestStartWaitsForEngines(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Minute
	away := fault.Transientf("connection refused")
	for _, tc := range []struct {
		name string
		// fails is the number of attempts that fail with err.
		fails int
		err   error
		tries int
		ok    bool
	}{
		{"reachable at once", 0, nil, 1, true},
		{"reachable soon", 5, away, 6, true},
		{"never reachable", 1 << 30, away, 0, false},
		{"a permanent error is returned at once", 1, fault.Permanentf("wrong password"), 1, false},
		{"an unknown error is returned at once", 1, errors.New("what?"), 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin, tries := time.Now(), 0
				_, err := retryStart(
					t.Context(),
					limit,
					func(context.Context) (int, error) {
						if tries++; tries > tc.fails {
							return 0, nil
						}
						return 0, tc.err
					},
				)
				require.LessOrEqual(t, time.Since(begin), limit)
				if tc.ok {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, tc.err)
				}
				if tc.tries > 0 {
					require.Equal(t, tc.tries, tries)
				} else {
					require.Greater(t, tries, 20)
				}
			})
		})
	}
}

func TestStartStopsWaitingWhenCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := retryStart(
		ctx, time.Hour,
		func(context.Context) (int, error) { return 0, fault.Transientf("away") },
	)
	require.Error(t, err)
}
