package app_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

// openOn opens a process on the data in dir and closes it. It returns the error of the start.
func openOn(t *testing.T, dir string, change func(*config.Config), only ...string) error {
	t.Helper()
	bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	defer func() { require.NoError(t, broker.Close()) }()
	cfg := apptest.Config()
	cfg.Kafka.Brokers, cfg.DataDir = []string{broker.Addr()}, dir
	cfg.Topics.Partitions = 2
	change(&cfg)
	a, err := app.Open(
		t.Context(), cfg, app.Options{Only: only, Embedded: true, Log: apptest.Quiet(t)},
	)
	if err == nil {
		require.NoError(t, a.Close())
	}
	return err
}

func openDim(t *testing.T, dir string, dim int, only ...string) error {
	t.Helper()
	return openOn(t, dir, func(c *config.Config) { c.Model.Dim = dim }, only...)
}

func requireDimError(t *testing.T, err error, data, configured int) {
	t.Helper()
	var wrong *model.DimError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, model.DimError{Data: data, Configured: configured}, *wrong)
}

// A log keeps model.dim from its first start, whatever a process runs.
func TestEveryStartRefusesAnotherModelDim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, openDim(t, dir, 64, "graph"))
	for _, only := range app.ProcessorNames() {
		requireDimError(t, openDim(t, dir, 32, only), 64, 32)
	}
	require.NoError(t, openDim(t, dir, 64))
}

// The log of an older version does not hold model.dim: its item factors say it.
func TestModelDimOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	dir := apptest.Unpack(t, "testdata/renamed.tar.gz")
	requireDimError(t, openDim(t, dir, 32, "api"), 16, 32)
	in, stop := apptest.StartEmbedded(t, dir, func(c *config.Config) {
		c.Topics.Partitions, c.Model.Dim = 2, 16
	})
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, []byte("16"), in.Latest(t, "meta")["model_dim"])
	stop()
	requireDimError(t, openDim(t, dir, 32, "graph", "analytics"), 16, 32)
}
