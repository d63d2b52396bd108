//go:build linux

package torture_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/test/torture"
)

// TestRealRestore loses the stores, and then everything, and restores them in the order of the
// operators' guide: `make torture`.
func TestRealRestore(t *testing.T) {
	enginetest.Chosen(t, "TORTURE", "torture")
	services := enginetest.Addr(t, "SLIPSTREAM_SERVICES")
	dir, diary := folder(t)
	backups := filepath.Join(dir, "backups")
	require.NoError(t, os.Mkdir(backups, 0o755))
	t.Setenv("CLICKHOUSE_ENGINE_ARGS", "--backups.allowed_path="+backups)
	r, err := torture.RunRestore(
		t.Context(), torture.RestoreConfig{Stage: 20 * time.Second, Backups: backups},
		torture.Paths{Binary: build(t, dir), Services: services, Dir: dir}, diary,
	)
	require.NoError(t, err, "diary and logs of the instances: %s", dir)
	t.Log(r)
	assert.Empty(t, r.Stores.Problems(), "diary and logs of the instances: %s", dir)
	assert.Empty(t, r.Everything.Problems(), "diary and logs of the instances: %s", dir)
	require.Greater(t, r.Stores.Rows, 1000)
	require.Greater(t, r.Kept, 500)
	require.Greater(t, r.Later, 300)
}
