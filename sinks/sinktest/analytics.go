package sinktest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// AnalyticsEngine is what the suite needs of an engine: an empty, migrated store, and a way to ask its views. Query returns every value as text: numbers
// without trailing zeros, true and false as 1 and 0, NULL as "NULL". The suite uses toString, which engines without it leave out.
type AnalyticsEngine struct {
	Store Analytics
	Query func(t *testing.T, query string) [][]string
}

// TestAnalytics holds an engine to the contract Analytics. open returns a fresh engine for each case.
func TestAnalytics(t *testing.T, open func(t *testing.T) AnalyticsEngine) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, e AnalyticsEngine)
	}{
		{"is ready, also when migrated again", analyticsReady},
		{"writes the log id down once", analyticsLogID},
		{"takes empty batches as no-ops", analyticsEmpty},
		{"refuses a range without a log id", analyticsIncompleteRange},
		{"drops a range that is repeated", analyticsRepeats},
		{"tells ranges apart by every bound", analyticsRangeIdentity},
		{"sums up what a recount gives", analyticsRecount},
		{"takes a batch over 300 months", analyticsMonths},
		{"takes 10,000 rows at once", analyticsLarge},
		{"takes partitions concurrently", analyticsConcurrent},
		{"names rows it refuses and keeps nothing", analyticsRejects},
		{"keeps odd characters", analyticsOddCharacters},
		{"joins lists and feedback", analyticsOutcomes},
		{"tells how fresh lists are", analyticsFreshness},
		{"keeps the newest item and user", analyticsNewest},
		{"keeps dead letters and their resolution", analyticsDeadLetters},
		{"keeps progress monotone", analyticsProgress},
		{"finds trending items", analyticsTrending},
		{"erases users", analyticsErasure},
		{"erases up to a time only", analyticsErasureTime},
		{"ends soon when canceled", analyticsCanceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := open(t)
			t.Cleanup(func() { _ = e.Store.Close() })
			c.run(t, e)
		})
	}
}

func analyticsReady(t *testing.T, e AnalyticsEngine) {
	require.NoError(t, e.Store.Ping(t.Context()))
	require.NoError(t, e.Store.Insert(t.Context(), span("interactions", 0, 0, 0), sinks.InteractionRows{did(0, "u", "i", schemas.View, analyticsDay)}))
	require.NoError(t, e.Store.Migrate(t.Context()))
	requireCounts(t, e, 1)
}

func analyticsLogID(t *testing.T, e AnalyticsEngine) {
	id, err := e.Store.LogID(t.Context())
	require.NoError(t, err)
	require.Empty(t, id)
	require.NoError(t, e.Store.SetLogID(t.Context(), analyticsLog))
	require.NoError(t, e.Store.SetLogID(t.Context(), analyticsLog))
	id, err = e.Store.LogID(t.Context())
	require.NoError(t, err)
	require.Equal(t, analyticsLog, id)
}

func analyticsEmpty(t *testing.T, e AnalyticsEngine) {
	ctx, r := t.Context(), span("interactions", 0, 0, 9)
	for _, none := range []sinks.Rows{
		nil, sinks.InteractionRows{}, sinks.RecommendationRows{}, sinks.ItemRows{}, sinks.UserRows{}, sinks.DeadLetterRows{},
	} {
		require.NoError(t, e.Store.Insert(ctx, r, none), "%T", none)
	}
	require.NoError(t, e.Store.SetProgress(ctx, nil))
	require.NoError(t, e.Store.EraseUsers(ctx, nil))
	requireCounts(t, e, 0)
	p, err := e.Store.GetProgress(ctx)
	require.NoError(t, err)
	require.Empty(t, p)
	trending, err := e.Store.TrendingItems(ctx, sinks.TrendingQuery{HalfLife: time.Hour, Weights: map[schemas.Action]float64{schemas.View: 1}, N: 5})
	require.NoError(t, err)
	require.Empty(t, trending)
}

