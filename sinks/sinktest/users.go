package sinktest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// The two sources of a user: a partition of interactions and, after a replay of dead letters, one
// of the replay topic.
var (
	mainSource   = sinks.Source{Topic: schemas.TopicInteractions, Partition: 3}
	replaySource = sinks.Source{Topic: record.ReplayTopic(schemas.GroupEmbed), Partition: 1}
)

// TestUsers holds an engine to the contract Users. open returns a migrated, empty store that is
// closed at the end of the test.
func TestUsers(t *testing.T, open func(t *testing.T) Users) {
	cases := slices.Concat(
		userPutCases(), userPositionCases(), userSearchCases(), userForgetCases(),
		userChangedCases(), userErasureCases(),
	)
	runAll(t, open, cases)
}

// at returns the position of an offset in the first epoch.
func at(offset int64) sinks.Position { return sinks.PositionOf(sinks.FirstEpoch, offset) }

// user returns a user who has absorbed offset of the main source; v is the first number of the
// vector, to tell versions apart.
func user(id string, offset int64, v float32) sinks.User {
	vector := make([]float32, VectorDim)
	vector[0], vector[VectorDim-1] = v, 1
	return sinks.User{
		ID: id, Vector: vector, State: fmt.Appendf(nil, "state %v", v),
		Positions:   map[string]sinks.Position{mainSource.Topic: at(offset)},
		LastEventAt: noon.Add(time.Duration(offset)),
		ChangedAt:   noon.Add(time.Duration(offset) * time.Second),
	}
}

func putUsers(t *testing.T, s Users, users ...sinks.User) {
	t.Helper()
	require.NoError(t, s.PutUsers(t.Context(), mainSource, users))
}

// getUser returns the user, or fails the test.
func getUser(t *testing.T, s Users, id string) sinks.User {
	t.Helper()
	found, err := s.GetUsers(t.Context(), []string{id})
	require.NoError(t, err)
	require.Len(t, found, 1, "user %q", id)
	return found[0]
}

func requireUser(t *testing.T, want, got sinks.User) {
	t.Helper()
	require.Equal(t, want.ID, got.ID)
	require.Equal(t, want.Vector, got.Vector, "vector of %q", want.ID)
	require.True(
		t, bytes.Equal(want.State, got.State), "state of %q: want %q, got %q", want.ID, want.State,
		got.State,
	)
	require.Equal(t, want.Positions, got.Positions, "positions of %q", want.ID)
	require.Truef(
		t, want.LastEventAt.Equal(got.LastEventAt), "last event of %q: want %s, got %s", want.ID,
		want.LastEventAt, got.LastEventAt,
	)
	require.Truef(
		t, want.ChangedAt.Equal(got.ChangedAt), "change of %q: want %s, got %s", want.ID,
		want.ChangedAt, got.ChangedAt,
	)
}

func requireUserCount(t *testing.T, s Users, want int) {
	t.Helper()
	n, err := s.CountUsers(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, want, n)
}

