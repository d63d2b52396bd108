package sinktest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/sinks"
)

func itemLeaveCases() []testCase[Items] {
	return []testCase[Items]{
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
