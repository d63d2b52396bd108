package sinktest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

const analyticsLog = "log-1"

// analyticsDay is a day in the past, as in a public data set; the log takes the events now.
var (
	analyticsDay  = time.Date(2001, 3, 14, 0, 0, 0, 0, time.UTC)
	analyticsTook = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func span(topic string, partition int, first, last int64) record.Range {
	return record.Range{
		LogID: analyticsLog, Topic: topic, Partition: partition, First: first, Last: last,
	}
}

// did is one interaction at offset.
func did(
	offset int64, user, item string, action schemas.Action, at time.Time,
) sinks.InteractionRow {
	return meaning(sinks.InteractionRow{
		Interaction: schemas.Interaction{
			EventID: fmt.Sprintf("e%d", offset), Source: "suite", UserID: user, ItemID: item,
			Action: action, OccurredAt: at,
		},
		Offset: offset, RecordedAt: analyticsTook.Add(time.Duration(offset) * time.Millisecond),
	})
}

// meaning fills in what the built-in actions say of a row.
func meaning(x sinks.InteractionRow) sinks.InteractionRow {
	if r := schemas.DefaultActions().Find(x.Action, x.Value); r != nil {
		x.Meaning, x.Outcome = r.Meaning, r.Outcome
	}
	return x
}

// randomRows returns n interactions from offset first on: 40 users, 60 items, spread over months
// months.
func randomRows(rng *rand.Rand, first int64, n, months int) sinks.InteractionRows {
	actions := schemas.DefaultActions().Names()
	rows := make(sinks.InteractionRows, n)
	for i := range rows {
		at := analyticsDay.AddDate(0, rng.IntN(months), rng.IntN(27)).Add(
			time.Duration(rng.Int64N(int64(24 * time.Hour))),
		).Truncate(time.Microsecond)
		x := did(
			first+int64(i), fmt.Sprintf("user %d", rng.IntN(40)),
			fmt.Sprintf("item %d", rng.IntN(60)), actions[rng.IntN(len(actions))], at,
		)
		if x.Action == schemas.Rate {
			v := 0.5 * float64(1+rng.IntN(10))
			x.Value = &v
		}
		if x.Action == schemas.Purchase {
			v := float64(rng.IntN(1000))
			x.Value = &v
		}
		rows[i] = meaning(x)
	}
	return rows
}

// recount sums up rows as item_hours and user_days do: events, values and their sum per key.
func recount(rows sinks.InteractionRows) (itemHours, userDays map[string]string) {
	type sum struct {
		events, values int
		total          float64
	}
	hours, days := map[string]*sum{}, map[string]*sum{}
	add := func(m map[string]*sum, key string, v *float64) {
		s := m[key]
		if s == nil {
			s = new(sum)
			m[key] = s
		}
		s.events++
		if v != nil {
			s.values++
			s.total += *v
		}
	}
	for _, x := range rows {
		at := x.OccurredAt.UTC()
		add(hours, at.Format("2006-01-02 15")+"|"+x.ItemID+"|"+string(x.Action), x.Value)
		add(days, at.Format("2006-01-02")+"|"+x.UserID+"|"+string(x.Action), x.Value)
	}
	flat := func(m map[string]*sum) map[string]string {
		out := make(map[string]string, len(m))
		for k, s := range m {
			out[k] = fmt.Sprintf("%d|%d|%g", s.events, s.values, s.total)
		}
		return out
	}
	return flat(hours), flat(days)
}

// requireSums compares the views item_hours and user_days with a recount of rows.
func requireSums(t *testing.T, e AnalyticsEngine, rows sinks.InteractionRows) {
	t.Helper()
	wantHours, wantDays := recount(rows)
	require.Equal(
		t, wantHours,
		sums(
			t, e,
			"SELECT substr(toString(hour), 1, 13), item_id, action, events, value_count, "+
				"value_sum FROM item_hours",
		),
		"item_hours",
	)
	require.Equal(
		t, wantDays,
		sums(
			t, e,
			"SELECT toString(day), user_id, action, events, value_count, value_sum FROM user_days",
		),
		"user_days",
	)
}

func sums(t *testing.T, e AnalyticsEngine, query string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, r := range e.Query(t, query) {
		key := strings.Join(r[:3], "|")
		if _, twice := out[key]; twice {
			t.Fatalf("%s stands twice in %s", key, query)
		}
		out[key] = strings.Join(r[3:], "|")
	}
	return out
}

func requireCounts(t *testing.T, e AnalyticsEngine, n int) {
	t.Helper()
	c, err := e.Store.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: int64(n), ItemHours: int64(n), UserDays: int64(n)}, c)
}

// served is one list of items at offset.
func served(
	offset int64, id, user, strategy, variant string, at time.Time, items ...string,
) sinks.RecommendationRow {
	x := sinks.RecommendationRow{
		Recommendation: schemas.Recommendation{
			UserID: user, RecommendationID: id, Strategy: strategy, Variant: variant,
			Version: offset, GeneratedAt: at, ExpiresAt: at.Add(time.Hour),
			CausedBy: schemas.CausedBy{
				Trigger: "event", Topic: schemas.TopicInteractions, Partition: 1, Offset: offset,
				EventID: "e1", OccurredAt: at.Add(-time.Second),
				AcceptedAt: at.Add(-500 * time.Millisecond),
			},
		},
		Offset: offset, RecordedAt: analyticsTook,
	}
	for i, item := range items {
		x.Items = append(
			x.Items,
			schemas.RecommendedItem{
				ItemID: item, Rank: i + 1, Score: 1 / float64(i+1),
				Reason: "because you watched Alien", Source: "vectors",
			},
		)
	}
	return x
}

// analyticsClientTime is the case of events whose own time was too far ahead of the log's.
func analyticsClientTime(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	said := time.Date(2104, 2, 1, 10, 20, 30, 456789000, time.UTC)
	ahead, fine := did(0, "u", "i", schemas.Like, analyticsTook),
		did(1, "u", "i", schemas.View, analyticsTook)
	ahead.ClientTime = said
	require.NoError(
		t, e.Store.Insert(
			ctx, span("interactions", 0, 0, 1), sinks.InteractionRows{ahead, fine},
		),
	)
	item := sinks.ItemRow{
		Item: schemas.Item{
			ItemID: "i", Title: "t", OccurredAt: analyticsTook, ClientTime: said,
		}, RecordedAt: analyticsTook,
	}
	require.NoError(t, e.Store.Insert(ctx, span("items", 0, 0, 0), sinks.ItemRows{item}))
	user := sinks.UserRow{
		User:       schemas.User{UserID: "u", OccurredAt: analyticsTook, ClientTime: said},
		RecordedAt: analyticsTook,
	}
	require.NoError(t, e.Store.Insert(ctx, span("users", 0, 0, 0), sinks.UserRows{user}))
	const when = "2104-02-01 10:20:30.456789"
	for query, want := range map[string][][]string{
		"SELECT toString(client_time) FROM interactions ORDER BY log_offset": {{when}, {"NULL"}},
		"SELECT toString(client_time) FROM item_versions":                    {{when}},
		"SELECT toString(client_time) FROM user_versions":                    {{when}},
	} {
		require.Equal(t, want, e.Query(t, query), query)
	}
	// Beyond what a column holds the insert must not fail: its day is only for people.
	ahead.Offset, ahead.ClientTime = 2, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	require.NoError(
		t, e.Store.Insert(ctx, span("interactions", 0, 2, 2), sinks.InteractionRows{ahead}),
	)
	requireCounts(t, e, 3)
}
