package sinktest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/sinks"
)

// TestGraph holds an engine to the contract Graph. open returns a migrated, empty store that is
// closed at the end of the test.
func TestGraph(t *testing.T, open func(t *testing.T) Graph) {
	runAll(t, open, slices.Concat(edgeCases(), historyCases(), friendCases(), eraseCases()))
}

// added and removed return a change of the friendship of a and b, at seconds after noon.
func added(a, b string, at int, eventID string) sinks.Edge {
	return sinks.Edge{A: a, B: b, At: noon.Add(time.Duration(at) * time.Second), EventID: eventID}
}

func removed(a, b string, at int, eventID string) sinks.Edge {
	e := added(a, b, at, eventID)
	e.Removed = true
	return e
}

func apply(t *testing.T, s Graph, edges ...sinks.Edge) {
	t.Helper()
	require.NoError(t, s.ApplyEdges(t.Context(), edges))
}

// allEdges returns every edge by its pair, as EachEdge tells them.
func allEdges(t *testing.T, s Graph) map[[2]string]sinks.Edge {
	t.Helper()
	all := map[[2]string]sinks.Edge{}
	require.NoError(t, s.EachEdge(t.Context(), func(e sinks.Edge) error {
		require.Less(t, e.A, e.B)
		require.False(t, e.Removed)
		require.NotContains(t, all, [2]string{e.A, e.B})
		all[[2]string{e.A, e.B}] = e
		return nil
	}))
	n, err := s.CountEdges(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, len(all), n, "the count of edges")
	return all
}

// requireEdges wants exactly these edges to be there.
func requireEdges(t *testing.T, s Graph, want ...sinks.Edge) {
	t.Helper()
	all := allEdges(t, s)
	require.Len(t, all, len(want))
	for _, w := range want {
		got, ok := all[[2]string{min(w.A, w.B), max(w.A, w.B)}]
		require.True(t, ok, "edge %q - %q", w.A, w.B)
		require.Truef(
			t, w.At.Equal(got.At), "edge %q - %q: want %s, got %s", w.A, w.B, w.At, got.At,
		)
		require.Equal(t, w.EventID, got.EventID, "edge %q - %q", w.A, w.B)
	}
}

func friendsOf(t *testing.T, s Graph, user string) []string {
	t.Helper()
	friends, err := s.Friends(t.Context(), []string{user}, 1000)
	require.NoError(t, err)
	return friends[user]
}

