//go:build linux

package torture_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/test/torture"
)

// versionBefore is the commit that counts as the version before while there is no tag.
const versionBefore = "208dcdc09a5e"

// TestLongUpgradeAndBack runs slipstream dev of the version before, of this one, of the one before
// again and of this one over one folder, under load.
func TestLongUpgradeAndBack(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_LONG", "test-long")
	dir, diary := folder(t)
	u, err := torture.UpgradeEmbedded(
		t.Context(), torture.UpgradeConfig{Before: buildBefore(t, dir), Stage: 10 * time.Second},
		torture.Paths{Binary: build(t, dir), Dir: dir}, diary,
	)
	require.NoError(t, err, "diary and logs of the instances: %s", dir)
	t.Log(u)
	require.Empty(t, u.Problems(), "diary and logs of the instances: %s", dir)
	if u.Refusal != "" {
		require.Contains(t, u.Refusal, "this program knows versions up to")
	}
	require.Zero(t, u.Undecided)
	require.Greater(t, u.Acked, 500)
	require.Greater(t, u.Lists, 100)
}

// buildBefore builds the version before: the newest tag, or versionBefore, or what UPGRADE_FROM
// names. UPGRADE_BINARY is a program that is built already. It skips where the history ends before.
func buildBefore(t *testing.T, dir string) string {
	t.Helper()
	if binary := os.Getenv("UPGRADE_BINARY"); binary != "" {
		return binary
	}
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "git", args...).Output()
		return strings.TrimSpace(string(out)), err
	}
	commit := os.Getenv("UPGRADE_FROM")
	if commit == "" {
		tag, err := git("describe", "--tags", "--abbrev=0", "HEAD^")
		if commit = tag; err != nil {
			commit = versionBefore
		}
	}
	if _, err := git("cat-file", "-e", commit+"^{commit}"); err != nil {
		t.Skipf("the history does not reach back to %s, the version before", commit)
	}
	root, err := git("rev-parse", "--show-toplevel")
	require.NoError(t, err)
	source := filepath.Join(dir, "before")
	require.NoError(t, os.MkdirAll(source, 0o755))
	archive := exec.CommandContext(t.Context(), "git", "archive", "--format=tar", commit)
	archive.Dir = root
	tarred, err := archive.Output()
	require.NoError(t, err)
	unpack := exec.CommandContext(t.Context(), "tar", "-x", "-C", source)
	unpack.Stdin = bytes.NewReader(tarred)
	require.NoError(t, unpack.Run())
	binary := filepath.Join(dir, "slipstream-before")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/slipstream")
	cmd.Dir, cmd.Stderr = source, os.Stderr
	require.NoError(t, cmd.Run(), "build %s", commit)
	return binary
}
