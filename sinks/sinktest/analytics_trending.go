package sinktest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// tookNow says that the log took the rows just now: stores keep who did what for weeks only.
func tookNow(rows sinks.InteractionRows) sinks.InteractionRows {
	for i := range rows {
		rows[i].RecordedAt = time.Now().UTC().Truncate(time.Millisecond)
	}
	return rows
}

// likesAndLoves is a query in which interest counts one and love two.
func likesAndLoves() sinks.TrendingQuery {
	return sinks.TrendingQuery{
		HalfLife: 24 * time.Hour, N: 10,
		Weights: map[schemas.Meaning]float64{schemas.Interest: 1, schemas.Love: 2},
	}
}

// countPeople counts what each person is worth, item by item, from the rows.
func countPeople(
	q *sinks.TrendingQuery, rows sinks.InteractionRows, until time.Time,
) map[string]float64 {
	type person struct{ item, user string }
	newest := make(map[person]map[schemas.Meaning]time.Time)
	for _, x := range rows {
		hour := x.OccurredAt.Truncate(time.Hour)
		if q.Weights[x.Meaning] == 0 || !hour.Before(until) {
			continue
		}
		p := person{x.ItemID, x.UserID}
		if newest[p] == nil {
			newest[p] = make(map[schemas.Meaning]time.Time)
		}
		if newest[p][x.Meaning].Before(hour) {
			newest[p][x.Meaning] = hour
		}
	}
	decay := func(hour time.Time) float64 {
		for _, w := range q.Windows() {
			if until.Sub(hour)-30*time.Minute <= w.Age || until.Sub(hour) <= time.Hour {
				return w.Decay
			}
		}
		return 0
	}
	out := make(map[string]float64)
	for p, said := range newest {
		// Love counts two: one for what interest counts, too, and one of its own.
		interest, love := said[schemas.Interest], said[schemas.Love]
		if interest.Before(love) {
			interest = love
		}
		out[p.item] += decay(interest)
		if !love.IsZero() {
			out[p.item] += decay(love)
		}
	}
	return out
}

func analyticsTrending(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	rows := tookNow(randomRows(rand.New(rand.NewPCG(8, 8)), 0, 3000, 1))
	for range 2 {
		require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 2999), rows))
	}
	newest := slices.MaxFunc(
		rows,
		func(a, b sinks.InteractionRow) int { return a.OccurredAt.Compare(b.OccurredAt) },
	).OccurredAt
	q := likesAndLoves()
	for _, halfLife := range []time.Duration{24 * time.Hour, 20 * time.Minute, 1000 * time.Hour} {
		for _, until := range []time.Time{
			{}, analyticsDay.AddDate(0, 0, 10), analyticsDay.AddDate(0, 0, 10).Add(time.Second),
		} {
			q.HalfLife, q.Until = halfLife, until
			got, err := e.Store.TrendingItems(ctx, q)
			require.NoError(t, err)
			end := until
			if until.IsZero() {
				end = newest.Add(time.Nanosecond)
			}
			want := countPeople(&q, rows, end)
			var best []float64
			for _, v := range want {
				if v > 0 {
					best = append(best, v)
				}
			}
			slices.SortFunc(best, func(a, b float64) int { return int(math.Copysign(1, b-a)) })
			require.Len(t, got, min(10, len(best)), "%s before %s", halfLife, until)
			for i, s := range got {
				require.InDelta(t, want[s.ItemID], s.Score, 1e-9, s.ItemID)
				require.InDelta(t, best[i], s.Score, 1e-9, "place %d", i)
			}
		}
	}
	q.Until, q.HalfLife = analyticsDay.AddDate(-1, 0, 0), 24*time.Hour
	got, err := e.Store.TrendingItems(ctx, q)
	require.NoError(t, err)
	require.Empty(t, got, "nothing had happened by then")
}

// A thousand likes of one person are one, in one batch or in many.
func analyticsTrendingOnce(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	var rows sinks.InteractionRows
	for range 1000 {
		at := analyticsDay.Add(time.Duration(len(rows)) * time.Second)
		rows = append(rows, did(int64(len(rows)), "buyer", "bought", schemas.Like, at))
	}
	for i := range 2 {
		rows = append(rows, did(
			int64(len(rows)), fmt.Sprint("user ", i), "liked", schemas.Like, analyticsDay,
		))
	}
	rows = tookNow(rows)
	require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 499), rows[:500]))
	require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 500, 1001), rows[500:]))
	q := likesAndLoves()
	q.Until = analyticsDay.Add(time.Hour)
	got, err := e.Store.TrendingItems(ctx, q)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, "liked", got[0].ItemID)
	require.InDelta(t, got[0].Score/2, got[1].Score, 1e-9)
	requireCounts(t, e, 1002) // the sums stay exact
}

