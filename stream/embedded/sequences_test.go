//go:build unix

package embedded

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
)

// Compaction rewrites batches between the kills.
func TestProducersGoOnAfterCompaction(t *testing.T) {
	t.Parallel()
	cfg := compactingConfig(t.TempDir())
	cfg.CompactAfterBytes = 0
	compacted := 0
	cfg.compactionStep = func(step string) {
		if step == "compacted" {
			compacted++
		}
	}
	b := start(t, cfg)
	createTopic(
		t, client(t, b.Addr()), "state", 1,
		map[string]*string{"cleanup.policy": kadm.StringPtr("compact")},
	)
	p := newProducer(t, b.Addr())
	other := newProducer(t, b.Addr())
	var next int32
	for round := range 4 {
		offset := p.send(t, b.Addr(), "state", next, 9)
		next += 9
		// The newest batch is not compacted: another producer's.
		other.send(t, b.Addr(), "state", int32(round), 1)
		require.NoError(t, b.Close())
		// As a kill leaves it: what was saved at the stop is not there.
		require.NoError(t, os.Remove(filepath.Join(b.logDir(), savedSequences)))
		b = start(t, cfg)
		require.Equal(t, offset, p.send(t, b.Addr(), "state", next-9, 9), "repeated")
	}
	require.Positive(t, compacted)
	assert.Less(t, len(read(t, b.Addr(), "state")), int(next))
}

// An older version leaves what it has saved at a stop also when it is killed later.
func TestStaleSequencesOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startChild(t, dir, "")
	createTopic(t, client(t, c.addr), "events", 1, nil)
	p := newProducer(t, c.addr)
	p.send(t, c.addr, "events", 0, 5)
	c.stop(t, syscall.SIGTERM)
	saved := filepath.Join(dir, "log", savedSequences)
	stale, err := os.ReadFile(saved)
	require.NoError(t, err)
	var format sequences // what kfake writes is what we read
	require.NoError(t, json.Unmarshal(stale, &format))
	require.Equal(t, 1, format.Version)
	require.Len(t, format.Windows, 1)
	require.Equal(t, sequenceWindow{
		PID: p.pid, Topic: "events", Epoch: p.epoch, Seen: true, Next: 5, Count: 1, At: 1,
		Entries: [windowBatches]sequenceEntry{{Next: 5}},
	}, format.Windows[0])

	c = startChild(t, dir, "")
	p.send(t, c.addr, "events", 5, 5)
	c.stop(t, syscall.SIGKILL)
	require.NoError(t, os.WriteFile(saved, stale, 0o644))
	require.NoError(t, os.Remove(filepath.Join(dir, startSequences)))
	c = startChild(t, dir, "")
	require.EqualValues(t, 5, p.send(t, c.addr, "events", 5, 5), "repeated")
	require.EqualValues(t, 10, p.send(t, c.addr, "events", 10, 5))
}
