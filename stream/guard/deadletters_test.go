package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// groupTopics makes the topics that a group needs beside its input.
func (e *engine) groupTopics(t *testing.T, group string, delays ...time.Duration) {
	t.Helper()
	specs := []admin.TopicSpec{
		{Name: record.PoisonTopic(group), Partitions: 2},
		{Name: record.ReplayTopic(group), Partitions: 2},
	}
	for _, d := range delays {
		specs = append(specs, admin.TopicSpec{Name: record.RetryTopic(group, d), Partitions: 1})
	}
	require.NoError(t, admin.EnsureTopics(t.Context(), e.Conn, specs))
}

// deadLetters returns the dead letters of a new group that has n of them, from offsets 0 to n-1 of
// "in"; every third has no key.
func (e *engine) deadLetters(t *testing.T, n int) (*deadletter.Store, string, *stream.Publisher) {
	t.Helper()
	group := e.newName()
	e.groupTopics(t, group)
	p := e.Publisher(t)
	records := make([]record.Record, n)
	for i := range records {
		s := deadletter.Headers{
			Group: group, Handler: "work", Subscriber: group,
			Origin: record.Position{
				TopicPartition: record.TopicPartition{Topic: "in", Partition: 0}, Offset: int64(i),
			},
			Time:  time.UnixMilli(int64(i)).UTC(),
			Class: fault.Permanent, Reason: fmt.Sprintf("Reason %d", i%2), Attempts: 1,
			FirstFailure: time.Now().UTC(), LastFailure: time.Now().UTC(),
		}
		records[i] = record.Record{
			Topic: record.PoisonTopic(group), Partition: record.AnyPartition,
			Value:   fmt.Appendf(nil, "v%d", i),
			Headers: s.On([]record.Header{{Key: "own", Value: []byte{0, 255}}}),
		}
		if i%3 != 0 {
			records[i].Key = fmt.Appendf(nil, "k%d", i)
		}
	}
	require.NoError(t, p.Emit(t.Context(), records))
	return deadletter.New(e.Conn, p, e.Conn.Names(), []string{group, e.newName()}, nil), group, p
}

