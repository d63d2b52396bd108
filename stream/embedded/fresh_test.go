//go:build unix

package embedded

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A fresh start deletes nothing of another process, nor anything before it has its port.
func TestFresh(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	cfg.SegmentBytes = minSegmentBytes
	b := start(t, cfg)
	createTopic(t, client(t, b.Addr()), "events", 1, nil)
	produce(t, client(t, b.Addr()), "events", 10, 10, 0)

	again := cfg
	again.Fresh = true
	_, err := Start(t.Context(), again)
	require.ErrorIs(t, err, ErrInUse)
	require.Len(t, read(t, b.Addr(), "events"), 10)
	require.NoError(t, b.Close())

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	again.Addr = taken.Addr().String()
	_, err = Start(t.Context(), again)
	require.ErrorContains(t, err, "listen on "+again.Addr)
	require.NoError(t, taken.Close())
	b = start(t, cfg)
	require.Len(t, read(t, b.Addr(), "events"), 10)
	require.NoError(t, b.Close())

	// What an interrupted compaction has left goes too: it would be put back.
	aside := filepath.Join(cfg.Dir, "before-compaction", "events-0")
	require.NoError(t, os.MkdirAll(aside, 0o755))
	again.Addr = cfg.Addr
	b = start(t, again)
	createTopic(t, client(t, b.Addr()), "events", 1, nil)
	assert.Empty(t, read(t, b.Addr(), "events"))
	assertNoAside(t, cfg)
	_, err = Start(t.Context(), cfg)
	require.ErrorIs(t, err, ErrInUse, "the lock is kept")
}

// A start without its port changes nothing: it neither trims nor compacts.
func TestNoPortNoChange(t *testing.T) {
	t.Parallel()
	cfg := compactingConfig(t.TempDir())
	fillCompacted(t, cfg)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	cfg.Addr = taken.Addr().String()
	cfg.compactionStep = func(step string) { t.Error("compacts", step) }
	_, err = Start(t.Context(), cfg)
	require.ErrorContains(t, err, "listen on "+cfg.Addr)
	assertNoAside(t, cfg)
}
