package sinktest

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/sinks"
)

func friendCases() []testCase[Graph] {
	return []testCase[Graph]{
		{"friends come in order of id, limited for each user", func(t *testing.T, s Graph) {
			apply(
				t, s, added("m", "z", 1, "1"), added("a", "m", 1, "2"), added("m", "n", 1, "3"),
				added("b", "m", 1, "4"), removed("m", "c", 1, "5"),
				added("x", "y", 1, "6"),
				added("lonely", "gone", 1, "7"), removed("lonely", "gone", 2, "8"),
			)
			friends, err := s.Friends(t.Context(), []string{"m", "x", "nobody", "lonely", "y"}, 3)
			require.NoError(t, err)
			require.Equal(
				t, map[string][]string{"m": {"a", "b", "n"}, "x": {"y"}, "y": {"x"}}, friends,
			)
		}},
		{"friends of many users are read at once", func(t *testing.T, s Graph) {
			users := numbered("u", 1000)
			var edges []sinks.Edge
			want := map[string][]string{}
			for i, u := range users {
				edges = append(edges, added(u, fmt.Sprintf("f%04d", i), i, u))
				want[u] = []string{fmt.Sprintf("f%04d", i)}
			}
			apply(t, s, edges...)
			friends, err := s.Friends(t.Context(), users, 5)
			require.NoError(t, err)
			require.Equal(t, want, friends)
		}},
		{
			"suggestions are friends of friends, most common friends first",
			func(t *testing.T, s Graph) {
				var edges []sinks.Edge
				add := func(a string, friends ...string) {
					for _, b := range friends {
						edges = append(edges, added(a, b, len(edges), strconv.Itoa(len(edges))))
					}
				}
				add("me", "f1", "f2", "f3", "f4", "f5")
				add("f1", "one", "f2", "all", "two")
				add("f2", "all", "two-b")
				add("f3", "all", "two", "two-b", "gone")
				add("f4", "all", "blocked")
				add("all", "f5", "stranger")
				apply(t, s, edges...)
				apply(
					t, s, removed("f3", "gone", 1000, "r1"), removed("me", "f5", 1000, "r2"),
					removed("blocked", "f4", 1000, "r3"),
				)

				got, err := s.SuggestFriends(t.Context(), "me", 10)
				require.NoError(t, err)
				requireSuggestions(t, []sinks.Suggestion{
					{UserID: "all", Mutual: 4, Via: []string{"f1", "f2", "f3", "f4"}},
					{UserID: "two", Mutual: 2, Via: []string{"f1", "f3"}},
					{UserID: "two-b", Mutual: 2, Via: []string{"f2", "f3"}},
					{UserID: "one", Mutual: 1, Via: []string{"f1"}},
				}, got)
				got, err = s.SuggestFriends(t.Context(), "me", 2)
				require.NoError(t, err)
				require.Len(t, got, 2)
				require.Equal(t, "all", got[0].UserID)
				require.Equal(t, "two", got[1].UserID)
			},
		},
		{"someone without friends gets no suggestions", func(t *testing.T, s Graph) {
			apply(
				t, s, added("a", "b", 1, "e1"), added("b", "c", 1, "e2"), added("x", "a", 1, "e3"),
				removed("x", "a", 2, "e4"),
			)
			got, err := s.SuggestFriends(t.Context(), "x", 10)
			require.NoError(t, err)
			require.Empty(t, got)
		}},
	}
}

// requireSuggestions compares; want's Via names every common friend, of which got's Via names up to
// three.
func requireSuggestions(t *testing.T, want, got []sinks.Suggestion) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].UserID, got[i].UserID, "place %d", i)
		require.Equal(t, want[i].Mutual, got[i].Mutual, "common friends with %q", want[i].UserID)
		require.Len(t, got[i].Via, min(3, want[i].Mutual), "via of %q", want[i].UserID)
		require.Subset(t, want[i].Via, got[i].Via, "via of %q", want[i].UserID)
		require.Len(
			t, slices.Compact(slices.Sorted(slices.Values(got[i].Via))), len(got[i].Via),
			"via of %q names each once", want[i].UserID,
		)
	}
}