func analyticsIncompleteRange(t *testing.T, e AnalyticsEngine) {
	rows := sinks.InteractionRows{did(0, "u", "i", schemas.View, analyticsDay)}
	require.Error(t, e.Store.Insert(t.Context(), schemas.Range{Topic: "interactions", Last: 1}, rows))
	require.Error(t, e.Store.Insert(t.Context(), schemas.Range{LogID: analyticsLog, Topic: "interactions", First: 2, Last: 1}, rows))
	requireCounts(t, e, 0)
}

func analyticsRepeats(t *testing.T, e AnalyticsEngine) {
	ctx, r := t.Context(), span("interactions", 3, 100, 199)
	rows := randomRows(rand.New(rand.NewPCG(1, 1)), 100, 100, 1)
	for range 3 {
		require.NoError(t, e.Store.Insert(ctx, r, rows))
		requireCounts(t, e, 100)
	}
	// Other rows of the same range: fewer, and different ones.
	require.NoError(t, e.Store.Insert(ctx, r, rows[:10]))
	require.NoError(t, e.Store.Insert(ctx, r, randomRows(rand.New(rand.NewPCG(2, 2)), 100, 100, 1)))
	requireCounts(t, e, 100)
	requireSums(t, e, rows)

	lists := sinks.RecommendationRows{served(1, "r1", "u", "personal", "a", analyticsDay, "i")}
	items := sinks.ItemRows{{Item: schemas.Item{ItemID: "i", Title: "Alien", OccurredAt: analyticsDay}, Offset: 1, RecordedAt: analyticsTook}}
	users := sinks.UserRows{{User: schemas.User{UserID: "u", OccurredAt: analyticsDay}, Offset: 1, RecordedAt: analyticsTook}}
	letters := sinks.DeadLetterRows{{ID: "d", State: "open", RecordedAt: analyticsTook}}
	for range 2 {
		require.NoError(t, e.Store.Insert(ctx, span("recommendations", 0, 0, 9), lists))
		require.NoError(t, e.Store.Insert(ctx, span("items", 0, 0, 9), items))
		require.NoError(t, e.Store.Insert(ctx, span("users", 0, 0, 9), users))
		require.NoError(t, e.Store.Insert(ctx, span("embed.poison", 0, 0, 9), letters))
	}
	for _, table := range []string{"recommendations", "items", "users", "dead_letters", "recommendation_outcomes"} {
		require.Equal(t, [][]string{{"1"}}, e.Query(t, "SELECT count(*) FROM "+table), table)
	}
}

func analyticsRangeIdentity(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	rows := sinks.InteractionRows{did(5, "u", "i", schemas.View, analyticsDay)}
	ranges := []schemas.Range{
		span("interactions", 0, 0, 9), span("interactions", 0, 0, 10), span("interactions", 0, 1, 9), span("interactions", 1, 0, 9),
		span("aggregate.replay", 0, 0, 9),
		{LogID: "log-2", Topic: "interactions", First: 0, Last: 9},
		span("interactions", 1, 10, 9+10), span("interactions", 11, 0, 9),
	}
	for range 2 {
		for _, r := range ranges {
			require.NoError(t, e.Store.Insert(ctx, r, rows))
		}
	}
	requireCounts(t, e, len(ranges))
}

func analyticsRecount(t *testing.T, e AnalyticsEngine) {
	rng := rand.New(rand.NewPCG(3, 3))
	var all sinks.InteractionRows
	for i := range 12 {
		first := int64(i * 250)
		rows := randomRows(rng, first, 250, 4)
		all = append(all, rows...)
		require.NoError(t, e.Store.Insert(t.Context(), span("interactions", i%3, first, first+249), rows))
		if i%4 == 0 {
			require.NoError(t, e.Store.Insert(t.Context(), span("interactions", i%3, first, first+249), rows))
		}
	}
	requireCounts(t, e, len(all))
	requireSums(t, e, all)

	users, impressions := map[string]bool{}, 0
	for _, x := range all {
		if x.Action == schemas.Impression {
			impressions++
		}
		users[x.UserID] = true
	}
	require.Equal(t, [][]string{{strconv.Itoa(len(all)), strconv.Itoa(impressions)}}, e.Query(t, "SELECT sum(events), sum(impressions) FROM top_items"))
	require.Equal(t, [][]string{{strconv.Itoa(len(users)), strconv.Itoa(len(all))}}, e.Query(t, "SELECT count(*), sum(events) FROM user_activity"))
	require.Equal(t, [][]string{{strconv.Itoa(len(all))}}, e.Query(t, "SELECT sum(events) FROM daily_activity"))
}

