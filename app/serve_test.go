package app_test

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

// A process without the API has health, readiness and metrics all the same.
func TestProcessWithoutAPIServesHealthAndMetrics(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	defer func() { require.NoError(t, broker.Close()) }()
	cfg := apptest.Config()
	cfg.Kafka.Brokers, cfg.DataDir = []string{broker.Addr()}, dir
	a, err := app.Open(t.Context(), cfg, app.Options{
		Only: []string{"graph", "erase"}, Embedded: true, Version: "test", Log: apptest.Quiet(t),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, fault.IgnoreCanceled(<-done))
		require.NoError(t, a.Close())
	}()

	var addr string
	select {
	case addr = <-a.Listening():
	case err := <-done:
		done <- nil
		t.Fatalf("the process ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("nothing listens")
	}
	<-a.Ready()
	defer http.DefaultClient.CloseIdleConnections()
	for path, want := range map[string]struct {
		status int
		says   string
	}{
		"/healthz":   {http.StatusOK, `"alive"`},
		"/readyz":    {http.StatusOK, `"ready"`},
		"/metrics":   {http.StatusOK, "slipstream_"},
		"/v1/status": {http.StatusNotFound, "runs without the API"},
	} {
		req, err := http.NewRequestWithContext(
			t.Context(), http.MethodGet, "http://"+addr+path, nil,
		)
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, want.status, res.StatusCode, path)
		require.Contains(t, string(body), want.says, path)
	}
}
