package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestFollower(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, p := e.topic(t, 3), e.publisher(t)
		for partition := range 2 {
			emit(t, p, topic, partition, 0, 200)
		}
		var mu sync.Mutex
		seen := map[int]int{}
		follower := NewFollower(e.conn, topic, testLogger(t), func(r *record.Record) error {
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(seen[r.Partition]) != string(r.Value) {
				return fmt.Errorf("%s after %d", r.Value, seen[r.Partition])
			}
			seen[r.Partition]++
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- follower.Run(ctx) }()
		require.NoError(t, follower.WaitCaughtUp(t.Context()))
		mu.Lock()
		require.Equal(t, map[int]int{0: 200, 1: 200}, seen)
		mu.Unlock()
		if e.fake != nil {
			moved := refused(kmsg.Fetch)
			moved.Topic, moved.Count = topic, 2
			e.fake.Fault(moved)
		}
		emit(t, p, topic, 2, 0, 1)
		eventually(t, "what comes later is seen", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return seen[2] == 1
		})
		cancel()
		require.NoError(t, <-done)
	})
}

// start runs the follower. The returned function stops it and returns the error of Run.
func (f *Follower) start(t *testing.T) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	return stop
}

// within bounds a wait that a fault would make endless.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestFollowerOfAnEmptyTopicIsCaughtUpAtOnce(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	f := NewFollower(
		e.conn, e.topic(t, 1), testLogger(t), func(*record.Record) error { return nil },
	)
	stop := f.start(t)
	require.NoError(t, f.WaitCaughtUp(t.Context()))
	require.NoError(t, stop())
	require.NoError(t, f.WaitCaughtUp(t.Context()), "it has caught up, even if it follows no more")
}

// TestFollowerFailureIsHeard: a start-up that waits for the follower must not hang.
func TestFollowerFailureIsHeard(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, p := e.topic(t, 1), e.publisher(t)
	emit(t, p, topic, 0, 0, 1)
	boom := errors.New("boom")

	t.Run("before it has caught up", func(t *testing.T) {
		t.Parallel()
		f := NewFollower(e.conn, topic, testLogger(t), func(*record.Record) error { return boom })
		stop := f.start(t)
		require.ErrorIs(t, f.WaitCaughtUp(within(t, 10*time.Second)), boom)
		require.ErrorIs(t, stop(), boom)
		require.ErrorIs(t, f.WaitCaughtUp(t.Context()), boom, "every later wait fails too")
	})
	t.Run("canceled before it has caught up", func(t *testing.T) {
		t.Parallel()
		entered, leave := make(chan struct{}), make(chan struct{})
		f := NewFollower(e.conn, topic, testLogger(t), func(*record.Record) error {
			close(entered)
			<-leave
			return boom
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		<-entered
		cancel()
		close(leave)
		require.ErrorIs(t, <-done, boom, "a cancellation hides no failure")
		require.ErrorIs(t, f.WaitCaughtUp(within(t, 10*time.Second)), boom)
	})
	t.Run("the wait of a follower that is stopped ends", func(t *testing.T) {
		t.Parallel()
		missing := e.name + "-missing"
		f := NewFollower(e.conn, missing, testLogger(t), func(*record.Record) error { return nil })
		stop := f.start(t)
		waited := make(chan error, 1)
		go func() { waited <- f.WaitCaughtUp(within(t, 10*time.Second)) }()
		require.NoError(t, stop())
		err := <-waited
		require.Equal(t, fault.Canceled, fault.ClassOf(err), err)
	})
}

// reader counts what a follower hands on, and checks that each partition's records come once and in
// order.
type reader struct {
	mu   sync.Mutex
	seen map[int]int
}

func (r *reader) receive(rec *record.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.seen[rec.Partition]; fmt.Sprint(n) != string(rec.Value) {
		return fmt.Errorf("partition %d: %s after %d records", rec.Partition, rec.Value, n)
	}
	r.seen[rec.Partition]++
	return nil
}

func (r *reader) has(partition, n int) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.seen[partition] == n
	}
}

// warnings counts the warnings that are logged, by their text.
type warnings struct {
	slog.Handler
	mu    sync.Mutex
	count map[string]int
}

func newWarnings(t *testing.T) *warnings {
	return &warnings{Handler: testLogger(t).Handler(), count: map[string]int{}}
}

func (w *warnings) Enabled(context.Context, slog.Level) bool { return true }

func (w *warnings) Handle(ctx context.Context, r slog.Record) error {
	w.mu.Lock()
	w.count[r.Message]++
	w.mu.Unlock()
	if w.Handler.Enabled(ctx, r.Level) {
		return w.Handler.Handle(ctx, r)
	}
	return nil
}

