package sinktest

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func analyticsProgress(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	at := func(p int, offset int64, minutes int) sinks.Progress {
		d := time.Duration(minutes) * time.Minute
		return sinks.Progress{
			Topic: "interactions", Partition: p, Offset: offset, OccurredAt: analyticsDay.Add(d),
			RecordedAt: analyticsTook.Add(d),
		}
	}
	require.NoError(t, e.Store.SetProgress(ctx, []sinks.Progress{at(0, 10, 1), at(1, 5, 1)}))
	require.NoError(t, e.Store.SetProgress(ctx, []sinks.Progress{at(0, 20, 2)}))
	require.NoError(
		t,
		e.Store.SetProgress(
			ctx, []sinks.Progress{at(0, 15, 9), {Topic: "items", Partition: 0, Offset: 0}},
		),
	)
	got, err := e.Store.GetProgress(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, []sinks.Progress{at(0, 20, 2), at(1, 5, 1), {Topic: "items"}}, got)
	require.Equal(
		t, [][]string{{"0", "20"}, {"1", "5"}},
		e.Query(
			t,
			"SELECT partition, offset FROM completeness WHERE topic = 'interactions' ORDER BY "+
				"partition",
		),
	)
}

func analyticsErasure(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	rows := randomRows(rand.New(rand.NewPCG(9, 9)), 0, 2000, 3)
	rows[0].RecommendationID, rows[0].UserID = "r1", "user 1"
	rows[0].Action, rows[0].Value = schemas.Click, nil
	rows[0] = meaning(rows[0])
	r := span("interactions", 0, 0, 1999)
	lists := sinks.RecommendationRows{
		served(0, "r1", "user 1", "personal", "a", analyticsDay, "i1"),
		served(1, "r2", "user 2", "personal", "a", analyticsDay, "i1"),
	}
	letter := func(id, topic, group, key, value string) sinks.DeadLetterRow {
		return sinks.DeadLetterRow{
			ID: id, Topic: topic, Group: group, Key: key, Value: []byte(value), State: "open",
			RecordedAt: analyticsTook,
		}
	}
	users := sinks.UserRows{
		{User: schemas.User{UserID: "user 1", OccurredAt: analyticsDay}, RecordedAt: analyticsTook},
		{
			User: schemas.User{UserID: "user 2", OccurredAt: analyticsDay}, Offset: 1,
			RecordedAt: analyticsTook,
		},
	}
	cloud := func(rest string) string {
		return `{"specversion":"1.0","id":"1","source":"s",` + rest + `,"type":"t"}`
	}
	letters := sinks.DeadLetterRows{
		letter("d1", "interactions", "embed", "user 1", "not json"),
		letter("d2", "interactions", "embed", "user 2", "{}"),
		letter("d3", "friendships", "graph", "user 1|user 9", ""),
		letter("d4", "friendships", "graph", "user 0|user 1", ""),
		letter("d5", "friendships", "graph", "user 10|user 11", ""),
		letter("d6", "interactions", "embed", "", `{"user_id":"user 1"}`),
		letter("d7", "shop.friendships", "shop.graph", "user 1|user 12", ""),
		letter("d8", "shop.friendships", "shop.graph", "user 12|user 13", `{"friend_id":"user 1"}`),
		letter("e1", "friendships", "graph", record.Readable([]byte("user 1|M\xfcller")), ""),
		letter("e2", "friendships", "graph", record.Readable([]byte("M\xfcller|user 1")), ""),
		letter("e3", "friendships", "graph", record.Readable([]byte("user 10|M\xfcller")), ""),
		letter("e4", "friendships", "graph", record.Readable([]byte("M\xfcller|user 11")), ""),
		letter("f1", "interactions", "embed", "", cloud(`"data":{"user_id":"user 1"}`)),
		letter("f2", "interactions", "embed", "", cloud(
			`"data_base64":"`+base64.StdEncoding.EncodeToString([]byte(`{"user_id":"user 1"}`))+`"`,
		)),
		letter("f3", "friendships", "graph", "", cloud(
			`"data":{"user_id":"user 9","friend_id":"user 1"}`,
		)),
		letter("f4", "interactions", "embed", "", cloud(`"subject":"user 1"`)),
		letter("f5", "interactions", "embed", "", cloud(
			`"subject":"user 11","data":{"user_id":"user 2"}`,
		)),
	}
	insert := func() {
		require.NoError(t, e.Store.Insert(ctx, r, rows))
		require.NoError(t, e.Store.Insert(ctx, span("recommendations", 0, 0, 1), lists))
		require.NoError(t, e.Store.Insert(ctx, span("users", 0, 0, 1), users))
		require.NoError(t, e.Store.Insert(ctx, span("embed.poison", 0, 0, 16), letters))
	}
	insert()
	var left sinks.InteractionRows
	for _, x := range rows {
		if x.UserID != "user 1" && x.UserID != "user 3" {
			left = append(left, x)
		}
	}
	check := func() {
		t.Helper()
		c, err := e.Store.CountInteractions(ctx)
		require.NoError(t, err)
		require.Equal(
			t,
			sinks.Counts{
				Rows: int64(len(left)), ItemHours: int64(len(rows)), UserDays: int64(len(left)),
			},
			c,
		)
		_, wantDays := recount(left)
		require.Equal(
			t, wantDays,
			sums(
				t, e,
				"SELECT toString(day), user_id, action, events, value_count, value_sum FROM "+
					"user_days",
			),
		)
		require.Equal(t, [][]string{{"user 2"}}, e.Query(t, "SELECT user_id FROM users"))
		require.Equal(t, [][]string{{"user 2"}}, e.Query(t, "SELECT user_id FROM recommendations"))
		require.Equal(
			t, [][]string{{"d2"}, {"d5"}, {"e3"}, {"e4"}, {"f5"}},
			e.Query(t, "SELECT id FROM dead_letters ORDER BY id"),
		)
		require.Equal(
			t, [][]string{{"2", "1"}},
			e.Query(t, "SELECT lists, clicks FROM click_through WHERE strategy = 'personal'"),
			"per-strategy sums stay",
		)
	}
	gone := []sinks.Erasure{
		{UserID: "user 1", At: analyticsTook},
		{UserID: "user 3", At: analyticsTook},
		{UserID: "nobody", At: analyticsTook},
	}
	require.NoError(t, e.Store.EraseUsers(ctx, gone))
	check()
	require.NoError(t, e.Store.EraseUsers(ctx, gone))
	check()
	insert() // a repeat of the ranges after the erasure does not bring anybody back
	check()
}

