package stream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// rangeStore is a store that applies a range once: what a repeat with the same bounds brings is
// dropped, as ClickHouse's tokens do. Anything else that overlaps what it has is an error.
type rangeStore struct {
	mu      sync.Mutex
	applied map[record.TopicPartition]map[[2]int64]bool
	count   map[string]int // by value
	last    map[record.TopicPartition]int64
	repeats int
}

func newRangeStore() *rangeStore {
	return &rangeStore{
		applied: map[record.TopicPartition]map[[2]int64]bool{}, count: map[string]int{},
		last: map[record.TopicPartition]int64{},
	}
}

func (l *rangeStore) apply(b *record.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := l.applied[b.TopicPartition()]
	if done == nil {
		done = map[[2]int64]bool{}
		l.applied[b.TopicPartition()] = done
		l.last[b.TopicPartition()] = -1
	}
	if done[[2]int64{b.First, b.Last}] {
		l.repeats++
		if !b.Repeat {
			return fmt.Errorf(
				"%s %d-%d came again without saying so", b.TopicPartition(), b.First, b.Last,
			)
		}
		return nil
	}
	if b.First != l.last[b.TopicPartition()]+1 {
		return fmt.Errorf(
			"%s: %d-%d follows %d", b.TopicPartition(), b.First, b.Last, l.last[b.TopicPartition()],
		)
	}
	done[[2]int64{b.First, b.Last}] = true
	l.last[b.TopicPartition()] = b.Last
	for i := range b.Records {
		l.count[string(b.Records[i].Value)]++
	}
	return nil
}

func (l *rangeStore) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.count)
}

// TestMembersComeAndGo: members join, leave, and stop in the middle of a batch, while records come
// in. Every record counts once, in order.
func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		const partitions, perPartition = 6, 600
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		topic, cfg, p := e.topic(t, partitions), e.ranged(t), e.publisher(t)
		cfg.MaxRecords = 40
		cfg.RebalanceTimeout, cfg.DrainTimeout = 2*time.Second, 300*time.Millisecond
		if e.fake != nil { // Kafka allows no session shorter than 6 s
			cfg.SessionTimeout, cfg.HeartbeatInterval = 2*time.Second, 100*time.Millisecond
		}
		l := newRangeStore()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var work sync.WaitGroup
		work.Go(func() {
			for i := 0; i < perPartition; i += 50 {
				for partition := range partitions {
					records := make([]record.Record, 50)
					for j := range records {
						records[j] = record.Record{
							Topic: topic, Partition: partition,
							Value: fmt.Appendf(nil, "%d/%d", partition, i+j),
						}
					}
					if err := p.Emit(ctx, records); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
				}
				fault.Sleep(ctx, 5*time.Millisecond)
			}
		})
		for m := range 3 {
			work.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, uint64(m)))
				for ctx.Err() == nil {
					e.member(ctx, t, cfg, topic, l, rnd)
				}
			})
		}
		deadline := time.Now().Add(60 * time.Second)
		for l.total() < partitions*perPartition && time.Now().Before(deadline) {
			fault.Sleep(ctx, 20*time.Millisecond)
		}
		cancel()
		work.Wait()
		require.Equal(t, partitions*perPartition, l.total())
		for v, n := range l.count {
			require.Equal(t, 1, n, v)
		}
		t.Logf("%d repeats dropped", l.repeats)
	})
}

// member takes part for a while, working as a processor does.
func (e *engine) member(
	ctx context.Context,
	t *testing.T,
	cfg SubscriberConfig,
	topic string,
	l *rangeStore,
	rnd *rand.Rand,
) {
	s, err := NewSubscriber(e.conn, cfg)
	if err != nil {
		t.Error(err)
		return
	}
	out, err := s.Subscribe(ctx, topic)
	if err != nil {
		t.Error(err)
		return
	}
	// It leaves after some batches, or when nothing comes for a while; sometimes already while it
	// joins.
	patience := 5 * time.Second
	if rnd.IntN(10) == 0 {
		patience = 50 * time.Millisecond
	}
	leave := 5 + rnd.IntN(40)
	var closing sync.WaitGroup
	defer closing.Wait()
	idle := time.AfterFunc(patience, func() { s.Close() })
	defer idle.Stop()
	for m := range out {
		idle.Reset(time.Second)
		if leave--; leave == 0 {
			closing.Go(func() { s.Close() })
		}
		l.handle(t, m, rnd)
	}
}

// handle treats a message as a processor would, which now and then refuses it, or dies before or
// after its effects.
func (l *rangeStore) handle(t *testing.T, m *message.Message, rnd *rand.Rand) {
	b := BatchOf(m)
	outcome := rnd.IntN(50)
	if outcome == 0 {
		m.Nack()
		return
	}
	if outcome == 1 || b.CheckLease(m.Context()) != nil {
		return
	}
	if err := l.apply(b); err != nil {
		t.Error(err)
	}
	if outcome != 2 {
		m.Ack()
	}
}

