package sinktest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/sinks"
)

func itemLeaveCases() []testCase[Items] {
	return []testCase[Items]{
		{"items are deleted unless they are newer", func(t *testing.T, s Items) {
			putItems(t, s, item("old", 5, 1), item("same", 6, 2), item("new", 7, 3),
				item("huge", math.MaxInt64, 4), item("other", 1, 5))
			require.NoError(t, s.DeleteItems(t.Context(), nil))
			require.NoError(t, s.DeleteItems(t.Context(), []sinks.ItemVersion{
				{ID: "old", Version: 6},
				{ID: "same", Version: 6},
				{ID: "new", Version: 6},
				{ID: "huge", Version: math.MaxInt64},
				{ID: "unknown", Version: 9},
				{ID: "same", Version: 2},
			}))
			requireItemCount(t, s, 2)
			requireItem(t, item("new", 7, 3), getItem(t, s, "new"))
			requireItem(t, item("other", 1, 5), getItem(t, s, "other"))
			hits := search(t, s, sinks.ItemQuery{Vector: item("", 0, 1).Vector, N: 10})
			require.ElementsMatch(t, []string{"new", "other"}, hitIDs(hits))
			putItems(t, s, item("old", 8, 1))
			requireItem(t, item("old", 8, 1), getItem(t, s, "old"))
		}},
		{"items may have no vectors", func(t *testing.T, s Items) {
			whole, bare := item("i1", 1, 1), item("i1", 2, 1)
			bare.Vector, bare.ContentVector = nil, nil
			putItems(t, s, whole, item("i2", 1, 2))
			putItems(t, s, bare)
			requireItem(t, bare, getItem(t, s, "i1"))
			for _, q := range []sinks.ItemQuery{
				{Vector: whole.Vector, N: 10},
				{Vector: whole.ContentVector, Content: true, N: 10},
			} {
				require.Equal(t, []string{"i2"}, hitIDs(search(t, s, q)))
			}
		}},
		{"items without an entry may be left out", func(t *testing.T, s Items) {
			listed, id := item("listed", 1, 1), item("id", 1, 2)
			id.Content.Title = ""
			putItems(t, s, listed, id)
			require.False(t, id.HasEntry())
			requireItem(t, id, getItem(t, s, "id"))
			for _, content := range []bool{false, true} {
				q := sinks.ItemQuery{Vector: listed.Vector, N: 10, Content: content}
				if content {
					q.Vector = listed.ContentVector
				}
				require.ElementsMatch(t, []string{"listed", "id"}, hitIDs(search(t, s, q)))
				q.CatalogOnly = true
				require.Equal(t, []string{"listed"}, hitIDs(search(t, s, q)))
			}
			id.Content.Title, id.Version = "Listed now", 2
			putItems(t, s, id)
			hits := search(t, s, sinks.ItemQuery{Vector: id.Vector, N: 10, CatalogOnly: true})
			require.ElementsMatch(t, []string{"listed", "id"}, hitIDs(hits))
		}},
	}
}