func analyticsMonths(t *testing.T, e AnalyticsEngine) {
	rows := make(sinks.InteractionRows, 600)
	for i := range rows {
		rows[i] = did(int64(i), fmt.Sprint("u", i%7), fmt.Sprint("i", i%5), schemas.View, time.Date(1990, 1, 10, 12, 0, 0, 0, time.UTC).AddDate(0, i%300, 0))
	}
	for range 2 {
		require.NoError(t, e.Store.Insert(t.Context(), span("interactions", 0, 0, 599), rows))
		requireCounts(t, e, 600)
	}
	requireSums(t, e, rows)
}

func analyticsLarge(t *testing.T, e AnalyticsEngine) {
	rows := randomRows(rand.New(rand.NewPCG(4, 4)), 0, 10_000, 2)
	for range 2 {
		require.NoError(t, e.Store.Insert(t.Context(), span("interactions", 0, 0, 9_999), rows))
	}
	requireCounts(t, e, 10_000)
	requireSums(t, e, rows)
}

func analyticsConcurrent(t *testing.T, e AnalyticsEngine) {
	const partitions, ranges, size = 6, 4, 50
	var (
		wg   sync.WaitGroup
		all  = make([]sinks.InteractionRows, partitions)
		errs = make([]error, partitions)
	)
	for p := range partitions {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(5, uint64(p)))
			for i := range ranges {
				first := int64(i * size)
				rows := randomRows(rng, first, size, 2)
				all[p] = append(all[p], rows...)
				for range 2 {
					errs[p] = errors.Join(errs[p], e.Store.Insert(t.Context(), span("interactions", p, first, first+size-1), rows))
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	requireCounts(t, e, partitions*ranges*size)
	requireSums(t, e, slices.Concat(all...))
}

func analyticsRejects(t *testing.T, e AnalyticsEngine) {
	ctx, r := t.Context(), span("interactions", 0, 0, 4)
	rows := randomRows(rand.New(rand.NewPCG(6, 6)), 0, 5, 1)
	rows[1].Action = "teleport"
	rows[3].OccurredAt = time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)
	err := e.Store.Insert(ctx, r, rows)
	var rejected *fault.Rejected
	require.ErrorAs(t, err, &rejected)
	require.True(t, rejected.Undone)
	require.Len(t, rejected.Records, 2)
	require.Equal(t, []int{1, 3}, []int{rejected.Records[0].Index, rejected.Records[1].Index})
	requireCounts(t, e, 0)

	good := sinks.InteractionRows{rows[0], rows[2], rows[4]}
	for range 2 {
		require.NoError(t, e.Store.Insert(ctx, r, good))
	}
	requireCounts(t, e, 3)

	lists := sinks.RecommendationRows{served(0, "r0", "u", "personal", "a", analyticsDay), served(1, "r1", "u", "personal", "a", analyticsDay)}
	lists[1].GeneratedAt = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	require.ErrorAs(t, e.Store.Insert(ctx, span("recommendations", 0, 0, 1), lists), &rejected)
	require.Equal(t, 1, rejected.Records[0].Index)
	require.Equal(t, [][]string{{"0"}}, e.Query(t, "SELECT count(*) FROM recommendations"))
}

func analyticsOddCharacters(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	odd := []string{"Zoë 観客 🎬", `quote ' " \ % _ ; -- DROP TABLE interactions`, strings.Repeat("ü", schemas.MaxIDLength/2), "a|b", "{x:String} ? @ids $1"}
	var rows sinks.InteractionRows
	for i, s := range odd {
		x := did(int64(i), s, s, schemas.View, analyticsDay)
		x.EventID, x.Source, x.SessionID, x.RecommendationID, x.Context = s, s, s, s, map[string]string{"k": s}
		rows = append(rows, x)
	}
	require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 9), rows))
	requireSums(t, e, rows)
	var want [][]string
	for _, s := range odd {
		want = append(want, []string{s, s, s, s})
	}
	const kept = "SELECT event_id, source, session_id, recommendation_id FROM interactions ORDER BY log_offset"
	require.Equal(t, want, e.Query(t, kept))
	for _, s := range odd {
		require.NoError(t, e.Store.EraseUsers(ctx, []sinks.Erasure{{UserID: s, At: analyticsTook}}))
	}
	c, err := e.Store.CountInteractions(ctx)
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{ItemHours: int64(len(odd))}, c)
}

