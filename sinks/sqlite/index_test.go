package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// TestIndexAgreesWithAMap puts and removes at random and compares searches with the plain
// computation. Rows go over several blocks.
func TestIndexAgreesWithAMap(t *testing.T) {
	t.Parallel()
	const dim = 65
	r := rand.New(rand.NewPCG(1, 2))
	x, want := newIndex(strconv.Itoa), map[uint64]entry[int]{}
	for round := range 30 {
		var batch []entry[int]
		for range 150 {
			e := entry[int]{key: uint64(r.IntN(1500)), row: round}
			if r.IntN(4) > 0 {
				e.vector = randomVector(r, dim)
				want[e.key] = e
			} else {
				delete(want, e.key)
			}
			batch = append(batch, e)
		}
		x.apply(batch)
		requireSameSearch(t, x, want, query[int]{vector: randomVector(r, dim), n: 1 + r.IntN(80)})
	}
	require.Greater(t, len(want), blockRows)

	q := query[int]{
		vector: randomVector(r, dim), n: 40, accept: func(row int) bool { return row%2 == 0 },
	}
	for k := range uint64(1000) {
		q.exclude = append(q.exclude, k)
	}
	requireSameSearch(t, x, want, q)

	var all []entry[int]
	for _, e := range want {
		all = append(all, e)
	}
	x.reset(all)
	requireSameSearch(t, x, want, q)
	for k := range want {
		x.apply([]entry[int]{{key: k}})
	}
	require.Empty(t, x.keys)
	require.Empty(t, x.slots)
}

func requireSameSearch(t *testing.T, x *index[int], want map[uint64]entry[int], q query[int]) {
	t.Helper()
	type scored struct {
		key   uint64
		score float64
	}
	var exact []scored
	for _, e := range want {
		if slices.Contains(q.exclude, e.key) || q.accept != nil && !q.accept(e.row) {
			continue
		}
		var sum float64
		for i := range e.vector {
			sum += float64(e.vector[i]) * float64(q.vector[i])
		}
		exact = append(exact, scored{e.key, sum})
	}
	slices.SortFunc(exact, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	exact = exact[:min(q.n, len(exact))]
	got, err := x.search(t.Context(), []query[int]{q})
	require.NoError(t, err)
	require.Len(t, got[0], len(exact))
	for i, e := range exact {
		require.Equal(t, e.key, got[0][i].key, "place %d", i)
		require.Equal(t, want[e.key].row, got[0][i].row)
		require.InDelta(t, e.score, float64(got[0][i].score), 1e-3)
	}
}

func TestEqualScoresComeByIDWhateverTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	keys := r.Perm(3000)
	x := newIndex(strconv.Itoa)
	for _, k := range keys {
		x.apply([]entry[int]{{key: uint64(k), vector: []float32{1, 2}, row: 10_000 + k}})
	}
	got, err := x.search(t.Context(), []query[int]{{vector: []float32{1, 1}, n: 100}})
	require.NoError(t, err)
	for i, h := range got[0] {
		require.Equal(t, 10_000+i, h.row)
	}
}

func TestVectorsThatCannotBeComparedAreRefused(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	s := openForTest(t)
	good := userAt("good", 1)
	require.NoError(t, s.PutUsers(t.Context(), testSource, batchOf(good)))
	for name, v := range map[string][]float32{
		"other length": {1, 2, 3}, "not a number": {nan, 0}, "infinite": {0, inf},
	} {
		bad := userAt("bad", 1)
		bad.Vector = v
		err := s.PutUsers(t.Context(), testSource, batchOf(userAt("neighbour", 1), bad))
		require.Equal(t, fault.Permanent, fault.ClassOf(err), "%s: %v", name, err)
		require.ErrorContains(t, err, `"bad"`)
		_, err = similar(t.Context(), s, v, 1, nil)
		require.Equal(t, fault.Permanent, fault.ClassOf(err), "%s: %v", name, err)
	}
	n, err := s.CountUsers(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n, "a refused batch leaves nothing behind")
}

func TestASearchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	x := newIndex(strconv.Itoa)
	x.apply([]entry[int]{{key: 1, vector: []float32{1}}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := x.search(ctx, []query[int]{{vector: []float32{1}, n: 1}})
	require.ErrorIs(t, err, context.Canceled)
}

func randomVector(r *rand.Rand, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// BenchmarkSearch measures one query for the 100 nearest of n items with 65 numbers each; 500 are
// excluded.
func BenchmarkSearch(b *testing.B) {
	for _, n := range []int{4_000, 100_000} {
		for _, queries := range []int{1, 16} {
			b.Run(fmt.Sprintf("items=%d/queries=%d", n, queries), func(b *testing.B) {
				r := rand.New(rand.NewPCG(5, 6))
				x := newItemIndex().learned
				row := &itemRow{available: true}
				for i := range n {
					x.apply(
						[]entry[*itemRow]{
							{
								key: schemas.Key(fmt.Sprint(i)), vector: randomVector(r, 65),
								row: row,
							},
						},
					)
				}
				batch := make([]query[*itemRow], queries)
				for i := range batch {
					batch[i] = query[*itemRow]{
						vector: randomVector(r, 65), n: 100,
						accept: func(r *itemRow) bool { return r.available },
					}
					for k := range 500 {
						batch[i].exclude = append(batch[i].exclude, schemas.Key(fmt.Sprint(k)))
					}
				}
				for b.Loop() {
					if _, err := x.search(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N*queries), "ms/query")
			})
		}
	}
}

// BenchmarkSearchItems is the whole call: 100 hits with their content.
func BenchmarkSearchItems(b *testing.B) {
	for _, n := range []int{4_000, 100_000} {
		b.Run(fmt.Sprintf("items=%d", n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(7, 8))
			s := openForTest(b)
			var entries []itemEntry
			for i := range n {
				content := schemas.Item{
					ItemID: fmt.Sprint(i), Title: "A title", Genres: []string{"Drama", "Comedy"},
					Actors: []string{"One", "Two"}, Attributes: map[string]any{"year": 1979.0},
				}
				entries = append(
					entries,
					itemEntry{
						key: schemas.Key(content.ItemID), vector: randomVector(r, 65),
						row: &itemRow{content: content, available: true},
					},
				)
			}
			s.items.reset(entries)
			q := sinks.ItemQuery{Vector: randomVector(r, 65), N: 100, Genres: []string{"Comedy"}}
			for b.Loop() {
				if _, err := s.SearchItems(b.Context(), []sinks.ItemQuery{q}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
