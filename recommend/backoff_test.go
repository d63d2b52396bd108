package recommend_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
)

// flakyGraph answers unless it is away, and counts how often it was asked for friends.
type flakyGraph struct {
	recommend.FriendFinder
	away  bool
	asked int
}

func (g *flakyGraph) Friends(
	ctx context.Context,
	users []string,
	limit int,
) (map[string][]string, error) {
	g.asked++
	if g.away {
		return nil, fault.Transientf("connection refused")
	}
	return g.FriendFinder.Friends(ctx, users, limit)
}

func openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "s.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

func TestFriendsOutOfReachAreNotAskedForWithEveryList(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	graph, now := &flakyGraph{FriendFinder: store}, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	r := recommend.New(
		recommend.Stores{Users: store, Items: store, Graph: graph}, processors.NewErasures(),
		recommend.DefaultConfig(), func() time.Time { return now },
	)
	list := func() []string {
		t.Helper()
		lists, err := r.Recommend(t.Context(), []recommend.Request{{UserID: "ann"}})
		require.NoError(t, err)
		return lists[0].Degraded
	}
	require.NotContains(t, list(), recommend.DegradedFriends)

	graph.away, graph.asked = true, 0
	for range 20 {
		require.Contains(t, list(), recommend.DegradedFriends)
	}
	require.Equal(t, 1, graph.asked, "for a while nobody asks again")

	now = now.Add(6 * time.Second)
	require.Contains(t, list(), recommend.DegradedFriends)
	require.Equal(t, 2, graph.asked)

	graph.away, now = false, now.Add(6*time.Second)
	require.NotContains(t, list(), recommend.DegradedFriends, "they are back")
	require.NotContains(t, list(), recommend.DegradedFriends)
	require.Equal(t, 4, graph.asked)
}
