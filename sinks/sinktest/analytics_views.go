package sinktest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

func analyticsOutcomes(t *testing.T, e AnalyticsEngine) {
	ctx, day := t.Context(), analyticsDay.Add(12*time.Hour)
	feedback := func(offset int64, list, item string, action schemas.Action) sinks.InteractionRow {
		x := did(offset, "u1", item, action, day.AddDate(0, 0, 1))
		x.RecommendationID = list
		return x
	}
	lists := sinks.RecommendationRows{
		served(0, "r1", "u1", "personal", "a", day, "i1", "i2", "i3"),
		served(1, "r2", "u2", "personal", "a", day, "i4", "i5"),
		served(2, "r3", "u3", "personal", "b", day, "i1"),
		served(3, "r4", "u4", "trending", "a", day.AddDate(0, 0, 1), "i1"),
	}
	early := sinks.InteractionRows{
		feedback(0, "r1", "i1", schemas.Impression), feedback(1, "r1", "i2", schemas.Impression),
		feedback(2, "r1", "i2", schemas.Click),
	}
	late := sinks.InteractionRows{
		feedback(3, "r1", "i2", schemas.Purchase),
		feedback(4, "r2", "i4", schemas.Impression), feedback(5, "r3", "i1", schemas.Hide),
		feedback(6, "never served", "i1", schemas.Click), did(7, "u1", "i1", schemas.Click, day),
	}
	for range 2 {
		// Feedback may come before its list.
		require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 2), early))
		require.NoError(t, e.Store.Insert(ctx, span("recommendations", 0, 0, 3), lists))
		require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 3, 7), late))
	}
	// The same list once more on the log is the same list.
	require.NoError(
		t,
		e.Store.Insert(ctx, span("recommendations", 0, 4, 4), sinks.RecommendationRows{lists[0]}),
	)
	require.Equal(t, [][]string{
		{"2001-03-14", "personal", "a", "2", "2", "1", "3", "1", "1", "0", "0.5"},
		{"2001-03-14", "personal", "b", "1", "0", "0", "0", "0", "0", "1", "0"},
		{"2001-03-15", "trending", "a", "1", "0", "0", "0", "0", "0", "0", "0"},
		{"2001-03-15", "unknown", "unknown", "0", "0", "1", "0", "1", "0", "0", "NULL"},
	}, e.Query(t, `SELECT toString(day), strategy, variant, lists, lists_shown, lists_clicked,
	impressions, clicks, conversions, refusals, click_through_lists
		FROM strategy_days ORDER BY day, strategy, variant`))
	require.Equal(
		t, [][]string{{"2", "0.333"}},
		e.Query(
			t,
			"SELECT lists, round(click_through_impressions, 3) FROM click_through WHERE strategy "+
				"= 'personal' AND variant = 'a'",
		),
	)
	require.Equal(
		t, [][]string{{"1", "i1", "1"}, {"2", "i2", "0.5"}, {"3", "i3", "0.333"}},
		e.Query(
			t,
			"SELECT rank, item_id, round(score, 3) FROM recommended_items WHERE "+
				"recommendation_id = 'r1' AND user_id = 'u1' GROUP BY rank, item_id, score ORDER "+
				"BY rank",
		),
	)
	require.Equal(
		t, [][]string{{"2", "2", "1", "1", "1"}},
		e.Query(
			t,
			"SELECT rank, places, impressions, clicks, click_through_impressions FROM "+
				"click_through_by_rank WHERE strategy = 'personal' AND variant = 'a' AND rank = "+
				"2 AND source = 'vectors'",
		),
		"r1 stands on the log twice and counts once",
	)
}

func analyticsFreshness(t *testing.T, e AnalyticsEngine) {
	var lists sinks.RecommendationRows
	for i := range 101 {
		x := served(int64(i), fmt.Sprint("r", i), "u", "personal", "a", analyticsTook)
		x.CausedBy.AcceptedAt = analyticsTook.Add(-time.Duration(i) * time.Millisecond)
		lists = append(lists, x)
	}
	lists[1].CausedBy.Trigger, lists[2].CausedBy.AcceptedAt = "request", time.Time{}
	require.NoError(t, e.Store.Insert(t.Context(), span("recommendations", 0, 0, 100), lists))
	require.Equal(
		t, [][]string{{"2026-11-22", "99", "51", "100"}},
		e.Query(t, "SELECT toString(day), lists, p50_ms, max_ms FROM freshness"),
	)
}

