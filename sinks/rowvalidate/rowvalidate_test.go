package rowvalidate_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/rowvalidate"
	"github.com/slipstream-rec/slipstream/stream/record"
)

var took = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// refused returns why the only row is refused.
func refused(rows sinks.Rows) error {
	err := rowvalidate.Rows(rows)
	var r *fault.Rejected
	if errors.As(err, &r) {
		return r.Records[0].Err
	}
	return err
}

func TestRows(t *testing.T) {
	t.Parallel()
	interaction := func(a schemas.Action, at, recorded time.Time) error {
		return refused(
			sinks.InteractionRows{
				{Interaction: schemas.Interaction{Action: a, OccurredAt: at}, RecordedAt: recorded},
			},
		)
	}
	list := func(at time.Time, partition, rank int) error {
		return refused(sinks.RecommendationRows{{Recommendation: schemas.Recommendation{
			GeneratedAt: at, CausedBy: schemas.CausedBy{Partition: partition},
			Items: []schemas.RecommendedItem{{ItemID: "i", Rank: rank}},
		}, RecordedAt: took}})
	}
	letter := func(x sinks.DeadLetterRow) error {
		x.RecordedAt = took
		return refused(sinks.DeadLetterRows{x})
	}
	past := time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC)
	future := time.Date(2105, 1, 2, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		err  error
		says string // empty: the row is fine
	}{
		{"an interaction", interaction(schemas.View, took, took), ""},
		{"without a time of its own", interaction(schemas.View, time.Time{}, took), ""},
		{"without any time", interaction(schemas.View, time.Time{}, time.Time{}), "occurred_at"},
		{"before 1970", interaction(schemas.View, past, took), "occurred_at"},
		{"after 2105", interaction(schemas.View, future, took), "occurred_at"},
		{"recorded never", interaction(schemas.View, took, time.Time{}), "recorded_at"},
		{"no action", interaction("", took, took), "no action"},
		{"a list", list(took, 3, 1), ""},
		{"a list of the year 2105", list(future, 3, 1), "generated_at"},
		{"a list caused by a wrong partition", list(took, -1, 1), "partition"},
		{"a list with a wrong rank", list(took, 3, 70000), "rank"},
		{
			"an item",
			refused(
				sinks.ItemRows{
					{RecordedAt: took, Item: schemas.Item{Attributes: map[string]any{"a": 1}}},
				},
			),
			"",
		},
		{
			"an item that is no JSON",
			refused(
				sinks.ItemRows{
					{
						RecordedAt: took,
						Item:       schemas.Item{Attributes: map[string]any{"a": math.NaN()}},
					},
				},
			),
			"attributes",
		},
		{
			"a user that is no JSON",
			refused(
				sinks.UserRows{
					{
						RecordedAt: took,
						User:       schemas.User{Attributes: map[string]any{"a": make(chan int)}},
					},
				},
			),
			"attributes",
		},
		{"a dead letter", letter(sinks.DeadLetterRow{}), ""},
		{"a dead letter tried too often", letter(sinks.DeadLetterRow{Attempts: -1}), "attempts"},
		{
			"a dead letter of a wrong partition", letter(sinks.DeadLetterRow{Partition: 65536}),
			"partition",
		},
		{
			"a dead letter that failed in 2105", letter(sinks.DeadLetterRow{LastFailedAt: future}),
			"last failure",
		},
		{"progress", rowvalidate.Progress(&sinks.Progress{Topic: "t"}), ""},
		{"progress of nothing", rowvalidate.Progress(&sinks.Progress{}), "out of bounds"},
	} {
		if c.says == "" {
			require.NoError(t, c.err, c.name)
			continue
		}
		require.ErrorContains(t, c.err, c.says, c.name)
		require.Equal(t, fault.Permanent, fault.ClassOf(c.err), c.name)
	}
}

func TestRowsNamesEveryOffendingRow(t *testing.T) {
	t.Parallel()
	good := sinks.InteractionRow{
		Interaction: schemas.Interaction{Action: schemas.View, OccurredAt: took}, RecordedAt: took,
	}
	bad := good
	bad.Action = ""
	require.NoError(t, rowvalidate.Rows(nil))
	require.NoError(t, rowvalidate.Rows(sinks.InteractionRows{good, good, good}))
	err := rowvalidate.Rows(sinks.InteractionRows{good, bad, good, bad, good})
	var r *fault.Rejected
	require.ErrorAs(t, err, &r)
	require.True(t, r.Undone)
	require.Len(t, r.Records, 2)
	require.Equal(t, 3, r.Records[1].Index)
	require.Equal(t, fault.Permanent, fault.ClassOf(r.Records[0].Err))
}

func TestRangeAndJSON(t *testing.T) {
	t.Parallel()
	good := record.Range{LogID: "l", Topic: "t", First: 1, Last: 1}
	require.NoError(t, rowvalidate.Range(good))
	for _, change := range []func(*record.Range){
		func(r *record.Range) { r.LogID = "" }, func(r *record.Range) { r.Topic = "" },
		func(r *record.Range) { r.First = 2 },
		func(r *record.Range) { r.First, r.Last = -1, 5 },
		func(r *record.Range) { r.Partition = 1 << 16 },
	} {
		r := good
		change(&r)
		require.Error(t, rowvalidate.Range(r))
	}
	require.JSONEq(t, `{}`, rowvalidate.JSONObject[any](nil))
	require.JSONEq(t, `{"a":1,"b":"x"}`, rowvalidate.JSONObject(map[string]any{"b": "x", "a": 1}))
}
