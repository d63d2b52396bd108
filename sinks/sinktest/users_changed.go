package sinktest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/sinks"
)

// changed returns a user of the first epoch whose newest record the log took so long after noon.
func changed(id string, offset int64, after time.Duration) sinks.User {
	u := user(id, offset, 1)
	u.ChangedAt = noon.Add(after)
	return u
}

// pages asks for all pages of users who have changed since, and returns them in order.
func pages(t *testing.T, s Users, since time.Time, limit int) []sinks.UserChange {
	t.Helper()
	var all []sinks.UserChange
	var after *sinks.UserChange
	for {
		page, err := s.ChangedUsers(t.Context(), since, after, limit)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), limit)
		all = append(all, page...)
		if len(page) < limit {
			return all
		}
		after = &page[len(page)-1]
	}
}

func userChangedCases() []testCase[Users] {
	return []testCase[Users]{
		{"an empty store has no changed users", func(t *testing.T, s Users) {
			require.Empty(t, pages(t, s, time.Time{}, 10))
			found, err := s.ChangedUsers(t.Context(), time.Time{}, nil, 0)
			require.NoError(t, err)
			require.Empty(t, found)
		}},
		{"changed users come with the latest first", func(t *testing.T, s Users) {
			u := changed("b", 2, 2*time.Second)
			u.Positions[replaySource.Topic] = at(7)
			putUsers(t, s, changed("a", 1, time.Second), u, changed("c", 3, 3*time.Second))
			found := pages(t, s, noon.Add(2*time.Second), 10)
			require.Len(t, found, 2)
			require.Equal(t, "c", found[0].ID)
			require.Equal(t, "b", found[1].ID)
			require.Equal(t, u.Positions, found[1].Positions)
			require.True(t, u.ChangedAt.Equal(found[1].ChangedAt))
			require.True(t, u.LastEventAt.Equal(found[1].LastEventAt))
			require.Len(t, pages(t, s, time.Time{}, 10), 3)
			require.Empty(t, pages(t, s, noon.Add(3*time.Second+time.Millisecond), 10))
		}},
		{"a user who changed again comes once, at the latest change", func(t *testing.T, s Users) {
			putUsers(t, s, changed("a", 1, time.Second), changed("b", 1, 2*time.Second))
			putUsers(t, s, changed("a", 2, 3*time.Second))
			found := pages(t, s, noon, 10)
			require.Len(t, found, 2)
			require.Equal(t, "a", found[0].ID)
			require.Equal(t, "b", found[1].ID)
		}},
		{"pages leave nobody out and repeat nobody", func(t *testing.T, s Users) {
			// Times with one user and times with many: a producer's batch has one time.
			want := make(map[string]time.Time)
			var batch []sinks.User
			for i, id := range numbered("u", 700) {
				at := time.Duration(i/150) * time.Second
				if i%7 == 0 {
					at = time.Duration(i) * time.Millisecond
				}
				batch = append(batch, changed(id, int64(i), at))
				want[id] = noon.Add(at)
			}
			putUsers(t, s, batch...)
			for _, limit := range []int{13, 64, 100, 699, 700, 701} {
				last := noon.Add(time.Hour)
				seen := make(map[string]bool)
				for _, x := range pages(t, s, noon, limit) {
					require.False(t, seen[x.ID], "%s comes twice, by %d", x.ID, limit)
					seen[x.ID] = true
					require.True(t, want[x.ID].Equal(x.ChangedAt), x.ID)
					require.False(t, x.ChangedAt.After(last), "the latest first")
					last = x.ChangedAt
				}
				require.Len(t, seen, len(want), "by %d", limit)
			}
		}},
		{"users who change between two pages do not hide others", func(t *testing.T, s Users) {
			for i := range 20 {
				putUsers(t, s, changed(fmt.Sprint("u", i), 1, time.Duration(i)*time.Second))
			}
			first, err := s.ChangedUsers(t.Context(), noon, nil, 5)
			require.NoError(t, err)
			require.Len(t, first, 5)
			putUsers(t, s, changed("u3", 2, time.Minute), changed("u17", 2, 2*time.Minute))
			rest, err := s.ChangedUsers(t.Context(), noon, &first[4], 100)
			require.NoError(t, err)
			require.Len(t, rest, 14, "all but the five and u3")
		}},
		{"what an erasure leaves is no changed user", func(t *testing.T, s Users) {
			empty := sinks.User{
				ID: "gone", Positions: map[string]sinks.Position{mainSource.Topic: at(5)},
			}
			putUsers(t, s, empty, changed("a", 1, time.Second))
			require.Len(t, pages(t, s, time.Time{}, 10), 1)
		}},
		{"a canceled context ends the listing", func(t *testing.T, s Users) {
			putUsers(t, s, changed("a", 1, time.Second))
			requireCanceled(t, map[string]func(context.Context) error{
				"changed": func(ctx context.Context) error {
					_, err := s.ChangedUsers(ctx, noon, nil, 10)
					return err
				},
			})
		}},
	}
}
