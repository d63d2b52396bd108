//go:build unix

package embedded

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
)

// fillCompacted leaves a folder with a compacted topic of 500 records and 20 keys beside a plain
// one, and returns the latest record of each key.
func fillCompacted(t *testing.T, cfg Config) map[string]string {
	t.Helper()
	cfg.CompactAfterBytes = -1
	b, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	cl := client(t, b.Addr())
	createTopic(t, cl, "state", 1, map[string]*string{"cleanup.policy": kadm.StringPtr("compact")})
	createTopic(t, cl, "events", 1, nil)
	produce(t, cl, "state", 500, 2<<10, 20)
	produce(t, cl, "events", 20, 100, 5)
	want := latest(read(t, b.Addr(), "state"))
	require.Len(t, want, 20)
	require.NoError(t, b.Close())
	return want
}

func compactingConfig(dir string) Config {
	cfg := testConfig(dir)
	cfg.SegmentBytes = minSegmentBytes
	cfg.CompactAfterBytes = 256 << 10
	return cfg
}

func TestCompactsAtStart(t *testing.T) {
	t.Parallel()
	cfg := compactingConfig(t.TempDir())
	want := fillCompacted(t, cfg)
	var steps []string
	cfg.compactionStep = func(step string) { steps = append(steps, step) }
	b := start(t, cfg)
	assert.Equal(t, []string{"aside", "opened", "compacted"}, steps)
	records := read(t, b.Addr(), "state")
	assert.Less(t, len(records), 50)
	assert.Equal(t, want, latest(records))
	_, end := bounds(t, b.Addr(), "state")
	assert.EqualValues(t, 500, end)
	assert.Len(t, read(t, b.Addr(), "events"), 20)
	assertNoAside(t, cfg)
	require.NoError(t, b.Close())

	// Nothing new, so the next start is as fast as it can be.
	b = start(t, cfg)
	assert.Len(t, steps, 3)
	assert.Equal(t, want, latest(read(t, b.Addr(), "state")))
}

func TestCrashDuringCompaction(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"aside", "opened", "compacted"} {
		for _, gone := range []bool{false, true} {
			t.Run(fmt.Sprintf("at %s, files gone %t", step, gone), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				want := fillCompacted(t, compactingConfig(dir))
				cfg := compactingConfig(dir)
				startChildCompacting(t, dir, step)
				if gone {
					// kfake deletes a partition's files before it writes them anew; this is the
					// moment in between.
					pdir := filepath.Join(dir, "log", "partitions", "state-0")
					files, err := os.ReadDir(pdir)
					require.NoError(t, err)
					for i, f := range files {
						if i%2 == 0 || strings.HasSuffix(f.Name(), ".dat") {
							require.NoError(t, os.Remove(filepath.Join(pdir, f.Name())))
						}
					}
				}
				b := start(t, cfg)
				assert.Equal(t, want, latest(read(t, b.Addr(), "state")))
				_, end := bounds(t, b.Addr(), "state")
				assert.EqualValues(t, 500, end)
				assert.Len(t, read(t, b.Addr(), "events"), 20)
				assertNoAside(t, cfg)
				require.NoError(t, b.Close())

				b = start(t, cfg) // and now it compacts
				records := read(t, b.Addr(), "state")
				assert.Less(t, len(records), 50)
				assert.Equal(t, want, latest(records))
			})
		}
	}
}

func startChildCompacting(t *testing.T, dir, step string) {
	t.Helper()
	startChild(t, dir, step)
	_, err := os.Stat(filepath.Join(dir, "before-compaction"))
	require.NoError(t, err, "the child must have died while the links were aside")
}

func assertNoAside(t *testing.T, cfg Config) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(cfg.Dir, "before-compaction*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// A restore can be interrupted too.
func TestCrashDuringRestore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := compactingConfig(dir)
	want := fillCompacted(t, cfg)
	startChildCompacting(t, dir, "compacted")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "log", "partitions", "state-0")))
	for _, unfinished := range []string{"before-compaction.making", "before-compaction.gone"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, unfinished, "state-0"), 0o755))
	}
	b := start(t, cfg)
	assert.Equal(t, want, latest(read(t, b.Addr(), "state")))
	assertNoAside(t, cfg)
}

// A compaction that cannot write, for instance on a full disk, is undone.
func TestFailedCompactionLeavesTheLog(t *testing.T) {
	t.Parallel()
	cfg := compactingConfig(t.TempDir())
	want := fillCompacted(t, cfg)
	pdir := filepath.Join(cfg.Dir, "log", "partitions", "state-0")
	cfg.compactionStep = func(step string) {
		if step != "opened" {
			return
		}
		// Every segment becomes a folder, which can be neither read, nor removed, nor written.
		files, err := filepath.Glob(filepath.Join(pdir, "*.dat"))
		require.NoError(t, err)
		require.Greater(t, len(files), 3)
		for _, f := range files[1:] {
			require.NoError(t, os.Remove(f))
			require.NoError(t, os.MkdirAll(filepath.Join(f, "full"), 0o755))
		}
	}
	var log strings.Builder
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	b := start(t, cfg)
	assert.Contains(t, log.String(), "compaction failed, the log stays as it was")
	assert.Equal(t, want, latest(read(t, b.Addr(), "state")))
	assert.Len(t, read(t, b.Addr(), "state"), 500)
	assertNoAside(t, cfg)
	produce(t, client(t, b.Addr()), "state", 1, 10, 0)
	assert.Len(t, read(t, b.Addr(), "state"), 501)
}

func TestKillWhileWriting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 3 {
		c := startChild(t, dir, "")
		cl := client(t, c.addr)
		if round == 0 {
			createTopic(
				t, cl, "state", 1, map[string]*string{"cleanup.policy": kadm.StringPtr("compact")},
			)
		}
		produce(t, cl, "state", 200, 500, 7)
		c.stop(t, syscall.SIGKILL)
	}
	b := start(t, testConfig(dir))
	assert.Len(t, read(t, b.Addr(), "state"), 600)
}

func TestAllowance(t *testing.T) {
	t.Parallel()
	part := func(bytes int64, compacted bool) partitionLog {
		return partitionLog{bytes: bytes, compacted: compacted}
	}
	for _, tc := range []struct {
		name string
		logs []partitionLog
		max  int64
		want int64
	}{
		{"nothing", nil, 100, math.MaxInt64},
		{"fits", []partitionLog{part(50, false), part(50, true)}, 100, math.MaxInt64},
		{"one large", []partitionLog{part(200, false)}, 100, 100},
		{
			"small ones are left alone",
			[]partitionLog{part(10, false), part(200, false), part(300, false)},
			110, 50,
		},
		{"compacted ones come first", []partitionLog{part(60, true), part(100, false)}, 100, 40},
		{"compacted ones do not fit", []partitionLog{part(160, true), part(100, false)}, 100, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.want, allowance(tc.logs, tc.max))
		})
	}
}

func TestExcessKeepsTheNewest(t *testing.T) {
	t.Parallel()
	l := partitionLog{bytes: 30, segments: []segment{{0, 10}, {5, 10}, {9, 10}}}
	assert.Equal(t, 0, l.excess(30))
	assert.Equal(t, 1, l.excess(29))
	assert.Equal(t, 2, l.excess(1))
	assert.Equal(t, 2, l.excess(0))
}
