package forward_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/forward"
	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

const partitions = 3

// onBrokers runs a test on the embedded broker and, under a name with Real, on Kafka: both set the
// times of records.
func onBrokers(t *testing.T, f func(t *testing.T, e *streamtest.Engine)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		c := embedded.DefaultConfig(t.TempDir())
		c.Addr, c.Log = "127.0.0.1:0", streamtest.Logger(t)
		broker, err := embedded.Start(t.Context(), c)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, broker.Close()) })
		conn, err := stream.Open(t.Context(), stream.DefaultConfig(broker.Addr()))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		f(t, &streamtest.Engine{Conn: conn, Name: "t"})
	})
	t.Run("Real", func(t *testing.T) {
		t.Parallel()
		f(t, streamtest.Real(t))
	})
}

// place is a source with misplaced records and the target that they are forwarded to.
type place struct {
	*streamtest.Engine
	pub            *stream.Publisher
	source, target string
}

func newPlace(t *testing.T, e *streamtest.Engine) *place {
	t.Helper()
	stamped := kafka.ConfigEntry{
		ConfigName: "message.timestamp.type", ConfigValue: "LogAppendTime",
	}
	return &place{
		Engine: e, pub: e.Publisher(t),
		source: e.Topic(t, partitions, stamped), target: e.Topic(t, partitions, stamped),
	}
}

func (p *place) Read(
	ctx context.Context, topic string, partition int, from, to int64,
	f func(*record.Record) error,
) error {
	return p.Conn.Read(ctx, record.TopicPartition{Topic: topic, Partition: partition}, from, to, f)
}

func (p *place) OffsetAt(
	ctx context.Context, topic string, partition int, at time.Time,
) (int64, error) {
	return p.Conn.OffsetAt(ctx, record.TopicPartition{Topic: topic, Partition: partition}, at)
}

// forwarder is a process that has just started.
func (p *place) forwarder(emit forward.Emitter, skew time.Duration) *forward.Forwarder {
	return forward.New(p, emit, forward.Config{
		Topic: p.target, Partitions: partitions, MaxClockSkew: skew,
	})
}

// batch writes n records to partition 1 of the source and returns them as a batch that begins now.
func (p *place) batch(t *testing.T, n int) (*record.Batch, []forward.Move) {
	t.Helper()
	b := &record.Batch{
		Range: record.Range{Topic: p.source, Partition: 1}, Begun: time.Now().UTC(),
	}
	var out []record.Record
	var moves []forward.Move
	for i := range n {
		out = append(out, record.Record{
			Topic: p.source, Partition: 1, Key: []byte("another"),
			Value:   fmt.Appendf(nil, "event %d", i),
			Headers: []record.Header{{Key: "ce_id", Value: fmt.Appendf(nil, "e%d", i)}},
		})
		moves = append(moves, forward.Move{Index: i, Key: fmt.Appendf(nil, "user %d", i)})
	}
	require.NoError(t, p.pub.Emit(t.Context(), out))
	require.NoError(t, p.Read(t.Context(), p.source, 1, 0, -1, func(r *record.Record) error {
		b.Records = append(b.Records, *r)
		return nil
	}))
	b.Last = int64(n - 1)
	require.Len(t, b.Records, n)
	return b, moves
}

// repeated is the batch as whoever repeats it gets it.
func repeated(b *record.Batch) *record.Batch {
	again := *b
	again.Repeat = true
	return &again
}

// standing counts the records of the target by their origin, and checks that each is whole.
func (p *place) standing(t *testing.T, b *record.Batch, moves []forward.Move) map[int64]int {
	t.Helper()
	counts := make(map[int64]int)
	for n := range partitions {
		require.NoError(t, p.Read(t.Context(), p.target, n, 0, -1, func(r *record.Record) error {
			o, err := record.OriginOf(r)
			if err != nil || o.TopicPartition != b.TopicPartition() {
				return nil //nolint:nilerr // a foreign one
			}
			i := int(o.Offset - b.First)
			require.Equal(t, b.Records[i].Origin(), o)
			require.Equal(t, string(b.Records[i].Value), string(r.Value))
			require.Equal(t, fmt.Sprintf("e%d", i), r.Header("ce_id"))
			require.Equal(t, string(moves[i].Key), string(r.Key))
			require.Equal(t, record.PartitionOf(r.Key, partitions), n)
			counts[o.Offset]++
			return nil
		}))
	}
	return counts
}

// once is what standing returns when each of n records was forwarded once.
func once(n int) map[int64]int {
	counts := make(map[int64]int)
	for i := range n {
		counts[int64(i)] = 1
	}
	return counts
}

