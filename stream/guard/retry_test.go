package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func withRetry(o *Options) {
	o.Retry = &Retry{
		Delays: []time.Duration{10 * time.Second, time.Minute}, Subscriber: noSubscriber{},
	}
	o.MaxAttempts = 2
}

// back turns what was emitted into a batch of its topic, as the subscriber of the retry or replay
// topic would.
func (b *bench) back(r record.Record, offset int64) *record.Batch {
	r.Partition, r.Offset, r.Time = 0, offset, time.Now()
	return &record.Batch{
		Group: "g", Range: record.Range{Topic: r.Topic, First: offset, Last: offset},
		Records: []record.Record{r}, Lease: b.lease,
	}
}

// A failing record steps aside, comes back after its delays, and becomes a dead letter after the
// last; the others flow.
func TestRetryVisits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(_ context.Context, batch *record.Batch) error {
			for i, r := range batch.Records {
				if string(r.Value) == "v2" {
					var no fault.Reject
					no.Add(i, errors.New("what"))
					return no.Err()
				}
			}
			return nil
		}, withRetry)
		began := time.Now()
		require.True(t, b.run(t.Context(), b.batch("in", 1, 2, 3)))
		require.Equal(t, []string{"g.retry.10s:v2"}, b.values())
		assert.Equal(t, OutcomeMoved, b.done[0].Outcome)
		assert.Zero(t, time.Since(began), "nobody waits")

		require.True(t, b.through(t.Context(), b.back(b.out.records[0], 500), b.g.retryChain()))
		assert.Equal(t, 10*time.Second, time.Since(began))
		require.True(t, b.through(t.Context(), b.back(b.out.records[1], 600), b.g.retryChain()))
		assert.Equal(t, 70*time.Second, time.Since(began))
		require.Equal(t, []string{"g.retry.10s:v2", "g.retry.1m:v2", "g.poison:v2"}, b.values())

		last := b.out.records[2]
		assert.Equal(t, "in", last.Header(record.HeaderTopic))
		assert.Equal(t, "2", last.Header(record.HeaderOffset))
		assert.Equal(t, "3", last.Header(record.HeaderAttempts))
		assert.Equal(t, stamp(began), last.Header(record.HeaderFirstFailure))
		assert.Equal(t, stamp(time.Now()), last.Header(record.HeaderLastFailure))
		assert.Equal(
			t,
			deadletter.ID(
				"g",
				record.Position{
					TopicPartition: record.TopicPartition{Topic: "in", Partition: 3}, Offset: 2,
				},
			),
			last.Header(record.HeaderID),
		)
		assert.Equal(
			t,
			[]record.Header{{Key: "own", Value: []byte("1")}, {Key: "own", Value: []byte{0, 255}}},
			deadletter.Own(last.Headers),
		)
		assert.Equal(
			t, []bool{false, false, true},
			[]bool{b.told[0].DeadLetter, b.told[1].DeadLetter, b.told[2].DeadLetter},
		)
	})
}

func TestRetryClasses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error // of the second of three records; nil means of all three
		all  bool
		want []string
		held bool
	}{
		{"permanent", fault.Permanentf("bad"), false, []string{"g.poison:v2"}, false},
		{"transient", fault.Transientf("locked"), false, []string{"g.retry.10s:v2"}, false},
		{"unknown", errors.New("what"), false, []string{"g.retry.10s:v2"}, false},
		{"transient for all is the engine", fault.Transientf("down"), true, nil, true},
		{
			"unknown for all", errors.New("what"), true,
			[]string{"g.retry.10s:v1", "g.retry.10s:v2", "g.retry.10s:v3"},
			false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, up := time.Now(), time.Now().Add(time.Hour)
				b := newBench(t, func(_ context.Context, batch *record.Batch) error {
					var no fault.Reject
					for i := range batch.Records {
						if (i == 1 || tc.all) && time.Now().Before(up) {
							no.Add(i, tc.err)
						}
					}
					return no.Err()
				}, withRetry)
				require.True(t, b.run(t.Context(), b.batch("in", 1, 2, 3)))
				assert.Equal(t, tc.want, b.values())
				assert.Equal(t, tc.held, time.Since(began) >= time.Hour)
			})
		})
	}
}