func analyticsErasureTime(t *testing.T, e AnalyticsEngine) {
	ctx, noon := t.Context(), analyticsDay.Add(12*time.Hour)
	rows := sinks.InteractionRows{
		did(0, "u", "i", schemas.View, noon.AddDate(0, 0, -1)),
		did(1, "u", "i", schemas.View, noon.Add(-time.Hour)), did(2, "u", "i", schemas.View, noon),
		did(3, "u", "i", schemas.View, noon.Add(time.Microsecond)),
		did(4, "u", "i", schemas.Like, noon.Add(time.Hour)),
		did(5, "u", "i", schemas.View, noon.AddDate(0, 0, 1)),
		did(6, "v", "i", schemas.View, noon.Add(-time.Hour)),
	}
	require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 6), rows))
	for range 2 {
		require.NoError(
			t,
			e.Store.EraseUsers(
				ctx,
				[]sinks.Erasure{{UserID: "u", At: noon}, {UserID: "u", At: noon.AddDate(0, 0, -9)}},
			),
		)
		c, err := e.Store.CountInteractions(ctx)
		require.NoError(t, err)
		require.Equal(t, sinks.Counts{Rows: 4, ItemHours: 7, UserDays: 4}, c)
		_, wantDays := recount(rows[3:])
		require.Equal(
			t, wantDays,
			sums(
				t, e,
				"SELECT toString(day), user_id, action, events, value_count, value_sum FROM "+
					"user_days",
			),
		)
	}
}

