package guard

import (
	"context"
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

// prefixed returns the engine as an installation with a prefix sees it.
func (e *engine) prefixed(t *testing.T, prefix string) *engine {
	t.Helper()
	cfg := e.Conn.Config()
	cfg.Prefix = prefix
	conn, err := stream.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return &engine{&streamtest.Engine{Conn: conn, Fake: e.Fake, Name: "t"}}
}

// With a prefix everything here speaks logical names, and the broker sees full ones only: topics,
// groups, commits, and the headers of dead letters, which stay what they were before the prefix was
// the connection's.
func TestPrefix(t *testing.T) {
	t.Parallel()
	raw := fakeEngine(t)
	e := raw.prefixed(t, "shop.")
	delays := []time.Duration{50 * time.Millisecond}
	require.NoError(
		t, admin.EnsureTopics(t.Context(), e.Conn, []admin.TopicSpec{{Name: "in", Partitions: 2}}),
	)
	require.NoError(
		t,
		admin.EnsureTopics(
			t.Context(), e.Conn, []admin.TopicSpec{{Name: "in", Partitions: 2, RetentionMs: -1}},
		),
		"again, with a change",
	)
	e.groupTopics(t, "g", delays...)
	p := e.Publisher(t)

	var mu sync.Mutex
	effects := map[string]int{} // by value and first position
	fixed := false
	cfg := e.Group(t)
	cfg.Group, cfg.Intents, cfg.LogID = "g", true, "log"
	var assigned []record.Assignment
	cfg.Assigned = func(_ context.Context, in []record.Assignment) error {
		mu.Lock()
		defer mu.Unlock()
		assigned = in
		return nil
	}
	retry := e.Group(t)
	retry.Group = record.RetryGroup("g")
	var told []Moved
	stop := e.runRouter(t, Options{
		Name: "work", Group: "g", Topics: []string{"in", record.ReplayTopic("g")},
		Subscriber: e.newSubscriber(t, cfg), Emitter: p, MaxAttempts: 2,
		Backoff: fault.Backoff{First: time.Millisecond, Max: 5 * time.Millisecond},
		Retry:   &Retry{Delays: delays, Subscriber: e.newSubscriber(t, retry)},
		Hooks: Hooks{Moved: func(_ context.Context, s Moved) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, s)
		}},
		Handler: func(_ context.Context, b *record.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			assert.Contains(t, []string{"g", "g.retry"}, b.Group)
			if b.Topic == "in" {
				assert.Equal(t, "log", b.LogID)
			}
			var no fault.Reject
			for i := range b.Records {
				r := &b.Records[i]
				assert.Equal(t, b.Topic, r.Topic)
				if string(r.Value) == "bad" && !fixed {
					no.Add(i, fault.As(fault.Unknown, context.DeadlineExceeded))
					continue
				}
				id := r.Header(record.HeaderID)
				if id == "" {
					id = r.Position().String()
				}
				effects[id]++
			}
			return no.Err()
		},
	})
	records := []record.Record{
		{Topic: "in", Partition: 0, Value: []byte("good")},
		{
			Topic:     "in",
			Partition: 0,
			Value:     []byte("bad"),
			Headers:   []record.Header{{Key: "own", Value: []byte("1")}},
		},
		{Topic: "in", Partition: 1, Value: []byte("good")},
	}
	require.NoError(t, p.Emit(t.Context(), records))
	store := deadletter.New(e.Conn, p, e.Conn.Names(), []string{"g"}, nil)
	list := func(f deadletter.Filter) []deadletter.Letter {
		letters, err := store.List(t.Context(), f)
		require.NoError(t, err)
		return letters
	}
	streamtest.Eventually(
		t, "the dead letter",
		func() bool { return len(list(deadletter.Filter{Group: "g", Topic: "in"})) == 1 },
	)

	// A dead letter as every version before this wrote it, by hand.
	at := record.Position{
		TopicPartition: record.TopicPartition{Topic: "shop.in", Partition: 1}, Offset: 77,
	}
	old := deadletter.Headers{
		Group: "shop.g", Handler: "work", Subscriber: "shop.g", Origin: at, Class: fault.Permanent,
		Reason: "old",
	}
	require.NoError(t, raw.Publisher(t).Emit(t.Context(), []record.Record{{
		Topic: "shop.g.poison", Partition: 0, Value: []byte("of old"), Headers: old.On(nil),
	}}))
	letters := list(deadletter.Filter{})
	require.Len(t, letters, 2)
	for _, l := range letters {
		assert.Equal(t, "g", l.Group)
		assert.Equal(t, "in", l.Origin.Topic)
	}
	newID := deadletter.ID(
		"shop.g",
		record.Position{TopicPartition: record.TopicPartition{Topic: "shop.in"}, Offset: 1},
	)
	_, err := store.Get(t.Context(), newID)
	require.NoError(t, err)
	_, err = store.Get(t.Context(), deadletter.ID("shop.g", at))
	require.NoError(t, err)

	// On the broker: full names, in topics and in headers.
	var wire record.Record
	for part := range 2 {
		require.NoError(
			t,
			raw.Conn.Read(
				t.Context(),
				record.TopicPartition{Topic: "shop.g.poison", Partition: part},
				0,
				-1,
				func(r *record.Record) error {
					if r.Header(record.HeaderID) == newID {
						wire = *r
					}
					return nil
				},
			),
		)
	}
	assert.Equal(t, "shop.g", wire.Header(record.HeaderGroup))
	assert.Equal(t, "shop.g", wire.Header(record.HeaderSubscriber))
	assert.Equal(t, "shop.in", wire.Header(record.HeaderTopic))
	assert.Equal(t, "1", wire.Header(record.HeaderOffset))

	// Replayed twice, they come under one id, by which a consumer counts them once.
	mu.Lock()
	fixed = true
	mu.Unlock()
	for range 2 {
		n, err := store.Replay(
			t.Context(), deadletter.Filter{IDs: []string{newID, deadletter.ID("shop.g", at)}},
			deadletter.ReplayOptions{},
		)
		require.NoError(t, err)
		require.Equal(t, 2, n)
	}
	streamtest.Eventually(t, "the replayed ones", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return effects[newID] == 2 && effects[deadletter.ID("shop.g", at)] == 2 && len(effects) == 4
	})
	require.Len(t, list(deadletter.Filter{State: deadletter.Replayed}), 2)
	members, err := admin.Members(t.Context(), e.Conn, "g")
	require.NoError(t, err)
	assert.Len(t, members, 1)
	stop()

	mu.Lock()
	defer mu.Unlock()
	assert.Len(t, assigned, 4)
	require.Len(t, told, 2, "a retry topic, then the dead letters")
	assert.Equal(t, []string{"g.retry.50ms", "g.poison"}, []string{told[0].Topic, told[1].Topic})
	for _, s := range told {
		assert.Equal(t, newID, s.ID)
		assert.Equal(t, "in/0@1", s.Origin.String())
		assert.Equal(t, "g", s.Group)
	}

	// Positions: logical for us, under the full names on the broker.
	lags, err := admin.Lag(t.Context(), e.Conn, map[string][]string{"g": {"in"}})
	require.NoError(t, err)
	require.Len(t, lags, 2)
	assert.Equal(t, "in/0", lags[0].String())
	assert.Equal(t, int64(2), lags[0].Committed)
	offset, _ := raw.Committed(t, "shop.g", "shop.in", 0)
	assert.Equal(t, int64(2), offset)
	require.NoError(
		t,
		admin.ResetOffsets(
			t.Context(), e.Conn, "g",
			map[record.TopicPartition]int64{{Topic: "in", Partition: 0}: 1},
		),
	)
	offset, _ = raw.Committed(t, "shop.g", "shop.in", 0)
	assert.Equal(t, int64(1), offset)
	bounds, err := e.Conn.Offsets(t.Context(), "in")
	require.NoError(t, err)
	assert.Equal(
		t, int64(2), bounds[record.TopicPartition{Topic: "in", Partition: 0}].HighWatermark,
	)

	// Another installation on the same broker has neither the topic nor the group.
	exists, err := raw.prefixed(t, "other.").Conn.Exists(t.Context(), "in")
	require.NoError(t, err)
	assert.False(t, exists)
	require.NoError(t, admin.DeleteTopics(t.Context(), e.Conn, "in"))
	exists, err = raw.Conn.Exists(t.Context(), "shop.in")
	require.NoError(t, err)
	assert.False(t, exists)
}

func TestPrefixedFollower(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t).prefixed(t, "shop.")
	require.NoError(
		t, admin.EnsureTopics(t.Context(), e.Conn, []admin.TopicSpec{{Name: "in", Partitions: 1}}),
	)
	streamtest.Emit(t, e.Publisher(t), "in", 0, 0, 3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan record.Record, 3)
	f := stream.NewFollower(
		e.Conn, "in", streamtest.Logger(t), func(r *record.Record) error { got <- *r; return nil },
	)
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	require.NoError(t, f.WaitCaughtUp(ctx))
	require.Len(t, got, 3)
	r := <-got
	assert.Equal(t, "in", r.Topic)
	assert.Equal(t, time.UTC, r.Time.Location())
	cancel()
	require.NoError(t, <-ended)
}
