package schemas_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
)

// What was renamed has a name of today, and nobody uses the old one for something else.
func TestRenamed(t *testing.T) {
	t.Parallel()
	declared := make(map[string]bool)
	for _, topic := range schemas.Topics(schemas.DefaultTopicsConfig()) {
		declared[topic.Name] = true
	}
	groups := map[string]bool{schemas.GroupGraph: true, schemas.GroupAnalytics: true}
	r := schemas.Renamed()
	require.Len(t, r.Topics, 2)
	for old, now := range r.Topics {
		require.True(t, declared[now], now)
		require.False(t, declared[old], old)
	}
	require.Len(t, r.Groups, len(groups))
	for old, now := range r.Groups {
		require.True(t, groups[now], now)
		require.False(t, groups[old], old)
	}
}
