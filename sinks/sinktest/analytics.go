package sinktest

import (
	"errors"
	"fmt"
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
	"github.com/slipstream-rec/slipstream/stream/record"
)

// AnalyticsEngine is what the suite needs of an engine: an empty, migrated store, and a way to ask
// its views. Query returns every value as text: numbers without trailing zeros, true and false as 1
// and 0, NULL as "NULL". The suite uses toString, which engines without it leave out.
type AnalyticsEngine struct {
	Store Analytics
	Query func(t *testing.T, query string) [][]string
}

// TestAnalytics holds an engine to the contract Analytics. open returns a fresh engine for each
// case.
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
		{"counts feedback by its outcome", analyticsOwnOutcomes},
		{"compares variants as the guide says", analyticsComparison},
		{"tells how fresh lists are", analyticsFreshness},
		{"keeps the newest item and user", analyticsNewest},
		{"keeps what a client said of its time", analyticsClientTime},
		{"keeps the newest of several partitions", analyticsNewestAcrossPartitions},
		{"keeps dead letters and their resolution", analyticsDeadLetters},
		{"shows the newest version, replayed or not", analyticsReplayedVersions},
		{"keeps progress monotone", analyticsProgress},
		{"finds trending items", analyticsTrending},
		{"counts a person once", analyticsTrendingOnce},
		{"weighs trending items by their meaning", analyticsTrendingMeaning},
		{"finds trending items of a month ago", analyticsTrendingLongAgo},
		{"shows how many people said what", analyticsAudience},
		{"erases users", analyticsErasure},
		{"erases up to a time only", analyticsErasureTime},
		{"erases what was recorded up to a time", analyticsErasureRecorded},
		{"erases lists that answer what is erased", analyticsErasureAnswers},
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
	require.NoError(
		t,
		e.Store.Insert(
			t.Context(), span("interactions", 0, 0, 0),
			sinks.InteractionRows{did(0, "u", "i", schemas.View, analyticsDay)},
		),
	)
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
		nil,
		sinks.InteractionRows{},
		sinks.RecommendationRows{},
		sinks.ItemRows{},
		sinks.UserRows{},
		sinks.DeadLetterRows{},
	} {
		require.NoError(t, e.Store.Insert(ctx, r, none), "%T", none)
	}
	require.NoError(t, e.Store.SetProgress(ctx, nil))
	require.NoError(t, e.Store.EraseUsers(ctx, nil))
	requireCounts(t, e, 0)
	p, err := e.Store.GetProgress(ctx)
	require.NoError(t, err)
	require.Empty(t, p)
	trending, err := e.Store.TrendingItems(
		ctx,
		sinks.TrendingQuery{
			HalfLife: time.Hour, N: 5,
			Weights: map[schemas.Meaning]float64{schemas.Interest: 1},
		},
	)
	require.NoError(t, err)
	require.Empty(t, trending)
}

func analyticsIncompleteRange(t *testing.T, e AnalyticsEngine) {
	rows := sinks.InteractionRows{did(0, "u", "i", schemas.View, analyticsDay)}
	require.Error(
		t, e.Store.Insert(t.Context(), record.Range{Topic: "interactions", Last: 1}, rows),
	)
	require.Error(
		t,
		e.Store.Insert(
			t.Context(),
			record.Range{LogID: analyticsLog, Topic: "interactions", First: 2, Last: 1}, rows,
		),
	)
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
	items := sinks.ItemRows{
		{
			Item: schemas.Item{ItemID: "i", Title: "Alien", OccurredAt: analyticsDay}, Offset: 1,
			RecordedAt: analyticsTook,
		},
	}
	users := sinks.UserRows{
		{
			User: schemas.User{UserID: "u", OccurredAt: analyticsDay}, Offset: 1,
			RecordedAt: analyticsTook,
		},
	}
	letters := sinks.DeadLetterRows{{ID: "d", State: "open", RecordedAt: analyticsTook}}
	for range 2 {
		require.NoError(t, e.Store.Insert(ctx, span("recommendations", 0, 0, 9), lists))
		require.NoError(t, e.Store.Insert(ctx, span("items", 0, 0, 9), items))
		require.NoError(t, e.Store.Insert(ctx, span("users", 0, 0, 9), users))
		require.NoError(t, e.Store.Insert(ctx, span("embed.poison", 0, 0, 9), letters))
	}
	for _, table := range []string{
		"recommendations", "items", "users", "dead_letters", "recommendation_outcomes",
	} {
		require.Equal(t, [][]string{{"1"}}, e.Query(t, "SELECT count(*) FROM "+table), table)
	}
}