func analyticsOutcomes(t *testing.T, e AnalyticsEngine) {
	ctx, day := t.Context(), analyticsDay.Add(12*time.Hour)
	feedback := func(offset int64, list, item string, action schemas.Action) sinks.InteractionRow {
		x := did(offset, "u1", item, action, day.AddDate(0, 0, 1))
		x.RecommendationID = list
		return x
	}
	lists := sinks.RecommendationRows{
		served(0, "r1", "u1", "personal", "a", day, "i1", "i2", "i3"), served(1, "r2", "u2", "personal", "a", day, "i4", "i5"),
		served(2, "r3", "u3", "personal", "b", day, "i1"), served(3, "r4", "u4", "trending", "a", day.AddDate(0, 0, 1), "i1"),
	}
	early := sinks.InteractionRows{feedback(0, "r1", "i1", schemas.Impression), feedback(1, "r1", "i2", schemas.Impression), feedback(2, "r1", "i2", schemas.Click)}
	late := sinks.InteractionRows{
		feedback(3, "r1", "i2", schemas.Purchase), feedback(4, "r2", "i4", schemas.Impression), feedback(5, "r3", "i1", schemas.Hide),
		feedback(6, "never served", "i1", schemas.Click), did(7, "u1", "i1", schemas.Click, day),
	}
	for range 2 {
		// Feedback may come before its list.
		require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 2), early))
		require.NoError(t, e.Store.Insert(ctx, span("recommendations", 0, 0, 3), lists))
		require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 3, 7), late))
	}
	// The same list once more on the log is the same list.
	require.NoError(t, e.Store.Insert(ctx, span("recommendations", 0, 4, 4), sinks.RecommendationRows{lists[0]}))
	require.Equal(t, [][]string{
		{"2001-03-14", "personal", "a", "2", "2", "1", "3", "1", "1", "0", "0.5"},
		{"2001-03-14", "personal", "b", "1", "0", "0", "0", "0", "0", "1", "0"},
		{"2001-03-15", "trending", "a", "1", "0", "0", "0", "0", "0", "0", "0"},
		{"2001-03-15", "unknown", "unknown", "0", "0", "1", "0", "1", "0", "0", "NULL"},
	}, e.Query(t, `SELECT toString(day), strategy, variant, lists, lists_shown, lists_clicked, impressions, clicks, conversions, refusals, click_through_lists
		FROM strategy_days ORDER BY day, strategy, variant`))
	require.Equal(t, [][]string{{"2", "0.333"}}, e.Query(t, "SELECT lists, round(click_through_impressions, 3) FROM click_through WHERE strategy = 'personal' AND variant = 'a'"))
	require.Equal(t, [][]string{{"1", "i1", "1"}, {"2", "i2", "0.5"}, {"3", "i3", "0.333"}},
		e.Query(t, "SELECT rank, item_id, round(score, 3) FROM recommended_items WHERE recommendation_id = 'r1' AND user_id = 'u1' GROUP BY rank, item_id, score ORDER BY rank"))
	require.Equal(t, [][]string{{"2", "2", "1", "1", "1"}},
		e.Query(t, "SELECT rank, places, impressions, clicks, click_through_impressions FROM click_through_by_rank WHERE strategy = 'personal' AND variant = 'a' AND rank = 2 AND source = 'vectors'"),
		"r1 stands on the log twice and counts once")
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
	require.Equal(t, [][]string{{"2026-11-22", "99", "51", "100"}}, e.Query(t, "SELECT toString(day), lists, p50_ms, max_ms FROM freshness"))
}

