package clickhouse_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// halfErased returns ten views of one user on one day, of which an erasure covers the first n.
func halfErased(n int) (rows sinks.InteractionRows, erased []sinks.Erasure) {
	rows = views(10, 10)
	for i := range rows {
		rows[i].UserID, rows[i].OccurredAt = "u", testDay.Add(time.Hour)
		if i < n {
			rows[i].OccurredAt = testDay
		}
	}
	return rows, []sinks.Erasure{{UserID: "u", At: testDay.Add(time.Minute)}}
}

// TestRealAnErasureLeavesOutWhatIsOnItsWay: a person is erased while an insert of another partition
// has added the rows of what came after, and not yet the sums. They count once.
func TestRealAnErasureLeavesOutWhatIsOnItsWay(t *testing.T) {
	e := setup(t)
	rows, erased := halfErased(4)
	own, other := rangeOf(10), rangeOf(10)
	other.Partition = 1
	later, _ := halfErased(0)
	require.NoError(t, e.Insert(t.Context(), own, rows))
	e.without(t, "interactions_to_user_days", func() {
		require.NoError(t, e.Insert(t.Context(), other, later))
	})
	e.requireCounts(t, 20, 20, 10)

	require.NoError(t, e.EraseUsers(t.Context(), erased))
	e.requireCounts(t, 16, 20, 6)
	require.NoError(t, e.EraseUsers(t.Context(), erased))
	e.requireCounts(t, 16, 20, 6)
	require.NoError(t, e.Insert(t.Context(), other, later)) // the sums of the other arrive
	for range 2 {
		e.requireCounts(t, 16, 20, 16)
		require.NoError(t, e.EraseUsers(t.Context(), erased))
	}
}

// TestRealAnErasureKeepsSumsFromBeforeTheWitness: inserts of an older version have left no witness
// rows. Then the stored progress tells what has landed.
func TestRealAnErasureKeepsSumsFromBeforeTheWitness(t *testing.T) {
	e := setupAt(t, 7)
	rows, erased := halfErased(4)
	landed := rangeOf(10)
	require.NoError(t, e.Insert(t.Context(), landed, rows))
	require.NoError(t, e.SetProgress(t.Context(), []sinks.Progress{
		{Topic: landed.Topic, Offset: landed.Last, OccurredAt: testDay, RecordedAt: testDay},
	}))
	require.NoError(t, e.Migrate(t.Context()))
	require.NoError(t, e.EraseUsers(t.Context(), erased))
	e.requireCounts(t, 6, 10, 6)

	next := record.Range{LogID: "log", Topic: landed.Topic, First: 10, Last: 19}
	for i := range rows {
		rows[i].Offset += 10
	}
	require.NoError(t, e.Insert(t.Context(), next, rows))
	require.NoError(t, e.EraseUsers(t.Context(), erased))
	e.requireCounts(t, 12, 20, 12)
}
