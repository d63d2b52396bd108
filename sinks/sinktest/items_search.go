package sinktest

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// putCatalog puts n items i-0000… with random vectors, genres and counts; every tenth is withdrawn,
// every tenth unavailable, every tenth without content vector.
func putCatalog(t *testing.T, s Items, n int) []sinks.Item {
	t.Helper()
	genres := []string{"Drama", "Comedy", "Horror", "Sci-Fi", "Žánr", "Film-Noir"}
	r := random(t)
	items := make([]sinks.Item, n)
	for i, id := range numbered("i", n) {
		x := item(id, uint64(i+1), 0)
		x.Vector, x.ContentVector = vector(r, VectorDim), vector(r, ContentDim)
		length := math.Sqrt(dot(x.ContentVector, x.ContentVector))
		for j := range x.ContentVector {
			x.ContentVector[j] /= float32(length)
		}
		x.Count = float64(r.IntN(50))
		for g := range genres {
			if r.IntN(3) == 0 {
				x.Content.Genres = append(x.Content.Genres, genres[g])
			}
		}
		switch i % 10 {
		case 3:
			x.Content.Withdrawn = true
		case 5:
			x.Content.Available = new(bool)
		case 7:
			x.ContentVector = nil
		}
		items[i] = x
	}
	putItems(t, s, items...)
	return items
}

// answer is the exact answer to q.
func answer(items []sinks.Item, q sinks.ItemQuery) []sinks.ItemHit {
	length := math.Sqrt(dot(q.Vector, q.Vector))
	var hits []sinks.ItemHit
	for _, x := range items {
		h := sinks.ItemHit{Item: x}
		switch {
		case !x.Content.IsAvailable(),
			slices.Contains(q.Exclude, schemas.Key(x.Content.ItemID)),
			q.MaxCount > 0 && x.Count > q.MaxCount,
			len(q.Genres) > 0 &&
				!slices.ContainsFunc(q.Genres, func(g string) bool {
					return slices.Contains(x.Content.Genres, g)
				}),
			q.Content && x.ContentVector == nil:
			continue
		case q.Content:
			h.Score = dot(q.Vector, x.ContentVector) / length
		default:
			h.Score = dot(q.Vector, x.Vector)
		}
		hits = append(hits, h)
	}
	slices.SortFunc(hits, func(a, b sinks.ItemHit) int { return cmp.Compare(b.Score, a.Score) })
	return hits[:min(q.N, len(hits))]
}

func requireHits(t *testing.T, want, got []sinks.ItemHit) {
	t.Helper()
	require.Equal(t, hitIDs(want), hitIDs(got))
	for i := range want {
		w, g := want[i], got[i]
		require.InDelta(t, w.Score, g.Score, scoreDelta, "score at place %d", i)
		requireContent(t, w.Item.Content, g.Item.Content)
		require.Equal(t, w.Item.Version, g.Item.Version)
		require.InDelta(t, w.Item.Count, g.Item.Count, 1e-9)
		require.True(t, w.Item.ChangedAt.Equal(g.Item.ChangedAt))
		require.Empty(t, g.Item.Vector, "hits have no vectors")
		require.Empty(t, g.Item.ContentVector, "hits have no vectors")
	}
}