func eraseCases() []testCase[Graph] {
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	return []testCase[Graph]{
		{"an erasure takes edges up to its time, the time included", func(t *testing.T, s Graph) {
			apply(
				t, s, added("me", "before", 1, "e1"), added("at", "me", 5, "e2"),
				added("me", "after", 6, "e3"), added("before", "at", 1, "e4"),
				added("mee", "m", 1, "e5"),
			)
			for range 2 {
				require.NoError(
					t, s.EraseFriends(t.Context(), []sinks.Erasure{{UserID: "me", At: at(5)}}),
				)
				requireEdges(
					t, s, added("me", "after", 6, "e3"), added("before", "at", 1, "e4"),
					added("mee", "m", 1, "e5"),
				)
			}
			require.Equal(t, []string{"after"}, friendsOf(t, s, "me"))
			require.Equal(t, []string{"at"}, friendsOf(t, s, "before"))
		}},
		{"an erasure takes edges that were recorded up to its time", func(t *testing.T, s Graph) {
			ahead, back, after := added("me", "ahead", 95, "e1"), removed("me", "back", 95, "e2"),
				added("me", "after", 95, "e3")
			ahead.RecordedAt, back.RecordedAt, after.RecordedAt = at(5), at(4), at(6)
			late := added("me", "late", 5, "e4")
			late.RecordedAt = at(900)
			apply(t, s, ahead, back, after, late)
			require.Equal(t, at(6), allEdges(t, s)[[2]string{"after", "me"}].RecordedAt)
			require.NoError(
				t, s.EraseFriends(t.Context(), []sinks.Erasure{{UserID: "me", At: at(5)}}),
			)
			require.Equal(t, []string{"after"}, friendsOf(t, s, "me"))
			again := added("me", "back", 6, "e5")
			again.RecordedAt = at(6)
			apply(t, s, again) // its tombstone is gone
			require.Equal(t, []string{"after", "back"}, friendsOf(t, s, "me"))
		}},
		{"an erasure takes tombstones too", func(t *testing.T, s Graph) {
			apply(t, s, removed("me", "b", 4, "e2"), removed("me", "c", 9, "e3"))
			require.NoError(
				t, s.EraseFriends(t.Context(), []sinks.Erasure{{UserID: "me", At: at(5)}}),
			)
			apply(t, s, added("me", "b", 3, "e1"), added("me", "c", 8, "e4"))
			requireEdges(
				t, s, added("me", "b", 3, "e1"),
			) // the other tombstone is younger than the erasure
		}},
		{"each erasure has its own time", func(t *testing.T, s Graph) {
			apply(
				t, s, added("a", "x", 1, "e1"), added("a", "y", 3, "e2"), added("b", "x", 1, "e3"),
				added("b", "y", 3, "e4"), added("a", "b", 2, "e5"),
			)
			require.NoError(
				t,
				s.EraseFriends(
					t.Context(),
					[]sinks.Erasure{
						{UserID: "a", At: at(1)},
						{UserID: "nobody", At: at(9)},
						{UserID: "b", At: at(2)},
					},
				),
			)
			requireEdges(t, s, added("a", "y", 3, "e2"), added("b", "y", 3, "e4"))
		}},
		{"an erased person is no longer suggested nor named", func(t *testing.T, s Graph) {
			apply(
				t, s, added("me", "f1", 1, "e1"), added("me", "f2", 1, "e2"),
				added("f1", "s1", 1, "e3"), added("f2", "s1", 1, "e4"), added("f1", "s2", 1, "e5"),
			)
			require.NoError(
				t,
				s.EraseFriends(
					t.Context(),
					[]sinks.Erasure{{UserID: "f2", At: at(2)}, {UserID: "s2", At: at(2)}},
				),
			)
			got, err := s.SuggestFriends(t.Context(), "me", 10)
			require.NoError(t, err)
			requireSuggestions(
				t, []sinks.Suggestion{{UserID: "s1", Mutual: 1, Via: []string{"f1"}}}, got,
			)
		}},
		{"an erased person may come back", func(t *testing.T, s Graph) {
			apply(t, s, added("me", "b", 1, "e1"))
			require.NoError(
				t, s.EraseFriends(t.Context(), []sinks.Erasure{{UserID: "me", At: at(5)}}),
			)
			apply(t, s, added("b", "me", 7, "e2"))
			requireEdges(t, s, added("b", "me", 7, "e2"))
		}},
		{"many people are erased at once", func(t *testing.T, s Graph) {
			users := numbered("u", 1000)
			var edges []sinks.Edge
			var erasures []sinks.Erasure
			for i, u := range users {
				edges = append(edges, added(u, "hub", i, u))
				if i != 500 {
					erasures = append(erasures, sinks.Erasure{UserID: u, At: at(i)})
				}
			}
			apply(t, s, edges...)
			require.NoError(t, s.EraseFriends(t.Context(), erasures))
			requireEdges(t, s, edges[500])
		}},
	}
}
