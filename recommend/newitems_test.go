package recommend_test

import (
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

var newYear = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// cinema is a catalog in which ann likes three horror films.
type cinema struct {
	*recommend.Recommender
	store *sqlite.Store
	put   func(items ...sinks.Item)
}

// filmOf is a film of which so many events were learned; ann likes its vector as much as it is
// popular.
func filmOf(id string, count float64, x schemas.Item) sinks.Item {
	x.ItemID, x.Title, x.OccurredAt = id, id, newYear
	v := make([]float32, model.Default().Dim+1)
	v[0] = float32(count / 100)
	return sinks.Item{
		Content: x, Vector: v, Count: count, Version: 1, ChangedAt: newYear,
		ContentVector: model.ContentVector(x.Features(), model.DefaultContentDim),
	}
}

func newCinema(t *testing.T, change func(*recommend.Config)) *cinema {
	t.Helper()
	cfg := recommend.DefaultConfig()
	cfg.Holdout, cfg.SimilarUsers = 0, 0
	if change != nil {
		change(&cfg)
	}
	store := openStore(t)
	c := &cinema{
		recommend.New(
			recommend.Stores{Users: store, Items: store, Graph: store},
			processors.NewErasures(), cfg, func() time.Time { return newYear },
		),
		store,
		func(items ...sinks.Item) {
			t.Helper()
			require.NoError(t, store.PutItems(t.Context(), items))
		},
	}
	likes := []sinks.Item{
		filmOf("Halloween", 100, schemas.Item{
			Genres: []string{"Horror"}, Directors: []string{"John Carpenter"},
			Actors: []string{"Jamie Lee Curtis"},
		}),
		filmOf("The Shining", 100, schemas.Item{
			Genres: []string{"Horror"}, Directors: []string{"Stanley Kubrick"},
		}),
		filmOf("The Exorcist", 100, schemas.Item{
			Genres: []string{"Horror"}, Directors: []string{"William Friedkin"},
		}),
	}
	c.put(likes...)
	for n := range 300 {
		c.put(filmOf(fmt.Sprintf("known-%03d", n), 100+float64(n),
			schemas.Item{Genres: []string{"Horror", "Comedy"}}))
	}
	learner := model.NewLearner(model.NewTable(cfg.Model))
	var ann model.User
	like := schemas.DefaultActions().Find(schemas.Like, nil)
	for _, x := range likes {
		learner.Step(&ann, model.Event{
			Item: learner.Table().Intern(x.Content.ItemID), Strength: 1, Takes: true,
			Label: like.Label(), At: newYear.Unix(),
		})
	}
	vector := make([]float32, cfg.Model.Dim+1)
	vector[0], vector[cfg.Model.Dim] = 1, model.BiasScale
	require.NoError(t, store.PutUsers(
		t.Context(), sinks.Source{Topic: schemas.TopicInteractions}, []sinks.User{{
			ID: "ann", Vector: vector, State: ann.Append(nil), LastEventAt: newYear,
			ChangedAt: newYear, Positions: map[string]sinks.Position{
				schemas.TopicInteractions: sinks.PositionOf(sinks.FirstEpoch, 1),
			},
		}},
	))
	return c
}

// adds puts an item into the catalog, as a record of the topic items does.
func (c *cinema) adds(t *testing.T, x *sinks.Item, at time.Time) {
	t.Helper()
	c.put(*x)
	m := x.Content.Message()
	require.NoError(t, c.ApplyItem(&record.Record{
		Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers, Time: at,
	}))
}

// listFor returns the list of n for ann, and its items by id.
func (c *cinema) listFor(
	t *testing.T, n int,
) ([]schemas.RecommendedItem, map[string]schemas.RecommendedItem) {
	t.Helper()
	lists, err := c.Recommend(t.Context(), []recommend.Request{{UserID: "ann", N: n}})
	require.NoError(t, err)
	require.Equal(t, schemas.StrategyPersonal, lists[0].Strategy)
	require.Len(t, lists[0].Items, n)
	byID := make(map[string]schemas.RecommendedItem)
	for i, x := range lists[0].Items {
		require.Equal(t, i+1, x.Rank)
		byID[x.ItemID] = x
	}
	require.Len(t, byID, n, "each once")
	return lists[0].Items, byID
}

// A film that nobody has taken reaches who likes its genre, although everything else is known to be
// liked.
func TestANewItemIsOnTheListOfWhoLikesItsKind(t *testing.T) {
	t.Parallel()
	c := newCinema(t, nil)
	// cold ones that nobody wants, which fit as well
	for n := range 150 {
		c.put(filmOf(fmt.Sprintf("cold-%03d", n), 0, schemas.Item{Genres: []string{"Horror"}}))
	}
	fresh := filmOf("Fresh", 0, schemas.Item{Genres: []string{"Horror", "Thriller"}})
	romance := filmOf("Romance", 0, schemas.Item{Genres: []string{"Romance"}})
	c.adds(t, &fresh, newYear)
	c.adds(t, &romance, newYear.Add(time.Hour))
	for _, n := range []int{20, 200} {
		items, byID := c.listFor(t, n)
		require.Contains(t, byID, "Fresh", n)
		require.Equal(t, "new: more Horror", byID["Fresh"].Reason)
		require.Equal(t, recommend.SourceContent, byID["Fresh"].Source)
		require.NotContains(t, byID, "Romance", "it does not fit")
		kept := n / 10
		for i, x := range items {
			isNew := x.Source == recommend.SourceContent
			require.Equal(t, i >= n-kept, isNew, "%d of %d: %s", i, n, x.ItemID)
			if i > 0 {
				require.LessOrEqual(t, x.Score, items[i-1].Score+0.11, "but for diversity")
			}
		}
	}
}
