package stream

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestMembers(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, cfg := e.topic(t, 1), e.group(t)
		e.groupTopics(t, cfg.Group)
		members := func() []string {
			got, err := Members(t.Context(), e.conn, cfg.Group)
			require.NoError(t, err)
			return got
		}
		require.Empty(t, members(), "nobody has joined yet")
		p := e.publisher(t)
		emit(t, p, topic, 0, 0, 1)
		var store ledger
		stop := e.runRouter(t, Options{Name: "work", Group: cfg.Group, Topics: []string{topic}, Subscriber: e.newSubscriber(t, cfg), Emitter: p, Handler: func(_ context.Context, b *record.Batch) error {
			for i := range b.Records {
				store.add(&b.Records[i])
			}
			return nil
		}})
		eventually(t, "the record", func() bool { return len(store.values()) == 1 })
		require.Len(t, members(), 1)
		stop()
		eventually(t, "the member to have left", func() bool { return len(members()) == 0 })
	})
}