func userPutCases() []testCase[Users] {
	return []testCase[Users]{
		{"an empty store has no users", func(t *testing.T, s Users) {
			found, err := s.GetUsers(t.Context(), []string{"nobody"})
			require.NoError(t, err)
			require.Empty(t, found)
			requireUserCount(t, s, 0)
		}},
		{"empty batches are no-ops", func(t *testing.T, s Users) {
			found, err := s.GetUsers(t.Context(), nil)
			require.NoError(t, err)
			require.Empty(t, found)
			require.NoError(t, s.PutUsers(t.Context(), mainSource, nil))
			near, err := s.SimilarUsers(t.Context(), nil)
			require.NoError(t, err)
			require.Empty(t, near)
			requireUserCount(t, s, 0)
		}},
		{"every field comes back", func(t *testing.T, s Users) {
			u := user("u1", 1, -0.25)
			u.Positions[mainSource.Topic] = highest
			u.State = []byte{0, 1, 2, 0xff, 0, '\n', '"'}
			u.Positions[replaySource.Topic] = at(0)
			u.Vector = vector(random(t), VectorDim)
			putUsers(t, s, u)
			requireUser(t, u, getUser(t, s, "u1"))
		}},
		{"a user without a vector comes back without one", func(t *testing.T, s Users) {
			u := user("u1", 7, 0)
			u.Vector = nil
			putUsers(t, s, u)
			requireUser(t, u, getUser(t, s, "u1"))
		}},
		{"a state may be large, or absent", func(t *testing.T, s Users) {
			large, none := user("large", 1, 1), user("none", 1, 1)
			large.State, none.State = bytes.Repeat([]byte{0xfe, 0, 7}, 40_000), nil
			putUsers(t, s, large, none)
			requireUser(t, large, getUser(t, s, "large"))
			requireUser(t, none, getUser(t, s, "none"))
		}},
		{"unknown ids are absent", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 1, 1), user("u2", 1, 2))
			found, err := s.GetUsers(t.Context(), []string{"u2", "nobody", "u1", "U1"})
			require.NoError(t, err)
			slices.SortFunc(found, func(a, b sinks.User) int { return cmp.Compare(a.ID, b.ID) })
			require.Len(t, found, 2)
			requireUser(t, user("u1", 1, 1), found[0])
			requireUser(t, user("u2", 1, 2), found[1])
		}},
		{"offset 0 lands, once", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 0, 1))
			putUsers(t, s, user("u1", 0, 2))
			requireUser(t, user("u1", 0, 1), getUser(t, s, "u1"))
		}},
		{"an equal or higher position stays", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 10, 1))
			putUsers(t, s, user("u1", 10, 2))
			putUsers(t, s, user("u1", 9, 3))
			requireUser(t, user("u1", 10, 1), getUser(t, s, "u1"))
			putUsers(t, s, user("u1", 11, 4))
			requireUser(t, user("u1", 11, 4), getUser(t, s, "u1"))
			requireUserCount(t, s, 1)
		}},
		{"a newer user replaces the older one whole", func(t *testing.T, s Users) {
			old := user("u1", 1, 1)
			old.Positions[replaySource.Topic] = at(5)
			putUsers(t, s, old)
			bare := sinks.User{
				ID: "u1", Positions: map[string]sinks.Position{mainSource.Topic: at(2)},
				LastEventAt: noon,
				ChangedAt:   noon,
			}
			putUsers(t, s, bare)
			requireUser(t, bare, getUser(t, s, "u1"))
		}},
		{"sources are told apart", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 100, 1))
			replayed := user("u1", 100, 2)
			replayed.Positions[replaySource.Topic] = at(0)
			require.NoError(t, s.PutUsers(t.Context(), replaySource, []sinks.User{replayed}))
			requireUser(t, replayed, getUser(t, s, "u1"))

			again := user("u1", 100, 3)
			again.Positions[replaySource.Topic] = at(0)
			require.NoError(t, s.PutUsers(t.Context(), replaySource, []sinks.User{again}))
			require.NoError(t, s.PutUsers(t.Context(), mainSource, []sinks.User{again}))
			requireUser(t, replayed, getUser(t, s, "u1"))

			next := user("u1", 101, 4)
			next.Positions[replaySource.Topic] = at(0)
			putUsers(t, s, next)
			requireUser(t, next, getUser(t, s, "u1"))
		}},
		{"each user of a batch is judged alone", func(t *testing.T, s Users) {
			putUsers(t, s, user("a", 5, 1), user("b", 15, 1))
			putUsers(t, s, user("a", 10, 2), user("b", 10, 2), user("c", 10, 2))
			requireUser(t, user("a", 10, 2), getUser(t, s, "a"))
			requireUser(t, user("b", 15, 1), getUser(t, s, "b"))
			requireUser(t, user("c", 10, 2), getUser(t, s, "c"))
		}},
		{"an id twice in a batch ends at the higher position", func(t *testing.T, s Users) {
			putUsers(
				t, s, user("up", 1, 1), user("down", 2, 2), user("up", 2, 2), user("down", 1, 1),
			)
			requireUser(t, user("up", 2, 2), getUser(t, s, "up"))
			requireUser(t, user("down", 2, 2), getUser(t, s, "down"))
		}},
		{"arguments are neither kept nor changed", func(t *testing.T, s Users) {
			batch := []sinks.User{user("u1", 1, 1)}
			putUsers(t, s, batch...)
			requireUser(t, user("u1", 1, 1), batch[0])
			batch[0].Vector[0], batch[0].State[0], batch[0].Positions[mainSource.Topic] = 9, 'X', 99
			got := getUser(t, s, "u1")
			requireUser(t, user("u1", 1, 1), got)
			got.Vector[0], got.State[0], got.Positions[mainSource.Topic] = 9, 'X', 99
			requireUser(t, user("u1", 1, 1), getUser(t, s, "u1"))
			near, err := similar(t.Context(), s, user("q", 0, 1).Vector, 1, nil)
			require.NoError(t, err)
			require.InDelta(t, 2, near[0].Score, scoreDelta)
		}},
		{"ids may be any text", func(t *testing.T, s Users) {
			batch := make([]sinks.User, len(oddIDs))
			for i, id := range oddIDs {
				batch[i] = user(id, int64(i), float32(i))
			}
			putUsers(t, s, batch...)
			requireUserCount(t, s, len(oddIDs))
			for _, want := range batch {
				requireUser(t, want, getUser(t, s, want.ID))
			}
		}},
		{"batches may be large", func(t *testing.T, s Users) {
			ids := numbered("u", 2000)
			batch := make([]sinks.User, len(ids))
			for i, id := range ids {
				batch[i] = user(id, int64(i), float32(i))
			}
			putUsers(t, s, batch...)
			requireUserCount(t, s, len(ids))
			found, err := s.GetUsers(t.Context(), ids)
			require.NoError(t, err)
			require.Len(t, found, len(ids))
			slices.SortFunc(found, func(a, b sinks.User) int { return cmp.Compare(a.ID, b.ID) })
			for i := range batch {
				requireUser(t, batch[i], found[i])
			}
		}},
		{"of concurrent puts the highest position stays", func(t *testing.T, s Users) {
			const writers = 16
			require.NoError(t, concurrently(writers, func(i int) error {
				own := user(fmt.Sprintf("own-%d", i), 1, float32(i))
				return retryTransient(func() error {
					return s.PutUsers(
						t.Context(), mainSource,
						[]sinks.User{user("shared", int64(i), float32(i)), own},
					)
				})
			}))
			requireUser(t, user("shared", writers-1, writers-1), getUser(t, s, "shared"))
			requireUserCount(t, s, writers+1)
		}},
		{"a canceled context ends calls", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 1, 1))
			requireCanceled(t, map[string]func(context.Context) error{
				"get": func(ctx context.Context) error {
					_, err := s.GetUsers(ctx, []string{"u1"})
					return err
				},
				"put": func(ctx context.Context) error {
					return s.PutUsers(ctx, mainSource, []sinks.User{user("u1", 2, 2)})
				},
				"similar": func(ctx context.Context) error {
					_, err := similar(ctx, s, user("q", 0, 1).Vector, 1, nil)
					return err
				},
				"expire": func(ctx context.Context) error {
					_, err := s.ExpireUsers(ctx, noon.Add(time.Hour), 1)
					return err
				},
				"count": func(ctx context.Context) error {
					_, err := s.CountUsers(ctx)
					return err
				},
				"each": func(ctx context.Context) error {
					return s.EachUser(ctx, func(sinks.User) error { return nil })
				},
			})
			putUsers(t, s, user("u1", 3, 3))
			requireUser(t, user("u1", 3, 3), getUser(t, s, "u1"))
		}},
	}
}