func (w *warnings) containing(text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count[text]
}

// partitionFault is a way in which partition 1 of a topic cannot be read, while the partitions 0
// and 2 can.
type partitionFault struct {
	name string
	// onlyAtStart is set when it does not concern a follower that has begun to read.
	onlyAtStart bool
	// begin returns how often it has struck, and how to end it.
	begin func(t *testing.T, e *engine, topic string) (hits func() int, end func())
}

// refused is the answer of a broker that does not lead the partition.
func refused(key kmsg.Key) kfake.Fault {
	return kfake.Fault{Keys: []kmsg.Key{key}, Err: kerr.NotLeaderForPartition}
}

func faulty(f kfake.Fault) func(*testing.T, *engine, string) (func() int, func()) {
	return func(_ *testing.T, e *engine, topic string) (func() int, func()) {
		f := f
		f.Topic, f.Partitions, f.Count = topic, []int32{1}, -1
		h := e.fake.Fault(f)
		return h.Hits, h.Remove
	}
}

// answering lets the broker answer requests of a kind with what f returns, as
// kfake.Cluster.ControlKey, until end is called.
func answering(
	e *engine, key kmsg.Key, f func(kmsg.Request) (kmsg.Response, error, bool),
) (hits func() int, end func()) {
	var mu sync.Mutex
	n, over := 0, false
	e.fake.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		if over {
			e.fake.DropControl()
			return nil, nil, false
		}
		e.fake.KeepControl()
		res, err, handled := f(req)
		if handled {
			n++
		}
		return res, err, handled
	})
	hits = func() int { mu.Lock(); defer mu.Unlock(); return n }
	return hits, func() { mu.Lock(); defer mu.Unlock(); over = true }
}

// withoutLeader answers who asks for the topic that partition 1 has no leader.
func withoutLeader(t *testing.T, e *engine, topic string) (func() int, func()) {
	var brokers []kmsg.MetadataResponseBroker
	for node, addr := range e.fake.ListenAddrs() {
		host, text, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		port, err := strconv.Atoi(text)
		require.NoError(t, err)
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = int32(node), host, int32(port)
		brokers = append(brokers, b)
	}
	leaders := []int32{e.fake.LeaderFor(topic, 0), -1, e.fake.LeaderFor(topic, 2)}
	defer e.conn.Forget(topic) // what is known of it from before
	return answering(e, kmsg.Metadata, func(req kmsg.Request) (kmsg.Response, error, bool) {
		ask := req.(*kmsg.MetadataRequest)
		if len(ask.Topics) != 1 || *ask.Topics[0].Topic != topic {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.MetadataResponse)
		res.Brokers = brokers
		found := kmsg.NewMetadataResponseTopic()
		found.Topic = &topic
		for i, leader := range leaders {
			p := kmsg.NewMetadataResponseTopicPartition()
			if p.Partition, p.Leader = int32(i), leader; leader < 0 {
				p.ErrorCode = kerr.LeaderNotAvailable.Code
			}
			found.Partitions = append(found.Partitions, p)
		}
		res.Topics = append(res.Topics, found)
		return res, nil, true
	})
}

// silent is a broker that takes fetches and look-ups and does not answer them.
func silent(_ *testing.T, e *engine, topic string) (func() int, func()) {
	lost := e.fake.LeaderFor(topic, 1)
	stuck := func(kmsg.Request) (kmsg.Response, error, bool) {
		return nil, nil, e.fake.CurrentNode() == lost
	}
	fetches, endFetches := answering(e, kmsg.Fetch, stuck)
	lookups, endLookups := answering(e, kmsg.ListOffsets, stuck)
	return func() int { return fetches() + lookups() }, func() { endFetches(); endLookups() }
}

// broken is a broker that cuts the connection of who fetches or looks up.
func broken(_ *testing.T, e *engine, topic string) (func() int, func()) {
	lost := e.fake.LeaderFor(topic, 1)
	cut := func(kmsg.Request) (kmsg.Response, error, bool) {
		return nil, errors.New("cut"), e.fake.CurrentNode() == lost
	}
	fetches, endFetches := answering(e, kmsg.Fetch, cut)
	lookups, endLookups := answering(e, kmsg.ListOffsets, cut)
	return func() int { return fetches() + lookups() }, func() { endFetches(); endLookups() }
}

func partitionFaults() []partitionFault {
	return []partitionFault{
		{"no leader", false, withoutLeader},
		{"a failing fetch", false, faulty(refused(kmsg.Fetch))},
		{"a failing look-up", true, faulty(refused(kmsg.ListOffsets))},
		{"a silent broker", false, silent},
		{"a broken broker", false, broken},
	}
}