func analyticsNewest(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	yes, no := true, false
	item := func(offset int64, title string, available *bool, withdrawn bool) sinks.ItemRow {
		return sinks.ItemRow{Item: schemas.Item{
			ItemID: "i", Title: title, Genres: []string{"Horror", "Sci-Fi"},
			PublishedAt: time.Date(1895, 1, 1, 0, 0, 0, 0, time.UTC),
			Attributes: map[string]any{
				"studio": "Fox", "steam": json.Number("76561197980428154"),
			},
			Available: available, Withdrawn: withdrawn, OccurredAt: analyticsDay,
		}, Offset: offset, RecordedAt: analyticsTook}
	}
	require.NoError(
		t,
		e.Store.Insert(
			ctx, span("items", 0, 5, 9),
			sinks.ItemRows{
				item(5, "five", &no, false), item(9, "nine", &yes, false),
				item(7, "seven", nil, false),
			},
		),
	)
	require.NoError(
		t,
		e.Store.Insert(ctx, span("items", 0, 0, 4), sinks.ItemRows{item(3, "three", &no, false)}),
	)
	require.Equal(
		t, [][]string{{"nine", "1", "0", `{"steam":76561197980428154,"studio":"Fox"}`}},
		e.Query(t, "SELECT title, available, withdrawn, attributes FROM items"),
	)
	// A withdrawal says no more than which item, so what the item was stays.
	for _, offset := range []int64{10, 11} {
		require.NoError(t, e.Store.Insert(ctx, span("items", 0, offset, offset), sinks.ItemRows{{
			Item:   schemas.Item{ItemID: "i", Withdrawn: true, OccurredAt: analyticsDay},
			Offset: offset, RecordedAt: analyticsTook,
		}}))
		require.Equal(
			t, [][]string{{"nine", "0", "1", `{"steam":76561197980428154,"studio":"Fox"}`}},
			e.Query(t, "SELECT title, available, withdrawn, attributes FROM items"),
		)
	}
	require.NoError(t, e.Store.Insert(
		ctx, span("items", 0, 12, 12), sinks.ItemRows{item(12, "back", nil, false)},
	))
	require.Equal(t, [][]string{{"back", "1", "0"}},
		e.Query(t, "SELECT title, available, withdrawn FROM items"))
	require.NoError(t, e.Store.Insert(
		ctx, span("items", 0, 13, 13), sinks.ItemRows{item(13, "away", nil, true)},
	))
	require.Equal(t, [][]string{{"away", "0", "1"}},
		e.Query(t, "SELECT title, available, withdrawn FROM items"))

	user := func(offset int64, country string, erased bool) sinks.UserRow {
		return sinks.UserRow{
			User: schemas.User{
				UserID: "u", Erased: erased, OccurredAt: analyticsDay,
				Attributes: map[string]any{
					"country": country, "steam": json.Number("76561197980428154"),
				},
			},
			Offset: offset, RecordedAt: analyticsTook,
		}
	}
	require.NoError(
		t,
		e.Store.Insert(
			ctx, span("users", 0, 2, 3), sinks.UserRows{user(3, "NZ", false), user(2, "CH", false)},
		),
	)
	require.NoError(
		t, e.Store.Insert(ctx, span("users", 0, 0, 1), sinks.UserRows{user(1, "IS", false)}),
	)
	require.Equal(
		t, [][]string{{"u", `{"country":"NZ","steam":76561197980428154}`}},
		e.Query(t, "SELECT user_id, attributes FROM users"),
	)
	require.NoError(
		t, e.Store.Insert(ctx, span("users", 0, 4, 4), sinks.UserRows{user(4, "", true)}),
	)
	require.Empty(t, e.Query(t, "SELECT user_id FROM users"))
}

