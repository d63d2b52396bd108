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

	"github.com/slipstream-rec/slipstream/stream"
)

// The way the project uses the broker: topics from a table, a group with written-down ranges, and a broker that is killed under it and comes back on its address.
func TestStreamOverRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	topics := []stream.TopicSpec{
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
				require.NoError(t, stream.EnsureTopics(t.Context(), conn, topics))
			}
			pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
			require.NoError(t, err)
			defer pub.Close()
			id, err := stream.LogID(t.Context(), conn, pub, "meta", round == 0)
			require.NoError(t, err)
			if round > 0 {
				assert.Equal(t, logID, id)
			}
			logID = id
			var records []stream.Record
			for i := range 200 {
				records = append(records, stream.Record{Topic: "events", Partition: stream.AnyPartition, Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "%d-%d", round, i)})
			}
			require.NoError(t, pub.Emit(t.Context(), records))

			cfg := stream.DefaultSubscriberConfig("group")
			cfg.Ranges, cfg.MaxRecords, cfg.IdleClose = true, 50, 50*time.Millisecond
			cfg.SessionTimeout, cfg.HeartbeatInterval, cfg.RebalanceTimeout, cfg.DrainTimeout = 6*time.Second, time.Second, 6*time.Second, time.Second
			cfg.Logger = slog.New(slog.DiscardHandler)
			sub, err := stream.NewSubscriber(conn, cfg)
			require.NoError(t, err)
			router, err := stream.NewRouter(stream.RouterConfig{CloseTimeout: 5 * time.Second, Log: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			require.NoError(t, router.Handle(stream.Options{
				Name: "work", Group: "group", Topics: []string{"events"}, Subscriber: sub, Emitter: pub, Backoff: stream.Backoff{First: time.Millisecond, Max: time.Millisecond},
				Handler: func(_ context.Context, b *stream.Batch) error {
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
			require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) >= want }, 20*time.Second, 10*time.Millisecond)
			require.Eventually(t, func() bool {
				lags, err := stream.Lag(t.Context(), conn, map[string][]string{"group": {"events"}})
				return err == nil && lags[0].Lag+lags[1].Lag == 0
			}, 10*time.Second, 20*time.Millisecond)
			if round == 1 {
				require.NoError(t, router.Close())
				c.stop(t, syscall.SIGTERM)
			} else {
				c.stop(t, syscall.SIGKILL)
				require.NoError(t, router.Close(), "a dead broker must not keep anyone from stopping")
			}
			require.NoError(t, <-ran)
		}()
	}
	for v, n := range seen {
		assert.Equal(t, 1, n, "%s was seen more than once although every range was closed", v)
	}
}