func offsets(letters []deadletter.Letter) []int64 {
	var out []int64
	for _, l := range letters {
		out = append(out, l.Origin.Offset)
	}
	slices.Sort(out)
	return out
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		before := time.Now().Add(-time.Second)
		d, group, p := e.deadLetters(t, 6)
		list := func(f deadletter.Filter) []int64 {
			t.Helper()
			letters, err := d.List(t.Context(), f)
			require.NoError(t, err)
			return offsets(letters)
		}
		assert.Equal(t, []int64{0, 1, 2, 3, 4, 5}, list(deadletter.Filter{}))
		assert.Equal(t, []int64{1, 3, 5}, list(deadletter.Filter{Reason: "reason 1"}))
		assert.Equal(
			t,
			[]int64{0, 1, 2, 3, 4, 5},
			list(
				deadletter.Filter{
					Group: group, Class: "permanent", Topic: "in", Since: before,
					State: deadletter.Open,
				},
			),
		)
		assert.Empty(t, list(deadletter.Filter{Class: "unknown"}))
		assert.Empty(t, list(deadletter.Filter{Until: before}))
		for says, f := range map[string]deadletter.Filter{
			`no topic "elsewhere"`:                               {Topic: "elsewhere"},
			`no group "other", only ` + group:                    {Group: "other"},
			`no class "foo", only permanent, unknown, transient`: {Class: "foo"},
			`no state "x", only [open replayed dropped]`:         {State: "x"},
			`limit -1 is negative`:                               {Limit: -1},
		} {
			_, err := d.List(t.Context(), f)
			require.ErrorIs(t, err, deadletter.ErrFilter)
			require.ErrorContains(t, err, says)
			_, err = d.Drop(t.Context(), f, "")
			require.ErrorIs(t, err, deadletter.ErrFilter)
			_, err = d.Replay(t.Context(), f, deadletter.ReplayOptions{})
			require.ErrorIs(t, err, deadletter.ErrFilter)
		}
		assert.Len(t, list(deadletter.Filter{Limit: 2}), 2)

		id := func(offset int64) string {
			return deadletter.ID(
				group,
				record.Position{
					TopicPartition: record.TopicPartition{Topic: "in", Partition: 0},
					Offset:         offset,
				},
			)
		}
		l, err := d.Get(t.Context(), id(4))
		require.NoError(t, err)
		assert.Equal(t, "v4", string(l.Value))
		assert.Equal(t, "k4", string(l.Key))
		assert.Equal(t, []record.Header{{Key: "own", Value: []byte{0, 255}}}, l.Headers)
		assert.Equal(t, time.UnixMilli(4).UTC(), l.Time)
		assert.Equal(t, deadletter.Open, l.State)
		_, err = d.Get(t.Context(), "nobody")
		require.ErrorIs(t, err, deadletter.ErrNotFound)

		// Drop one, with and without a key; replay two; by id and by reason.
		n, err := d.Drop(
			t.Context(), deadletter.Filter{IDs: []string{id(0), id(1)}}, "a test event",
		)
		require.NoError(t, err)
		assert.Equal(t, 2, n)
		var progress []int
		n, err = d.Replay(
			t.Context(),
			deadletter.Filter{Reason: "Reason 1"},
			deadletter.ReplayOptions{
				Reason:   "fixed",
				Progress: func(done, total int) { progress = append(progress, done, total) },
			},
		)
		require.NoError(t, err)
		assert.Equal(t, 2, n, "3 and 5: 1 is dropped")
		assert.Equal(t, []int{2, 2}, progress)
		assert.Equal(t, []int64{0, 1}, list(deadletter.Filter{State: deadletter.Dropped}))
		assert.Equal(t, []int64{3, 5}, list(deadletter.Filter{State: deadletter.Replayed}))
		assert.Equal(t, []int64{2, 4}, list(deadletter.Filter{State: deadletter.Open}))
		l, err = d.Get(t.Context(), id(0))
		require.NoError(t, err)
		assert.Equal(t, "a test event", l.Resolution)
		assert.WithinDuration(t, time.Now(), l.ResolvedAt, time.Minute)

		replayed := e.readAll(t, record.ReplayTopic(group))
		require.Len(t, replayed, 2)
		for _, r := range replayed {
			s, ok := deadletter.HeadersOf(&r)
			require.True(t, ok)
			assert.Equal(t, group, s.Group)
			at := s.Origin
			assert.Equal(t, fmt.Sprintf("v%d", at.Offset), string(r.Value))
			if at.Offset == 5 {
				assert.Equal(t, "k5", string(r.Key))
			} else {
				assert.Nil(t, r.Key)
			}
			assert.Equal(
				t, []record.Header{{Key: "own", Value: []byte{0, 255}}}, deadletter.Own(r.Headers),
			)
		}

		// One that fails again is open again.
		s, _ := deadletter.HeadersOf(&replayed[0])
		s.Attempts++
		again := record.Record{
			Topic: record.PoisonTopic(group), Partition: record.AnyPartition, Key: replayed[0].Key,
			Value: replayed[0].Value, Headers: s.On(nil),
		}
		require.Eventually(
			t, func() bool { return time.Since(l.WrittenAt) > 2*time.Millisecond }, time.Second,
			time.Millisecond, "of two without a key the later one counts",
		)
		require.NoError(t, p.Emit(t.Context(), []record.Record{again}))
		l, err = d.Get(t.Context(), s.ID())
		require.NoError(t, err)
		assert.Equal(t, deadletter.Open, l.State)
		assert.Equal(t, 2, l.Attempts)
		assert.Len(t, list(deadletter.Filter{}), 6)

		// A mistyped id is an error, and nothing is done.
		_, err = d.Drop(t.Context(), deadletter.Filter{IDs: []string{id(2), "typo"}}, "")
		require.ErrorIs(t, err, deadletter.ErrNotFound)
		_, err = d.Replay(
			t.Context(), deadletter.Filter{IDs: []string{"typo"}}, deadletter.ReplayOptions{},
		)
		require.ErrorIs(t, err, deadletter.ErrNotFound)
		assert.Contains(t, list(deadletter.Filter{State: deadletter.Open}), int64(2))
		n, err = d.Drop(t.Context(), deadletter.Filter{Reason: "nothing"}, "")
		require.NoError(t, err)
		assert.Zero(t, n)
	})
}

