package sinktest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
)

// maxOffset is the highest offset of an epoch, highest the highest position.
const maxOffset = sinks.EpochStart - 1

var highest = sinks.PositionOf(sinks.LastEpoch, maxOffset)

// userAt is user at a position of the main source.
func userAt(id string, p sinks.Position, v float32) sinks.User {
	u := user(id, 0, v)
	u.Positions[mainSource.Topic] = p
	return u
}

// requireVersion finds the user at the position, in the version that v tells.
func requireVersion(t *testing.T, s Users, id string, p sinks.Position, v float32) {
	t.Helper()
	requireUser(t, userAt(id, p, v), getUser(t, s, id))
}

func userPositionCases() []testCase[Users] {
	return []testCase[Users]{
		{"a later epoch is higher, whatever the offset", func(t *testing.T, s Users) {
			in := func(epoch int, offset int64) sinks.Position {
				return sinks.PositionOf(epoch, offset)
			}
			putUsers(t, s, userAt("u1", in(129, 1000), 1))
			putUsers(t, s, userAt("u1", in(128, 2000), 2))
			requireVersion(t, s, "u1", in(129, 1000), 1)
			putUsers(t, s, userAt("u1", in(130, 0), 3))
			requireVersion(t, s, "u1", in(130, 0), 3)
			putUsers(t, s, userAt("u1", in(129, maxOffset), 4), userAt("u2", in(129, 5), 4))
			requireVersion(t, s, "u1", in(130, 0), 3)
			requireVersion(t, s, "u2", in(129, 5), 4)
		}},
		{"neighbouring positions are told apart up to the highest", func(t *testing.T, s Users) {
			for _, epoch := range []int{sinks.FirstEpoch, sinks.LastEpoch} {
				last := sinks.PositionOf(epoch, maxOffset)
				putUsers(t, s, userAt("u1", last-1, 1))
				putUsers(t, s, userAt("u1", last-1, 2))
				putUsers(t, s, userAt("u1", last-2, 3))
				requireVersion(t, s, "u1", last-1, 1)
				putUsers(t, s, userAt("u1", last, 4))
				putUsers(t, s, userAt("u1", last, 5))
				requireVersion(t, s, "u1", last, 4)
			}
		}},
		{"a position that is not valid is refused", func(t *testing.T, s Users) {
			for _, p := range []sinks.Position{-1, 7, at(0) - 1, highest + 1} {
				err := s.PutUsers(
					t.Context(), mainSource, []sinks.User{user("u1", 1, 1), userAt("u2", p, 1)},
				)
				require.Error(t, err, "%d", p)
				require.Equal(t, fault.Permanent, fault.ClassOf(err))
			}
			requireUserCount(t, s, 0)
		}},
	}
}

// PutPlainUser writes one user as the version did whose positions were plain offsets: under its
// condition, and with the offsets of u's positions in place of these.
type PutPlainUser func(t *testing.T, s Users, src sinks.Source, u sinks.User)

// TestUsersUpgrade holds an engine to what the contract Users says of points without epochs.
func TestUsersUpgrade(t *testing.T, open func(t *testing.T) Users, putPlain PutPlainUser) {
	runAll(t, open, userUpgradeCases(putPlain))
}

func userUpgradeCases(putPlain PutPlainUser) []testCase[Users] {
	later := sinks.PositionOf(sinks.FirstEpoch+1, 0)
	return []testCase[Users]{
		{"a plain offset reads as one of the first epoch", func(t *testing.T, s Users) {
			u := userAt("u1", at(100), 1)
			u.Positions[replaySource.Topic] = at(0)
			putPlain(t, s, mainSource, u)
			requireUser(t, u, getUser(t, s, "u1"))
			require.NoError(t, s.EachUser(t.Context(), func(got sinks.User) error {
				requireUser(t, u, got)
				return nil
			}))
		}},
		{"a range that is repeated after the upgrade changes nothing", func(t *testing.T, s Users) {
			for _, id := range []string{"a", "b", "c"} {
				putPlain(t, s, mainSource, userAt(id, at(100), 1))
			}
			putUsers(t, s, userAt("a", at(100), 2))
			putUsers(t, s, userAt("a", at(99), 2), userAt("b", at(100), 2), userAt("c", at(101), 2))
			requireVersion(t, s, "a", at(100), 1)
			requireVersion(t, s, "b", at(100), 1)
			requireVersion(t, s, "c", at(101), 2)
			putUsers(t, s, userAt("a", at(101), 3), userAt("b", later, 3), userAt("c", at(101), 3))
			requireVersion(t, s, "a", at(101), 3)
			requireVersion(t, s, "b", later, 3)
			requireVersion(t, s, "c", at(101), 2)
		}},
		{"a late writer from before the upgrade undoes nothing", func(t *testing.T, s Users) {
			putPlain(t, s, mainSource, userAt("u1", at(100), 1))
			putUsers(t, s, userAt("u1", at(101), 2))
			for _, offset := range []int64{99, 101, 102} {
				putPlain(t, s, mainSource, userAt("u1", at(offset), 3))
				requireVersion(t, s, "u1", at(101), 2)
			}
		}},
		{"a late writer of the new version undoes nothing old", func(t *testing.T, s Users) {
			putPlain(t, s, mainSource, userAt("u1", at(5_000_000), 1))
			putUsers(t, s, userAt("u1", at(4_999_999), 2))
			requireVersion(t, s, "u1", at(5_000_000), 1)
			putUsers(t, s, userAt("u1", later, 3))
			requireVersion(t, s, "u1", later, 3)
		}},
		{"the lowest and the highest plain offsets count", func(t *testing.T, s Users) {
			putPlain(t, s, mainSource, userAt("low", at(0), 1))
			putPlain(t, s, mainSource, userAt("high", at(maxOffset-1), 1))
			putUsers(t, s, userAt("low", at(0), 2))
			putUsers(t, s, userAt("high", at(maxOffset-1), 2))
			requireVersion(t, s, "low", at(0), 1)
			requireVersion(t, s, "high", at(maxOffset-1), 1)
			putUsers(t, s, userAt("low", at(1), 3), userAt("high", at(maxOffset), 3))
			requireVersion(t, s, "low", at(1), 3)
			requireVersion(t, s, "high", at(maxOffset), 3)
		}},
		{"sources are told apart after the upgrade", func(t *testing.T, s Users) {
			putPlain(t, s, mainSource, userAt("u1", at(100), 1))
			replayed := userAt("u1", at(100), 2)
			replayed.Positions[replaySource.Topic] = at(0)
			require.NoError(t, s.PutUsers(t.Context(), replaySource, []sinks.User{replayed}))
			requireUser(t, replayed, getUser(t, s, "u1"))
		}},
	}
}
