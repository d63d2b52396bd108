package stream

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
)

// groupTopics makes the topics that a group needs beside its input.
func (e *engine) groupTopics(t *testing.T, group string, delays ...time.Duration) {
	t.Helper()
	specs := []TopicSpec{{Name: PoisonTopic(group), Partitions: 2}, {Name: ReplayTopic(group), Partitions: 2}}
	for _, d := range delays {
		specs = append(specs, TopicSpec{Name: RetryTopic(group, d), Partitions: 1})
	}
	require.NoError(t, EnsureTopics(t.Context(), e.conn, specs))
}

// deadLetters returns the dead letters of a new group that has n of them, from offsets 0 to n-1 of "in"; every third has no key.
func (e *engine) deadLetters(t *testing.T, n int) (*DeadLetters, string, *Publisher) {
	t.Helper()
	group := e.newName()
	e.groupTopics(t, group)
	p := e.publisher(t)
	records := make([]Record, n)
	for i := range records {
		s := story{
			group: group, handler: "work", subscriber: group, origin: Position{TopicPartition{"in", 0}, int64(i)}, time: time.UnixMilli(int64(i)).UTC(),
			class: fault.Permanent, reason: fmt.Sprintf("Reason %d", i%2), attempts: 1, first: time.Now().UTC(), last: time.Now().UTC(),
		}
		records[i] = Record{Topic: PoisonTopic(group), Partition: AnyPartition, Value: fmt.Appendf(nil, "v%d", i), Headers: s.headers([]Header{{"own", []byte{0, 255}}})}
		if i%3 != 0 {
			records[i].Key = fmt.Appendf(nil, "k%d", i)
		}
	}
	require.NoError(t, p.Emit(t.Context(), records))
	return NewDeadLetters(e.conn, p, []string{group, e.newName()}), group, p
}

func offsets(letters []DeadLetter) []int64 {
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
		list := func(f DeadLetterFilter) []int64 {
			t.Helper()
			letters, err := d.List(t.Context(), f)
			require.NoError(t, err)
			return offsets(letters)
		}
		assert.Equal(t, []int64{0, 1, 2, 3, 4, 5}, list(DeadLetterFilter{}))
		assert.Equal(t, []int64{1, 3, 5}, list(DeadLetterFilter{Reason: "reason 1"}))
		assert.Equal(t, []int64{0, 1, 2, 3, 4, 5}, list(DeadLetterFilter{Group: group, Class: "permanent", Topic: "in", Since: before, State: DeadLetterOpen}))
		assert.Empty(t, list(DeadLetterFilter{Class: "unknown"}))
		assert.Empty(t, list(DeadLetterFilter{Topic: "out"}))
		assert.Empty(t, list(DeadLetterFilter{Until: before}))
		assert.Empty(t, list(DeadLetterFilter{Group: "other"}))
		assert.Len(t, list(DeadLetterFilter{Limit: 2}), 2)

		id := func(offset int64) string { return DeadLetterID(group, Position{TopicPartition{"in", 0}, offset}) }
		l, err := d.Get(t.Context(), id(4))
		require.NoError(t, err)
		assert.Equal(t, "v4", string(l.Value))
		assert.Equal(t, "k4", string(l.Key))
		assert.Equal(t, []Header{{"own", []byte{0, 255}}}, l.Headers)
		assert.Equal(t, time.UnixMilli(4).UTC(), l.Time)
		assert.Equal(t, DeadLetterOpen, l.State)
		_, err = d.Get(t.Context(), "nobody")
		require.ErrorIs(t, err, ErrNoDeadLetter)

		// Drop one, with and without a key; replay two; by id and by reason.
		n, err := d.Drop(t.Context(), DeadLetterFilter{IDs: []string{id(0), id(1)}}, "a test event")
		require.NoError(t, err)
		assert.Equal(t, 2, n)
		var progress []int
		n, err = d.Replay(t.Context(), DeadLetterFilter{Reason: "Reason 1"}, ReplayOptions{Reason: "fixed", Progress: func(done, total int) { progress = append(progress, done, total) }})
		require.NoError(t, err)
		assert.Equal(t, 2, n, "3 and 5: 1 is dropped")
		assert.Equal(t, []int{2, 2}, progress)
		assert.Equal(t, []int64{0, 1}, list(DeadLetterFilter{State: DeadLetterDropped}))
		assert.Equal(t, []int64{3, 5}, list(DeadLetterFilter{State: DeadLetterReplayed}))
		assert.Equal(t, []int64{2, 4}, list(DeadLetterFilter{State: DeadLetterOpen}))
		l, err = d.Get(t.Context(), id(0))
		require.NoError(t, err)
		assert.Equal(t, "a test event", l.Resolution)
		assert.WithinDuration(t, time.Now(), l.ResolvedAt, time.Minute)

		replayed := e.readAll(t, ReplayTopic(group))
		require.Len(t, replayed, 2)
		for _, r := range replayed {
			g, at, ok := Origin(&r)
			require.True(t, ok)
			assert.Equal(t, group, g)
			assert.Equal(t, fmt.Sprintf("v%d", at.Offset), string(r.Value))
			if at.Offset == 5 {
				assert.Equal(t, "k5", string(r.Key))
			} else {
				assert.Nil(t, r.Key)
			}
			assert.Equal(t, []Header{{"own", []byte{0, 255}}}, ownHeaders(r.Headers))
		}

		// One that fails again is open again.
		s, _ := readStory(&replayed[0])
		s.attempts++
		again := Record{Topic: PoisonTopic(group), Partition: AnyPartition, Key: replayed[0].Key, Value: replayed[0].Value, Headers: s.headers(nil)}
		require.Eventually(t, func() bool { return time.Since(l.SetAside) > 2*time.Millisecond }, time.Second, time.Millisecond, "of two without a key the later one counts")
		require.NoError(t, p.Emit(t.Context(), []Record{again}))
		l, err = d.Get(t.Context(), s.id())
		require.NoError(t, err)
		assert.Equal(t, DeadLetterOpen, l.State)
		assert.Equal(t, 2, l.Attempts)
		assert.Len(t, list(DeadLetterFilter{}), 6)

		// A mistyped id is an error, and nothing is done.
		_, err = d.Drop(t.Context(), DeadLetterFilter{IDs: []string{id(2), "typo"}}, "")
		require.ErrorIs(t, err, ErrNoDeadLetter)
		_, err = d.Replay(t.Context(), DeadLetterFilter{IDs: []string{"typo"}}, ReplayOptions{})
		require.ErrorIs(t, err, ErrNoDeadLetter)
		assert.Contains(t, list(DeadLetterFilter{State: DeadLetterOpen}), int64(2))
		n, err = d.Drop(t.Context(), DeadLetterFilter{Topic: "nothing"}, "")
		require.NoError(t, err)
		assert.Zero(t, n)
	})
}

