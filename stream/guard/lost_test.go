package guard

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// lostRange is what the subscriber hands out for records that were deleted unread.
func (b *bench) lostRange() *record.Batch {
	return &record.Batch{
		Group: "g", Range: record.Range{Topic: "in", Partition: 3, First: 10, Last: 19},
		Lost: true, End: 25, Lease: b.lease,
	}
}

// onlyLost fails the test when the handler of records is called.
func onlyLost(t *testing.T) Handler {
	return func(context.Context, *record.Batch) error {
		t.Error("there are no records to handle")
		return nil
	}
}

// A group goes on behind records that were deleted unread, whatever comes of making up for them.
// Nothing becomes a dead letter, for there is nothing to put into one.
func TestGuardGoesOnBehindWhatIsLost(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lost  Handler
		calls int // of lost, which counts in its own way
	}{
		"it is made up for":  {func(context.Context, *record.Batch) error { return nil }, 1},
		"it fails for good":  {failing(fault.Permanentf("no such list")), 1},
		"it fails unclearly": {failing(errors.New("who knows")), 3},
		"it rejects":         {failing(rejection()), 1},
		"it panics":          {func(context.Context, *record.Batch) error { panic("who") }, 3},
		"nobody can":         {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				b := newBench(t, onlyLost(t), func(o *Options) {
					o.MaxAttempts = 3
					if tc.lost == nil {
						return
					}
					o.Lost = func(ctx context.Context, in *record.Batch) error {
						calls++
						assert.True(t, in.Lost)
						assert.Equal(t, [2]int64{10, 19}, [2]int64{in.First, in.Last})
						return tc.lost(ctx, in)
					}
				})
				require.True(t, b.run(t.Context(), b.lostRange()), "it is acknowledged")
				assert.Equal(t, tc.calls, calls)
				assert.Empty(t, b.out.records)
				assert.Empty(t, b.told)
				require.Len(t, b.done, 1)
				assert.Equal(t, OutcomeDone, b.done[0].Outcome)
				assert.Zero(t, b.done[0].Records)
			})
		})
	}
}

func failing(err error) Handler { return func(context.Context, *record.Batch) error { return err } }

func rejection() error {
	var no fault.Reject
	no.Add(0, fault.Permanentf("not an event"))
	return no.Err()
}

// A store that is away is waited for, however long: the users who changed are not given up.
func TestGuardWaitsForTheStoreThatTellsWhatIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := time.Now().Add(3 * time.Hour)
		b := newBench(t, onlyLost(t), func(o *Options) {
			o.MaxAttempts, o.Timeout = 2, time.Second
			o.Lost = func(ctx context.Context, _ *record.Batch) error {
				if time.Now().Before(up) {
					return fmt.Errorf("who has changed: %w", fault.Transientf("connection refused"))
				}
				// Making up for a day takes longer than a batch may.
				assert.True(t, fault.Sleep(ctx, time.Hour))
				return nil
			}
		})
		require.True(t, b.run(t.Context(), b.lostRange()))
		assert.GreaterOrEqual(t, time.Since(up), time.Hour)
		assert.Equal(t, OutcomeDone, b.done[0].Outcome)
		assert.Zero(t, b.done[0].Attempts, "no attempt is charged")
		assert.Contains(t, b.states, "open")
	})
}

// A member that must give the partition up leaves the range to the next one.
func TestGuardLeavesWhatIsLostToTheNextOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b *bench
		b = newBench(t, onlyLost(t), func(o *Options) {
			o.Lost = func(context.Context, *record.Batch) error {
				close(b.lease.drain)
				return fault.As(fault.Canceled, context.Canceled)
			}
		})
		require.False(t, b.run(t.Context(), b.lostRange()), "it is not acknowledged")
		require.Len(t, b.done, 1)
		assert.Equal(t, OutcomeLeft, b.done[0].Outcome)
		assert.Empty(t, b.out.records)
	})
}
