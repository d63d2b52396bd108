package clickhouse_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// TestRealRowsWhoseTokenAloneSurvivedAreAddedAgain takes rows away behind their token, as a kill
// does that comes after the server has written the token down and before it has added the rows: the
// repeat of the range is dropped, and the rows come back all the same, once, without adding to the
// sums.
func TestRealRowsWhoseTokenAloneSurvivedAreAddedAgain(t *testing.T) {
	for _, gone := range []string{"1", "log_offset BETWEEN 20 AND 49 OR log_offset = 99"} {
		e := setup(t)
		rows, r := views(100, 30), rangeOf(100)
		require.NoError(t, e.Insert(t.Context(), r, rows))
		e.exec(t, "DELETE FROM "+e.cfg.Database+".interactions WHERE "+gone)
		require.NoError(t, e.Insert(t.Context(), r, rows))
		c, err := e.CountInteractions(t.Context())
		require.NoError(t, err)
		require.Less(t, c.Rows, int64(100), "a repeat nobody uncertain is dropped by its token")

		r.Repeat = true
		for range 2 {
			require.NoError(t, e.Insert(t.Context(), r, rows))
			e.requireCounts(t, 100, 100, 100)
		}
		require.Equal(
			t, [][]string{{"100"}}, e.query(t, "SELECT uniqExact(log_offset) FROM interactions"),
		)
		require.Empty(
			t,
			e.query(
				t,
				"SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE "+
					"'scratch%'",
			),
		)

		e.exec(t, "DELETE FROM "+e.cfg.Database+".interactions WHERE user_id = 'u1'")
		c, err = e.CountInteractions(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(85), c.Rows, "rows that were attached can be erased")
	}
}

// TestRealRowsOfEveryTableAreAddedAgain is the same for the tables without sums of their own.
func TestRealRowsOfEveryTableAreAddedAgain(t *testing.T) {
	e := setup(t)
	r := record.Range{LogID: "log", Topic: "any", Partition: 3, First: 5, Last: 6, Repeat: true}
	for table, insert := range map[string]func() error{
		"recommendations": func() error {
			return e.Insert(t.Context(), r, sinks.RecommendationRows{
				{
					Recommendation: schemas.Recommendation{
						UserID: "u1", RecommendationID: "r1", GeneratedAt: testDay,
					},
					Offset: 5, RecordedAt: time.Now(),
				},
				{
					Recommendation: schemas.Recommendation{
						UserID: "u2", RecommendationID: "r2", GeneratedAt: testDay.AddDate(0, 1, 0),
					},
					Offset: 6, RecordedAt: time.Now(),
				},
			})
		},
		"item_versions": func() error {
			return e.Insert(t.Context(), r, sinks.ItemRows{
				{Item: schemas.Item{ItemID: "i1", Title: "One"}, Offset: 5, RecordedAt: time.Now()},
				{Item: schemas.Item{ItemID: "i2", Title: "Two"}, Offset: 6, RecordedAt: time.Now()},
			})
		},
		"user_versions": func() error {
			return e.Insert(
				t.Context(), r,
				sinks.UserRows{
					{User: schemas.User{UserID: "u1"}, Offset: 5, RecordedAt: time.Now()},
					{User: schemas.User{UserID: "u2"}, Offset: 6, RecordedAt: time.Now()},
				},
			)
		},
		"dead_letter_rows": func() error {
			return e.Insert(t.Context(), r, sinks.DeadLetterRows{
				{ID: "d1", State: "open", PoisonOffset: 5, RecordedAt: time.Now()},
				{ID: "d2", State: "open", PoisonOffset: 6, RecordedAt: time.Now()},
			})
		},
	} {
		count := func() string { return e.query(t, "SELECT count() FROM "+table)[0][0] }
		require.NoError(t, insert(), table)
		require.Equal(t, "2", count(), table)
		e.exec(t, "DELETE FROM "+e.cfg.Database+"."+table+" WHERE 1")
		require.Equal(t, "0", count(), table)
		for range 2 {
			require.NoError(t, insert(), table)
			require.Equal(t, "2", count(), table)
		}
	}
}

