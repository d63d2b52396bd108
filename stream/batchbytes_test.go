package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestPartitionsMayHaveBatchesOfTheirOwnSize(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, cfg := e.topic(t, 2), e.group(t)
	cfg.MaxBytes, cfg.MaxRecords = 1<<20, 1000
	cfg.PartitionBytes = func(tp record.TopicPartition) int {
		if tp.Partition == 0 {
			return 1 // less than a record: one at a time
		}
		return 0
	}
	p := e.publisher(t)
	emit(t, p, topic, 0, 0, 3)
	emit(t, p, topic, 1, 0, 3)
	out, stop := e.subscribe(t, cfg, topic)
	sizes := map[int][]int{}
	for range 4 {
		m := receive(t, out)
		b := BatchOf(m)
		sizes[b.Partition] = append(sizes[b.Partition], len(b.Records))
		m.Ack()
	}
	stop()
	require.Equal(t, map[int][]int{0: {1, 1, 1}, 1: {3}}, sizes)
}
