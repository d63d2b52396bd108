package stream

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// transactional is somebody else's producer, which writes in transactions.
type transactional struct {
	*kgo.Client
	topic string
}

// transactional returns a producer that writes to partition 0 of the topic.
func (e *engine) transactional(t testing.TB, topic string) transactional {
	t.Helper()
	c, err := kgo.NewClient(
		kgo.SeedBrokers(e.conn.cfg.Brokers...), kgo.TransactionalID(e.name+uuid.NewString()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(14*time.Minute),
	)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return transactional{c, topic}
}

func (p transactional) begin(t testing.TB) {
	t.Helper()
	require.NoError(t, p.BeginTransaction())
}

// write adds a batch with one record to the open transaction.
func (p transactional) write(t testing.TB, value string) {
	t.Helper()
	res := p.ProduceSync(t.Context(), &kgo.Record{Topic: p.topic, Value: []byte(value)})
	require.NoError(t, res.FirstErr())
}

func (p transactional) end(t testing.TB, how kgo.TransactionEndTry) {
	t.Helper()
	require.NoError(t, p.EndTransaction(t.Context(), how))
}

// heard collects the values that a reader is handed. Safe for concurrent use.
type heard struct {
	mu     sync.Mutex
	values []string
}

func (h *heard) add(r *record.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.values = append(h.values, string(r.Value))
	return nil
}

func (h *heard) handed() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.values)
}

// drain acknowledges batches until the channel is closed.
func (h *heard) drain(t testing.TB, out <-chan *message.Message) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m := range out {
			for i := range BatchOf(m).Records {
				_ = h.add(&BatchOf(m).Records[i])
			}
			m.Ack()
		}
	}()
	t.Cleanup(func() { <-done })
}

// readers are a group, a follower and Read on one partition.
type readers struct {
	e               *engine
	tp              record.TopicPartition
	cfg             SubscriberConfig
	group, follower heard
	caughtUp        *Follower
	// waiting gets the offsets at which the group waits for the end of a transaction.
	waiting chan int64
	stop    func() // ends the member of the group
}

func (e *engine) read(t testing.TB, topic string, change func(*SubscriberConfig)) *readers {
	t.Helper()
	r := &readers{
		e: e, tp: record.TopicPartition{Topic: topic}, cfg: e.ranged(t),
		waiting: make(chan int64, 1000),
	}
	r.cfg.FetchMaxWait = 20 * time.Millisecond
	r.cfg.Hooks.Waiting = func(_ record.TopicPartition, at, _ int64) {
		select {
		case r.waiting <- at:
		default:
		}
	}
	if change != nil {
		change(&r.cfg)
	}
	r.caughtUp = NewFollower(e.conn, topic, testLogger(t), r.follower.add)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.caughtUp.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	r.join(t)
	return r
}

// join adds a member to the group.
func (r *readers) join(t testing.TB) {
	t.Helper()
	out, stop := r.e.subscribe(t, r.cfg, r.tp.Topic)
	r.group.drain(t, out)
	t.Cleanup(stop)
	r.stop = stop
}

// committed returns what Read finds.
func (r *readers) committed(t testing.TB) []string {
	t.Helper()
	var h heard
	require.NoError(t, r.e.conn.Read(t.Context(), r.tp, 0, -1, h.add))
	return h.handed()
}

// polls waits until the group has asked so many times for what stands behind an open transaction.
func (r *readers) polls(t testing.TB, times int, at int64) {
	t.Helper()
	for range times {
		select {
		case got := <-r.waiting:
			require.Equal(t, at, got)
		case <-time.After(10 * time.Second):
			t.Fatalf("the group does not wait, it was handed %v", r.group.handed())
		}
	}
}

// expect waits until every reader has been handed the values, and checks that the log is read to
// its end.
func (r *readers) expect(t testing.TB, want []string) {
	t.Helper()
	// A broker answers the end of a transaction before its marker stands in the partition.
	eventually(t, "the group has them and is at the end", func() bool {
		b, err := r.e.conn.Offsets(t.Context(), r.tp.Topic)
		offset, metadata := r.e.committed(t, r.cfg.Group, r.tp.Topic, 0)
		return err == nil && offset == b[r.tp].End && metadata == "" &&
			len(r.group.handed()) >= len(want)
	})
	require.Equal(t, want, r.group.handed())
	require.Equal(t, want, r.committed(t))
	require.NoError(t, r.caughtUp.WaitCaughtUp(t.Context()))
	eventually(t, "the follower has them", func() bool {
		return len(r.follower.handed()) >= len(want)
	})
	require.Equal(t, want, r.follower.handed())
}

// TestAbortedTransactionsAreNotRead: two transactions and a plain producer write side by side. The
// aborted one is spread over many fetches.
func TestAbortedTransactionsAreNotRead(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, p := e.topic(t, 1), e.publisher(t)
		doomed, good := e.transactional(t, topic), e.transactional(t, topic)
		doomed.begin(t)
		good.begin(t)
		var want []string
		padding := strings.Repeat("x", 40<<10) // 3 MiB and more: also Read needs several fetches
		for i := range 80 {
			doomed.write(t, "aborted"+padding)
			if i%8 == 0 {
				good.write(t, fmt.Sprint("committed ", i))
				emit(t, p, topic, 0, i, 1)
				want = append(want, fmt.Sprint("committed ", i), fmt.Sprint(i))
			}
		}
		good.end(t, kgo.TryCommit)
		doomed.end(t, kgo.TryAbort)
		// The same producer, in its next transactions.
		doomed.begin(t)
		doomed.write(t, "committed after all")
		doomed.end(t, kgo.TryCommit)
		doomed.begin(t)
		doomed.write(t, "aborted again")
		doomed.end(t, kgo.TryAbort)
		want = append(want, "committed after all")

		r := e.read(t, topic, func(c *SubscriberConfig) { c.FetchPartitionBytes = 64 << 10 })
		r.expect(t, want)
	})
}