// Offsets of different partitions cannot be compared.
func analyticsNewestAcrossPartitions(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	for _, x := range []struct {
		partition int
		offset    int64
		after     time.Duration
		name      string
		want      string
	}{
		{2, 900, 0, "first", "first"},
		{0, 3, time.Second, "later, with a lower offset", "later, with a lower offset"},
		{1, 990, -time.Second, "earlier, with a higher offset", "later, with a lower offset"},
		{3, 1, time.Second, "at once, in a higher partition", "at once, in a higher partition"},
		{2, 901, time.Second, "at once, in a lower partition", "at once, in a higher partition"},
		{3, 2, time.Second, "at once, at the next offset", "at once, at the next offset"},
		{3, 3, 20 * time.Second, "a fast clock", "a fast clock"},
		{3, 4, 20 * time.Second, "the clock stepped back", "the clock stepped back"},
		{2, 902, 15 * time.Second, "before that", "the clock stepped back"},
		{2, 903, 30 * time.Second, "last", "last"},
	} {
		at := analyticsTook.Add(x.after)
		require.NoError(t, e.Store.Insert(
			ctx, span("items", x.partition, x.offset, x.offset),
			sinks.ItemRows{{
				Item:   schemas.Item{ItemID: "i", Title: x.name, OccurredAt: analyticsDay},
				Offset: x.offset, RecordedAt: at,
			}},
		))
		require.NoError(t, e.Store.Insert(
			ctx, span("users", x.partition, x.offset, x.offset),
			sinks.UserRows{{
				User: schemas.User{
					UserID: "u", Attributes: map[string]any{"is": x.name}, OccurredAt: analyticsDay,
				},
				Offset: x.offset, RecordedAt: at,
			}},
		))
		require.Equal(t, [][]string{{x.want}}, e.Query(t, "SELECT title FROM items"), x.name)
		require.Equal(t, [][]string{{`{"is":"` + x.want + `"}`}},
			e.Query(t, "SELECT attributes FROM users"), x.name)
	}
	require.NoError(t, e.Store.Insert(ctx, span("users", 0, 5, 5), sinks.UserRows{{
		User:   schemas.User{UserID: "u", Erased: true, OccurredAt: analyticsDay},
		Offset: 5, RecordedAt: analyticsTook.Add(time.Minute),
	}}))
	require.Empty(t, e.Query(t, "SELECT user_id FROM users"), "the newest, wherever it stands")
}

// Offsets of replayed dead letters say nothing of the order of the records.
func analyticsReplayedVersions(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	for _, x := range []struct {
		topic, letter string
		offset        int64
		after         time.Duration
		name          string
		want          string
	}{
		{"items", "", 900, time.Minute, "first", "first"},
		{"analytics.replay", "a", 3, 3 * time.Minute, "later", "later"},
		{"analytics.replay", "b", 4, 2 * time.Minute, "earlier, replayed later", "later"},
		{"items", "", 901, time.Minute + time.Second, "before that", "later"},
		{"analytics.replay", "c", 5, 0, "long ago", "later"},
		{"analytics.replay", "a", 6, 3 * time.Minute, "later", "later"},
		{"items", "", 902, time.Hour, "last", "last"},
	} {
		at := analyticsTook.Add(x.after)
		require.NoError(t, e.Store.Insert(
			ctx, span(x.topic, 0, x.offset, x.offset),
			sinks.ItemRows{{
				Item:   schemas.Item{ItemID: "i", Title: x.name, OccurredAt: analyticsDay},
				Offset: x.offset, RecordedAt: at, Replayed: x.letter,
			}},
		))
		require.NoError(t, e.Store.Insert(
			ctx, span(x.topic, 0, x.offset, x.offset),
			sinks.UserRows{{
				User: schemas.User{
					UserID: "u", Attributes: map[string]any{"is": x.name}, OccurredAt: analyticsDay,
				},
				Offset: x.offset, RecordedAt: at, Replayed: x.letter,
			}},
		))
		require.Equal(t, [][]string{{x.want}}, e.Query(t, "SELECT title FROM items"), x.name)
		require.Equal(t, [][]string{{`{"is":"` + x.want + `"}`}},
			e.Query(t, "SELECT attributes FROM users"), x.name)
	}
}