// TestRealSumsWhoseTokenAloneSurvivedAreAddedAgain takes sums away behind their tokens, those of
// the last range only, as a kill does.
func TestRealSumsWhoseTokenAloneSurvivedAreAddedAgain(t *testing.T) {
	e := setup(t)
	rows := views(100, 30)
	first, last := rangeOf(100), rangeOf(100)
	first.Last, last.First = 59, 60
	require.NoError(t, e.Insert(t.Context(), first, rows[:60]))
	state := func() [][]string {
		return append(
			append(
				e.query(
					t, "SELECT hour, item_id, action, events, last_at FROM item_hours ORDER BY ALL",
				),
				e.query(
					t, "SELECT user_id, day, action, events, last_at FROM user_days ORDER BY ALL",
				)...),
			e.query(
				t,
				"SELECT recommendation_id, impressions, clicks, conversions, refusals FROM "+
					"recommendation_outcomes ORDER BY ALL",
			)...)
	}
	for i := range rows[60:] {
		rows[60+i].Action, rows[60+i].Outcome = schemas.Click, schemas.OutcomeClick
	}
	for table, where := range map[string]string{
		"item_hour_sums": "action = 'click' OR (hour = toDateTime(0, 'UTC') AND last_at > " +
			"fromUnixTimestamp64Micro(60, 'UTC'))",
		"user_day_sums": "action = 'click' OR (day = toDate(0) AND last_at > " +
			"fromUnixTimestamp64Micro(60, 'UTC'))",
		"recommendation_sums": "clicks > 0 OR (startsWith(recommendation_id, '\t') AND " +
			"feedback_at > fromUnixTimestamp64Micro(60, 'UTC'))",
	} {
		require.NoError(t, e.Insert(t.Context(), last, rows[60:]))
		e.requireCounts(t, 100, 100, 100)
		whole := state()
		e.exec(t, "DELETE FROM "+e.cfg.Database+"."+table+" WHERE "+where)
		require.NotEqual(t, whole, state(), table)
		again := last
		again.Repeat = true
		for range 2 {
			require.NoError(t, e.Insert(t.Context(), again, rows[60:]), table)
			e.requireCounts(t, 100, 100, 100)
			require.Equal(t, whole, state(), table)
		}
	}
	require.Equal(
		t, [][]string{{"0"}},
		e.query(t, "SELECT count() FROM top_items WHERE item_id LIKE 'log:%'"),
	)
	require.Equal(
		t, [][]string{{"0"}},
		e.query(t, "SELECT count() FROM user_days WHERE user_id LIKE 'log:%'"),
	)
}

// TestRealSumsThatAreOnTheirWayAreNotAdded: what a user does stands in two partitions. While the
// rows of one have landed, and their sums not yet, a range of the other is repeated.
func TestRealSumsThatAreOnTheirWayAreNotAdded(t *testing.T) {
	e := setup(t)
	rows, own := views(60, 30), rangeOf(60)
	require.NoError(t, e.Insert(t.Context(), own, rows))
	other := own
	other.Partition = 1
	require.NoError(t, e.Insert(t.Context(), other, rows[:20]))
	// Sums wrap around, so what has landed can be taken back.
	sums := e.cfg.Database + ".user_day_sums"
	e.exec(t, "INSERT INTO "+sums+" SELECT user_id, toDate(occurred_at), action, -count(), 0, 0,"+
		" max(occurred_at) FROM "+e.cfg.Database+".interactions WHERE log_partition = 1"+
		" GROUP BY ALL")
	e.exec(t, "DELETE FROM "+sums+" WHERE user_id LIKE 'log:%/1'")
	e.requireCounts(t, 80, 80, 60)

	own.Repeat = true
	require.NoError(t, e.Insert(t.Context(), own, rows))
	e.requireCounts(t, 80, 80, 60)
	other.Repeat = true // these have not landed
	for range 2 {
		require.NoError(t, e.Insert(t.Context(), other, rows[:20]))
		e.requireCounts(t, 80, 80, 80)
	}
	// Both are lost, and one person has been summed up from the rows since, by an erasure.
	days := "SELECT user_id, day, action, events FROM user_days ORDER BY ALL"
	whole := e.query(t, days)
	e.exec(t, "DELETE FROM "+e.cfg.Database+".user_day_sums WHERE user_id != 'u1'")
	require.NoError(t, e.Insert(t.Context(), own, rows))
	require.NoError(t, e.Insert(t.Context(), other, rows[:20]))
	require.Equal(t, whole, e.query(t, days))
	e.requireCounts(t, 80, 80, 80)
}

