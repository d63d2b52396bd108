package admin

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
)

func TestMembers(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, cfg := e.Topic(t, 1), e.Group(t)
		members := func() []string {
			got, err := Members(t.Context(), e.Conn, cfg.Group)
			require.NoError(t, err)
			return got
		}
		require.Empty(t, members(), "nobody has joined yet")
		p := e.Publisher(t)
		streamtest.Emit(t, p, topic, 0, 0, 1)
		var store counter
		stop := e.count(t, cfg, topic, &store)
		streamtest.Eventually(t, "the record", func() bool { return store.n.Load() == 1 })
		require.Len(t, members(), 1)
		stop()
		streamtest.Eventually(
			t, "the member to have left", func() bool { return len(members()) == 0 },
		)
	})
}