func TestCloseDrainsAndCommits(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		for _, ranges := range []bool{false, true} {
			topic, cfg := e.topic(t, 1), e.group(t)
			cfg.MaxRecords, cfg.Intents, cfg.CommitInterval = 10, ranges, time.Hour
			cfg.DrainTimeout = 2 * time.Second
			emit(t, e.publisher(t), topic, 0, 0, 30)
			out, stop := e.subscribe(t, cfg, topic)
			receive(t, out).Ack()
			m := receive(t, out)
			b := BatchOf(m)
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				stop()
			}()
			<-b.Draining()
			require.NoError(t, m.Context().Err(), "there is time to finish")
			require.NoError(t, b.CheckLease(m.Context()))
			m.Ack()
			<-stopped
			_, open := <-out
			require.False(t, open, "nothing new while stopping")
			offset, metadata := e.committed(t, cfg.Group, topic, 0)
			require.EqualValues(t, 20, offset)
			require.Empty(t, metadata)
		}
	})
}

func TestCoPartitionedTopicsComeTogether(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		a, b := e.topic(t, 4), e.topic(t, 4)
		cfg := e.group(t)
		type owned map[record.TopicPartition]bool
		var mu sync.Mutex
		members := map[int]owned{}
		for i := range 2 {
			cfg := cfg
			cfg.Assigned = func(_ context.Context, as []record.Assignment) error {
				mu.Lock()
				defer mu.Unlock()
				members[i] = owned{}
				for _, x := range as {
					members[i][x.TopicPartition] = true
				}
				return nil
			}
			cfg.Revoked = func(tps []record.TopicPartition) {
				mu.Lock()
				defer mu.Unlock()
				for _, tp := range tps {
					delete(members[i], tp)
				}
			}
			e.subscribe(t, cfg, a, b)
		}
		eventually(t, "both members have their half of both topics", func() bool {
			mu.Lock()
			defer mu.Unlock()
			if len(members[0]) != 4 || len(members[1]) != 4 {
				return false
			}
			for _, o := range members {
				for tp := range o {
					other := map[string]string{a: b, b: a}[tp.Topic]
					if !o[record.TopicPartition{Topic: other, Partition: tp.Partition}] {
						return false
					}
				}
			}
			return true
		})
	})
}

func TestAssignmentIsByPartitionNumber(t *testing.T) {
	t.Parallel()
	members := []kafka.GroupMember{
		{ID: "y", Topics: []string{"a", "b"}}, {ID: "x", Topics: []string{"b", "a"}},
	}
	var partitions []kafka.Partition
	for i := range 7 {
		partitions = append(
			partitions, kafka.Partition{Topic: "a", ID: i}, kafka.Partition{Topic: "b", ID: 6 - i},
		)
	}
	for range 20 {
		rand.Shuffle(
			len(partitions),
			func(i, j int) { partitions[i], partitions[j] = partitions[j], partitions[i] },
		)
		got := copartitioned{}.AssignGroups(members, partitions)
		require.Equal(t, got["x"]["a"], got["x"]["b"])
		require.Equal(t, got["y"]["a"], got["y"]["b"])
		require.Len(t, append(got["x"]["a"], got["y"]["a"]...), 7)
	}
}