// When the engine is known to be down, records do not step aside one by one.
func TestRetryHoldsWhileBreakerIsOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := time.Now().Add(time.Hour)
		calls := 0
		b := newBench(t, func(_ context.Context, batch *record.Batch) error {
			calls++
			if time.Now().After(up) {
				return nil
			}
			if calls < 10 {
				return fault.Transientf("down")
			}
			var no fault.Reject
			no.Add(0, fault.Transientf("down"))
			return no.Err()
		}, withRetry)
		require.True(t, b.run(t.Context(), b.batch("in", 1, 2, 3)))
		assert.Empty(t, b.out.records)
	})
}

func TestRetryDelayStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(
			t,
			func(context.Context, *record.Batch) error { t.Error("called too early"); return nil },
			withRetry,
		)
		time.AfterFunc(time.Second, func() { close(b.lease.drain) })
		r := record.Record{Topic: "g.retry.1m", Value: []byte("v")}
		require.False(t, b.through(t.Context(), b.back(r, 1), b.g.retryChain()))
		assert.Empty(t, b.out.records)
	})
}

// Headers are believed on our own topics only: a producer may write what it likes elsewhere.
func TestHeadersAreBelievedOnOwnTopicsOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(
			t, func(context.Context, *record.Batch) error { return fault.Permanentf("bad") }, nil,
		)
		forged := deadletter.Headers{
			Group: "g",
			Origin: record.Position{
				TopicPartition: record.TopicPartition{Topic: "elsewhere", Partition: 1}, Offset: 7,
			},
			Attempts: 40,
		}
		in := b.batch("in", 1)
		in.Records[0].Headers = forged.On(nil)
		require.True(t, b.run(t.Context(), in))
		assert.Equal(t, "in", b.out.records[0].Header(record.HeaderTopic))
		assert.Equal(t, "1", b.out.records[0].Header(record.HeaderAttempts))

		replayed := b.batch("g.replay", 9)
		replayed.Records[0].Headers = forged.On(nil)
		require.True(t, b.run(t.Context(), replayed))
		assert.Equal(t, "elsewhere", b.out.records[1].Header(record.HeaderTopic))
		assert.Equal(t, "41", b.out.records[1].Header(record.HeaderAttempts))
	})
}

func TestOptionsValidate(t *testing.T) {
	t.Parallel()
	good := func() Options {
		return Options{
			Name: "n", Group: "g", Topics: []string{"t"}, Subscriber: noSubscriber{},
			Handler: func(context.Context, *record.Batch) error { return nil }, Emitter: &emitted{},
		}
	}
	require.NoError(t, good().Validate())
	for _, tc := range []struct {
		want   string
		change func(*Options)
	}{
		{"Name", func(o *Options) { o.Name = "" }},
		{"Group", func(o *Options) { o.Group = "" }},
		{"Topics", func(o *Options) { o.Topics = nil }},
		{"Subscriber", func(o *Options) { o.Subscriber = nil }},
		{"Handler", func(o *Options) { o.Handler = nil }},
		{"Emitter", func(o *Options) { o.Emitter = nil }},
		{"MaxAttempts", func(o *Options) { o.MaxAttempts = -1 }},
		{"Timeout", func(o *Options) { o.Timeout = -1 }},
		{"Backoff", func(o *Options) { o.Backoff = fault.Backoff{First: 2, Max: 1} }},
		{"never come back", func(o *Options) { o.Retry = &Retry{Delays: []time.Duration{1}} }},
		{"growing", func(o *Options) {
			o.Retry = &Retry{
				Subscriber: noSubscriber{}, Delays: []time.Duration{time.Minute, time.Second},
			}
		}},
		{"growing", func(o *Options) {
			o.Retry = &Retry{
				Subscriber: noSubscriber{}, Delays: []time.Duration{time.Minute, time.Minute},
			}
		}},
		{"growing", func(o *Options) { o.Retry = &Retry{Subscriber: noSubscriber{}} }},
	} {
		o := good()
		tc.change(&o)
		require.ErrorContains(t, o.Validate(), tc.want)
	}
}

