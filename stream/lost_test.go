package stream

import (
	"context"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// expiring is a group on a topic whose records are deleted by time.
func (e *engine) expiring(t *testing.T, cfg SubscriberConfig, topic string) SubscriberConfig {
	t.Helper()
	cfg.Expires = func(name string) bool { return name == topic }
	cfg.Hooks.PartitionStopped = func(tp record.TopicPartition, err error) {
		t.Errorf("%s stopped: %v", tp, err)
	}
	return cfg
}

func (e *engine) commit(t *testing.T, group, topic string, offset int64, metadata string) {
	t.Helper()
	_, err := e.conn.client.OffsetCommit(t.Context(), &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{
			topic: {{Partition: 0, Offset: offset, Metadata: metadata}},
		},
	})
	require.NoError(t, err)
}

// A group goes on behind records that were deleted unread, after it was told of them.
func TestAGroupGoesOnBehindRecordsThatWereDeletedUnread(t *testing.T) {
	t.Parallel()
	for name, intents := range map[string]bool{"positions": false, "intents": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := fakeEngine(t)
			topic := e.topic(t, 1)
			emit(t, e.publisher(t), topic, 0, 0, 10)
			require.NoError(t, e.fake.DeleteRecords(topic, 0, 5))
			cfg := e.expiring(t, e.group(t), topic)
			cfg.Intents = intents
			type span struct{ first, last int64 }
			lost := make(chan span, 10)
			cfg.Hooks.RecordsLost = func(_ record.TopicPartition, first, last int64) {
				lost <- span{first, last}
			}
			assigned := make(chan record.Assignment, 1)
			cfg.Assigned = func(_ context.Context, as []record.Assignment) error {
				assigned <- as[0]
				return nil
			}
			e.commit(t, cfg.Group, topic, 2, "")

			out, stop := e.subscribe(t, cfg, topic)
			a := <-assigned
			require.True(t, a.Lost)
			require.EqualValues(t, 5, a.Next)
			require.Equal(t, span{2, 4}, <-lost)
			m := receive(t, out)
			b := BatchOf(m)
			require.True(t, b.Lost)
			require.Empty(t, b.Records)
			require.Equal(t, span{2, 4}, span{b.First, b.Last})
			offset, _ := e.committed(t, cfg.Group, topic, 0)
			require.EqualValues(t, 2, offset, "nothing is committed before it is dealt with")
			m.Ack()
			m = receive(t, out)
			require.False(t, BatchOf(m).Lost)
			require.EqualValues(t, 5, BatchOf(m).First)
			m.Ack()
			eventually(t, "the group is done", func() bool {
				offset, metadata := e.committed(t, cfg.Group, topic, 0)
				return offset == 10 && metadata == ""
			})
			stop()
		})
	}
}

// A member that is gone before it has dealt with the lost range leaves it to the next.
func TestALostRangeComesAgainWithItsNote(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic := e.topic(t, 1)
	emit(t, e.publisher(t), topic, 0, 0, 10)
	cfg := e.expiring(t, e.group(t), topic)
	var mu sync.Mutex
	var notes []string
	cfg.Assigned = func(_ context.Context, as []record.Assignment) error {
		mu.Lock()
		defer mu.Unlock()
		notes = append(notes, as[0].Note)
		return nil
	}
	cfg.MaxRecords = 2
	out, stop := e.subscribe(t, cfg, topic)
	m := receive(t, out)
	BatchOf(m).SetNote("read two")
	m.Ack()
	eventually(t, "the note is committed with the offset", func() bool {
		offset, note := e.committed(t, cfg.Group, topic, 0)
		return offset == 2 && note == "read two"
	})
	stop()

	require.NoError(t, e.fake.DeleteRecords(topic, 0, 5))
	out, stop = e.subscribe(t, cfg, topic)
	m = receive(t, out)
	require.True(t, BatchOf(m).Lost)
	BatchOf(m).SetNote("half done")
	eventually(t, "the note is committed while the range is in work", func() bool {
		offset, note := e.committed(t, cfg.Group, topic, 0)
		return offset == 2 && note == "half done"
	})
	m.Nack()
	stop()

	out, stop = e.subscribe(t, cfg, topic)
	m = receive(t, out)
	require.True(t, BatchOf(m).Lost)
	require.EqualValues(t, 2, BatchOf(m).First)
	m.Ack()
	require.EqualValues(t, 5, BatchOf(receive(t, out)).First)
	stop()
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"", "read two", "half done"}, notes)
}

// Records may be deleted while the group reads: at most 64 are in the queue, so those behind are
// not fetched yet.
func TestRecordsThatAreDeletedWhileTheGroupReads(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic := e.topic(t, 1)
	p := e.publisher(t)
	cfg := e.expiring(t, e.group(t), topic)
	cfg.MaxRecords, cfg.FetchPartitionBytes = 10, 1024
	for n := range 50 { // a fetch returns whole batches
		emit(t, p, topic, 0, 10*n, 10)
	}
	out, stop := e.subscribe(t, cfg, topic)
	var next int64
	lost := false
	for next < 500 {
		m := receive(t, out)
		b := BatchOf(m)
		require.Equal(t, next, b.First, "in order, and nothing is left out")
		lost = lost || b.Lost
		if next == 0 {
			require.NoError(t, e.fake.DeleteRecords(topic, 0, 490))
		}
		next = b.Last + 1
		m.Ack()
	}
	require.True(t, lost)
	stop()
}

// What is left of an uncertain intent is repeated under its bounds.
func TestALostRangeWithAnUncertainIntent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first int64 // of the log
		next  [][2]int64
	}{
		"a part of it is left": {4, [][2]int64{{2, 3}, {2, 6}, {7, 9}}},
		"nothing of it is":     {8, [][2]int64{{2, 7}, {8, 9}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := fakeEngine(t)
			topic := e.topic(t, 1)
			emit(t, e.publisher(t), topic, 0, 0, 10)
			require.NoError(t, e.fake.DeleteRecords(topic, 0, c.first))
			cfg := e.expiring(t, e.ranged(t), topic)
			e.commit(t, cfg.Group, topic, 2, "v1:2-6")
			out, stop := e.subscribe(t, cfg, topic)
			for i, want := range c.next {
				m := receive(t, out)
				b := BatchOf(m)
				require.Equal(t, want, [2]int64{b.First, b.Last})
				require.Equal(t, i == 0, b.Lost)
				m.Ack()
			}
			stop()
		})
	}
}
