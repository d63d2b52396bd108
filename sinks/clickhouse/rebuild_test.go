package clickhouse_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/clickhouse"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// A second set of tables is filled beside the live one, takes its place with its sums, and goes on
// counting each range once.
func TestRealSwitch(t *testing.T) {
	e := setup(t)
	ctx := t.Context()
	at := time.Now().UTC().Truncate(time.Hour)
	rows := func(first, n int64) sinks.InteractionRows {
		out := make(sinks.InteractionRows, n)
		for i := range out {
			o := first + int64(i)
			out[i] = sinks.InteractionRow{
				Interaction: schemas.Interaction{
					EventID: "e" + time.Duration(o).String(), Source: "t", UserID: "u", ItemID: "i",
					Action: schemas.View, OccurredAt: at,
				},
				Offset: o, RecordedAt: at,
			}
		}
		return out
	}
	span := func(first, last int64) record.Range {
		return record.Range{
			LogID: "log", Topic: schemas.TopicInteractions, First: first, Last: last,
		}
	}
	require.NoError(t, e.SetLogID(ctx, "old"))
	require.NoError(t, e.Insert(ctx, span(0, 9), rows(0, 10)))
	require.Error(t, e.Drop(ctx))
	require.Error(t, e.Switch(ctx, "log"))

	b := e.Beside()
	t.Cleanup(func() { require.NoError(t, b.Drop(context.WithoutCancel(ctx))) })
	require.NoError(t, b.Drop(ctx), "nothing is there yet")
	require.NoError(t, b.Migrate(ctx))
	require.NoError(t, b.Insert(ctx, span(0, 2), rows(0, 3)))
	require.NoError(
		t,
		b.SetProgress(
			ctx,
			[]sinks.Progress{
				{Topic: schemas.TopicInteractions, Offset: 2, OccurredAt: at, RecordedAt: at},
			},
		),
	)
	counts := func(s *clickhouse.Store) sinks.Counts {
		n, err := s.CountInteractions(ctx)
		require.NoError(t, err)
		return n
	}
	require.Equal(
		t, sinks.Counts{Rows: 10, ItemHours: 10, UserDays: 10}, counts(e.Store),
		"the live store is untouched",
	)

	require.NoError(t, b.Switch(ctx, "log"))
	require.Equal(t, sinks.Counts{Rows: 3, ItemHours: 3, UserDays: 3}, counts(e.Store))
	id, err := e.LogID(ctx)
	require.NoError(t, err)
	require.Equal(t, "log", id)
	progress, err := e.GetProgress(ctx)
	require.NoError(t, err)
	require.Len(t, progress, 1)
	for range 2 { // the group goes on with the next range, and repeats it
		require.NoError(t, e.Insert(ctx, span(3, 9), rows(3, 7)))
	}
	require.Equal(t, sinks.Counts{Rows: 10, ItemHours: 10, UserDays: 10}, counts(e.Store))
	require.NoError(t, b.Close())
	require.NoError(t, e.Ping(ctx), "closing the one beside closes nothing")

	// What is beside now are the old tables: switching back is refused, dropping them is not, and
	// the views live on.
	require.Equal(t, fault.Permanent, fault.ClassOf(b.Switch(ctx, "log")))
	require.NoError(t, b.Drop(ctx))
	require.NoError(t, e.Insert(ctx, span(10, 10), rows(10, 1)))
	require.Equal(t, sinks.Counts{Rows: 11, ItemHours: 11, UserDays: 11}, counts(e.Store))
	require.NoError(t, e.Migrate(ctx))
}
