package sqlite

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// openForTest returns a migrated store in a folder of its own.
func openForTest(t testing.TB) *Store {
	t.Helper()
	s, err := Open(context.Background(), Config{Path: filepath.Join(t.TempDir(), "store.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Migrate(context.Background()))
	return s
}

func TestMigrateTwiceKeepsTheData(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	require.NoError(t, s.SetLogID(t.Context(), "log-1"))
	require.NoError(t, s.Migrate(t.Context()))
	id, err := s.LogID(t.Context())
	require.NoError(t, err)
	require.Equal(t, "log-1", id)
}