func analyticsNewest(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	yes, no := true, false
	item := func(offset int64, title string, available *bool, withdrawn bool) sinks.ItemRow {
		return sinks.ItemRow{Item: schemas.Item{
			ItemID: "i", Title: title, Genres: []string{"Horror", "Sci-Fi"}, PublishedAt: time.Date(1895, 1, 1, 0, 0, 0, 0, time.UTC),
			Attributes: map[string]any{"studio": "Fox"}, Available: available, Withdrawn: withdrawn, OccurredAt: analyticsDay,
		}, Offset: offset, RecordedAt: analyticsTook}
	}
	require.NoError(t, e.Store.Insert(ctx, span("items", 0, 5, 9), sinks.ItemRows{item(5, "five", &no, false), item(9, "nine", &yes, false), item(7, "seven", nil, false)}))
	require.NoError(t, e.Store.Insert(ctx, span("items", 0, 0, 4), sinks.ItemRows{item(3, "three", &no, false)}))
	require.Equal(t, [][]string{{"nine", "1", "0", `{"studio":"Fox"}`}}, e.Query(t, "SELECT title, available, withdrawn, attributes FROM items"))
	require.NoError(t, e.Store.Insert(ctx, span("items", 0, 10, 10), sinks.ItemRows{item(10, "", nil, true)}))
	require.Equal(t, [][]string{{"0", "1"}}, e.Query(t, "SELECT available, withdrawn FROM items"))

	user := func(offset int64, country string, erased bool) sinks.UserRow {
		return sinks.UserRow{User: schemas.User{UserID: "u", Attributes: map[string]any{"country": country}, Erased: erased, OccurredAt: analyticsDay}, Offset: offset, RecordedAt: analyticsTook}
	}
	require.NoError(t, e.Store.Insert(ctx, span("users", 0, 2, 3), sinks.UserRows{user(3, "NZ", false), user(2, "CH", false)}))
	require.NoError(t, e.Store.Insert(ctx, span("users", 0, 0, 1), sinks.UserRows{user(1, "IS", false)}))
	require.Equal(t, [][]string{{"u", `{"country":"NZ"}`}}, e.Query(t, "SELECT user_id, attributes FROM users"))
	require.NoError(t, e.Store.Insert(ctx, span("users", 0, 4, 4), sinks.UserRows{user(4, "", true)}))
	require.Empty(t, e.Query(t, "SELECT user_id FROM users"))
}

func analyticsDeadLetters(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	letter := sinks.DeadLetterRow{
		ID: "embed/interactions/0/12", Group: "embed", Topic: "interactions", Offset: 12, Class: "permanent", Reason: `"action" is missing`, Attempts: 1,
		Key: "u\x00\xff", Value: []byte{0, 0xff, '"', 0x80}, State: "open", FirstFailedAt: analyticsTook, LastFailedAt: analyticsTook, PoisonOffset: 4, RecordedAt: analyticsTook,
	}
	other := letter
	other.ID, other.PoisonOffset = "embed/interactions/0/13", 5
	replayed := letter
	replayed.State, replayed.Note, replayed.RecordedAt, replayed.PoisonOffset = "replayed", "fixed the sender", analyticsTook.Add(time.Hour), 6
	require.NoError(t, e.Store.Insert(ctx, span("embed.poison", 0, 6, 6), sinks.DeadLetterRows{replayed}))
	require.NoError(t, e.Store.Insert(ctx, span("embed.poison", 0, 4, 5), sinks.DeadLetterRows{letter, other}))
	require.Equal(t, [][]string{{letter.ID, "replayed", "fixed the sender", "00FF2280"}, {other.ID, "open", "", "00FF2280"}},
		e.Query(t, "SELECT id, state, note, hex(value) FROM dead_letters ORDER BY id"))
	dropped := other
	dropped.State, dropped.Note = "dropped", "a test"
	require.NoError(t, e.Store.Insert(ctx, span("embed.poison", 0, 7, 7), sinks.DeadLetterRows{dropped}))
	require.Equal(t, [][]string{{"dropped"}}, e.Query(t, "SELECT state FROM dead_letters WHERE id = '"+other.ID+"'"), "a resolution in the same millisecond wins")
}