func TestReplayWithoutValue(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	d, group, p := e.deadLetters(t, 2)
	s := deadletter.Headers{
		Group: group,
		Origin: record.Position{
			TopicPartition: record.TopicPartition{Topic: "in", Partition: 0}, Offset: 77,
		},
		OmittedBytes: 9_000_000,
	}
	require.NoError(
		t,
		p.Emit(
			t.Context(),
			[]record.Record{
				{
					Topic:     record.PoisonTopic(group),
					Partition: record.AnyPartition,
					Headers:   s.On(nil),
				},
			},
		),
	)
	n, err := d.Replay(t.Context(), deadletter.Filter{}, deadletter.ReplayOptions{})
	require.ErrorContains(t, err, "in/0@77")
	assert.Equal(t, 2, n)
	letters, err := d.List(t.Context(), deadletter.Filter{State: deadletter.Open})
	require.NoError(t, err)
	assert.Equal(t, []int64{77}, offsets(letters))
}

func TestReplayStopsHalfway(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	d, _, _ := e.deadLetters(t, 250)
	ctx, cancel := context.WithCancel(t.Context())
	n, err := d.Replay(
		ctx,
		deadletter.Filter{},
		deadletter.ReplayOptions{Progress: func(done, _ int) {
			if done == 200 {
				cancel()
			}
		}},
	)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "stopped after 200")
	assert.Equal(t, 200, n)
	n, err = d.Replay(t.Context(), deadletter.Filter{}, deadletter.ReplayOptions{})
	require.NoError(t, err)
	assert.Equal(t, 50, n)
}

// readAll returns every record of a topic.
func (e *engine) readAll(t *testing.T, topic string) []record.Record {
	t.Helper()
	n, err := e.Conn.Partitions(t.Context(), topic)
	require.NoError(t, err)
	var out []record.Record
	for p := range n {
		require.NoError(
			t,
			e.Conn.Read(
				t.Context(), record.TopicPartition{Topic: topic, Partition: p}, 0, -1,
				func(r *record.Record) error { out = append(out, *r); return nil },
			),
		)
	}
	return out
}

// ledger is a store whose effects count once per group and original position, as a consumer of
// replays is to do it.
type ledger struct {
	mu      sync.Mutex
	effects map[string]int
	order   []string
}

func (l *ledger) add(r *record.Record) {
	at := r.Position()
	if s, ok := deadletter.HeadersOf(r); ok {
		at = s.Origin
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.effects == nil {
		l.effects = map[string]int{}
	}
	if l.effects[at.String()] == 0 {
		l.order = append(l.order, string(r.Value))
	}
	l.effects[at.String()]++
}

func (l *ledger) values() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.order)
	slices.Sort(out)
	return out
}

func (e *engine) newSubscriber(t *testing.T, cfg stream.SubscriberConfig) *stream.Subscriber {
	t.Helper()
	s, err := stream.NewSubscriber(e.Conn, cfg)
	require.NoError(t, err)
	return s
}

func (e *engine) runRouter(t *testing.T, handle ...Options) (stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("LOG") != "" { // not into the test: Watermill logs a last line after Close
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r, err := NewRouter(
		RouterConfig{CloseTimeout: 5 * time.Second, Log: log, Names: e.Conn.Names()},
	)
	require.NoError(t, err)
	for _, o := range handle {
		require.NoError(t, r.Handle(o))
	}
	ran := make(chan error, 1)
	go func() { ran <- r.Run(context.WithoutCancel(t.Context())) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			require.NoError(t, r.Close())
			require.NoError(t, <-ran)
		})
	}
	t.Cleanup(stop)
	return stop
}

