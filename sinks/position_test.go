package sinks_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
)

func TestPositionsAreOrderedByEpochThenOffset(t *testing.T) {
	t.Parallel()
	const last = sinks.EpochStart - 1
	var before sinks.Position
	for _, epoch := range []int{128, 129, 300, 511} {
		for _, offset := range []int64{0, 1, 1 << 40, last - 1, last} {
			p := sinks.PositionOf(epoch, offset)
			require.True(t, p.IsValid(), p)
			require.Equal(t, epoch, p.Epoch())
			require.Equal(t, offset, p.Offset())
			require.Greater(t, p, before)
			require.Greater(t, float64(p), float64(before), "exact in a float64")
			require.Equal(t, p, sinks.Position(float64(p)))
			require.Equal(t, p, sinks.StoredPosition(int64(p)), "an epoch that is there stays")
			require.Equal(t, fmt.Sprintf("%d:%d", epoch, offset), p.String())
			before = p
		}
	}
}

func TestAPlainOffsetIsOfTheFirstEpoch(t *testing.T) {
	t.Parallel()
	for _, offset := range []int64{0, 1, 1_000_000, sinks.EpochStart - 1} {
		require.Equal(t, sinks.PositionOf(128, offset), sinks.StoredPosition(offset))
	}
}

func TestWhatIsNoPositionIsNotValid(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]sinks.Position{
		"an epoch too low":    sinks.PositionOf(127, 1),
		"an epoch too high":   sinks.PositionOf(512, 1),
		"a negative offset":   sinks.PositionOf(128, -1),
		"an offset too high":  sinks.PositionOf(128, sinks.EpochStart),
		"a plain offset":      7,
		"a negative number":   sinks.StoredPosition(-7),
		"a number above them": sinks.StoredPosition(512 << 44),
	} {
		require.False(t, p.IsValid(), name)
		src := sinks.Source{Topic: "interactions"}
		u := sinks.User{ID: "u", Positions: map[string]sinks.Position{src.Topic: p}}
		require.Equal(t, fault.Permanent, fault.ClassOf(u.CheckPositions(src)), name)
	}
	u := sinks.User{ID: "u", Positions: map[string]sinks.Position{"a": sinks.PositionOf(128, 0)}}
	require.NoError(t, u.CheckPositions(sinks.Source{Topic: "a"}))
	require.Error(t, u.CheckPositions(sinks.Source{Topic: "b"}), "absent")
}