func analyticsProgress(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	at := func(p int, offset int64, minutes int) sinks.Progress {
		d := time.Duration(minutes) * time.Minute
		return sinks.Progress{Topic: "interactions", Partition: p, Offset: offset, OccurredAt: analyticsDay.Add(d), RecordedAt: analyticsTook.Add(d)}
	}
	require.NoError(t, e.Store.SetProgress(ctx, []sinks.Progress{at(0, 10, 1), at(1, 5, 1)}))
	require.NoError(t, e.Store.SetProgress(ctx, []sinks.Progress{at(0, 20, 2)}))
	require.NoError(t, e.Store.SetProgress(ctx, []sinks.Progress{at(0, 15, 9), {Topic: "items", Partition: 0, Offset: 0}}))
	got, err := e.Store.GetProgress(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, []sinks.Progress{at(0, 20, 2), at(1, 5, 1), {Topic: "items"}}, got)
	require.Equal(t, [][]string{{"0", "20"}, {"1", "5"}}, e.Query(t, "SELECT partition, offset FROM completeness WHERE topic = 'interactions' ORDER BY partition"))
}

func analyticsTrending(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	rows := randomRows(rand.New(rand.NewPCG(8, 8)), 0, 3000, 1)
	require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 2999), rows))
	newest := slices.MaxFunc(rows, func(a, b sinks.InteractionRow) int { return a.OccurredAt.Compare(b.OccurredAt) }).OccurredAt
	q := sinks.TrendingQuery{HalfLife: 48 * time.Hour, Weights: map[schemas.Action]float64{schemas.View: 1, schemas.Like: 2, schemas.Purchase: 5, schemas.Dislike: -3}, N: 10}
	direct := func(until time.Time) map[string]float64 {
		out := map[string]float64{}
		for _, x := range rows {
			if !x.OccurredAt.After(until) {
				out[x.ItemID] += q.Weights[x.Action] * math.Exp2(-float64(until.Sub(x.OccurredAt))/float64(q.HalfLife))
			}
		}
		return out
	}
	for _, until := range []time.Time{{}, analyticsDay.AddDate(0, 0, 10)} {
		q.Until = until
		got, err := e.Store.TrendingItems(ctx, q)
		require.NoError(t, err)
		require.Len(t, got, 10)
		end := until
		if until.IsZero() {
			end = newest
		}
		want := direct(end)
		best := make([]float64, 0, len(want))
		for _, v := range want {
			best = append(best, v)
		}
		slices.SortFunc(best, func(a, b float64) int { return int(math.Copysign(1, b-a)) })
		for i, s := range got {
			// Hourly rollups shift an event by half an hour at most: 2^(0.5/48) is 0.7 %, and signs may differ within a sum.
			require.InDelta(t, want[s.ItemID], s.Score, 0.02*math.Abs(want[s.ItemID])+0.05, s.ItemID)
			require.InDelta(t, best[i], s.Score, 0.02*math.Abs(best[i])+0.05, "place %d", i)
			if i > 0 {
				require.LessOrEqual(t, s.Score, got[i-1].Score)
			}
		}
	}
	q.Until, q.N = analyticsDay.AddDate(-1, 0, 0), 10
	got, err := e.Store.TrendingItems(ctx, q)
	require.NoError(t, err)
	require.Empty(t, got, "nothing had happened by then")
}