// Everything on a broker: a bad record, a panic, an outage, a restart, dead letters, a replay
// that fails and one that succeeds, a second replay that counts once.
func TestPoisonAndReplay(t *testing.T) {
	t.Parallel()
	for _, ranges := range []bool{false, true} {
		t.Run(fmt.Sprintf("ranges %t", ranges), func(t *testing.T) {
			t.Parallel()
			onEngines(t, func(t *testing.T, e *engine) { poisonAndReplay(t, e, ranges) })
		})
	}
}

func poisonAndReplay(t *testing.T, e *engine, ranges bool) {
	topic := e.Topic(t, 2)
	cfg := e.Group(t)
	cfg.Intents = ranges
	e.groupTopics(t, cfg.Group)
	p := e.Publisher(t)
	var store ledger
	var fixed, outage sync.Map
	handler := func(_ context.Context, b *record.Batch) error {
		if _, down := outage.Load("down"); down {
			return fault.Transientf("connection refused")
		}
		var no fault.Reject
		var good []int
		for i := range b.Records {
			v := string(b.Records[i].Value)
			if _, ok := fixed.Load(v); ok {
				good = append(good, i)
				continue
			}
			switch v {
			case "3":
				no.Add(i, fault.Permanentf("3 is bad"))
			case "5":
				no.Add(i, fault.Catch(func() error { panic("5 panics") }))
			default:
				good = append(good, i)
			}
		}
		for _, i := range good {
			store.add(&b.Records[i])
		}
		return no.Err()
	}
	run := func() func() {
		return e.runRouter(t, Options{
			Name: "work", Group: cfg.Group, Topics: []string{topic, record.ReplayTopic(cfg.Group)},
			Subscriber: e.newSubscriber(t, cfg), Handler: handler, Emitter: p, MaxAttempts: 3,
			Backoff: fault.Backoff{First: 5 * time.Millisecond, Max: 50 * time.Millisecond},
			Breaker: Breaker{Failures: 3, Delay: 100 * time.Millisecond},
		})
	}
	stop := run()
	streamtest.Emit(t, p, topic, 0, 0, 8)
	streamtest.Emit(t, p, topic, 1, 10, 5)
	want := []string{"0", "1", "10", "11", "12", "13", "14", "2", "4", "6", "7"}
	streamtest.Eventually(
		t, "the good records", func() bool { return slices.Equal(want, store.values()) },
	)
	d := deadletter.New(e.Conn, p, e.Conn.Names(), []string{cfg.Group}, nil)
	var letters []deadletter.Letter
	streamtest.Eventually(t, "the dead letters", func() bool {
		var err error
		letters, err = d.List(t.Context(), deadletter.Filter{})
		require.NoError(t, err)
		return len(letters) == 2
	})
	slices.SortFunc(
		letters, func(a, b deadletter.Letter) int { return int(a.Origin.Offset - b.Origin.Offset) },
	)
	assert.Equal(
		t,
		record.Position{
			TopicPartition: record.TopicPartition{Topic: topic, Partition: 0}, Offset: 3,
		},
		letters[0].Origin,
	)
	assert.Equal(t, fault.Permanent, letters[0].Class)
	assert.Equal(t, fault.Unknown, letters[1].Class)
	assert.Contains(t, letters[1].Reason, "5 panics")
	assert.Equal(t, 3, letters[1].Attempts)

	// An outage, with a stop in the middle of it.
	outage.Store("down", true)
	streamtest.Emit(t, p, topic, 0, 20, 3)
	stop()
	outage.Clear()
	stop = run()
	want = append(want, "20", "21", "22")
	slices.Sort(want)
	streamtest.Eventually(
		t, "what came during the outage", func() bool { return slices.Equal(want, store.values()) },
	)

	// A replay without a fix fails again: still two dead letters, one of them open again.
	n, err := d.Replay(
		t.Context(), deadletter.Filter{IDs: []string{letters[0].ID}}, deadletter.ReplayOptions{},
	)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	streamtest.Eventually(t, "the replayed one to fail", func() bool {
		l, err := d.Get(t.Context(), letters[0].ID)
		require.NoError(t, err)
		return l.State == deadletter.Open && l.Attempts > letters[0].Attempts
	})
	fixed.Store("3", true)
	fixed.Store("5", true)
	for range 2 { // twice: it counts once
		n, err = d.Replay(
			t.Context(), deadletter.Filter{IDs: []string{letters[0].ID, letters[1].ID}},
			deadletter.ReplayOptions{},
		)
		require.NoError(t, err)
		require.Equal(t, 2, n)
	}
	want = append(want, "3", "5")
	slices.Sort(want)
	streamtest.Eventually(
		t, "the replayed ones", func() bool { return slices.Equal(want, store.values()) },
	)
	open, err := d.List(t.Context(), deadletter.Filter{State: deadletter.Open})
	require.NoError(t, err)
	assert.Empty(t, open)
	streamtest.Eventually(t, "every position to be committed, the second copies' too", func() bool {
		lags, err := admin.Lag(
			t.Context(), e.Conn,
			map[string][]string{cfg.Group: {topic, record.ReplayTopic(cfg.Group)}},
		)
		require.NoError(t, err)
		return !slices.ContainsFunc(lags, func(l admin.PartitionLag) bool { return l.Lag > 0 })
	})
	stop()
}

