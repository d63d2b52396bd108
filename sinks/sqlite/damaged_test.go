package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// One damaged row does not keep the others from being read, searched and written, also after a
// start, and it is written anew.
func TestDamagedRowIsAlone(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]string{
		"positions":      "UPDATE user_points SET positions = 'garbage' WHERE id = 'a'",
		"an odd vector":  "UPDATE user_points SET vector = x'00' WHERE id = 'a'",
		"a short vector": "UPDATE user_points SET vector = x'00000000' WHERE id = 'a'",
		"a time":         "UPDATE user_points SET changed_at = 'x' WHERE id = 'a'",
		"content":        "UPDATE item_points SET content = '{' WHERE id = 'a'",
		"item vector":    "UPDATE item_points SET vector = x'00' WHERE id = 'a'",
		"item content":   "UPDATE item_points SET content_vector = x'00000000' WHERE id = 'a'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s.db")
			s, err := Open(t.Context(), Config{Path: path})
			require.NoError(t, err)
			require.NoError(t, s.Migrate(t.Context()))
			item := func(id string) sinks.Item {
				return sinks.Item{
					Content: schemas.Item{ItemID: id}, Vector: []float32{1, 1},
					ContentVector: []float32{1, 0}, Version: 7,
				}
			}
			users := batchOf(userAt("a", 1), userAt("b", 1), userAt("c", 2))
			items := batchOf(item("a"), item("b"), item("c"))
			require.NoError(t, s.PutUsers(t.Context(), testSource, users))
			require.NoError(t, s.PutItems(t.Context(), items))
			_, err = s.writer.Exec(damage)
			require.NoError(t, err)
			requireOthers(t, s, name)
			require.NoError(t, s.Close())
			s = openAt(t, path)
			requireOthers(t, s, name)
			// What was damaged is written again, whatever was stored.
			require.NoError(t, s.PutUsers(t.Context(), testSource, batchOf(userAt("a", 3))))
			require.NoError(t, s.PutItems(t.Context(), items))
			found, err := s.GetUsers(t.Context(), []string{"a"})
			require.NoError(t, err)
			require.NoError(t, found[0].Damaged)
			again, err := s.GetItems(t.Context(), []string{"a", "b", "c"})
			require.NoError(t, err)
			require.Len(t, again, 3)
		})
	}
}

func requireOthers(t *testing.T, s *Store, damaged string) {
	t.Helper()
	users, err := s.GetUsers(t.Context(), []string{"a", "b", "c"})
	require.NoError(t, err)
	require.Len(t, users, 3)
	items, err := s.GetItems(t.Context(), []string{"a", "b", "c"})
	require.NoError(t, err)
	broken := 3 - len(items)
	for _, u := range users {
		if u.Damaged != nil {
			require.Equal(t, "a", u.ID)
			broken++
		}
	}
	require.Equal(t, 1, broken, damaged)
	versions := 0
	require.NoError(t, s.ItemVersions(t.Context(), func(string, uint64) error {
		versions++
		return nil
	}))
	require.Len(t, items, versions)
	near, err := s.SimilarUsers(
		t.Context(), []sinks.UserQuery{{Vector: []float32{1, 1}, N: 3, Exclude: []string{"a"}}},
	)
	require.NoError(t, err)
	require.Len(t, near[0], 2)
	hits, err := s.SearchItems(t.Context(), []sinks.ItemQuery{{Vector: []float32{1, 1}, N: 3}})
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(hits[0]), 2)
}