// TestOpenTransactionIsWaitedFor: the broker answers with nothing although the log goes on. Nobody
// may take that for a gap, or for the end of the log, however often it is asked.
func TestOpenTransactionIsWaitedFor(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		for name, how := range map[string]kgo.TransactionEndTry{
			"committed": kgo.TryCommit, "aborted": kgo.TryAbort,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				topic, p := e.topic(t, 1), e.publisher(t)
				open := e.transactional(t, topic)
				emit(t, p, topic, 0, 0, 2)
				open.begin(t)
				open.write(t, "in the transaction")
				emit(t, p, topic, 0, 2, 1)

				r := e.read(t, topic, nil)
				r.polls(t, 10, 2)
				b, err := e.conn.Offsets(t.Context(), topic)
				require.NoError(t, err)
				require.Equal(t, Bounds{First: 0, End: 2, HighWatermark: 4}, b[r.tp])
				require.NoError(t, r.caughtUp.WaitCaughtUp(t.Context()))
				require.Equal(t, []string{"0", "1"}, r.follower.handed())
				r.expect(t, []string{"0", "1"})

				// Whoever asks for more gets it when the transaction has ended.
				var all heard
				read := make(chan error, 1)
				go func() { read <- e.conn.Read(t.Context(), r.tp, 0, 4, all.add) }()

				r.stop() // a restart inside the transaction
				emit(t, p, topic, 0, 3, 1)
				r.join(t)
				r.polls(t, 10, 2)
				open.write(t, "and more of it")
				open.end(t, how)
				want := []string{"0", "1", "in the transaction", "2", "3", "and more of it"}
				if name == "aborted" {
					want = []string{"0", "1", "2", "3"}
				}
				r.expect(t, want)
				require.NoError(t, <-read)
				require.Equal(t, want[:slices.Index(want, "3")], all.handed())
			})
		}
	})
}

// TestRestartInsideAnAbortedTransaction: the next owner begins behind the first record of the
// transaction, and repeats an uncertain range that contains some of it.
func TestRestartInsideAnAbortedTransaction(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, p := e.topic(t, 1), e.publisher(t)
		doomed := e.transactional(t, topic)
		doomed.begin(t)
		for i := range 12 {
			doomed.write(t, "aborted"+strings.Repeat("x", 500))
			emit(t, p, topic, 0, i, 1)
		}
		doomed.end(t, kgo.TryAbort)
		emit(t, p, topic, 0, 12, 1)

		cfg := e.ranged(t)
		cfg.MaxRecords, cfg.FetchPartitionBytes = 3, 1<<10
		out, stop := e.subscribe(t, cfg, topic)
		first := receive(t, out)
		got := values(BatchOf(first))
		first.Ack()
		uncertain := receive(t, out)
		want := values(BatchOf(uncertain))
		bounds := BatchOf(uncertain).Range
		stop()

		out, stop = e.subscribe(t, cfg, topic)
		again := receive(t, out)
		require.True(t, BatchOf(again).Repeat)
		require.Equal(t, want, values(BatchOf(again)))
		require.Equal(t, bounds.First, BatchOf(again).First)
		require.Equal(t, bounds.Last, BatchOf(again).Last)
		for m := again; ; m = receive(t, out) {
			got = append(got, values(BatchOf(m))...)
			m.Ack()
			if got[len(got)-1] == "12" {
				break
			}
		}
		stop()
		var all []string
		for i := range 13 {
			all = append(all, fmt.Sprint(i))
		}
		require.Equal(t, all, got)
	})
}

// TestPositionBehindAnOpenTransactionFitsTheLog: only the high watermark tells that a position is
// beyond the end. A reader that did not wait for transactions may have committed such a one.
func TestPositionBehindAnOpenTransactionFitsTheLog(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, p := e.topic(t, 1), e.publisher(t)
		open := e.transactional(t, topic)
		open.begin(t)
		open.write(t, "in the transaction")
		emit(t, p, topic, 0, 1, 3)
		cfg := e.ranged(t)
		_, err := e.conn.client.OffsetCommit(t.Context(), &kafka.OffsetCommitRequest{
			GroupID: cfg.Group, GenerationID: -1,
			Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 2}}},
		})
		require.NoError(t, err)
		stopped := make(chan error, 1)
		r := e.read(t, topic, func(c *SubscriberConfig) {
			c.Group = cfg.Group
			c.Hooks.PartitionStopped = func(_ record.TopicPartition, err error) { stopped <- err }
		})
		r.polls(t, 5, 2)
		require.Empty(t, r.group.handed())
		open.end(t, kgo.TryCommit)
		eventually(t, "the rest comes", func() bool { return len(r.group.handed()) == 2 })
		require.Equal(t, []string{"2", "3"}, r.group.handed())
		require.Empty(t, stopped)
	})
}

// TestStartAtTheEndKeepsAnOpenTransaction: what commits later is new.
func TestStartAtTheEndKeepsAnOpenTransaction(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, p := e.topic(t, 1), e.publisher(t)
		open := e.transactional(t, topic)
		emit(t, p, topic, 0, 0, 3)
		open.begin(t)
		open.write(t, "in the transaction")
		r := e.read(t, topic, func(c *SubscriberConfig) { c.Start = FromLast })
		r.polls(t, 3, 3)
		open.end(t, kgo.TryCommit)
		eventually(t, "what was open comes", func() bool { return len(r.group.handed()) == 1 })
		require.Equal(t, []string{"in the transaction"}, r.group.handed())
	})
}