func userSearchCases() []testCase[Users] {
	return []testCase[Users]{
		{"an empty store has no similar users", func(t *testing.T, s Users) {
			near, err := similar(t.Context(), s, user("q", 0, 1).Vector, 10, []string{"u1"})
			require.NoError(t, err)
			require.Empty(t, near)
		}},
		{"similar users have the highest inner products, best first", func(t *testing.T, s Users) {
			users := randomUsers(t, s, 500)
			query := vector(random(t), VectorDim)
			near, err := similar(t.Context(), s, query, 20, nil)
			require.NoError(t, err)
			requireNearest(t, users, query, 20, nil, near)
		}},
		{"excluded users are not similar, however many", func(t *testing.T, s Users) {
			users := randomUsers(t, s, 500)
			query := vector(random(t), VectorDim)
			exclude := append(numbered("unknown", 5000), numbered("u", 300)...)
			near, err := similar(t.Context(), s, query, 20, exclude)
			require.NoError(t, err)
			requireNearest(t, users, query, 20, exclude, near)
			near, err = similar(t.Context(), s, query, 20, numbered("u", 500))
			require.NoError(t, err)
			require.Empty(t, near)
		}},
		{"fewer users than wanted are all found", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 1, 1), user("u2", 1, -5), user("u3", 1, 3))
			near, err := similar(t.Context(), s, user("q", 0, 1).Vector, 100, []string{"u3"})
			require.NoError(t, err)
			require.Len(t, near, 2)
			require.Equal(t, "u1", near[0].ID)
			require.Equal(t, "u2", near[1].ID)
			require.InDelta(t, 2, near[0].Score, scoreDelta)
			require.InDelta(t, -4, near[1].Score, scoreDelta)
		}},
		{"users without a vector are not similar", func(t *testing.T, s Users) {
			bare := user("bare", 1, 0)
			bare.Vector = nil
			putUsers(t, s, bare, user("u1", 1, -1))
			near, err := similar(t.Context(), s, user("q", 0, 2).Vector, 10, nil)
			require.NoError(t, err)
			require.Len(t, near, 1)
			require.Equal(t, "u1", near[0].ID)
		}},
		{"each query of a batch has its own answer", func(t *testing.T, s Users) {
			users := randomUsers(t, s, 300)
			r := random(t)
			queries := make([]sinks.UserQuery, 40)
			for i := range queries {
				queries[i] = sinks.UserQuery{
					Vector: vector(r, VectorDim), N: 1 + r.IntN(20),
					Exclude: []string{users[i].ID, "unknown"},
				}
			}
			answers, err := s.SimilarUsers(t.Context(), queries)
			require.NoError(t, err)
			require.Len(t, answers, len(queries))
			for i, q := range queries {
				requireNearest(t, users, q.Vector, q.N, q.Exclude, answers[i])
			}
		}},
		{"equal vectors are all found, each once, by id", func(t *testing.T, s Users) {
			ids := numbered("u", 20)
			for _, i := range random(t).Perm(len(ids)) {
				putUsers(t, s, user(ids[i], 1, 1))
			}
			near, err := similar(t.Context(), s, user("q", 0, 1).Vector, 20, nil)
			require.NoError(t, err)
			found := make([]string, len(near))
			for i, n := range near {
				found[i] = n.ID
				require.InDelta(t, 2, n.Score, scoreDelta)
			}
			require.Equal(t, ids, found)
		}},
		{"a moved user is found at the new place only", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 1, 10), user("u2", 1, 5))
			putUsers(t, s, user("u1", 2, 1))
			near, err := similar(t.Context(), s, user("q", 0, 1).Vector, 10, nil)
			require.NoError(t, err)
			require.Len(t, near, 2)
			require.Equal(t, "u2", near[0].ID)
			require.InDelta(t, 2, near[1].Score, scoreDelta)
			bare := user("u2", 2, 0)
			bare.Vector = nil
			putUsers(t, s, bare)
			near, err = similar(t.Context(), s, user("q", 0, 1).Vector, 10, nil)
			require.NoError(t, err)
			require.Len(t, near, 1)
		}},
	}
}

