//go:build linux

package torture_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/test/torture"
)

// TestRealTorture is the short run on real engines of its own. SLIPSTREAM_SERVICES names the script
// that starts, pauses and kills them.
func TestRealTorture(t *testing.T) {
	onServices(t, torture.Short())
}

// TestRealTortureLong is the long run: `make torture`.
func TestRealTortureLong(t *testing.T) {
	enginetest.Chosen(t, "TORTURE", "torture")
	onServices(t, torture.Long())
}

// TestRealOutages takes each engine away for a minute under load, and stops all instances under
// load: `make torture`.
func TestRealOutages(t *testing.T) {
	enginetest.Chosen(t, "TORTURE", "torture")
	cfg := torture.Long()
	cfg.Rate, cfg.Instances, cfg.Brokers, cfg.Duration = 60, 2, 1, 6*time.Minute
	cfg, err := torture.FromEnv(cfg)
	require.NoError(t, err)
	services := enginetest.Addr(t, "SLIPSTREAM_SERVICES")
	dir, diary := folder(t)
	outages, stop, verdict, err := torture.RunOutages(
		t.Context(), cfg, torture.Paths{Binary: build(t, dir), Services: services, Dir: dir},
		time.Minute, diary,
	)
	require.NoError(t, err, "seed %d; diary and logs of the instances: %s", cfg.Seed, dir)
	for _, o := range outages {
		t.Log(o)
		assert.Zero(t, o.DeadLetters, "an outage poisons nothing")
		assert.Less(t, o.Highest, o.Before+200<<20, "memory is bounded")
	}
	t.Logf(
		"SIGTERM under load: the slowest instance stopped within %s, %d batch intents left",
		stop.Slowest, stop.Intents,
	)
	assert.Zero(t, stop.Intents, "a restart repeats nothing")
	assert.Empty(t, verdict.Problems())
}

// TestLongTortureEmbedded breaks slipstream dev, with its embedded engines, for a minute.
func TestLongTortureEmbedded(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_LONG", "test-long")
	cfg := torture.Short()
	cfg.Faults, cfg.Duration = 14, time.Minute
	run(t, cfg, "")
}

func onServices(t *testing.T, cfg torture.Config) {
	t.Helper()
	run(t, cfg, enginetest.Addr(t, "SLIPSTREAM_SERVICES"))
}

func run(t *testing.T, cfg torture.Config, services string) {
	t.Helper()
	cfg, err := torture.FromEnv(cfg)
	require.NoError(t, err)
	t.Logf("seed %d: TORTURE_SEED=%d repeats the plan", cfg.Seed, cfg.Seed)
	dir, diary := folder(t)
	report, err := torture.Run(
		t.Context(), cfg, torture.Paths{Binary: build(t, dir), Services: services, Dir: dir}, diary,
	)
	require.NoError(t, err, "seed %d; diary and logs of the instances: %s", cfg.Seed, dir)
	t.Logf("\n%s", report)
	for _, p := range report.Problems(cfg.MaxRecallLoss) {
		t.Error(p)
	}
	if t.Failed() {
		t.Logf("seed %d; diary and logs of the instances: %s", cfg.Seed, dir)
	}
}

// folder is where the run keeps its data: of its own under TORTURE_DIR, which stays, or a temporary
// one, which stays when the test fails.
func folder(t *testing.T) (string, io.Writer) {
	t.Helper()
	if parent := os.Getenv("TORTURE_DIR"); parent != "" {
		require.NoError(t, os.MkdirAll(parent, 0o755))
	}
	parent := os.Getenv("TORTURE_DIR")
	dir, err := os.MkdirTemp(parent, "torture") //nolint:usetesting // it stays when the test fails
	require.NoError(t, err)
	t.Cleanup(func() {
		if !t.Failed() && os.Getenv("TORTURE_DIR") == "" {
			_ = os.RemoveAll(dir)
		}
	})
	f, err := os.Create(filepath.Join(dir, "diary.log"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	if testing.Verbose() {
		return dir, io.MultiWriter(f, os.Stderr)
	}
	return dir, f
}

// build builds the program, unless TORTURE_BINARY names one.
func build(t *testing.T, dir string) string {
	t.Helper()
	if binary := os.Getenv("TORTURE_BINARY"); binary != "" {
		return binary
	}
	binary := filepath.Join(dir, "slipstream")
	cmd := exec.CommandContext(
		t.Context(), "go", "build", "-o", binary,
		"github.com/slipstream-rec/slipstream/cmd/slipstream",
	)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Run(), "build the program")
	return binary
}