// cutOff is an emitter that writes the first records of a call and fails, as a process does that is
// killed.
type cutOff struct {
	*stream.Publisher
	after int
}

var errKilled = fault.As(fault.Canceled, errors.New("killed"))

func (c cutOff) Emit(ctx context.Context, batch []record.Record) error {
	if err := c.Publisher.Emit(ctx, batch[:c.after]); err != nil {
		return err
	}
	return errKilled
}

func TestForwardWritesEachRecordOnceWhereverItIsCutOff(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, e *streamtest.Engine) {
		for after := range 5 {
			t.Run(fmt.Sprintf("after %d records", after), func(t *testing.T) {
				t.Parallel()
				p := newPlace(t, e)
				b, moves := p.batch(t, 4)
				killed := p.forwarder(cutOff{p.pub, after}, time.Minute)
				_, err := killed.Forward(t.Context(), b, moves)
				require.ErrorIs(t, err, errKilled)
				for range 2 { // the second finds everything
					rejected, err := p.forwarder(p.pub, time.Minute).
						Forward(t.Context(), repeated(b), moves)
					require.NoError(t, err)
					require.Empty(t, rejected)
				}
				require.Equal(t, once(4), p.standing(t, b, moves))
			})
		}
	})
}

// The guard calls the handler again, or with halves of the batch, without a new delivery.
func TestForwardNoticesThatTheSameProcessTriesAgain(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, e *streamtest.Engine) {
		p := newPlace(t, e)
		b, moves := p.batch(t, 4)
		f := p.forwarder(p.pub, time.Minute)
		for range 2 {
			_, err := f.Forward(t.Context(), b, moves)
			require.NoError(t, err)
		}
		second := *b
		second.First, second.Records = 2, b.Records[2:]
		_, err := f.Forward(t.Context(), &second, []forward.Move{
			{Index: 0, Key: moves[2].Key}, {Index: 1, Key: moves[3].Key},
		})
		require.NoError(t, err)
		require.Equal(t, once(4), p.standing(t, b, moves))
	})
}

// ahead is an emitter of a process whose clock is ahead.
type ahead struct {
	*stream.Publisher
	by time.Duration
}

func (a ahead) Emit(ctx context.Context, batch []record.Record) error {
	batch = slices.Clone(batch)
	for i := range batch {
		batch[i].Time = time.Now().Add(a.by)
	}
	return a.Publisher.Emit(ctx, batch)
}

func TestForwardAllowsForAProcessClockAhead(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, e *streamtest.Engine) {
		p := newPlace(t, e)
		b, moves := p.batch(t, 4)
		b.Begun = time.Now().Add(time.Minute) // the clock of the process is 60 s ahead
		_, err := p.forwarder(ahead{p.pub, time.Minute}, 0).Forward(t.Context(), b, moves)
		require.NoError(t, err)
		_, err = p.forwarder(p.pub, 5*time.Minute).Forward(t.Context(), repeated(b), moves)
		require.NoError(t, err)
		require.Equal(t, once(4), p.standing(t, b, moves))

		// Without the allowance the reading begins behind what was forwarded: that is what the
		// allowance is for, and why it must not be smaller than the difference of the clocks.
		_, err = p.forwarder(p.pub, 0).Forward(t.Context(), repeated(b), moves)
		require.NoError(t, err)
		require.Equal(t, map[int64]int{0: 2, 1: 2, 2: 2, 3: 2}, p.standing(t, b, moves))
	})
}

func TestForwardFindsItsRecordsBehindMoreForeignOnesThanAWindowHolds(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, e *streamtest.Engine) {
		p := newPlace(t, e)
		b, moves := p.batch(t, 4)
		_, err := p.forwarder(cutOff{p.pub, 2}, time.Minute).Forward(t.Context(), b, moves)
		require.ErrorIs(t, err, errKilled)
		const foreign, call = 300_000, 10_000
		out := make([]record.Record, call)
		for from := 0; from < foreign; from += call {
			for i := range out {
				// All into one partition, from another partition of the same source.
				r := record.Record{
					Topic: p.source, Partition: 2, Offset: int64(from + i), Time: b.Begun,
				}
				to := record.TopicPartition{
					Topic: p.target, Partition: record.PartitionOf(moves[0].Key, partitions),
				}
				out[i] = record.Forwarded(&r, to, []byte("u"))
			}
			require.NoError(t, p.pub.Emit(t.Context(), out))
		}
		_, err = p.forwarder(p.pub, time.Minute).Forward(t.Context(), repeated(b), moves)
		require.NoError(t, err)
		require.Equal(t, once(4), p.standing(t, b, moves))
	})
}