func edgeCases() []testCase[Graph] {
	return []testCase[Graph]{
		{"an empty store has no edges", func(t *testing.T, s Graph) {
			requireEdges(t, s)
			friends, err := s.Friends(t.Context(), []string{"nobody"}, 10)
			require.NoError(t, err)
			require.Empty(t, friends)
			suggestions, err := s.SuggestFriends(t.Context(), "nobody", 10)
			require.NoError(t, err)
			require.Empty(t, suggestions)
		}},
		{"empty batches are no-ops", func(t *testing.T, s Graph) {
			apply(t, s)
			require.NoError(t, s.EraseFriends(t.Context(), nil))
			friends, err := s.Friends(t.Context(), nil, 10)
			require.NoError(t, err)
			require.Empty(t, friends)
		}},
		{"an edge is seen from both ends, whichever way it came", func(t *testing.T, s Graph) {
			apply(t, s, added("b", "a", 1, "e1"), added("a", "c", 1, "e2"))
			requireEdges(t, s, added("a", "b", 1, "e1"), added("a", "c", 1, "e2"))
			require.Equal(t, []string{"b", "c"}, friendsOf(t, s, "a"))
			require.Equal(t, []string{"a"}, friendsOf(t, s, "b"))
			apply(t, s, removed("a", "b", 2, "e3"), removed("c", "a", 2, "e4"))
			requireEdges(t, s)
			require.Empty(t, friendsOf(t, s, "a"))
		}},
		{"applying again changes nothing", func(t *testing.T, s Graph) {
			history := []sinks.Edge{
				added("a", "b", 1, "e1"), removed("a", "b", 2, "e2"), added("a", "c", 1, "e3"),
				removed("d", "a", 5, "e4"), added("a", "d", 6, "e5"),
			}
			for range 3 {
				apply(t, s, history...)
				requireEdges(t, s, added("a", "c", 1, "e3"), added("a", "d", 6, "e5"))
			}
			for _, e := range history {
				apply(t, s, e)
				requireEdges(t, s, added("a", "c", 1, "e3"), added("a", "d", 6, "e5"))
			}
		}},
		{"a removal of what was never there leaves a tombstone", func(t *testing.T, s Graph) {
			apply(t, s, removed("a", "b", 5, "e2"))
			requireEdges(t, s)
			apply(t, s, added("a", "b", 4, "e1"))
			requireEdges(t, s)
			apply(t, s, added("a", "b", 6, "e3"))
			requireEdges(t, s, added("a", "b", 6, "e3"))
		}},
		{
			"a newer addition takes over the time and event of an older one",
			func(t *testing.T, s Graph) {
				apply(t, s, added("a", "b", 5, "e5"))
				apply(t, s, added("a", "b", 9, "e1"))
				requireEdges(t, s, added("a", "b", 9, "e1"))
				apply(t, s, added("a", "b", 7, "e7"), removed("a", "b", 8, "e8"))
				requireEdges(t, s, added("a", "b", 9, "e1"))
			},
		},
		{"a nanosecond decides", func(t *testing.T, s Graph) {
			late := added("a", "b", 0, "e1")
			early := removed("a", "b", 0, "e2")
			late.At = late.At.Add(time.Nanosecond)
			apply(t, s, late)
			apply(t, s, early)
			requireEdges(t, s, late)
			gone := removed("a", "b", 0, "e0")
			gone.At = late.At.Add(time.Nanosecond)
			apply(t, s, gone)
			requireEdges(t, s)
		}},
		{"of equal times the higher event id wins, byte by byte", func(t *testing.T, s Graph) {
			for i, pair := range [][2]string{
				{"10", "9"},
				{"B", "a"},
				{"e", "e1"},
				{"", "0"},
				{"z", "é"},
				{"～", "😀"},
				{"e1", "e\u0301"},
			} {
				low, high := pair[0], pair[1]
				require.Less(t, low, high)
				one, two := fmt.Sprintf("one-%d", i), fmt.Sprintf("two-%d", i)
				apply(t, s, added("hub", one, 1, low), removed("hub", two, 1, low))
				apply(t, s, removed("hub", one, 1, high), added("hub", two, 1, high))
				apply(t, s, added("hub", one, 1, low), removed("hub", two, 1, low))
				require.NotContains(t, friendsOf(t, s, "hub"), one, "%q beats %q", high, low)
				require.Contains(t, friendsOf(t, s, "hub"), two, "%q beats %q", high, low)
			}
		}},
		{"ids may be any text", func(t *testing.T, s Graph) {
			var edges []sinks.Edge
			for i, id := range oddIDs {
				edges = append(edges, added("hub", id, i, id))
			}
			apply(t, s, edges...)
			requireEdges(t, s, edges...)
			want := slices.Clone(oddIDs)
			slices.Sort(want)
			require.Equal(t, want, friendsOf(t, s, "hub"))
		}},
		{"batches may be large", func(t *testing.T, s Graph) {
			var edges []sinks.Edge
			for i := range 2500 {
				edges = append(
					edges,
					added(fmt.Sprintf("u%04d", i%500), fmt.Sprintf("v%04d", i), i, strconv.Itoa(i)),
				)
			}
			apply(t, s, edges...)
			requireEdges(t, s, edges...)
			require.Equal(
				t, []string{"v0007", "v0507", "v1007", "v1507", "v2007"}, friendsOf(t, s, "u0007"),
			)
		}},
		{"times may lie decades apart", func(t *testing.T, s Graph) {
			first, last := added("a", "b", 0, "e1"), added("a", "c", 0, "e2")
			first.At = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
			last.At = time.Date(2105, 1, 1, 0, 0, 0, 0, time.UTC)
			apply(t, s, first, last)
			requireEdges(t, s, first, last)
		}},
		{"a canceled context ends calls", func(t *testing.T, s Graph) {
			apply(t, s, added("a", "b", 1, "e1"))
			requireCanceled(t, map[string]func(context.Context) error{
				"apply": func(ctx context.Context) error {
					return s.ApplyEdges(ctx, []sinks.Edge{removed("a", "b", 2, "e2")})
				},
				"friends": func(ctx context.Context) error {
					_, err := s.Friends(ctx, []string{"a"}, 1)
					return err
				},
				"suggest": func(ctx context.Context) error {
					_, err := s.SuggestFriends(ctx, "a", 1)
					return err
				},
				"erase": func(ctx context.Context) error {
					return s.EraseFriends(ctx, []sinks.Erasure{{UserID: "x", At: noon}})
				},
				"each": func(ctx context.Context) error {
					return s.EachEdge(ctx, func(sinks.Edge) error { return nil })
				},
				"count": func(ctx context.Context) error {
					_, err := s.CountEdges(ctx)
					return err
				},
			})
			apply(t, s, added("a", "c", 1, "e3"), added("a", "b", 9, "e4"))
			requireEdges(t, s, added("a", "b", 9, "e4"), added("a", "c", 1, "e3"))
		}},
		{"the visit of edges ends at the first failure", func(t *testing.T, s Graph) {
			apply(t, s, added("a", "b", 1, "e1"), added("a", "c", 1, "e2"))
			stop := errors.New("enough")
			calls := 0
			err := s.EachEdge(t.Context(), func(sinks.Edge) error { calls++; return stop })
			require.ErrorIs(t, err, stop)
			require.Equal(t, 1, calls)
		}},
	}
}