func analyticsRangeIdentity(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	rows := sinks.InteractionRows{did(5, "u", "i", schemas.View, analyticsDay)}
	ranges := []record.Range{
		span("interactions", 0, 0, 9),
		span("interactions", 0, 0, 10), span("interactions", 0, 1, 9),
		span("interactions", 1, 0, 9),
		span("analytics.replay", 0, 0, 9),
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
		require.NoError(
			t, e.Store.Insert(t.Context(), span("interactions", i%3, first, first+249), rows),
		)
		if i%4 == 0 {
			require.NoError(
				t, e.Store.Insert(t.Context(), span("interactions", i%3, first, first+249), rows),
			)
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
	require.Equal(
		t, [][]string{{strconv.Itoa(len(all)), strconv.Itoa(impressions)}},
		e.Query(t, "SELECT sum(events), sum(impressions) FROM top_items"),
	)
	require.Equal(
		t, [][]string{{strconv.Itoa(len(users)), strconv.Itoa(len(all))}},
		e.Query(t, "SELECT count(*), sum(events) FROM user_activity"),
	)
	require.Equal(
		t, [][]string{{strconv.Itoa(len(all))}},
		e.Query(t, "SELECT sum(events) FROM daily_activity"),
	)
}

func analyticsMonths(t *testing.T, e AnalyticsEngine) {
	rows := make(sinks.InteractionRows, 600)
	for i := range rows {
		rows[i] = did(
			int64(i), fmt.Sprint("u", i%7), fmt.Sprint("i", i%5), schemas.View,
			time.Date(1990, 1, 10, 12, 0, 0, 0, time.UTC).AddDate(0, i%300, 0),
		)
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
					errs[p] = errors.Join(
						errs[p],
						e.Store.Insert(
							t.Context(), span("interactions", p, first, first+size-1), rows,
						),
					)
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
	rows[1].Action = ""
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

	lists := sinks.RecommendationRows{
		served(0, "r0", "u", "personal", "a", analyticsDay),
		served(1, "r1", "u", "personal", "a", analyticsDay),
	}
	lists[1].GeneratedAt = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	require.ErrorAs(t, e.Store.Insert(ctx, span("recommendations", 0, 0, 1), lists), &rejected)
	require.Equal(t, 1, rejected.Records[0].Index)
	require.Equal(t, [][]string{{"0"}}, e.Query(t, "SELECT count(*) FROM recommendations"))
}

func analyticsOddCharacters(t *testing.T, e AnalyticsEngine) {
	ctx := t.Context()
	odd := []string{
		"Zoë 観客 🎬", `quote ' " \ % _ ; -- DROP TABLE interactions`,
		strings.Repeat("ü", schemas.MaxIDLength/2), "a|b", "{x:String} ? @ids $1",
	}
	var rows sinks.InteractionRows
	for i, s := range odd {
		x := did(int64(i), s, s, schemas.View, analyticsDay)
		x.EventID, x.Source, x.SessionID, x.RecommendationID = s, s, s, s
		x.Context = map[string]string{"k": s}
		rows = append(rows, x)
	}
	require.NoError(t, e.Store.Insert(ctx, span("interactions", 0, 0, 9), rows))
	requireSums(t, e, rows)
	var want [][]string
	for _, s := range odd {
		want = append(want, []string{s, s, s, s})
	}
	const kept = "SELECT event_id, source, session_id, recommendation_id FROM interactions ORDER " +
		"BY log_offset"
	require.Equal(t, want, e.Query(t, kept))
	for _, s := range odd {
		require.NoError(t, e.Store.EraseUsers(ctx, []sinks.Erasure{{UserID: s, At: analyticsTook}}))
	}
	c, err := e.Store.CountInteractions(ctx)
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{ItemHours: int64(len(odd))}, c)
}