// An intent of an older version has no time.
func TestForwardReadsTheWholeTargetWithoutATime(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, e *streamtest.Engine) {
		p := newPlace(t, e)
		b, moves := p.batch(t, 4)
		b.Begun = time.Time{}
		for range 2 {
			_, err := p.forwarder(p.pub, 0).Forward(t.Context(), repeated(b), moves)
			require.NoError(t, err)
		}
		require.Equal(t, once(4), p.standing(t, b, moves))
	})
}

func TestForwardWithoutALeaseWritesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, streamtest.Fake(t))
	b, moves := p.batch(t, 4)
	lost := fault.As(fault.Canceled, errors.New("the lease is over"))
	b.Lease = record.LeaseFunc(func(context.Context) error { return lost })
	for _, b := range []*record.Batch{b, repeated(b)} {
		_, err := p.forwarder(p.pub, time.Minute).Forward(t.Context(), b, moves)
		require.ErrorIs(t, err, lost)
	}
	require.Empty(t, p.standing(t, b, moves))
}

// pausing is an emitter that stands still, after the lease check, until it may go on.
type pausing struct {
	*stream.Publisher
	reached, resume chan struct{}
}

func (p pausing) Emit(ctx context.Context, batch []record.Record) error {
	close(p.reached)
	<-p.resume
	return p.Publisher.Emit(ctx, batch)
}

// A process that was paused after its lease check writes once more, behind its successor. The same
// origins stand there twice then, in the same order, and the reader drops the second.
func TestForwardRepeatedWhileAPausedProcessStandsBeforeItsWrite(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, e *streamtest.Engine) {
		p := newPlace(t, e)
		b, moves := p.batch(t, 4)
		paused := pausing{p.pub, make(chan struct{}), make(chan struct{})}
		done := make(chan error, 1)
		go func() {
			_, err := p.forwarder(paused, time.Minute).Forward(t.Context(), b, moves)
			done <- err
		}()
		<-paused.reached
		_, err := p.forwarder(p.pub, time.Minute).Forward(t.Context(), repeated(b), moves)
		require.NoError(t, err)
		require.Equal(t, once(4), p.standing(t, b, moves))
		close(paused.resume)
		require.NoError(t, <-done)
		require.Equal(t, map[int64]int{0: 2, 1: 2, 2: 2, 3: 2}, p.standing(t, b, moves))
	})
}

func TestForwardNamesTheRecordsThatTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, e *streamtest.Engine) {
		p := newPlace(t, e)
		p.target = e.Topic(
			t, partitions, kafka.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "2000"},
		)
		b, moves := p.batch(t, 4)
		b.Records[2].Value = make([]byte, 4000) // that cannot be compressed
		_, err := rand.Read(b.Records[2].Value)
		require.NoError(t, err)
		rejected, err := p.forwarder(p.pub, time.Minute).Forward(t.Context(), b, moves)
		require.NoError(t, err)
		require.Len(t, rejected, 1)
		require.Equal(t, 2, rejected[0].Index)
		require.Equal(t, fault.Permanent, fault.ClassOf(rejected[0].Err))
		want := once(4)
		delete(want, 2)
		require.Equal(t, want, p.standing(t, b, moves))
	})
}

func TestOffsetAtFindsTheFirstRecordOfATime(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, e *streamtest.Engine) {
		topic, p := e.Topic(t, 1), e.Publisher(t)
		at := func(d time.Duration) time.Time { return time.UnixMilli(1_700_000_000_000).Add(d) }
		for _, d := range []time.Duration{0, time.Second, -10 * time.Second, 2 * time.Second} {
			require.NoError(t, p.Emit(t.Context(), []record.Record{
				{Topic: topic, Time: at(d), Value: []byte("v")},
			}))
		}
		for since, want := range map[time.Duration]int64{
			-time.Hour: 0, 0: 0, time.Millisecond: 1, 1500 * time.Millisecond: 3, time.Hour: 4,
		} {
			got, err := e.Conn.OffsetAt(
				t.Context(), record.TopicPartition{Topic: topic}, at(since),
			)
			require.NoError(t, err)
			require.Equal(t, want, got, "since %s", since)
		}
		first, err := e.Conn.OffsetAt(
			t.Context(), record.TopicPartition{Topic: topic}, time.Time{},
		)
		require.NoError(t, err)
		require.Zero(t, first)
	})
}