func TestOffsetsThatDoNotFitTheLog(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic := e.topic(t, 3)
	p := e.publisher(t)
	for partition := range 3 {
		emit(t, p, topic, partition, 0, 10)
	}
	require.NoError(t, e.fake.DeleteRecords(topic, 1, 5))
	commit := func(group string) {
		_, err := e.conn.client.OffsetCommit(
			t.Context(),
			&kafka.OffsetCommitRequest{
				GroupID:      group,
				GenerationID: -1,
				Topics: map[string][]kafka.OffsetCommit{
					topic: {
						{Partition: 0, Offset: 99},
						{Partition: 1, Offset: 2},
						{Partition: 2, Offset: 4},
					},
				},
			},
		)
		require.NoError(t, err)
	}
	t.Run("stop", func(t *testing.T) {
		cfg := e.ranged(t)
		commit(cfg.Group)
		var mu sync.Mutex
		stopped := map[int]error{}
		cfg.Hooks.PartitionStopped = func(tp record.TopicPartition, err error) {
			mu.Lock()
			defer mu.Unlock()
			stopped[tp.Partition] = err
		}
		out, stop := e.subscribe(t, cfg, topic)
		m := receive(t, out)
		require.Equal(t, 2, BatchOf(m).Partition, "the others go on")
		require.EqualValues(t, 4, BatchOf(m).First)
		m.Ack()
		stop()
		require.ErrorIs(t, stopped[0], ErrOffsetBeyondEnd)
		require.ErrorIs(t, stopped[1], ErrOffsetExpired)
		require.ErrorContains(t, stopped[0], "rebuild")
		offset, _ := e.committed(t, cfg.Group, topic, 0)
		require.EqualValues(t, 99, offset, "what does not fit is left as it is")
	})
	t.Run("go to first", func(t *testing.T) {
		cfg := e.ranged(t)
		cfg.OffsetPolicy = GoToFirst
		commit(cfg.Group)
		out, stop := e.subscribe(t, cfg, topic)
		first := map[int]int64{}
		for len(first) < 3 {
			m := receive(t, out)
			first[BatchOf(m).Partition] = BatchOf(m).First
			m.Ack()
		}
		require.Equal(t, map[int]int64{0: 0, 1: 5, 2: 4}, first)
		stop()
	})
	t.Run("foreign metadata", func(t *testing.T) {
		cfg := e.ranged(t)
		_, err := e.conn.client.OffsetCommit(
			t.Context(),
			&kafka.OffsetCommitRequest{
				GroupID:      cfg.Group,
				GenerationID: -1,
				Topics: map[string][]kafka.OffsetCommit{
					topic: {{Partition: 2, Offset: 4, Metadata: "somebody else's"}},
				},
			},
		)
		require.NoError(t, err)
		stopped := make(chan error, 3)
		cfg.Hooks.PartitionStopped = func(_ record.TopicPartition, err error) { stopped <- err }
		_, stop := e.subscribe(t, cfg, topic)
		require.ErrorContains(t, <-stopped, "did another program commit")
		stop()
	})
}

func TestAssignedHook(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic := e.topic(t, 2)
	p := e.publisher(t)
	emit(t, p, topic, 0, 0, 5)
	emit(t, p, topic, 1, 0, 5)
	cfg := e.group(t)
	var calls atomic.Int32
	cfg.Assigned = func(_ context.Context, as []record.Assignment) error {
		if calls.Add(1) < 3 {
			return fault.Transientf("the store is not up yet")
		}
		return PartitionErrors{
			as[0].TopicPartition: fmt.Errorf("%w: run rebuild", ErrOffsetMissing),
		}
	}
	stopped := make(chan error, 2)
	cfg.Hooks.PartitionStopped = func(tp record.TopicPartition, err error) {
		stopped <- fmt.Errorf("%s: %w", tp, err)
	}
	out, stop := e.subscribe(t, cfg, topic)
	m := receive(t, out)
	require.EqualValues(t, 3, calls.Load(), "no batch before the hook has agreed")
	require.Equal(t, 1, BatchOf(m).Partition)
	require.ErrorIs(t, <-stopped, ErrOffsetMissing)
	m.Ack()
	stop()
}

func TestStartFromLast(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, p := e.topic(t, 1), e.publisher(t)
	emit(t, p, topic, 0, 0, 5)
	cfg := e.group(t)
	cfg.Start = FromLast
	out, stop := e.subscribe(t, cfg, topic)
	eventually(t, "the start is committed, so that a restart misses nothing", func() bool {
		offset, _ := e.committed(t, cfg.Group, topic, 0)
		return offset == 5
	})
	emit(t, p, topic, 0, 5, 1)
	m := receive(t, out)
	require.Equal(t, []string{"5"}, values(BatchOf(m)))
	m.Ack()
	stop()
}

func TestNewPartitionsAndTopicsAreNoticed(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, late := e.topic(t, 1), "late-topic"
	cfg := e.group(t)
	cfg.WatchInterval = 50 * time.Millisecond
	out, stop := e.subscribe(t, cfg, topic, late)
	require.NoError(t, e.fake.CreateTopic(late, 2, nil))
	p := e.publisher(t)
	emit(t, p, late, 1, 0, 1)
	m := receive(t, out)
	require.Equal(t, late, BatchOf(m).Topic)
	m.Ack()
	stop()
}

func TestCommitsAreTriedAgain(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, cfg := e.topic(t, 1), e.ranged(t)
	emit(t, e.publisher(t), topic, 0, 0, 5)
	h := e.fake.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RebalanceInProgress, Count: 2},
		kfake.Fault{
			Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.CoordinatorLoadInProgress, Count: 2,
		},
	)
	out, stop := e.subscribe(t, cfg, topic)
	m := receive(t, out)
	require.Equal(t, 4, h.Hits())
	require.False(t, BatchOf(m).Repeat)
	m.Ack()
	stop()
	offset, metadata := e.committed(t, cfg.Group, topic, 0)
	require.EqualValues(t, 5, offset)
	require.Empty(t, metadata)
}

