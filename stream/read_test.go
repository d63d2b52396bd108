package stream

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestReadPartition(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, p := e.topic(t, 2), e.publisher(t)
		emit(t, p, topic, 1, 0, 100)
		tp := record.TopicPartition{Topic: topic, Partition: 1}
		read := func(from, to int64) (offsets []int64) {
			require.NoError(t, e.conn.Read(t.Context(), tp, from, to, func(r *record.Record) error {
				require.Equal(t, fmt.Sprint(r.Offset), string(r.Value))
				offsets = append(offsets, r.Offset)
				return nil
			}))
			return offsets
		}
		require.Len(t, read(0, -1), 100)
		require.Equal(t, []int64{97, 98, 99}, read(97, -1))
		require.Equal(t, []int64{40, 41}, read(40, 42))
		require.Empty(t, read(100, -1))
		require.Empty(t, read(500, -1))
		require.Len(t, read(-7, 1000), 100)
		boom := errors.New("boom")
		require.ErrorIs(
			t, e.conn.Read(t.Context(), tp, 0, -1, func(*record.Record) error { return boom }),
			boom,
		)
		bounds, err := e.conn.Offsets(t.Context(), topic)
		require.NoError(t, err)
		require.Equal(
			t,
			map[record.TopicPartition]Bounds{
				{Topic: topic, Partition: 0}: {}, tp: {End: 100, HighWatermark: 100},
			},
			bounds,
		)
	})
}

func TestReadPartitionWaitsOutFailures(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic := e.topic(t, 1)
	emit(t, e.publisher(t), topic, 0, 0, 10)
	require.NoError(t, e.fake.DeleteRecords(topic, 0, 3))
	e.fake.Fault(
		kfake.Fault{
			Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.NotLeaderForPartition, Count: 2,
		},
	)
	n := 0
	require.NoError(
		t,
		e.conn.Read(
			t.Context(), record.TopicPartition{Topic: topic, Partition: 0}, 0, -1,
			func(*record.Record) error { n++; return nil },
		),
	)
	require.Equal(t, 7, n)
	e.fake.Fault(
		kfake.Fault{
			Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.NotLeaderForPartition, Count: -1,
		},
	)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := e.conn.Read(
		ctx, record.TopicPartition{Topic: topic, Partition: 0}, 0, -1,
		func(*record.Record) error { return nil },
	)
	require.Equal(t, fault.Transient, fault.ClassOf(err), err)
}