// analyticsErasureRecorded is the case of clocks that are ahead of the log's.
func analyticsErasureRecorded(t *testing.T, e AnalyticsEngine) {
	ctx, took := t.Context(), analyticsTook.Add(11*time.Hour+59*time.Minute)
	at := func(offset int64, action schemas.Action, occurred, recorded time.Duration,
	) sinks.InteractionRow {
		x := did(offset, "u", "i", action, took.Add(occurred))
		x.RecordedAt = took.Add(recorded)
		return x
	}
	day := 24 * time.Hour
	rows := sinks.InteractionRows{
		at(0, schemas.Like, 0, 0),
		at(1, schemas.Like, 90*time.Second, 0), // on the next day
		at(2, schemas.View, 900*day, -time.Minute),
		at(3, schemas.Like, 2*time.Minute, time.Minute),
		at(4, schemas.View, 900*day, time.Minute),
		at(5, schemas.View, time.Minute, time.Millisecond),
	}
	require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 5), rows))
	for i, recorded := range []time.Duration{0, time.Minute} {
		x := sinks.UserRow{
			User: schemas.User{
				UserID: []string{"u", "w"}[i], OccurredAt: took.Add(90 * time.Second),
				Attributes: map[string]any{"mail": "u@example.org"},
			},
			Offset: int64(i), RecordedAt: took.Add(recorded),
		}
		r := span("users", 0, int64(i), int64(i))
		require.NoError(t, e.Store.Insert(ctx, r, sinks.UserRows{x}))
		list := served(
			int64(i), fmt.Sprint("r", i), x.UserID, "personal", "a", took.Add(time.Hour), "i",
		)
		list.RecordedAt = x.RecordedAt
		r = span("recommendations", 0, int64(i), int64(i))
		require.NoError(t, e.Store.Insert(ctx, r, sinks.RecommendationRows{list}))
	}
	for range 2 {
		require.NoError(t, e.Store.EraseUsers(
			ctx, []sinks.Erasure{{UserID: "u", At: took}, {UserID: "w", At: took}},
		))
		c, err := e.Store.CountInteractions(ctx)
		require.NoError(t, err)
		require.Equal(t, sinks.Counts{Rows: 3, ItemHours: 6, UserDays: 3}, c)
		_, wantDays := recount(rows[3:])
		require.Equal(t, wantDays, sums(
			t, e, "SELECT toString(day), user_id, action, events, value_count, value_sum "+
				"FROM user_days",
		))
		require.Equal(t, [][]string{{"w"}}, e.Query(t, "SELECT user_id FROM user_versions"))
		require.Equal(t, [][]string{{"w"}}, e.Query(t, "SELECT user_id FROM recommendations"))
	}
}

// analyticsErasureAnswers is the case of lists that were on their way during the erasure: they were
// made and written after it and answer an event of before.
func analyticsErasureAnswers(t *testing.T, e AnalyticsEngine) {
	ctx, took := t.Context(), analyticsTook.Add(time.Hour)
	// A zero time of the cause is not known.
	list := func(id, user string, happened, accepted time.Time) sinks.RecommendationRow {
		x := served(0, id, user, "personal", "a", took.Add(56*time.Millisecond), "i")
		x.CausedBy.OccurredAt, x.CausedBy.AcceptedAt = happened, accepted
		x.RecordedAt = took.Add(57 * time.Millisecond)
		return x
	}
	before, after := took, took.Add(time.Millisecond)
	rows := sinks.RecommendationRows{
		list("both before", "u", before, before),
		list("a clock that is fast", "u", took.AddDate(0, 0, 1), before),
		list("a clock that is slow", "u", before, after),
		list("made at a gap", "u", before, time.Time{}),
		list("since", "u", after, after),
		list("since, of a marker", "u", after, time.Time{}),
		list("on request", "u", time.Time{}, time.Time{}),
		list("of another", "v", before, before),
	}
	for i := range rows {
		rows[i].Offset = int64(i)
	}
	require.NoError(t, e.Store.Insert(
		ctx, span("recommendations", 0, 0, int64(len(rows)-1)), rows,
	))
	for range 2 {
		require.NoError(t, e.Store.EraseUsers(ctx, []sinks.Erasure{{UserID: "u", At: took}}))
		require.Equal(
			t, [][]string{{"of another"}, {"on request"}, {"since"}, {"since, of a marker"}},
			e.Query(t, "SELECT recommendation_id FROM recommendations ORDER BY recommendation_id"),
		)
	}
}

func analyticsCanceled(t *testing.T, e AnalyticsEngine) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := e.Store.Insert(
		ctx, span("interactions", 0, 0, 0),
		sinks.InteractionRows{did(0, "u", "i", schemas.View, analyticsDay)},
	)
	require.Error(t, err)
	require.Equal(t, fault.Canceled, fault.ClassOf(err))
	_, err = e.Store.CountInteractions(ctx)
	require.Equal(t, fault.Canceled, fault.ClassOf(err))
	requireCounts(t, e, 0)
}
