package processors_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/sinks"
)

// flakyGraph answers unless it is away, and counts how often it was asked for friends.
type flakyGraph struct {
	sinks.Graph
	away  bool
	asked int
}

func (g *flakyGraph) Friends(ctx context.Context, users []string, limit int) (map[string][]string, error) {
	g.asked++
	if g.away {
		return nil, fault.Transientf("connection refused")
	}
	return g.Graph.Friends(ctx, users, limit)
}

func TestFriendsOutOfReachAreNotAskedForWithEveryList(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	graph, now := &flakyGraph{Graph: store}, noon
	r := processors.NewRecommender(store, store, graph, processors.NewErasures(), processors.DefaultRecommenderConfig(), func() time.Time { return now })
	list := func() []string {
		t.Helper()
		lists, err := r.Recommend(t.Context(), []processors.Request{{UserID: "ann"}})
		require.NoError(t, err)
		return lists[0].Degraded
	}
	require.NotContains(t, list(), processors.DegradedFriends)

	graph.away, graph.asked = true, 0
	for range 20 {
		require.Contains(t, list(), processors.DegradedFriends)
	}
	require.Equal(t, 1, graph.asked, "for a while nobody asks again")

	now = now.Add(6 * time.Second)
	require.Contains(t, list(), processors.DegradedFriends)
	require.Equal(t, 2, graph.asked)

	graph.away, now = false, now.Add(6*time.Second)
	require.NotContains(t, list(), processors.DegradedFriends, "they are back")
	require.NotContains(t, list(), processors.DegradedFriends)
	require.Equal(t, 4, graph.asked)
}