// A failing record steps aside on a real log, too, and everything else goes on.
func TestRetryTopics(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic := e.Topic(t, 1)
		cfg := e.Group(t)
		again := e.Group(t)
		again.Group = record.RetryGroup(cfg.Group)
		delays := []time.Duration{100 * time.Millisecond, 300 * time.Millisecond}
		e.groupTopics(t, cfg.Group, delays...)
		p := e.Publisher(t)
		var store ledger
		var mu sync.Mutex
		visits := map[string][]time.Time{}
		e.runRouter(t, Options{
			Name: "work", Group: cfg.Group, Topics: []string{topic},
			Subscriber: e.newSubscriber(t, cfg), Emitter: p, MaxAttempts: 1, Splittable: true,
			Backoff: fault.Backoff{
				First: time.Millisecond, Max: time.Millisecond,
			}, Retry: &Retry{Delays: delays, Subscriber: e.newSubscriber(t, again)},
			Handler: func(_ context.Context, b *record.Batch) error {
				mu.Lock()
				defer mu.Unlock()
				var no fault.Reject
				for i := range b.Records {
					v := string(b.Records[i].Value)
					visits[v] = append(visits[v], time.Now())
					if v == "2" || v == "4" && len(visits[v]) < 3 {
						no.Add(i, errors.New("failing"))
					} else {
						store.add(&b.Records[i])
					}
				}
				return no.Err()
			},
		})
		streamtest.Emit(t, p, topic, 0, 0, 6)
		streamtest.Eventually(
			t, "all but the one that never works",
			func() bool { return slices.Equal([]string{"0", "1", "3", "4", "5"}, store.values()) },
		)
		d := deadletter.New(e.Conn, p, e.Conn.Names(), []string{cfg.Group}, nil)
		streamtest.Eventually(t, "the dead letter", func() bool {
			letters, err := d.List(t.Context(), deadletter.Filter{})
			require.NoError(t, err)
			return len(letters) == 1 && letters[0].Origin.Offset == 2 && letters[0].Attempts == 3
		})
		mu.Lock()
		defer mu.Unlock()
		for _, v := range []string{"2", "4"} {
			require.Len(t, visits[v], 3)
			// The log keeps milliseconds.
			assert.GreaterOrEqual(t, visits[v][1].Sub(visits[v][0]), delays[0]-time.Millisecond)
			assert.GreaterOrEqual(t, visits[v][2].Sub(visits[v][1]), delays[1]-time.Millisecond)
		}
	})
}

func TestReplayRate(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	d, group, _ := e.deadLetters(t, 40)
	began := time.Now()
	n, err := d.Replay(
		t.Context(), deadletter.Filter{Group: group}, deadletter.ReplayOptions{Rate: 50},
	)
	require.NoError(t, err)
	assert.Equal(t, 40, n)
	assert.Greater(t, time.Since(began), 500*time.Millisecond)
	assert.Less(t, time.Since(began), 3*time.Second)
}