// randomUsers puts n users u-0000… with random vectors.
func randomUsers(t *testing.T, s Users, n int) []sinks.User {
	t.Helper()
	r := random(t)
	users := make([]sinks.User, n)
	for i, id := range numbered("u", n) {
		users[i] = user(id, int64(i), 0)
		users[i].Vector = vector(r, VectorDim)
	}
	putUsers(t, s, users...)
	return users
}

// requireNearest compares with an exact search.
func requireNearest(
	t *testing.T, users []sinks.User, query []float32, n int, exclude []string,
	got []sinks.Neighbour,
) {
	t.Helper()
	var want []sinks.Neighbour
	for _, u := range users {
		if !slices.Contains(exclude, u.ID) {
			want = append(want, sinks.Neighbour{ID: u.ID, Score: dot(query, u.Vector)})
		}
	}
	slices.SortFunc(want, func(a, b sinks.Neighbour) int { return cmp.Compare(b.Score, a.Score) })
	want = want[:min(n, len(want))]
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].ID, got[i].ID, "place %d", i)
		require.InDelta(t, want[i].Score, got[i].Score, scoreDelta, "place %d", i)
	}
}

func userForgetCases() []testCase[Users] {
	return []testCase[Users]{
		{"expired users are gone from everywhere", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 10, 1), user("u2", 50, 2), user("u3", 10, 3))
			for _, want := range []int{2, 0} {
				n, err := s.ExpireUsers(t.Context(), noon.Add(20*time.Second), 10)
				require.NoError(t, err)
				require.Equal(t, want, n)
			}
			requireUserCount(t, s, 1)
			found, err := s.GetUsers(t.Context(), []string{"u1", "u2", "u3"})
			require.NoError(t, err)
			require.Len(t, found, 1)
			requireUser(t, user("u2", 50, 2), found[0])
			near, err := similar(t.Context(), s, user("q", 0, 1).Vector, 10, nil)
			require.NoError(t, err)
			require.Len(t, near, 1)
			require.Equal(t, "u2", near[0].ID)
		}},
		{"an expired user may come back at any position", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 10, 1))
			n, err := s.ExpireUsers(t.Context(), noon.Add(time.Hour), 10)
			require.NoError(t, err)
			require.Equal(t, 1, n)
			putUsers(t, s, user("u1", 3, 2))
			requireUser(t, user("u1", 3, 2), getUser(t, s, "u1"))
		}},
		{
			"users unchanged since a time expire, a limited number at once",
			func(t *testing.T, s Users) {
				var batch []sinks.User
				for i, id := range numbered("u", 10) {
					batch = append(batch, user(id, int64(i), 1)) // changed i seconds after noon
				}
				putUsers(t, s, batch...)
				cut := noon.Add(5 * time.Second)
				for _, want := range []int{3, 2, 0} {
					n, err := s.ExpireUsers(t.Context(), cut, 3)
					require.NoError(t, err)
					require.Equal(t, want, n)
				}
				requireUserCount(t, s, 5)
				requireUser(t, batch[5], getUser(t, s, batch[5].ID)) // not before the cut
				near, err := similar(t.Context(), s, user("q", 0, 1).Vector, 10, nil)
				require.NoError(t, err)
				require.Len(t, near, 5)
			},
		},
		{"a changed user does not expire", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 1, 1))
			putUsers(t, s, user("u1", 100, 1))
			n, err := s.ExpireUsers(t.Context(), noon.Add(50*time.Second), 10)
			require.NoError(t, err)
			require.Zero(t, n)
		}},
		{"each user is visited once", func(t *testing.T, s Users) {
			want := map[string]sinks.User{}
			for i, id := range numbered("u", 1500) {
				want[id] = user(id, int64(i), float32(i))
			}
			bare := user("bare", 1, 0)
			bare.Vector = nil
			want["bare"] = bare
			batch := make([]sinks.User, 0, len(want))
			for _, u := range want {
				batch = append(batch, u)
			}
			putUsers(t, s, batch...)
			require.NoError(t, s.EachUser(t.Context(), func(u sinks.User) error {
				requireUser(t, want[u.ID], u)
				delete(want, u.ID)
				return nil
			}))
			require.Empty(t, want)
		}},
		{"the visit of users ends at the first failure", func(t *testing.T, s Users) {
			putUsers(t, s, user("u1", 1, 1), user("u2", 1, 2))
			stop := errors.New("enough")
			calls := 0
			err := s.EachUser(t.Context(), func(sinks.User) error { calls++; return stop })
			require.ErrorIs(t, err, stop)
			require.Equal(t, 1, calls)
		}},
	}
}

// similar asks for the neighbours of one vector.
func similar(
	ctx context.Context, s Users, vector []float32, n int, exclude []string,
) ([]sinks.Neighbour, error) {
	found, err := s.SimilarUsers(ctx, []sinks.UserQuery{{Vector: vector, N: n, Exclude: exclude}})
	if err != nil || len(found) != 1 {
		return nil, err
	}
	return found[0], nil
}
