package stream

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSubscribeBatches(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic := e.topic(t, 1)
		emit(t, e.publisher(t), topic, 0, 0, 250)
		cfg := e.group(t)
		cfg.MaxRecords = 100
		out, stop := e.subscribe(t, cfg, topic)
		next := int64(0)
		for _, want := range []int{100, 100, 50} {
			m := receive(t, out)
			b := BatchOf(m)
			require.Equal(t, next, b.First)
			require.Len(t, b.Records, want)
			require.Equal(t, b.Last, b.First+int64(want)-1)
			require.EqualValues(t, 250, b.End)
			require.NoError(t, b.CheckLease(m.Context()))
			next = b.Last + 1
			m.Ack()
		}
		stop()
		offset, metadata := e.committed(t, cfg.Group, topic, 0)
		require.EqualValues(t, 250, offset)
		require.Empty(t, metadata)
	})
}