func analyticsDeadLetters(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	letter := sinks.DeadLetterRow{
		ID: "embed/interactions/0/12", Group: "embed", Topic: "interactions", Offset: 12,
		Class: "permanent", Reason: `"action" is missing`, Attempts: 1, Key: "u\x00\xff",
		Value: []byte{0, 0xff, '"', 0x80}, State: "open", FirstFailedAt: analyticsTook,
		LastFailedAt: analyticsTook, PoisonOffset: 4, RecordedAt: analyticsTook,
	}
	other := letter
	other.ID, other.PoisonOffset = "embed/interactions/0/13", 5
	replayed := letter
	replayed.State, replayed.Note = "replayed", "fixed the sender"
	replayed.RecordedAt, replayed.PoisonOffset = analyticsTook.Add(time.Hour), 6
	require.NoError(
		t, e.Store.Insert(ctx, span("embed.poison", 0, 6, 6), sinks.DeadLetterRows{replayed}),
	)
	require.NoError(
		t, e.Store.Insert(ctx, span("embed.poison", 0, 4, 5), sinks.DeadLetterRows{letter, other}),
	)
	require.Equal(
		t,
		[][]string{
			{letter.ID, "replayed", "fixed the sender", "00FF2280"},
			{other.ID, "open", "", "00FF2280"},
		},
		e.Query(t, "SELECT id, state, note, hex(value) FROM dead_letters ORDER BY id"),
	)
	// A resolution says nothing of the dead letter but its id, its group and its key.
	dropped := sinks.DeadLetterRow{
		ID: other.ID, Group: other.Group, Key: other.Key, State: "dropped", Note: "a test",
		PoisonOffset: 7, RecordedAt: other.RecordedAt,
	}
	require.NoError(
		t, e.Store.Insert(ctx, span("embed.poison", 0, 7, 7), sinks.DeadLetterRows{dropped}),
	)
	about := "SELECT state, note, topic, \"offset\", class, reason, attempts, hex(value), " +
		"hex(original_value), poison_offset FROM dead_letters WHERE id = '" + other.ID + "'"
	require.Equal(
		t, [][]string{{
			"dropped", "a test", "interactions", "12", "permanent", other.Reason, "1", "00FF2280",
			"00FF2280", "5",
		}},
		e.Query(t, about), "a resolution in the same millisecond wins, and empties nothing",
	)
	// A corrected replay that fails is another value of the same dead letter.
	again := other
	again.Value, again.Attempts, again.Reason = []byte("{}"), 2, "again"
	again.RecordedAt, again.PoisonOffset = analyticsTook.Add(time.Hour), 8
	require.NoError(
		t, e.Store.Insert(ctx, span("embed.poison", 0, 8, 8), sinks.DeadLetterRows{again}),
	)
	require.Equal(
		t, [][]string{{
			"open", "", "interactions", "12", "permanent", "again", "2", "7B7D", "00FF2280", "8",
		}},
		e.Query(t, about), "the value that failed first stays readable",
	)
}

// What counts as a click or a conversion is what the row says, whatever the action is called.
func analyticsOwnOutcomes(t *testing.T, e AnalyticsEngine) {
	ctx, day := t.Context(), analyticsDay.Add(12*time.Hour)
	feedback := func(offset int64, a schemas.Action, o schemas.Outcome) sinks.InteractionRow {
		x := did(offset, "u1", "i1", a, day)
		x.RecommendationID, x.Outcome = "r1", o
		return x
	}
	rows := sinks.InteractionRows{
		feedback(0, "tile_shown", schemas.OutcomeImpression),
		feedback(1, "tap", schemas.OutcomeClick), feedback(2, "tap", schemas.OutcomeClick),
		feedback(3, "listen", schemas.OutcomeConversion),
		feedback(4, schemas.Rate, schemas.OutcomeRefusal),
		feedback(5, schemas.Like, schemas.OutcomeNone),
	}
	for range 2 {
		require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 5), rows))
	}
	list := sinks.RecommendationRows{served(0, "r1", "u1", "personal", "a", day, "i1")}
	require.NoError(t, e.Store.Insert(ctx, span("recommendations", 0, 0, 0), list))
	require.Equal(t, [][]string{{"1", "2", "1", "1"}}, e.Query(
		t, "SELECT impressions, clicks, conversions, refusals FROM recommendation_outcomes "+
			"WHERE recommendation_id = 'r1'",
	))
	require.Equal(t, [][]string{{"1", "2"}}, e.Query(
		t, "SELECT impressions, clicks FROM click_through_by_rank WHERE variant = 'a'",
	))
	require.Equal(t, [][]string{{"like", "love", "none"}}, e.Query(
		t, "SELECT action, meaning, outcome FROM interactions WHERE action = 'like'",
	))
}