func analyticsErasure(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	rows := randomRows(rand.New(rand.NewPCG(9, 9)), 0, 2000, 3)
	rows[0].RecommendationID, rows[0].Action, rows[0].UserID, rows[0].Value = "r1", schemas.Click, "user 1", nil
	r := span("interactions", 0, 0, 1999)
	lists := sinks.RecommendationRows{served(0, "r1", "user 1", "personal", "a", analyticsDay, "i1"), served(1, "r2", "user 2", "personal", "a", analyticsDay, "i1")}
	letter := func(id, topic, group, key, value string) sinks.DeadLetterRow {
		return sinks.DeadLetterRow{ID: id, Topic: topic, Group: group, Key: key, Value: []byte(value), State: "open", RecordedAt: analyticsTook}
	}
	users := sinks.UserRows{{User: schemas.User{UserID: "user 1", OccurredAt: analyticsDay}, RecordedAt: analyticsTook}, {User: schemas.User{UserID: "user 2", OccurredAt: analyticsDay}, Offset: 1, RecordedAt: analyticsTook}}
	letters := sinks.DeadLetterRows{
		letter("d1", "interactions", "embed", "user 1", "not json"), letter("d2", "interactions", "embed", "user 2", "{}"),
		letter("d3", "friendships", "befriend", "user 1|user 9", ""), letter("d4", "friendships", "befriend", "user 0|user 1", ""), letter("d5", "friendships", "befriend", "user 10|user 11", ""),
		letter("d6", "interactions", "embed", "", `{"user_id":"user 1"}`),
	}
	insert := func() {
		require.NoError(t, e.Store.Insert(ctx, r, rows))
		require.NoError(t, e.Store.Insert(ctx, span("recommendations", 0, 0, 1), lists))
		require.NoError(t, e.Store.Insert(ctx, span("users", 0, 0, 1), users))
		require.NoError(t, e.Store.Insert(ctx, span("embed.poison", 0, 0, 9), letters))
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
		require.Equal(t, sinks.Counts{Rows: int64(len(left)), ItemHours: int64(len(rows)), UserDays: int64(len(left))}, c)
		_, wantDays := recount(left)
		require.Equal(t, wantDays, sums(t, e, "SELECT toString(day), user_id, action, events, value_count, value_sum FROM user_days"))
		require.Equal(t, [][]string{{"user 2"}}, e.Query(t, "SELECT user_id FROM users"))
		require.Equal(t, [][]string{{"user 2"}}, e.Query(t, "SELECT user_id FROM recommendations"))
		require.Equal(t, [][]string{{"d2"}, {"d5"}}, e.Query(t, "SELECT id FROM dead_letters ORDER BY id"))
		require.Equal(t, [][]string{{"2", "1"}}, e.Query(t, "SELECT lists, clicks FROM click_through WHERE strategy = 'personal'"), "per-strategy sums stay")
	}
	gone := []sinks.Erasure{{UserID: "user 1", At: analyticsTook}, {UserID: "user 3", At: analyticsTook}, {UserID: "nobody", At: analyticsTook}}
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
		did(0, "u", "i", schemas.View, noon.AddDate(0, 0, -1)), did(1, "u", "i", schemas.View, noon.Add(-time.Hour)), did(2, "u", "i", schemas.View, noon),
		did(3, "u", "i", schemas.View, noon.Add(time.Microsecond)), did(4, "u", "i", schemas.Like, noon.Add(time.Hour)), did(5, "u", "i", schemas.View, noon.AddDate(0, 0, 1)),
		did(6, "v", "i", schemas.View, noon.Add(-time.Hour)),
	}
	require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 6), rows))
	for range 2 {
		require.NoError(t, e.Store.EraseUsers(ctx, []sinks.Erasure{{UserID: "u", At: noon}, {UserID: "u", At: noon.AddDate(0, 0, -9)}}))
		c, err := e.Store.CountInteractions(ctx)
		require.NoError(t, err)
		require.Equal(t, sinks.Counts{Rows: 4, ItemHours: 7, UserDays: 4}, c)
		_, wantDays := recount(rows[3:])
		require.Equal(t, wantDays, sums(t, e, "SELECT toString(day), user_id, action, events, value_count, value_sum FROM user_days"))
	}
}

func analyticsCanceled(t *testing.T, e AnalyticsEngine) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := e.Store.Insert(ctx, span("interactions", 0, 0, 0), sinks.InteractionRows{did(0, "u", "i", schemas.View, analyticsDay)})
	require.Error(t, err)
	require.Equal(t, fault.Canceled, fault.ClassOf(err))
	_, err = e.Store.CountInteractions(ctx)
	require.Equal(t, fault.Canceled, fault.ClassOf(err))
	requireCounts(t, e, 0)
}
