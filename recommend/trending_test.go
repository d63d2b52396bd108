package recommend_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// fallible is a store of items whose searches fail when fails is set.
type fallible struct {
	*sqlite.Store
	fails bool
}

func (f *fallible) SearchItems(
	ctx context.Context, queries []sinks.ItemQuery,
) ([][]sinks.ItemHit, error) {
	if f.fails {
		return nil, errors.New("the index does not answer")
	}
	return f.Store.SearchItems(ctx, queries)
}

// newFilms returns a recommender over a catalog of 30 comedies, the more popular the lower their
// number, and a drama. comedy-07, drama and comedy-20 are trending. Hardly anybody has taken
// comedy-04, and nobody the last four.
func newFilms(t *testing.T) (*recommend.Recommender, *fallible) {
	t.Helper()
	cfg := recommend.DefaultConfig()
	cfg.Holdout = 0
	cfg.Degraded = func(string, error) {}
	items := &fallible{Store: openStore(t)}
	film := func(id, genre string, count, bias float64) sinks.Item {
		v := make([]float32, cfg.Model.Dim+1)
		v[cfg.Model.Dim] = float32(bias) / model.BiasScale
		return sinks.Item{
			Content: schemas.Item{
				ItemID: id, Title: id, Genres: []string{genre}, OccurredAt: newYear,
			},
			Vector: v, Count: count, Version: 1, ChangedAt: newYear,
		}
	}
	put := func(x sinks.Item) {
		require.NoError(t, items.PutItems(t.Context(), []sinks.Item{x}))
	}
	put(film("drama", "Drama", 9, 0.1))
	for n := range 30 {
		count := 100.0
		switch {
		case n == 4:
			count = 5
		case n >= 26:
			count = 0
		}
		put(film(fmt.Sprintf("comedy-%02d", n), "Comedy", count, 3-float64(n)/10))
	}
	r := recommend.New(
		recommend.Stores{Users: items, Items: items, Graph: items}, processors.NewErasures(),
		cfg, func() time.Time { return newYear },
	)
	list := schemas.Trending{ComputedAt: newYear, HalfLife: "24h", Items: []schemas.TrendingItem{
		{ItemID: "comedy-07", Score: 0.9},
		{ItemID: "drama", Score: 0.5},
		{ItemID: "comedy-20", Score: 0.002},
	}}
	m := list.Message()
	require.NoError(t, r.ApplyTrending(&record.Record{
		Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers,
	}))
	return r, items
}

// requireFalling wants ranks from 1 and scores that fall.
func requireFalling(t *testing.T, items []schemas.RecommendedItem) {
	t.Helper()
	for i, x := range items {
		require.Equal(t, i+1, x.Rank)
		require.Positive(t, x.Score)
		if i > 0 {
			require.Less(t, x.Score, items[i-1].Score)
		}
	}
}

// A list of a genre of which little is trending goes on with what was chosen most.
func TestShortTrendingListsAreFilled(t *testing.T) {
	t.Parallel()
	r, items := newFilms(t)
	list, err := r.Trending(t.Context(), 10, []string{"Comedy"}, "")
	require.NoError(t, err)
	require.Len(t, list.Items, 10)
	requireFalling(t, list.Items)
	want := []string{
		"comedy-07", "comedy-20", "comedy-00", "comedy-01", "comedy-02", "comedy-03", "comedy-05",
		"comedy-06", "comedy-08", "comedy-09",
	}
	for i, x := range list.Items {
		require.Equal(t, want[i], x.ItemID)
		require.Equal(t, x.ItemID, x.Title)
		source, reason := recommend.SourceTrending, "popular right now"
		if i >= 2 {
			source, reason = recommend.SourceVectors, "often chosen"
		}
		require.Equal(t, source, x.Source)
		require.Equal(t, reason, x.Reason)
	}
	require.Empty(t, list.Degraded)

	// All there is: also what hardly anybody has taken, which is not called popular.
	list, err = r.Trending(t.Context(), 50, []string{"Comedy"}, "de")
	require.NoError(t, err)
	require.Len(t, list.Items, 30)
	requireFalling(t, list.Items)
	require.Equal(t, "gerade beliebt", list.Items[0].Reason)
	require.Equal(t, "oft gewählt", list.Items[24].Reason)
	require.Equal(t, "comedy-04", list.Items[25].ItemID)
	require.Equal(t, "aus dem Katalog", list.Items[25].Reason)

	// A newcomer's list leaves out what the request excludes.
	lists, err := r.Recommend(t.Context(), []recommend.Request{{
		UserID: "newcomer", N: 5, Exclude: []string{"comedy-00", "drama"},
	}})
	require.NoError(t, err)
	var ids []string
	for _, x := range lists[0].Items {
		ids = append(ids, x.ItemID)
	}
	require.Equal(
		t, []string{"comedy-07", "comedy-20", "comedy-01", "comedy-02", "comedy-03"}, ids,
	)
	requireFalling(t, lists[0].Items)

	items.fails = true
	list, err = r.Trending(t.Context(), 10, []string{"Comedy"}, "")
	require.NoError(t, err)
	require.Len(t, list.Items, 2, "what is trending is known without the index")
	require.Equal(t, []string{recommend.DegradedVectors}, list.Degraded)
}
