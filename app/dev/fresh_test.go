package dev

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

// terminal collects what a run prints.
type terminal struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (w *terminal) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func (w *terminal) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

func settings(dir string) config.Config {
	cfg := config.Default()
	Defaults(&cfg)
	cfg.DataDir, cfg.HTTP.Addr = dir, freeAddr()
	return cfg
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// running starts a run and returns when its API is ready.
func running(t *testing.T, cfg config.Config, o Options) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, done := &terminal{}, make(chan error, 1)
	o.Out, o.Log = out, apptest.Quiet(t)
	go func() { done <- Run(ctx, cfg, o) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done, out.String())
	})
	t.Cleanup(stop)
	apptest.Eventually(t, 60*time.Second, func() error {
		code, err := ask(t, http.MethodGet, cfg, "/readyz", "")
		if err != nil || code != http.StatusOK {
			return errors.Join(err, errors.New("not ready"))
		}
		return nil
	})
	return stop
}

func ask(t *testing.T, method string, cfg config.Config, path, body string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(
		t.Context(), method, "http://"+cfg.HTTP.Addr+path, strings.NewReader(body),
	)
	require.NoError(t, err)
	req.Header.Set("content-type", "application/json")
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, nil
}

func seen(t *testing.T, cfg config.Config) bool {
	t.Helper()
	code, err := ask(t, http.MethodGet, cfg, "/v1/items/alien/similar", "")
	require.NoError(t, err)
	return code == http.StatusOK
}

// files are the names of the data in a folder.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}))
	return names
}

// A second run with --fresh is refused, and the first one goes on with its data.
func TestFreshBesideARunningOne(t *testing.T) {
	cfg := settings(t.TempDir())
	stop := running(t, cfg, Options{Kafka: "127.0.0.1:0"})
	like(t, cfg)
	before := files(t, cfg.DataDir)

	second := settings(cfg.DataDir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := Run(ctx, second, Options{
		Kafka: "127.0.0.1:0", Fresh: true, Out: &terminal{}, Log: apptest.Quiet(t),
	})
	require.ErrorIs(t, err, embedded.ErrInUse)
	assert.Subset(t, files(t, cfg.DataDir), before, "the folder belongs to the first")
	require.True(t, seen(t, cfg))
	stop()
	stop = running(t, cfg, Options{Kafka: "127.0.0.1:0"})
	require.True(t, seen(t, cfg), "it is kept over a restart")
	stop()

	unfinished := filepath.Join(cfg.DataDir, app.RebuildFolder, app.StoreFile)
	require.NoError(t, os.MkdirAll(filepath.Dir(unfinished), 0o755))
	require.NoError(t, os.WriteFile(unfinished, []byte("people"), 0o644))
	mine := filepath.Join(cfg.DataDir, "notes.txt")
	require.NoError(t, os.WriteFile(mine, nil, 0o644))
	running(t, cfg, Options{Kafka: "127.0.0.1:0", Fresh: true})
	require.False(t, seen(t, cfg), "alone, a fresh run forgets")
	assert.NoFileExists(t, unfinished)
	assert.FileExists(t, mine, "what is not Slipstream's stays")
}

// A run that cannot have its ports has deleted nothing.
func TestFreshWithoutItsPorts(t *testing.T) {
	cfg := settings(t.TempDir())
	running(t, cfg, Options{Kafka: "127.0.0.1:0"})()
	before := files(t, cfg.DataDir)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, tc := range []struct{ http, kafka string }{
		{taken.Addr().String(), "127.0.0.1:0"},
		{"127.0.0.1:0", taken.Addr().String()},
	} {
		cfg.HTTP.Addr = tc.http
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := Run(ctx, cfg, Options{
			Kafka: tc.kafka, Fresh: true, Out: &terminal{}, Log: apptest.Quiet(t),
		})
		cancel()
		require.ErrorContains(t, err, "listen on "+taken.Addr().String())
		assert.Equal(t, before, files(t, cfg.DataDir))
	}
}

// like gives the item and an event, and waits until the item can be seen.
func like(t *testing.T, cfg config.Config) {
	t.Helper()
	code, err := ask(t, http.MethodPut, cfg, "/v1/items/alien", `{"title":"Alien"}`)
	require.NoError(t, err)
	require.Less(t, code, 300)
	apptest.Eventually(t, 30*time.Second, func() error {
		if !seen(t, cfg) {
			return errors.New("the item is not indexed")
		}
		return nil
	})
}
