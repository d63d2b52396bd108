package sinktest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
)

// erasing forgets users whose erasures stand at an offset; the log took them secs after noon.
func erasing(s Users, t *testing.T, offset int64, secs int, ids ...string) error {
	t.Helper()
	batch := make([]sinks.UserErasure, len(ids))
	for i, id := range ids {
		batch[i] = sinks.UserErasure{
			ID: id, Position: at(offset), At: noon.Add(time.Duration(secs) * time.Second),
		}
	}
	return s.ForgetUsers(t.Context(), mainSource, batch)
}

// userErasureCases are the cases of ForgetUsers. Test users change offset seconds after noon.
func userErasureCases() []testCase[Users] {
	return []testCase[Users]{
		{"an erased user is gone from everywhere", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 10, 1), user("u2", 10, 2))
			require.NoError(t, erasing(s, t, 10, 0, "u1", "nobody"))
			require.NoError(t, erasing(s, t, 10, 0, "u1"), "again")
			requireUserCount(t, s, 1)
			near, err := similar(t.Context(), s, user("q", 0, 1).Vector, 10, nil)
			require.NoError(t, err)
			require.Len(t, near, 1)
			require.Equal(t, "u2", near[0].ID)
			require.NoError(t, s.ForgetUsers(t.Context(), mainSource, nil))
		}},
		{"a late deleter leaves a user who has returned", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 10, 1))
			require.NoError(t, erasing(s, t, 9, 9, "u1"))
			requireUser(t, user("u1", 10, 1), getUser(t, s, "u1"))
		}},
		{
			"a user with no record after the erasure goes at any position",
			func(t *testing.T, s Users) {
				putUsers(t, s, user("u1", 10, 1), user("u2", 10, 1))
				require.NoError(t, erasing(s, t, 3, 10, "u1"))
				requireUserCount(t, s, 1)
				require.NoError(t, s.ForgetUsers(t.Context(), mainSource, []sinks.UserErasure{
					{ID: "u2", Position: at(3)},
				}))
				requireUserCount(t, s, 1)
			},
		},
		{"positions of other topics do not keep a user", func(t *testing.T, s Users) {
			u := user("u1", 10, 1)
			other := sinks.Source{Topic: "other", Partition: mainSource.Partition}
			u.Positions = map[string]sinks.Position{other.Topic: at(10)}
			require.NoError(t, s.PutUsers(t.Context(), other, []sinks.User{u}))
			require.NoError(t, erasing(s, t, 3, 0, "u1"))
			requireUserCount(t, s, 0)
		}},
		{"an erasure without a valid position removes nothing", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 1, 1))
			err := s.ForgetUsers(t.Context(), mainSource, []sinks.UserErasure{
				{ID: "u1", Position: at(5), At: noon.Add(time.Hour)},
				{ID: "u1", Position: 7, At: noon.Add(time.Hour)},
			})
			require.Equal(t, fault.Permanent, fault.ClassOf(err))
			requireUserCount(t, s, 1)
		}},
		{"a deleter that races with a return never wins", func(t *testing.T, s Users) {
			const rounds = 60
			for i := range int64(rounds) {
				id := fmt.Sprint("u", i%3)
				require.NoError(t, concurrently(2, func(n int) error {
					if n == 0 {
						return erasing(s, t, 2*i, int(2*i), id)
					}
					return s.PutUsers(t.Context(), mainSource, []sinks.User{user(id, 2*i+1, 1)})
				}))
				requireUser(t, user(id, 2*i+1, 1), getUser(t, s, id))
			}
		}},
	}
}
