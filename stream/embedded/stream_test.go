//go:build unix

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/guard"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// The way the project uses the broker: topics from a table, a group with intents, and a
// broker that is killed under it and comes back on its address.
func TestStreamOverRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	topics := []admin.TopicSpec{
		{Name: "events", Partitions: 2, RetentionMs: 1000, RetentionBytes: 1 << 28},
		{Name: "meta", Partitions: 1, Compact: true},
		{Name: "group.poison", Partitions: 1},
	}
	var mu sync.Mutex
	seen := map[string]int{}
	var logID string
	for round := range 3 {
		c := startChild(t, dir, "")
		func() {
			conn, err := stream.Open(t.Context(), stream.DefaultConfig(c.addr))
			require.NoError(t, err)
			defer conn.Close()
			for range 2 {
				require.NoError(t, admin.EnsureTopics(t.Context(), conn, topics))
			}
			pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
			require.NoError(t, err)
			defer pub.Close()
			id, err := admin.LogID(t.Context(), conn, pub, "meta", round == 0)
			require.NoError(t, err)
			if round > 0 {
				assert.Equal(t, logID, id)
			}
			logID = id
			var records []record.Record
			for i := range 200 {
				records = append(
					records,
					record.Record{
						Topic: "events", Partition: record.AnyPartition,
						Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "%d-%d", round, i),
					},
				)
			}
			require.NoError(t, pub.Emit(t.Context(), records))

			cfg := stream.DefaultSubscriberConfig("group")
			cfg.Intents, cfg.MaxRecords, cfg.IdleClose = true, 50, 50*time.Millisecond
			cfg.SessionTimeout, cfg.HeartbeatInterval = 6*time.Second, time.Second
			cfg.RebalanceTimeout, cfg.DrainTimeout = 6*time.Second, time.Second
			cfg.Logger = slog.New(slog.DiscardHandler)
			sub, err := stream.NewSubscriber(conn, cfg)
			require.NoError(t, err)
			router, err := guard.NewRouter(
				guard.RouterConfig{
					CloseTimeout: 5 * time.Second, Log: slog.New(slog.DiscardHandler),
				},
			)
			require.NoError(t, err)
			require.NoError(t, router.Handle(guard.Options{
				Name: "work", Group: "group", Topics: []string{"events"}, Subscriber: sub,
				Emitter: pub,
				Backoff: fault.Backoff{First: time.Millisecond, Max: time.Millisecond},
				Handler: func(_ context.Context, b *record.Batch) error {
					mu.Lock()
					defer mu.Unlock()
					for _, r := range b.Records {
						if string(r.Value) == "1-7" {
							return errors.New("not this one")
						}
					}
					for _, r := range b.Records {
						seen[string(r.Value)]++
					}
					return nil
				},
				Splittable: true,
			}))
			ran := make(chan error, 1)
			go func() { ran <- router.Run(context.WithoutCancel(t.Context())) }()
			want := (round + 1) * 200
			if round > 0 {
				want--
			}
			require.Eventually(
				t, func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) >= want },
				20*time.Second, 10*time.Millisecond,
			)
			require.Eventually(t, func() bool {
				lags, err := admin.Lag(t.Context(), conn, map[string][]string{"group": {"events"}})
				return err == nil && lags[0].Lag+lags[1].Lag == 0
			}, 10*time.Second, 20*time.Millisecond)
			if round == 1 {
				require.NoError(t, router.Close())
				c.stop(t, syscall.SIGTERM)
			} else {
				c.stop(t, syscall.SIGKILL)
				require.NoError(
					t, router.Close(), "a dead broker must not keep anyone from stopping",
				)
			}
			require.NoError(t, <-ran)
		}()
	}
	for v, n := range seen {
		assert.Equal(t, 1, n, "%s was seen more than once although every range was closed", v)
	}
}

// A broker that dies and comes back on its address is an outage: everything waits, goes on, and
// nothing becomes a dead letter.
func TestBrokerComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startChild(t, dir, "")
	addr := c.addr
	conn, err := stream.Open(t.Context(), stream.DefaultConfig(addr))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(
		t,
		admin.EnsureTopics(
			t.Context(),
			conn,
			[]admin.TopicSpec{
				{Name: "events", Partitions: 2},
				{Name: "results", Partitions: 2},
				{Name: "group.poison", Partitions: 1},
			},
		),
	)
	pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
	require.NoError(t, err)
	defer pub.Close()
	cfg := stream.DefaultSubscriberConfig("group")
	cfg.Intents, cfg.MaxRecords, cfg.IdleClose = true, 20, 50*time.Millisecond
	cfg.SessionTimeout, cfg.HeartbeatInterval = 3*time.Second, 200*time.Millisecond
	cfg.RebalanceTimeout, cfg.DrainTimeout = 3*time.Second, 500*time.Millisecond
	cfg.RequestTimeout = 2 * time.Second
	cfg.JoinBackoff = 100 * time.Millisecond
	cfg.Logger = slog.New(slog.DiscardHandler)
	sub, err := stream.NewSubscriber(conn, cfg)
	require.NoError(t, err)
	router, err := guard.NewRouter(
		guard.RouterConfig{CloseTimeout: 5 * time.Second, Log: slog.New(slog.DiscardHandler)},
	)
	require.NoError(t, err)
	var mu sync.Mutex
	seen := map[string]bool{}
	require.NoError(t, router.Handle(guard.Options{
		Name: "work", Group: "group", Topics: []string{"events"}, Subscriber: sub, Emitter: pub,
		MaxAttempts: 1,
		Backoff:     fault.Backoff{First: 10 * time.Millisecond, Max: 200 * time.Millisecond},
		Breaker:     guard.Breaker{Delay: 200 * time.Millisecond},
		Handler: func(ctx context.Context, b *record.Batch) error {
			var out []record.Record
			for _, r := range b.Records {
				out = append(
					out,
					record.Record{
						Topic: "results", Partition: record.AnyPartition, Key: r.Key,
						Value: r.Value,
					},
				)
			}
			if err := b.CheckLease(ctx); err != nil {
				return err
			}
			if err := pub.Emit(ctx, out); err != nil {
				return fmt.Errorf("emit %d results: %w", len(out), err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, r := range b.Records {
				seen[string(r.Value)] = true
			}
			return nil
		},
	}))
	ran := make(chan error, 1)
	go func() { ran <- router.Run(context.WithoutCancel(t.Context())) }()

	emitting := make(chan error, 1)
	const total = 1500
	go func() {
		for i := range total / 10 {
			var records []record.Record
			for j := range 10 {
				records = append(
					records,
					record.Record{
						Topic: "events", Partition: record.AnyPartition,
						Key: fmt.Appendf(nil, "k%d", j), Value: fmt.Appendf(nil, "%d", i*10+j),
					},
				)
			}
			if err := pub.Emit(t.Context(), records); err != nil {
				emitting <- err
				return
			}
		}
		emitting <- nil
	}()
	for kills := range 2 {
		require.Eventually(
			t, func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) > (kills+1)*100 },
			20*time.Second, time.Millisecond,
		)
		c.stop(t, syscall.SIGKILL)
		c = startChild(t, dir, "", childAddr+"="+addr)
	}
	require.NoError(t, <-emitting)
	require.Eventually(
		t,
		func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == total }, 30*time.Second,
		10*time.Millisecond,
	)
	letters, err := deadletter.New(conn, pub, conn.Names(), []string{"group"}, nil).List(
		t.Context(), deadletter.Filter{},
	)
	require.NoError(t, err)
	assert.Empty(t, letters)
	require.NoError(t, router.Close())
	require.NoError(t, <-ran)
}
