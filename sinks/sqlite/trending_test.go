package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

var trendNoon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// trendAt is an interaction with what the built-in actions say of it.
func trendAt(
	offset int64, user, item string, action schemas.Action, at time.Time,
) sinks.InteractionRow {
	x := sinks.InteractionRow{
		Interaction: schemas.Interaction{
			EventID: fmt.Sprint(offset), UserID: user, ItemID: item, Action: action, OccurredAt: at,
		},
		Offset: offset, RecordedAt: at,
	}
	x.Meaning = schemas.DefaultActions().Find(action, nil).Meaning
	return x
}

// audienceRows returns what is kept of whom.
func audienceRows(t *testing.T, s *Store) []string {
	t.Helper()
	out := []string{}
	require.NoError(t, s.Analytics().each(
		t.Context(), "SELECT user_id, item_id, meaning, hour FROM item_audience_users"+
			" ORDER BY 1, 2, 3, 4", nil,
		func(scan func(...any) error) error {
			var user, item, meaning, hour string
			err := scan(&user, &item, &meaning, &hour)
			out = append(out, user+" "+item+" "+meaning+" "+hour[:13])
			return err
		},
	))
	return out
}

// An erased person is no longer in the audience of anything, but in that of what came later.
func TestErasedPeopleLeaveTheAudience(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	rows := sinks.InteractionRows{
		trendAt(0, "ann", "a", schemas.Like, trendNoon.Add(-2*time.Hour)),
		trendAt(1, "ann", "b", schemas.Like, trendNoon.Add(-time.Minute)),
		trendAt(2, "ann", "b", schemas.Like, trendNoon.Add(-30*time.Second)),
		trendAt(3, "ann", "c", schemas.View, trendNoon.Add(-30*time.Second)),
		trendAt(4, "bob", "a", schemas.View, trendNoon.Add(-2*time.Hour)),
	}
	span := record.Range{LogID: "log", Topic: schemas.TopicInteractions, Last: 4}
	require.NoError(t, s.Analytics().Insert(t.Context(), span, rows))
	erase := func(at time.Time) {
		require.NoError(t, s.Analytics().EraseUsers(
			t.Context(), []sinks.Erasure{{UserID: "ann", At: at}},
		))
	}
	erase(trendNoon.Add(-time.Minute))
	require.Equal(t, []string{
		"ann b love 2026-11-28 11", "ann c interest 2026-11-28 11", "bob a interest 2026-11-28 10",
	}, audienceRows(t, s))
	erase(trendNoon)
	require.Equal(t, []string{"bob a interest 2026-11-28 10"}, audienceRows(t, s))
}

// What is too old for any list goes, also when it comes late.
func TestAudienceIsKeptForWeeks(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	for i, days := range []int{-40, -36, -34, 0, -50, -1} {
		require.NoError(t, s.Analytics().Insert(
			t.Context(),
			record.Range{
				LogID: "log", Topic: schemas.TopicInteractions, First: int64(i), Last: int64(i),
			},
			sinks.InteractionRows{
				trendAt(int64(i), "ann", "a", schemas.Like, trendNoon.AddDate(0, 0, days)),
			},
		))
	}
	require.Equal(t, []string{
		"ann a love 2026-10-25 12", "ann a love 2026-11-27 12", "ann a love 2026-11-28 12",
	}, audienceRows(t, s))
}

// A file of an older version knows what is trending at once. It does not know meanings.
func TestTrendingOfAnOlderFile(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "slipstream.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	p, err := provider(s.writer)
	require.NoError(t, err)
	_, err = p.UpTo(t.Context(), 4)
	require.NoError(t, err)
	require.NoError(t, s.write(t.Context(), "act", nil, func(tx *sql.Tx) error {
		for i, x := range []struct {
			user, item, action string
			value              any
			days               int
		}{
			{"ann", "a", "like", nil, 0},
			{"ann", "a", "like", nil, 0},
			{"ann", "b", "rate", 4.5, -20},
			{"bob", "b", "rate", 4.0, -20},
			{"bob", "c", "watch", 0.9, -1},
			{"bob", "d", "watch", 0.1, -1},
			{"bob", "e", "rate", 2.0, -1},
			{"bob", "f", "impression", nil, -1},
			{"bob", "g", "like", nil, -100},
		} {
			at := trendNoon.AddDate(0, 0, x.days)
			if _, err := tx.Exec(
				`INSERT INTO interactions (
					event_id, source, user_id, item_id, action, value, occurred_at, client_time,
					session_id, recommendation_id, context, log_topic, log_partition, log_offset,
					recorded_at
				) VALUES (?, '', ?, ?, ?, ?, ?, NULL, '', '', '{}', 'interactions', 0, ?, ?)`,
				fmt.Sprint(i), x.user, x.item, x.action, x.value, micros(at), i, millis(at),
			); err != nil {
				return err
			}
			if _, err := tx.Exec(
				addItemHour, at.Format(hourLayout), x.item, x.action, 1, 0, 0, micros(at),
			); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, s.Migrate(t.Context()))
	require.Equal(t, []string{
		"ann a love 2026-11-28 12", "ann b love 2026-11-08 12",
		"bob b love 2026-11-08 12", "bob c interest 2026-11-27 12", "bob d doubt 2026-11-27 12",
		"bob e refusal 2026-11-27 12",
	}, audienceRows(t, s))
	got, err := s.Analytics().TrendingItems(t.Context(), sinks.TrendingQuery{
		HalfLife: 24 * time.Hour, N: 9,
		Weights: map[schemas.Meaning]float64{schemas.Interest: 1, schemas.Love: 2},
	})
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.Equal(t, "a", got[0].ItemID)
	require.Equal(t, "c", got[1].ItemID)
	require.Equal(t, "b", got[2].ItemID)
}

// BenchmarkTrendingItems asks what is trending of 100,000 events of a month.
func BenchmarkTrendingItems(b *testing.B) {
	s := openForTest(b)
	for first := range 100 {
		rows := make(sinks.InteractionRows, 1000)
		for i := range rows {
			n := first*1000 + i
			rows[i] = trendAt(
				int64(n), fmt.Sprint("user-", n*7919%943), fmt.Sprint("item-", n*104729%1682),
				schemas.View, trendNoon.Add(-time.Duration(n)*25*time.Second),
			)
		}
		require.NoError(b, s.Analytics().Insert(b.Context(), record.Range{
			LogID: "log", Topic: schemas.TopicInteractions, First: int64(first), Last: int64(first),
		}, rows))
	}
	q := sinks.TrendingQuery{
		HalfLife: 24 * time.Hour, N: 200,
		Weights: map[schemas.Meaning]float64{schemas.Interest: 1, schemas.Love: 1.5},
	}
	for b.Loop() {
		found, err := s.Analytics().TrendingItems(b.Context(), q)
		require.NoError(b, err)
		require.Len(b, found, 200)
	}
}
