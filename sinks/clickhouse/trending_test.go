package clickhouse_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// popular is what people loved or chose, with a half-life of a day.
func popular() sinks.TrendingQuery {
	return sinks.TrendingQuery{
		HalfLife: 24 * time.Hour, N: 10,
		Weights: map[schemas.Meaning]float64{schemas.Interest: 1, schemas.Love: 2},
	}
}

// trending returns the items that are trending, the most popular first.
func (e *engine) trending(t *testing.T) (items []string) {
	t.Helper()
	got, err := e.TrendingItems(t.Context(), popular())
	require.NoError(t, err)
	for _, x := range got {
		items = append(items, x.ItemID)
	}
	return items
}

// TestRealTrendingOfAnOlderDatabase: what was there before the audience was counted is trending at
// once, and counts once also when its range is repeated. Rows from before 0011 have no meaning.
func TestRealTrendingOfAnOlderDatabase(t *testing.T) {
	e := setupAt(t, 10)
	for _, column := range []string{"meaning", "outcome"} {
		e.exec(t, "ALTER TABLE "+e.cfg.Database+".interactions DROP COLUMN "+column)
	}
	for i, x := range []struct{ user, item, action, value, at string }{
		{"ann", "a", "like", "NULL", "2001-03-14 12:00:00"},
		{"ann", "a", "like", "NULL", "2001-03-14 12:00:01"},
		{"ann", "b", "rate", "4.5", "2001-02-22 12:00:00"},
		{"bob", "b", "rate", "4", "2001-02-22 12:00:00"},
		{"bob", "c", "watch", "0.9", "2001-03-13 12:00:00"},
		{"bob", "d", "watch", "0.1", "2001-03-13 12:00:00"},
		{"bob", "e", "rate", "2", "2001-03-13 12:00:00"},
		{"bob", "f", "impression", "NULL", "2001-03-13 12:00:00"},
		{"bob", "g", "like", "NULL", "2000-12-14 12:00:00"},
	} {
		e.exec(t, fmt.Sprintf("INSERT INTO %s.interactions (event_id, user_id, item_id, action,"+
			" value, occurred_at, log_topic, log_offset, recorded_at) VALUES"+
			" ('%d', '%s', '%s', '%s', %s, '%s', 'interactions', %d, '2001-03-15 00:00:00')",
			e.cfg.Database, i, x.user, x.item, x.action, x.value, x.at, i))
	}
	require.NoError(t, e.Migrate(t.Context()))
	require.Equal(t, []string{"a", "c", "b"}, e.trending(t))
	want := [][]string{
		{"a", "love", "1"},
		{"b", "love", "2"},
		{"c", "interest", "1"},
		{"d", "doubt", "1"},
		{"e", "refusal", "1"},
	}
	audience := "SELECT item_id, meaning, users FROM item_audience ORDER BY ALL"
	require.Equal(t, want, e.query(t, audience))
	e.exec(t, "OPTIMIZE TABLE "+e.cfg.Database+".item_audience_sums FINAL")
	require.Equal(t, want, e.query(t, audience), "they live from the migration on")
}

// TestRealTrendingOfARepeatedMigration: a migration that was cut off counts nobody twice.
func TestRealTrendingOfARepeatedMigration(t *testing.T) {
	e := setupAt(t, 12)
	rows, r := views(60, 60), rangeOf(60)
	for i := range rows {
		rows[i].Meaning = schemas.Interest
	}
	require.NoError(t, e.Insert(t.Context(), r, rows))
	audience := "SELECT item_id, meaning, users FROM item_audience ORDER BY ALL"
	var want [][]string
	for range 2 {
		require.NoError(t, e.Migrate(t.Context()))
		got := e.query(t, audience)
		require.Len(t, got, 5)
		require.Equal(t, []string{"i0", "interest", "7"}, got[0])
		if want == nil {
			want = got
		}
		require.Equal(t, want, got)
		e.exec(t, "DELETE FROM "+e.cfg.Database+".schema_migrations WHERE version_id >= 13")
	}
	require.NoError(t, e.Migrate(t.Context()))
	r.Repeat = true
	require.NoError(t, e.Insert(t.Context(), r, rows))
	require.Equal(t, want, e.query(t, audience))
	e.requireCounts(t, 60, 60, 60)
}

// TestRealAudienceThatAnInsertLost comes back with the repeat of its range: the table remembers no
// tokens.
func TestRealAudienceThatAnInsertLost(t *testing.T) {
	e := setup(t)
	rows, r := views(60, 60), rangeOf(60)
	for i := range rows {
		rows[i].Meaning = schemas.Interest
	}
	require.NoError(t, e.Insert(t.Context(), r, rows))
	audience := "SELECT item_id, meaning, users FROM item_audience ORDER BY ALL"
	want := e.query(t, audience)
	require.Len(t, want, 5)
	// The query of the analysts' guide.
	require.Equal(
		t, [][]string{{"i0", "7"}, {"i1", "7"}, {"i2", "7"}},
		e.query(t, `SELECT item_id, uniqCombined64Merge(12)(users) AS people
		FROM item_audience_sums
		WHERE meaning IN ('interest', 'love')
		  AND hour >= (SELECT max(hour) FROM item_audience_sums) - INTERVAL 7 DAY
		GROUP BY item_id ORDER BY people DESC, item_id LIMIT 3`),
	)
	e.exec(t, "TRUNCATE TABLE "+e.cfg.Database+".item_audience_sums")
	require.Empty(t, e.trending(t))
	r.Repeat = true
	require.NoError(t, e.Insert(t.Context(), r, rows))
	require.Equal(t, want, e.query(t, audience))
	e.requireCounts(t, 60, 60, 60)
}

// TestRealAudienceAfterAnErasure: the sets of hashes cannot be taken apart. They keep their counts,
// as the sums per item do, until their time to live has passed.
func TestRealAudienceAfterAnErasure(t *testing.T) {
	e := setup(t)
	rows, r := views(60, 60), rangeOf(60)
	for i := range rows {
		rows[i].Meaning = schemas.Interest
	}
	require.NoError(t, e.Insert(t.Context(), r, rows))
	audience := "SELECT item_id, meaning, users FROM item_audience ORDER BY ALL"
	want := e.query(t, audience)
	require.NoError(t, e.EraseUsers(t.Context(), []sinks.Erasure{{UserID: "u1", At: time.Now()}}))
	require.Equal(t, want, e.query(t, audience))
	require.Equal(t, [][]string{{"1"}}, e.query(t, "SELECT count() FROM system.tables WHERE"+
		" database = currentDatabase() AND name = 'item_audience_sums'"+
		" AND engine_full LIKE '%TTL recorded_at + toIntervalDay(35)%'"))
	e.exec(t, "INSERT INTO "+e.cfg.Database+".item_audience_sums SELECT hour, 'old', meaning,"+
		" users, now() - toIntervalDay(36) FROM "+e.cfg.Database+".item_audience_sums")
	e.exec(t, "OPTIMIZE TABLE "+e.cfg.Database+".item_audience_sums FINAL")
	require.Equal(t, want, e.query(t, audience))
}