// The router and the guard work behind any Watermill subscriber, here one without Kafka.
func TestRouterOnAnySubscriber(t *testing.T) {
	t.Parallel()
	pubsub := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{})
	out := &emitted{}
	r, err := NewRouter(RouterConfig{CloseTimeout: time.Second, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	var mu sync.Mutex
	var got []string
	all := make(chan struct{})
	require.NoError(t, r.Handle(Options{
		Name: "any", Group: "g", Topics: []string{"in"}, Subscriber: pubsub, Emitter: out,
		Handler: func(_ context.Context, b *record.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(
				got,
				fmt.Sprintf("%s %s %s", b.Topic, b.Records[0].Value, b.Records[0].Header("color")),
			)
			if len(got) == 3 {
				close(all)
			}
			if string(b.Records[0].Value) == "bad" {
				return fault.Permanentf("bad")
			}
			return nil
		},
	}))
	ran := make(chan error, 1)
	go func() { ran <- r.Run(t.Context()) }()
	<-r.Running()
	for _, v := range []string{"one", "bad", "two"} {
		m := message.NewMessage(watermill.NewUUID(), []byte(v))
		m.Metadata["color"] = "red"
		require.NoError(t, pubsub.Publish("in", m))
	}
	<-all
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.NoError(t, <-ran)
	slices.Sort(got)
	assert.Equal(t, []string{"in bad red", "in one red", "in two red"}, got)
	require.Len(t, out.records, 1)
	assert.Equal(t, "g.poison", out.records[0].Topic)
}

// slowSubscriber hands out one batch, and like ours waits in Close for what is in work.
type slowSubscriber struct {
	batch  *record.Batch
	closed chan struct{}
	once   sync.Once
	idle   sync.WaitGroup
	acked  bool
}

func (s *slowSubscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	s.idle.Go(func() {
		defer close(out)
		m := message.NewMessage("1", nil)
		m.SetContext(context.WithValue(ctx, handedKey{}, s.batch))
		out <- m
		select {
		case <-m.Acked():
			s.acked = true
		case <-m.Nacked():
		}
		<-s.closed
	})
	return out, nil
}

func (s *slowSubscriber) Close() error {
	s.once.Do(func() { close(s.closed) })
	s.idle.Wait()
	return nil
}

// Close lets a handler finish, but not wait, and not beyond the timeout.
func TestRouterClose(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		handler func(ctx context.Context, stop func()) error
		acked   bool
		takes   time.Duration
	}{
		{
			"finishes",
			func(_ context.Context, stop func()) error {
				stop()
				<-time.After(3 * time.Second)
				return nil
			},
			true, 3 * time.Second,
		},
		{"waits out a failure", func(_ context.Context, stop func()) error {
			time.AfterFunc(time.Millisecond, stop)
			return fault.Transientf("down")
		}, false, time.Millisecond},
		{
			"takes too long",
			func(ctx context.Context, stop func()) error { stop(); <-ctx.Done(); return ctx.Err() },
			false, 10 * time.Second,
		},
	} {
		for _, how := range []string{"Close", "context"} {
			t.Run(tc.name+" by "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := &slowSubscriber{
						closed: make(chan struct{}),
						batch:  &record.Batch{Records: []record.Record{{Topic: "in"}}},
					}
					r, err := NewRouter(
						RouterConfig{
							CloseTimeout: 10 * time.Second, Log: slog.New(slog.DiscardHandler),
						},
					)
					require.NoError(t, err)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					stop := cancel
					if how == "Close" {
						stop = func() { go func() { assert.NoError(t, r.Close()) }() }
					}
					require.NoError(
						t,
						r.Handle(
							Options{
								Name:       "n",
								Group:      "g",
								Topics:     []string{"in"},
								Subscriber: s,
								Emitter:    &emitted{},
								Backoff:    fault.Backoff{First: time.Minute, Max: time.Minute},
								Handler: func(ctx context.Context, _ *record.Batch) error {
									return tc.handler(ctx, stop)
								},
							},
						),
					)
					began := time.Now()
					require.NoError(t, r.Run(ctx))
					assert.Equal(t, tc.acked, s.acked)
					assert.InDelta(t, tc.takes, time.Since(began), float64(200*time.Millisecond))
				})
			})
		}
	}
}

// What others write into our topics must not confuse us: any headers are read without a panic, and
// what is read is written and read again alike.
