package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

func TestOffsetsAreKeptInAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, nil)
	brokers := in.Config().Kafka.Brokers[0]
	_, _, err := runLine(t, "offsets", "--brokers", brokers)
	require.ErrorContains(t, err, "stop it before the stores are backed up")
	stop()
	bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })

	out, _, err := runLine(t, "offsets", "--brokers", broker.Addr())
	require.NoError(t, err)
	require.True(t, json.Valid([]byte(out)), out)
	path := filepath.Join(t.TempDir(), "offsets.json")
	require.NoError(t, os.WriteFile(path, []byte(out), 0o600))
	for _, store := range []string{"clickhouse", "neo4j"} {
		out, _, err = runLine(
			t, "offsets", "--brokers", broker.Addr(), "--restore", path, "--store", store,
		)
		require.NoError(t, err)
		require.Equal(t, "0 offsets are read again when the groups of "+store+" start\n", out)
	}
	_, _, err = runLine(t, "offsets", "--restore", path)
	require.ErrorContains(t, err, "store")
	require.NoError(t, os.WriteFile(path, []byte("topic,0,1"), 0o600))
	_, _, err = runLine(t, "offsets", "--restore", path, "--store", "neo4j")
	require.ErrorContains(t, err, "read "+path)
}