func TestFetchFailuresAreWaitedOut(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t, kfake.NumBrokers(3))
	topic, cfg, p := e.topic(t, 3), e.group(t), e.publisher(t)
	e.fake.Fault(
		kfake.Fault{
			Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Partitions: []int32{0},
			Err: kerr.NotLeaderForPartition, Count: 3,
		},
		kfake.Fault{
			Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Partitions: []int32{1},
			Err: kerr.UnknownTopicOrPartition, Count: 2,
		},
	)
	out, stop := e.subscribe(t, cfg, topic)
	next := map[int]int{}
	for round := range 3 {
		for partition := range 3 {
			emit(t, p, topic, partition, round*5, 5)
		}
		for got := 0; got < 15; {
			m := receive(t, out)
			for _, v := range values(BatchOf(m)) {
				require.Equal(t, fmt.Sprint(next[BatchOf(m).Partition]), v)
				next[BatchOf(m).Partition]++
				got++
			}
			m.Ack()
		}
		e.fake.ShufflePartitionLeaders()
	}
	stop()
}

// TestManyBrokers: the group's coordinator is one broker, the leaders are all of them, and both
// move.
func TestManyBrokers(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t, kfake.NumBrokers(5))
	for range 3 {
		topic, cfg, p := e.topic(t, 5), e.ranged(t), e.publisher(t)
		out, stop := e.subscribe(t, cfg, topic)
		for round := range 3 {
			for partition := range 5 {
				emit(t, p, topic, partition, round*4, 4)
			}
			for got := 0; got < 20; {
				m := receive(t, out)
				b := BatchOf(m)
				l := b.Lease.(*batchLease).p.g.lease
				require.NoError(t, l.beat(m.Context()), "heartbeats go to the coordinator")
				got += len(b.Records)
				m.Ack()
			}
			e.fake.ShufflePartitionLeaders()
			e.fake.RehashCoordinators()
		}
		stop()
		for partition := range 5 {
			offset, metadata := e.committed(t, cfg.Group, topic, partition)
			require.EqualValues(t, 12, offset)
			require.Empty(t, metadata)
		}
	}
}

func TestLingerFillsBatches(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, cfg, p := e.topic(t, 1), e.group(t), e.publisher(t)
	cfg.Linger, cfg.LingerMin, cfg.MaxRecords = 10*time.Second, 10*time.Second, 20
	out, stop := e.subscribe(t, cfg, topic)
	for i := range 20 {
		emit(t, p, topic, 0, i, 1)
	}
	m := receive(t, out)
	require.Len(t, BatchOf(m).Records, 20)
	m.Ack()
	stop()
}

func TestBytesBoundBatches(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, cfg, p := e.topic(t, 1), e.group(t), e.publisher(t)
	cfg.MaxBytes = 10_000
	in := make([]record.Record, 30)
	for i := range in {
		in[i] = record.Record{Topic: topic, Value: make([]byte, 3000)}
	}
	in[10].Value = make([]byte, 50_000)
	require.NoError(t, p.Emit(t.Context(), in))
	out, stop := e.subscribe(t, cfg, topic)
	for got := 0; got < 30; {
		m := receive(t, out)
		b := BatchOf(m)
		size := 0
		for i := range b.Records {
			size += wire.SizeOf(&b.Records[i])
		}
		require.True(
			t, size <= 10_000 || len(b.Records) == 1, "%d bytes in %d records", size,
			len(b.Records),
		)
		got += len(b.Records)
		m.Ack()
	}
	stop()
}

func TestSubscribeAfterClose(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	s, err := NewSubscriber(e.conn, e.group(t))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = s.Subscribe(t.Context(), "x")
	require.Equal(t, fault.Canceled, fault.ClassOf(err))
}

func TestBatchOfAPlainMessage(t *testing.T) {
	t.Parallel()
	require.Nil(t, BatchOf(message.NewMessage("x", nil)))
	b := &record.Batch{}
	require.NoError(t, b.CheckLease(t.Context()))
	require.NoError(t, b.Exclude(t.Context(), 1))
	require.Nil(t, b.Draining())
}

// The partitions are looked at before the member joins: a topic that comes into being while it
// joins must not be taken for one that was there.
func TestATopicThatAppearsWhileTheMemberJoinsIsNoticed(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, late := e.topic(t, 1), "late-topic"
	cfg := e.group(t)
	cfg.WatchInterval = 50 * time.Millisecond
	var once sync.Once
	cfg.Hooks.Generation = func(int, int) { // assigned, and not yet watched
		once.Do(func() { assert.NoError(t, e.fake.CreateTopic(late, 1, nil)) })
	}
	out, stop := e.subscribe(t, cfg, topic, late)
	eventually(
		t, "the topic is there",
		func() bool { n, _ := e.conn.Partitions(t.Context(), late); return n == 1 },
	)
	emit(t, e.publisher(t), late, 0, 0, 1)
	m := receive(t, out)
	require.Equal(t, late, BatchOf(m).Topic)
	m.Ack()
	stop()
}