func itemSearchCases() []testCase[Items] {
	const size = 600
	return []testCase[Items]{
		{"an empty store answers every query with nothing", func(t *testing.T, s Items) {
			answers, err := s.SearchItems(t.Context(), []sinks.ItemQuery{
				{Vector: vector(random(t), VectorDim), N: 5},
				{Vector: vector(random(t), ContentDim), Content: true, N: 5, Exclude: []uint64{1}},
			})
			require.NoError(t, err)
			require.Len(t, answers, 2)
			require.Empty(t, answers[0])
			require.Empty(t, answers[1])
		}},
		{"a user's vector finds the highest scores, best first", func(t *testing.T, s Items) {
			items := putCatalog(t, s, size)
			q := sinks.ItemQuery{Vector: vector(random(t), VectorDim), N: 50}
			q.Vector[VectorDim-1] = 1
			requireHits(t, answer(items, q), search(t, s, q))
		}},
		{"an item's vector finds items by inner product without bias", func(t *testing.T, s Items) {
			items := putCatalog(t, s, size)
			q := sinks.ItemQuery{
				Vector: slices.Clone(items[0].Vector), N: 10,
				Exclude: []uint64{schemas.Key(items[0].Content.ItemID)},
			}
			q.Vector[VectorDim-1] = 0
			requireHits(t, answer(items, q), search(t, s, q))
		}},
		{"content vectors are compared by cosine", func(t *testing.T, s Items) {
			items := putCatalog(t, s, size)
			q := sinks.ItemQuery{Vector: vector(random(t), ContentDim), Content: true, N: 50}
			requireHits(t, answer(items, q), search(t, s, q))
			long := sinks.ItemQuery{Vector: slices.Clone(q.Vector), Content: true, N: 50}
			for i := range long.Vector {
				long.Vector[i] *= 7
			}
			requireHits(t, answer(items, q), search(t, s, long))
		}},
		{"items without a content vector are not found by content", func(t *testing.T, s Items) {
			bare := item("bare", 1, 1)
			bare.ContentVector = nil
			putItems(t, s, bare, item("full", 1, 1))
			require.Equal(
				t, []string{"full"},
				hitIDs(
					search(
						t, s,
						sinks.ItemQuery{Vector: item("", 0, 1).ContentVector, Content: true, N: 10},
					),
				),
			)
			require.ElementsMatch(
				t, []string{"bare", "full"},
				hitIDs(search(t, s, sinks.ItemQuery{Vector: item("", 0, 1).Vector, N: 10})),
			)
		}},
		{"at most N items come, also when N is 1 or 1000", func(t *testing.T, s Items) {
			items := putCatalog(t, s, 1200)
			for _, n := range []int{1, 7, 1000} {
				q := sinks.ItemQuery{Vector: vector(random(t), VectorDim), N: n}
				got := search(t, s, q)
				require.Len(t, got, min(n, len(answer(items, q))))
				requireHits(t, answer(items, q), got)
			}
		}},
		{"excluded keys do not come, however many", func(t *testing.T, s Items) {
			items := putCatalog(t, s, size)
			q := sinks.ItemQuery{Vector: vector(random(t), VectorDim), N: 30}
			for _, id := range numbered("unknown", 5000) {
				q.Exclude = append(q.Exclude, schemas.Key(id))
			}
			for i, x := range items {
				if i%4 != 0 {
					q.Exclude = append(q.Exclude, schemas.Key(x.Content.ItemID))
				}
			}
			requireHits(t, answer(items, q), search(t, s, q))
			q = sinks.ItemQuery{Vector: q.Vector, N: 30}
			for _, x := range items {
				q.Exclude = append(q.Exclude, schemas.Key(x.Content.ItemID))
			}
			require.Empty(t, search(t, s, q))
		}},
		{"genres: at least one of them", func(t *testing.T, s Items) {
			items := putCatalog(t, s, size)
			for _, genres := range [][]string{
				{"Horror"}, {"Žánr", "Film-Noir"}, {"Western"}, {"horror"}, {"Western", "Drama"},
			} {
				q := sinks.ItemQuery{Vector: vector(random(t), VectorDim), N: 40, Genres: genres}
				requireHits(t, answer(items, q), search(t, s, q))
			}
		}},
		{"MaxCount: new items only, the limit included", func(t *testing.T, s Items) {
			items := putCatalog(t, s, size)
			for _, limit := range []float64{0.5, 5, 49} {
				q := sinks.ItemQuery{
					Vector: vector(random(t), ContentDim), Content: true, N: 100, MaxCount: limit,
				}
				requireHits(t, answer(items, q), search(t, s, q))
			}
		}},
		{"all filters together", func(t *testing.T, s Items) {
			items := putCatalog(t, s, size)
			q := sinks.ItemQuery{
				Vector: vector(random(t), VectorDim), N: 25, Genres: []string{"Drama", "Comedy"},
				MaxCount: 30,
			}
			for _, x := range items[:size/2] {
				q.Exclude = append(q.Exclude, schemas.Key(x.Content.ItemID))
			}
			requireHits(t, answer(items, q), search(t, s, q))
		}},
		{"each query of a batch has its own answer", func(t *testing.T, s Items) {
			items := putCatalog(t, s, size)
			r := random(t)
			queries := make([]sinks.ItemQuery, 100)
			for i := range queries {
				q := sinks.ItemQuery{Vector: vector(r, VectorDim), N: 1 + r.IntN(20)}
				if i%3 == 1 {
					q.Vector, q.Content = vector(r, ContentDim), true
				}
				if i%4 == 2 {
					q.Genres = []string{"Comedy"}
				}
				if i%5 == 3 {
					q.Exclude = []uint64{schemas.Key(items[i].Content.ItemID)}
				}
				queries[i] = q
			}
			answers, err := s.SearchItems(t.Context(), queries)
			require.NoError(t, err)
			require.Len(t, answers, len(queries))
			for i, q := range queries {
				requireHits(t, answer(items, q), answers[i])
			}
		}},
		{"keys alone, when only they are asked for", func(t *testing.T, s Items) {
			putCatalog(t, s, size)
			q := sinks.ItemQuery{Vector: vector(random(t), VectorDim), N: 50}
			full := search(t, s, q)
			q.KeysOnly = true
			keys := search(t, s, q)
			require.Len(t, keys, len(full))
			for i, h := range full {
				require.Equal(t, schemas.Key(h.Item.Content.ItemID), h.Key)
				require.Equal(t, sinks.ItemHit{Key: h.Key, Score: keys[i].Score}, keys[i])
				require.InDelta(t, h.Score, keys[i].Score, 1e-6)
			}
		}},
		{"equal scores are all found, each once", func(t *testing.T, s Items) {
			ids := numbered("i", 30)
			for _, id := range ids {
				putItems(t, s, item(id, 1, 1))
			}
			require.ElementsMatch(
				t, ids, hitIDs(search(t, s, sinks.ItemQuery{Vector: item("", 0, 1).Vector, N: 30})),
			)
			require.Len(t, search(t, s, sinks.ItemQuery{Vector: item("", 0, 1).Vector, N: 10}), 10)
		}},
		{"a changed item is found as it is now", func(t *testing.T, s Items) {
			x := item("i1", 1, 5)
			x.Content.Genres, x.Count = []string{"Drama"}, 1
			putItems(t, s, x, item("i2", 1, 3))
			x = item("i1", 2, 1)
			x.Content.Genres, x.Count = []string{"Horror"}, 100
			putItems(t, s, x)
			q := sinks.ItemQuery{Vector: item("", 0, 1).Vector, N: 10}
			require.Equal(t, []string{"i2", "i1"}, hitIDs(search(t, s, q)))
			q.Genres = []string{"Drama"}
			require.Empty(t, search(t, s, q))
			q.Genres, q.MaxCount = []string{"Horror"}, 99
			require.Empty(t, search(t, s, q))
			q.MaxCount = 100
			require.Equal(t, []string{"i1"}, hitIDs(search(t, s, q)))
		}},
		{"availability comes and goes", func(t *testing.T, s Items) {
			learned := sinks.ItemQuery{Vector: item("", 0, 1).Vector, N: 10}
			content := sinks.ItemQuery{Vector: item("", 0, 1).ContentVector, Content: true, N: 10}
			available := true
			for version, c := range []struct {
				available *bool
				withdrawn bool
				found     bool
			}{
				{nil, false, true},
				{new(bool), false, false},
				{&available, false, true},
				{nil, true, false},
				{&available, true, false},
				{nil, false, true},
			} {
				x := item("i1", uint64(version), 1)
				x.Content.Available, x.Content.Withdrawn = c.available, c.withdrawn
				putItems(t, s, x)
				require.Len(
					t, search(t, s, learned), map[bool]int{true: 1}[c.found], "version %d", version,
				)
				require.Len(
					t, search(t, s, content), map[bool]int{true: 1}[c.found], "version %d", version,
				)
				requireItem(t, x, getItem(t, s, "i1"))
			}
		}},
		{"searches beside puts see whole items", func(t *testing.T, s Items) {
			putCatalog(t, s, 200)
			require.NoError(t, concurrently(8, func(i int) error {
				for round := range 10 {
					if i%2 == 0 {
						x := item("moving", uint64(i*100+round), float32(round))
						if err := retryTransient(
							func() error { return s.PutItems(t.Context(), []sinks.Item{x}) },
						); err != nil {
							return err
						}
						continue
					}
					if err := retryTransient(func() error {
						_, err := s.SearchItems(
							t.Context(), []sinks.ItemQuery{{Vector: item("", 0, 1).Vector, N: 20}},
						)
						return err
					}); err != nil {
						return err
					}
				}
				return nil
			}))
			requireItem(t, item("moving", 609, 9), getItem(t, s, "moving"))
		}},
	}
}