func historyCases() []testCase[Graph] {
	return []testCase[Graph]{
		{"every order of a history ends the same", func(t *testing.T, s Graph) {
			// The winner of each history is known; each order plays on a pair of its own, once
			// change by change and once in one batch.
			histories := map[string][]sinks.Edge{
				"stays": {
					added("", "", 1, "e1"), removed("", "", 2, "e2"), removed("", "", 3, "e3"),
					added("", "", 3, "e4"), added("", "", 2, "e9"),
				},
				"goes": {
					added("", "", 1, "e1"), added("", "", 4, "e2"), removed("", "", 4, "e3"),
					removed("", "", 2, "e9"), added("", "", 3, "e8"),
				},
			}
			for name, history := range histories {
				var steps [][]sinks.Edge
				whole := 0
				permutations(len(history), func(order []int) {
					steps = append(steps, nil)
					n := len(steps)
					var batch []sinks.Edge
					for _, i := range order {
						e := history[i]
						e.A, e.B = fmt.Sprintf("%s-a%03d", name, n), fmt.Sprintf(
							"%s-b%03d", name, n,
						)
						if i%2 == 1 {
							e.A, e.B = e.B, e.A
						}
						steps[n-1] = append(steps[n-1], e)
						e.A += "-whole"
						e.B += "-whole"
						batch = append(batch, e)
					}
					apply(t, s, batch...)
					whole++
				})
				for k := range history {
					var batch []sinks.Edge
					for _, step := range steps {
						batch = append(batch, step[k])
					}
					apply(t, s, batch...)
				}
				require.Equal(t, 120, whole)
			}
			all := allEdges(t, s)
			require.Len(t, all, 2*120)
			for pair, e := range all {
				require.Equal(t, "e4", e.EventID, "%v", pair)
			}
		}},
		{"a random history ends where a map ends, in any batches", func(t *testing.T, s Graph) {
			r := random(t)
			type key [2]string
			want := map[key]sinks.Edge{}
			var history []sinks.Edge
			for i := range 1500 {
				e := added(
					fmt.Sprintf("u%02d", r.IntN(12)), fmt.Sprintf("v%02d", r.IntN(12)), r.IntN(60),
					fmt.Sprintf("e%04d", i),
				)
				e.Removed = r.IntN(2) == 0
				history = append(history, e)
				k := key{e.A, e.B}
				old, there := want[k]
				if !there || cmp.Or(e.At.Compare(old.At), cmp.Compare(e.EventID, old.EventID)) > 0 {
					want[k] = e
				}
				if r.IntN(4) == 0 {
					history = append(history, e) // a repeat
				}
			}
			maps.DeleteFunc(want, func(_ key, e sinks.Edge) bool { return e.Removed })
			r.Shuffle(
				len(history),
				func(i, j int) { history[i], history[j] = history[j], history[i] },
			)
			for len(history) > 0 {
				n := min(1+r.IntN(200), len(history))
				apply(t, s, history[:n]...)
				history = history[n:]
			}
			requireEdges(t, s, slices.Collect(maps.Values(want))...)
		}},
		{"concurrent changes of the same edges end the same", func(t *testing.T, s Graph) {
			const writers, edges = 8, 40
			require.NoError(t, concurrently(writers, func(w int) error {
				var batch []sinks.Edge
				for i := range edges {
					// Each writer walks the edges in another order, which is what makes locks meet.
					k := (i*7 + w*13) % edges
					batch = append(
						batch, added("hub", fmt.Sprintf("u%02d", k), w, fmt.Sprintf("e%d", w)),
					)
				}
				return retryTransient(func() error { return s.ApplyEdges(t.Context(), batch) })
			}))
			var want []sinks.Edge
			for k := range edges {
				want = append(
					want,
					added("hub", fmt.Sprintf("u%02d", k), writers-1, fmt.Sprintf("e%d", writers-1)),
				)
			}
			requireEdges(t, s, want...)
		}},
	}
}
