//go:build linux

package torture_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/test/torture"
)

// TestRealRollingUpgrade replaces two instances on real engines one by one, by this version and
// by the one before again: `make torture`.
func TestRealRollingUpgrade(t *testing.T) {
	enginetest.Chosen(t, "TORTURE", "torture")
	services := enginetest.Addr(t, "SLIPSTREAM_SERVICES")
	dir, diary := folder(t)
	u, err := torture.UpgradeRolling(
		t.Context(), torture.UpgradeConfig{Before: buildBefore(t, dir), Stage: 15 * time.Second},
		torture.Paths{Binary: build(t, dir), Services: services, Dir: dir}, diary,
	)
	require.NoError(t, err, "diary and logs of the instances: %s", dir)
	t.Log(u)
	require.Empty(t, u.Problems(), "diary and logs of the instances: %s", dir)
	require.Zero(t, u.Undecided)
	require.Greater(t, u.Acked, 1000)
	require.Greater(t, u.Lists, 100)
}
