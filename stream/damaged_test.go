package stream

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// damagedLog is a topic of one partition with batches of two records, the values of which are their
// offsets. The broker has the batch at offset 2 damaged on its disk.
type damagedLog struct {
	*engine
	tp      record.TopicPartition
	restore func() // the broker has the batch whole from now on
	// empty makes the broker answer with nothing where the damage is.
	empty atomic.Bool
}

const damagedBatches = 4

// damaged returns such a log. Every answer says that the log has grown, as it does under traffic.
func damaged(t *testing.T, change func(batch []byte)) *damagedLog {
	t.Helper()
	e := fakeEngine(t)
	l := &damagedLog{engine: e, tp: record.TopicPartition{Topic: e.topic(t, 1)}}
	var log [][]byte
	for n := range damagedBatches {
		emit(t, e.publisher(t), l.tp.Topic, 0, 2*n, 2)
		b, err := wire.AppendBatch(nil, []*record.Record{
			{Value: fmt.Append(nil, 2*n)}, {Value: fmt.Append(nil, 2*n+1)},
		}, nil, time.Now())
		require.NoError(t, err)
		binary.BigEndian.PutUint64(b, uint64(2*n))
		log = append(log, b)
	}
	change(log[1])
	end := int64(2 * damagedBatches)
	_, l.restore = answering(e, kmsg.Fetch, func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.FetchRequest)
		at := req.Topics[0].Partitions[0].FetchOffset
		if at >= 2*damagedBatches {
			return nil, nil, false
		}
		end++
		part := kmsg.NewFetchResponseTopicPartition()
		part.HighWatermark, part.LastStableOffset = end, end
		for i, b := range log[at/2:] {
			if l.empty.Load() && at/2+int64(i) == 1 {
				break
			}
			part.RecordBatches = append(part.RecordBatches, b...)
		}
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.Partitions = req.Topics[0].Topic, append(topic.Partitions, part)
		res := req.ResponseKind().(*kmsg.FetchResponse)
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	return l
}

// damages are what a disk may do to a batch.
var damages = map[string]func(batch []byte){
	"a bit of a record":    func(b []byte) { b[len(b)-1] ^= 1 },
	"the last offset":      func(b []byte) { binary.BigEndian.PutUint32(b[23:], 1<<19) },
	"the format":           func(b []byte) { b[16] = 1 },
	"a length that is not": func(b []byte) { binary.BigEndian.PutUint32(b[8:], 3) },
	"a length too large":   func(b []byte) { binary.BigEndian.PutUint32(b[8:], 1<<29) },
}

// TestALastingWrongChecksumIsTold: the partition counts as stopped, with what to do, however fast
// the log grows, and works by itself once the broker has the batch whole.
func TestALastingWrongChecksumIsTold(t *testing.T) {
	t.Parallel()
	for name, change := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := damaged(t, change)
			cfg := l.ranged(t)
			stopped := make(chan error, 10)
			cfg.Hooks.PartitionStopped = func(tp record.TopicPartition, err error) {
				assert.Equal(t, l.tp, tp)
				stopped <- err
			}
			out, stop := l.subscribe(t, cfg, l.tp.Topic)
			defer stop()
			var got heard
			got.drain(t, out)
			select {
			case err := <-stopped:
				require.ErrorContains(t, err, l.tp.String()+" is damaged, offsets 2 to ")
				require.ErrorContains(t, err, "kafka.skip_damaged="+l.tp.String()+":2-")
			case <-time.After(20 * time.Second):
				t.Fatal("nobody was told")
			}
			require.Equal(t, []string{"0", "1"}, got.handed())
			l.restore()
			eventually(t, "the rest comes", func() bool { return len(got.handed()) == 8 })
			require.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6", "7"}, got.handed())
			require.Empty(t, stopped, "it is told once")
			stop()
		})
	}
}

// TestReadersWithoutAGroupTellOfDamage: Read ends after some seconds with an error that no record
// is charged for. A follower says where it fails, and goes on when the log is whole.
func TestReadersWithoutAGroupTellOfDamage(t *testing.T) {
	t.Parallel()
	l := damaged(t, damages["a bit of a record"])
	var read, followed heard
	err := l.conn.Read(t.Context(), l.tp, 0, 8, read.add)
	require.Equal(t, []string{"0", "1"}, read.handed(), "what stands before it")
	require.ErrorContains(t, err, "kafka.skip_damaged="+l.tp.String()+":2-3")
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	require.True(t, fault.Waits(err), "the breaker, which other partitions share, stays closed")

	f := NewFollower(l.conn, l.tp.Topic, testLogger(t), followed.add)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	eventually(t, "the follower fails", func() bool { return f.Progress().Err != nil })
	p := f.Progress()
	require.Equal(t, []int{0}, p.Failing)
	require.ErrorContains(t, p.Err, "kafka.skip_damaged="+l.tp.String()+":2-3")
	l.restore()
	require.NoError(t, f.WaitCaughtUp(t.Context()))
	require.NoError(t, f.Progress().Err)
	cancel()
	require.NoError(t, <-ended)
}