// A person counts what is the most of what he or she said, and it is the meaning that says it.
func analyticsTrendingMeaning(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	var rows sinks.InteractionRows
	add := func(user, item string, action schemas.Action, values ...float64) {
		x := did(int64(len(rows)), user, item, action, analyticsDay.Add(time.Hour))
		if len(values) > 0 {
			x.Value = &values[0]
		}
		rows = append(rows, meaning(x))
	}
	for _, user := range []string{"ann", "bob"} {
		add(user, "loved", schemas.Rate, 5)
		add(user, "hated", schemas.Rate, 1)
		add(user, "abandoned", schemas.Watch, 0.02)
		add(user, "seen", schemas.Impression)
	}
	add("ann", "viewed, then loved", schemas.View)
	add("ann", "viewed, then loved", schemas.Like)
	add("ann", "viewed, then loved", schemas.Purchase)
	add("ann", "viewed", schemas.View)
	add("ann", "viewed", schemas.Click)
	add("ann", "viewed", schemas.Hide)
	own := did(int64(len(rows)), "ann", "of an own action", "sing", analyticsDay.Add(time.Hour))
	own.Meaning = schemas.Love
	rows = tookNow(append(rows, own))
	require.NoError(
		t, e.Store.Insert(ctx, span("interactions", 0, 0, int64(len(rows)-1)), rows),
	)
	q := likesAndLoves()
	q.Until = analyticsDay.Add(90 * time.Minute)
	got, err := e.Store.TrendingItems(ctx, q)
	require.NoError(t, err)
	want := []sinks.Scored{
		{ItemID: "loved", Score: 4},
		{ItemID: "of an own action", Score: 2},
		{ItemID: "viewed, then loved", Score: 2},
		{ItemID: "viewed", Score: 1},
	}
	require.Len(t, got, len(want))
	for i, x := range want {
		require.Equal(t, x.ItemID, got[i].ItemID)
		require.InDelta(t, x.Score*q.Windows()[0].Decay, got[i].Score, 1e-9, x.ItemID)
	}
}

// A list that would be short is filled with what was popular long ago.
func analyticsTrendingLongAgo(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	rows := tookNow(sinks.InteractionRows{
		did(0, "ann", "too long ago", schemas.Like, analyticsDay.AddDate(0, 0, -36)),
		did(1, "ann", "long ago", schemas.Like, analyticsDay.AddDate(0, 0, -30)),
		did(2, "bob", "long ago", schemas.Like, analyticsDay.AddDate(0, 0, -30)),
		did(3, "ann", "yesterday", schemas.View, analyticsDay.AddDate(0, 0, -1)),
		did(4, "ann", "now", schemas.View, analyticsDay),
	})
	require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 4), rows))
	got, err := e.Store.TrendingItems(ctx, likesAndLoves())
	require.NoError(t, err)
	var items []string
	for _, x := range got {
		items = append(items, x.ItemID)
	}
	require.Equal(t, []string{"now", "yesterday", "long ago"}, items)
}

// The rollup agrees with the rows, whatever was repeated.
func analyticsAudience(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	rows := tookNow(randomRows(rand.New(rand.NewPCG(10, 10)), 0, 2000, 1))
	for i := range rows { // several people an hour
		rows[i].OccurredAt = rows[i].OccurredAt.Truncate(12 * time.Hour)
	}
	whole := span("interactions", 0, 0, 1999)
	require.NoError(t, e.Store.Insert(ctx, whole, rows))
	whole.Repeat = true
	require.NoError(t, e.Store.Insert(ctx, whole, rows))
	require.NoError(t, e.Store.Insert(ctx, span("analytics.replay", 0, 0, 499), rows[:500]))

	people := make(map[string]map[string]bool)
	for _, x := range rows {
		if x.Meaning == schemas.Nothing {
			continue
		}
		key := x.OccurredAt.Format("2006-01-02 15") + "|" + x.ItemID + "|" + string(x.Meaning)
		if people[key] == nil {
			people[key] = make(map[string]bool)
		}
		people[key][x.UserID] = true
	}
	want := make(map[string]string)
	for key, users := range people {
		want[key] = strconv.Itoa(len(users))
	}
	require.Equal(t, want, sums(
		t, e, "SELECT substr(toString(hour), 1, 13), item_id, meaning, users FROM item_audience",
	))
}