// split is a cluster of two brokers, and a topic whose partition 1 is on another broker than 0 and
// 2, with ten records in each.
func split(t *testing.T) (*engine, string) {
	t.Helper()
	e := fakeEngine(t, kfake.NumBrokers(2))
	cfg := DefaultConfig(e.fake.ListenAddrs()...)
	cfg.MetadataTTL, cfg.RequestTimeout = 200*time.Millisecond, time.Second
	var err error
	e.conn, err = Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.conn.Close()) })
	topic := e.topic(t, 3)
	for partition := range int32(3) {
		require.NoError(t, e.fake.MoveTopicPartition(topic, partition, partition%2))
	}
	p := e.publisher(t)
	for partition := range 3 {
		emit(t, p, topic, partition, 0, 10)
	}
	return e, topic
}

// TestFollowerReadsOnBesideAFailingPartition: one partition that cannot be read holds back none of
// the others.
func TestFollowerReadsOnBesideAFailingPartition(t *testing.T) {
	t.Parallel()
	for _, a := range partitionFaults() {
		t.Run("at the start/"+a.name, func(t *testing.T) {
			t.Parallel()
			e, topic := split(t)
			hits, end := a.begin(t, e, topic)
			r, w := &reader{seen: map[int]int{}}, newWarnings(t)
			f := NewFollower(e.conn, topic, slog.New(w), r.receive)
			f.slowest = 50 * time.Millisecond
			stop := f.start(t)
			eventually(t, "partition 0 is read", r.has(0, 10))
			eventually(t, "partition 2 is read", r.has(2, 10))
			eventually(t, "it is tried again", func() bool { return hits() > 1 })
			eventually(t, "it is logged", func() bool { return w.containing(partitionFails) > 0 })
			tried := hits()
			eventually(t, "it goes on being tried", func() bool { return hits() > tried+1 })
			require.Equal(
				t, 1, w.containing(partitionFails), "one line, not one for each attempt",
			)
			require.True(t, r.has(1, 0)())
			progress := f.Progress()
			require.Equal(t, []int{1}, progress.Failing)
			require.Error(t, progress.Err)
			require.GreaterOrEqual(t, progress.Total, int64(20))
			require.Equal(t, int64(20), progress.Read)
			require.False(t, progress.CaughtUp)
			end()
			require.NoError(t, f.WaitCaughtUp(within(t, 15*time.Second)))
			require.True(t, r.has(1, 10)())
			all := Progress{Topic: topic, Read: 30, Total: 30, CaughtUp: true}
			require.Equal(t, all, f.Progress())
			require.NoError(t, stop())
		})
		if a.onlyAtStart {
			continue
		}
		t.Run("later/"+a.name, func(t *testing.T) {
			t.Parallel()
			e, topic := split(t)
			r, p := &reader{seen: map[int]int{}}, e.publisher(t)
			f := NewFollower(e.conn, topic, testLogger(t), r.receive)
			stop := f.start(t)
			require.NoError(t, f.WaitCaughtUp(within(t, 15*time.Second)))
			hits, end := a.begin(t, e, topic)
			eventually(t, "it is noticed", func() bool {
				return hits() > 0 && len(f.Progress().Failing) > 0
			})
			emit(t, p, topic, 0, 10, 5)
			emit(t, p, topic, 2, 10, 5)
			eventually(t, "partition 0 is read on", r.has(0, 15))
			eventually(t, "partition 2 is read on", r.has(2, 15))
			end()
			emit(t, p, topic, 1, 10, 5)
			eventually(t, "partition 1 is read on", r.has(1, 15))
			require.NoError(t, stop())
		})
	}
}

// TestFollowerAfterTheLogWasCut: what was deleted unread is skipped, and the follower catches up
// all the same.
func TestFollowerAfterTheLogWasCut(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, p := e.topic(t, 1), e.publisher(t)
	emit(t, p, topic, 0, 0, 10)
	w := newWarnings(t)
	var offsets []int64
	f := NewFollower(e.conn, topic, slog.New(w), func(r *record.Record) error {
		offsets = append(offsets, r.Offset)
		return nil
	})
	// The first fetch comes after the look-up, and finds the records gone.
	moved := refused(kmsg.Fetch)
	moved.Topic, moved.Count = topic, -1
	h := e.fake.Fault(moved)
	stop := f.start(t)
	require.NoError(t, h.Wait(t.Context(), 1))
	require.NoError(t, e.fake.DeleteRecords(topic, 0, 7))
	h.Remove()
	require.NoError(t, f.WaitCaughtUp(within(t, 15*time.Second)))
	require.NoError(t, stop())
	require.Equal(t, []int64{7, 8, 9}, offsets)
	require.Equal(t, 1, w.containing("starting again at the first offset"))
}
