package qdrant

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	pb "github.com/qdrant/go-client/qdrant"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// testCatalog is made as learned vectors are: items around a number of tastes, a bias that follows
// popularity, queries that are means of a few items.
type testCatalog struct {
	items []sinks.Item
	rng   *rand.Rand
}

func newTestCatalog(n, dim, contentDim int) *testCatalog {
	const tastes, genres = 60, 18
	c := &testCatalog{rng: rand.New(rand.NewPCG(7, 11))}
	centres := make([][]float32, tastes)
	for i := range centres {
		centres[i] = c.normal(dim-1, 0.25)
	}
	for i := range n {
		t := c.rng.IntN(tastes)
		v := c.normal(dim, 0.15)
		for k, x := range centres[t] {
			v[k] += x
		}
		v[dim-1] = float32(-0.4 * math.Log(float64(1+c.rng.IntN(n)))) // bias
		content := c.normal(contentDim, 1)
		c.items = append(c.items, sinks.Item{
			Content: schemas.Item{
				ItemID: fmt.Sprint("item-", i), Title: fmt.Sprint("Title ", i),
				Genres: []string{
					fmt.Sprint("genre-", t%genres), fmt.Sprint("genre-", c.rng.IntN(genres)),
				},
			},
			Vector: v, ContentVector: content, Version: 1, Count: float64(i),
			ChangedAt: time.Unix(int64(i), 0),
		})
	}
	return c
}

func (c *testCatalog) normal(n int, sd float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(sd * c.rng.NormFloat64())
	}
	return v
}

// query is the vector of a user who took five items of one region, who are also excluded together
// with others.
func (c *testCatalog) query(dim, exclude int) sinks.ItemQuery {
	q := make([]float32, dim)
	for range 5 {
		for k, x := range c.items[c.rng.IntN(len(c.items))].Vector[:dim-1] {
			q[k] += x / 2
		}
	}
	q[dim-1] = 1
	seen := make([]uint64, exclude)
	for i := range seen {
		seen[i] = schemas.Key(c.items[c.rng.IntN(len(c.items))].Content.ItemID)
	}
	return sinks.ItemQuery{Vector: q, N: 10, Exclude: seen}
}

func (c *testCatalog) exact(q *sinks.ItemQuery) []string {
	type scored struct {
		id    string
		score float64
	}
	excluded := map[uint64]bool{}
	for _, k := range q.Exclude {
		excluded[k] = true
	}
	var all []scored
	for i := range c.items {
		x := &c.items[i]
		if excluded[schemas.Key(x.Content.ItemID)] ||
			len(q.Genres) > 0 && !slices.Contains(x.Content.Genres, q.Genres[0]) {
			continue
		}
		s := 0.0
		for k := range q.Vector {
			s += float64(q.Vector[k]) * float64(x.Vector[k])
		}
		all = append(all, scored{x.Content.ItemID, s})
	}
	slices.SortFunc(all, func(a, b scored) int {
		if a.score > b.score {
			return -1
		}
		return 1
	})
	ids := make([]string, 0, q.N)
	for _, s := range all[:min(q.N, len(all))] {
		ids = append(ids, s.id)
	}
	return ids
}

// TestLongRecall compares searches with an exact one over a catalog with a graph.
func TestLongRecall(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_LONG", "test-long")
	const queries = 200
	n := 8_000
	if v, err := strconv.Atoi(os.Getenv("SLIPSTREAM_ITEMS")); err == nil {
		n = v
	}
	c := newTestCatalog(n, 65, 64)
	for _, tc := range []struct {
		name   string
		change func(*Config)
	}{
		{"graph", func(*Config) {}},
		{"graph, ef 256", func(c *Config) { c.Items.Ef = 256 }},
		{"graph and int8", func(c *Config) { c.Items.Quantise = true }},
		{"exact", func(c *Config) {
			c.Items.IndexingThreshold, c.Items.FullScanThreshold = 1_000_000, 1_000_000
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openForTest(t, func(c *Config) {
				// A small catalog gets a graph too.
				c.Items.IndexingThreshold, c.Items.FullScanThreshold = 500, 500
				tc.change(c)
			})
			start := time.Now()
			require.NoError(t, s.Items().PutItems(t.Context(), c.items))
			put := time.Since(start)
			var indexed uint64
			require.Eventually(t, func() bool {
				info, err := s.items.info(t.Context(), s.items.alias())
				require.NoError(t, err)
				indexed = info.GetIndexedVectorsCount()
				return info.GetStatus() == pb.CollectionStatus_Green
			}, 4*time.Minute, 500*time.Millisecond)
			t.Logf(
				"put %d items in %s, ready after %s, vectors indexed: %d", n,
				put.Round(time.Millisecond), time.Since(start).Round(time.Second), indexed,
			)
			for _, genre := range []bool{false, true} {
				hits := 0
				var took []time.Duration
				for range queries {
					q := c.query(65, 300)
					if genre {
						q.Genres = []string{fmt.Sprint("genre-", c.rng.IntN(18))}
					}
					want := c.exact(&q)
					at := time.Now()
					found, err := s.Items().SearchItems(t.Context(), []sinks.ItemQuery{q})
					took = append(took, time.Since(at))
					require.NoError(t, err)
					for _, h := range found[0] {
						if slices.Contains(want, h.Item.Content.ItemID) {
							hits++
						}
					}
				}
				slices.Sort(took)
				recall := float64(hits) / (10 * queries)
				t.Logf(
					"one genre %v: recall@10 %.4f, p50 %s, p99 %s", genre, recall, took[queries/2],
					took[queries*99/100],
				)
				require.Greater(t, recall, 0.95)
			}
		})
	}
}