// feedback returns n clicks on three lists.
func feedback(n int) sinks.InteractionRows {
	rows := views(n, n)
	for i := range rows {
		rows[i].Action, rows[i].Outcome = schemas.Click, schemas.OutcomeClick
	}
	return rows
}

// requireClicks checks the clicks on all lists.
func (e *engine) requireClicks(t *testing.T, clicks string) {
	t.Helper()
	require.Equal(
		t, [][]string{{clicks}}, e.query(t, "SELECT sum(clicks) FROM recommendation_outcomes"),
	)
}

// without runs f while a view is missing: what f inserts lands beside it, as if it were on its way.
func (e *engine) without(t *testing.T, view string, f func()) {
	t.Helper()
	create := e.definition(t, view)
	e.exec(t, "DROP VIEW "+e.cfg.Database+"."+view+" SYNC")
	f()
	e.exec(t, create)
}

// TestRealFeedbackThatIsOnItsWayIsNotAdded: feedback to lists stands in two partitions. While the
// rows of one have landed, and their sums not yet, a range of the other is repeated.
func TestRealFeedbackThatIsOnItsWayIsNotAdded(t *testing.T) {
	e := setup(t)
	rows, own := feedback(60), rangeOf(60)
	require.NoError(t, e.Insert(t.Context(), own, rows))
	other := own
	other.Partition = 1
	e.without(t, "interactions_to_recommendation_sums", func() {
		require.NoError(t, e.Insert(t.Context(), other, rows[:20]))
	})
	e.requireClicks(t, "60")

	own.Repeat = true
	require.NoError(t, e.Insert(t.Context(), own, rows))
	e.requireClicks(t, "60")
	other.Repeat = true
	for range 2 {
		require.NoError(t, e.Insert(t.Context(), other, rows[:20]))
		e.requireClicks(t, "80")
	}
	outcomes := "SELECT * FROM recommendation_outcomes ORDER BY ALL"
	whole := e.query(t, outcomes)
	require.Len(t, whole, 3, "witness rows are no lists")
	e.exec(t, "DELETE FROM "+e.cfg.Database+".recommendation_sums WHERE 1") // both are lost
	for range 2 {
		require.NoError(t, e.Insert(t.Context(), own, rows))
		require.NoError(t, e.Insert(t.Context(), other, rows[:20]))
		require.Equal(t, whole, e.query(t, outcomes))
	}
}

// TestRealFeedbackIsAddedAgainThoughOlderRowsAreGone: the sums of lists outlive rows that expire
// and rows of erased users. When those of a later range are lost, they come back all the same.
func TestRealFeedbackIsAddedAgainThoughOlderRowsAreGone(t *testing.T) {
	e := setup(t)
	rows, first, last := feedback(100), rangeOf(60), rangeOf(100)
	first.Last, last.First = 59, 60
	require.NoError(t, e.Insert(t.Context(), first, rows[:60]))
	e.exec(t, "DELETE FROM "+e.cfg.Database+".interactions WHERE 1")
	require.NoError(t, e.Insert(t.Context(), last, rows[60:]))
	e.requireClicks(t, "100")
	// Sums wrap around, so what has landed can be taken back, and the witness with it.
	sums := e.cfg.Database + ".recommendation_sums"
	e.exec(t, "INSERT INTO "+sums+" (recommendation_id, clicks) SELECT recommendation_id, -count()"+
		" FROM "+e.cfg.Database+".interactions GROUP BY ALL")
	e.exec(t, "DELETE FROM "+sums+" WHERE startsWith(recommendation_id, '\t')")
	e.exec(t, "INSERT INTO "+sums+" (recommendation_id, feedback_at)"+
		" VALUES ('\tlog:interactions/0', fromUnixTimestamp64Micro(60, 'UTC'))")
	e.requireClicks(t, "60")

	last.Repeat = true
	for range 2 {
		require.NoError(t, e.Insert(t.Context(), last, rows[60:]))
		e.requireClicks(t, "100")
	}
}