func TestReplayWithoutValue(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	d, group, p := e.deadLetters(t, 2)
	s := story{group: group, origin: Position{TopicPartition{"in", 0}, 77}, omitted: 9_000_000}
	require.NoError(t, p.Emit(t.Context(), []Record{{Topic: PoisonTopic(group), Partition: AnyPartition, Headers: s.headers(nil)}}))
	n, err := d.Replay(t.Context(), DeadLetterFilter{}, ReplayOptions{})
	require.ErrorContains(t, err, "in/0@77")
	assert.Equal(t, 2, n)
	letters, err := d.List(t.Context(), DeadLetterFilter{State: DeadLetterOpen})
	require.NoError(t, err)
	assert.Equal(t, []int64{77}, offsets(letters))
}

func TestReplayStopsHalfway(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	d, _, _ := e.deadLetters(t, 250)
	ctx, cancel := context.WithCancel(t.Context())
	n, err := d.Replay(ctx, DeadLetterFilter{}, ReplayOptions{Progress: func(done, _ int) {
		if done == 200 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "stopped after 200")
	assert.Equal(t, 200, n)
	n, err = d.Replay(t.Context(), DeadLetterFilter{}, ReplayOptions{})
	require.NoError(t, err)
	assert.Equal(t, 50, n)
}

// readAll returns every record of a topic.
func (e *engine) readAll(t *testing.T, topic string) []Record {
	t.Helper()
	n, err := e.conn.Partitions(t.Context(), topic)
	require.NoError(t, err)
	var out []Record
	for p := range n {
		require.NoError(t, ReadPartition(t.Context(), e.conn, TopicPartition{topic, p}, 0, -1, func(r *Record) error { out = append(out, *r); return nil }))
	}
	return out
}

// ledger is a store whose effects count once per group and original position, as a consumer of replays is to do it.
type ledger struct {
	mu      sync.Mutex
	effects map[string]int
	order   []string
}

func (l *ledger) add(r *Record) {
	_, at, _ := Origin(r)
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

func (e *engine) newSubscriber(t *testing.T, cfg SubscriberConfig) *Subscriber {
	t.Helper()
	s, err := NewSubscriber(e.conn, cfg)
	require.NoError(t, err)
	return s
}

func (e *engine) runRouter(t *testing.T, handle ...Options) (stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("LOG") != "" { // not into the test: Watermill logs a last line after Close
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r, err := NewRouter(RouterConfig{CloseTimeout: 5 * time.Second, Log: log})
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

// The whole story on a broker: a bad record, a panic, an outage, a restart, dead letters, a replay that fails and one that succeeds, a second replay that counts once.
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
	topic := e.topic(t, 2)
	cfg := e.group(t)
	cfg.Ranges = ranges
	e.groupTopics(t, cfg.Group)
	p := e.publisher(t)
	var store ledger
	var fixed, outage sync.Map
	handler := func(_ context.Context, b *Batch) error {
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
			Name: "work", Group: cfg.Group, Topics: []string{topic, ReplayTopic(cfg.Group)}, Subscriber: e.newSubscriber(t, cfg), Handler: handler, Emitter: p,
			MaxAttempts: 3, Backoff: Backoff{First: 5 * time.Millisecond, Max: 50 * time.Millisecond}, Breaker: Breaker{Failures: 3, Delay: 100 * time.Millisecond},
		})
	}
	stop := run()
	emit(t, p, topic, 0, 0, 8)
	emit(t, p, topic, 1, 10, 5)
	want := []string{"0", "1", "10", "11", "12", "13", "14", "2", "4", "6", "7"}
	eventually(t, "the good records", func() bool { return slices.Equal(want, store.values()) })
	d := NewDeadLetters(e.conn, p, []string{cfg.Group})
	var letters []DeadLetter
	eventually(t, "the dead letters", func() bool {
		var err error
		letters, err = d.List(t.Context(), DeadLetterFilter{})
		require.NoError(t, err)
		return len(letters) == 2
	})
	slices.SortFunc(letters, func(a, b DeadLetter) int { return int(a.Origin.Offset - b.Origin.Offset) })
	assert.Equal(t, Position{TopicPartition{topic, 0}, 3}, letters[0].Origin)
	assert.Equal(t, fault.Permanent, letters[0].Class)
	assert.Equal(t, fault.Unknown, letters[1].Class)
	assert.Contains(t, letters[1].Reason, "5 panics")
	assert.Equal(t, 3, letters[1].Attempts)

	// An outage, with a stop in the middle of it.
	outage.Store("down", true)
	emit(t, p, topic, 0, 20, 3)
	stop()
	outage.Clear()
	stop = run()
	want = append(want, "20", "21", "22")
	slices.Sort(want)
	eventually(t, "what came during the outage", func() bool { return slices.Equal(want, store.values()) })

	// A replay without a fix fails again: still two dead letters, one of them open again.
	n, err := d.Replay(t.Context(), DeadLetterFilter{IDs: []string{letters[0].ID}}, ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	eventually(t, "the replayed one to fail", func() bool {
		l, err := d.Get(t.Context(), letters[0].ID)
		require.NoError(t, err)
		return l.State == DeadLetterOpen && l.Attempts > letters[0].Attempts
	})
	fixed.Store("3", true)
	fixed.Store("5", true)
	for range 2 { // twice: it counts once
		n, err = d.Replay(t.Context(), DeadLetterFilter{IDs: []string{letters[0].ID, letters[1].ID}}, ReplayOptions{})
		require.NoError(t, err)
		require.Equal(t, 2, n)
	}
	want = append(want, "3", "5")
	slices.Sort(want)
	eventually(t, "the replayed ones", func() bool { return slices.Equal(want, store.values()) })
	open, err := d.List(t.Context(), DeadLetterFilter{State: DeadLetterOpen})
	require.NoError(t, err)
	assert.Empty(t, open)
	eventually(t, "every position to be committed, the second copies' too", func() bool {
		lags, err := Lag(t.Context(), e.conn, map[string][]string{cfg.Group: {topic, ReplayTopic(cfg.Group)}})
		require.NoError(t, err)
		return !slices.ContainsFunc(lags, func(l PartitionLag) bool { return l.Lag > 0 })
	})
	stop()
}

// A record in trouble steps aside on a real log, too, and everything else goes on.
func TestRetryTopics(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic := e.topic(t, 1)
		cfg := e.group(t)
		again := e.group(t)
		again.Group = RetryGroup(cfg.Group)
		delays := []time.Duration{100 * time.Millisecond, 300 * time.Millisecond}
		e.groupTopics(t, cfg.Group, delays...)
		p := e.publisher(t)
		var store ledger
		var mu sync.Mutex
		visits := map[string][]time.Time{}
		e.runRouter(t, Options{
			Name: "work", Group: cfg.Group, Topics: []string{topic}, Subscriber: e.newSubscriber(t, cfg), Emitter: p, MaxAttempts: 1, Splittable: true,
			Backoff: Backoff{First: time.Millisecond, Max: time.Millisecond}, Retry: &Retry{Delays: delays, Subscriber: e.newSubscriber(t, again)},
			Handler: func(_ context.Context, b *Batch) error {
				mu.Lock()
				defer mu.Unlock()
				var no fault.Reject
				for i := range b.Records {
					v := string(b.Records[i].Value)
					visits[v] = append(visits[v], time.Now())
					if v == "2" || v == "4" && len(visits[v]) < 3 {
						no.Add(i, errors.New("in trouble"))
					} else {
						store.add(&b.Records[i])
					}
				}
				return no.Err()
			},
		})
		emit(t, p, topic, 0, 0, 6)
		eventually(t, "all but the one that never works", func() bool { return slices.Equal([]string{"0", "1", "3", "4", "5"}, store.values()) })
		d := NewDeadLetters(e.conn, p, []string{cfg.Group})
		eventually(t, "the dead letter", func() bool {
			letters, err := d.List(t.Context(), DeadLetterFilter{})
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
