package rebuild

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

// A rebuild from a folder or a log that is not there would replace a store by an empty one.
func TestRebuildNeedsALog(t *testing.T) {
	t.Parallel()
	cfg := apptest.Config()
	cfg.DataDir = filepath.Join(t.TempDir(), "typo")
	for range 2 {
		err := rebuilt(t.Context(), t, cfg, "embedded")
		require.ErrorContains(t, err, "no data folder")
		require.ErrorContains(t, err, cfg.DataDir)
		require.NoDirExists(t, cfg.DataDir)
	}

	bc := embedded.DefaultConfig(t.TempDir())
	bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	defer broker.Close()
	cfg.Kafka.Brokers, cfg.Kafka.TopicPrefix = []string{broker.Addr()}, "typo."
	for range 2 {
		for _, store := range []string{"qdrant", "neo4j", "clickhouse"} {
			require.ErrorContains(t, rebuilt(t.Context(), t, cfg, store), `topic "typo.items"`)
		}
	}
}
