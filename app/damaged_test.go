package app

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// stoppedPartitions returns what the metric says of a group.
func (a *App) stoppedPartitions(t *testing.T, group string) (n float64) {
	t.Helper()
	families, err := a.metrics.Registry().Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != "slipstream_stopped_partitions" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == group {
				n = m.GetGauge().GetValue()
			}
		}
	}
	return n
}

// check returns what /readyz asks for a part of the process.
func check(t *testing.T, a *App, name string) func() error {
	t.Helper()
	for _, c := range a.checks() {
		if c.Name == name {
			return func() error { return c.Ping(t.Context()) }
		}
	}
	t.Fatalf("nothing checks the %s", name)
	return nil
}

// A bit of a segment flips on the broker's disk. The readers say so, with what to do, and work by
// themselves when the segment is restored.
func TestADamagedLogIsToldAndWorksWhenItIsRestored(t *testing.T) {
	t.Parallel()
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	bc := embedded.DefaultConfig(dir)
	bc.Addr, bc.Log = "127.0.0.1:0", quiet
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	conn, err := stream.Open(t.Context(), stream.DefaultConfig(broker.Addr()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	const topic, group = "items", "catalog"
	require.NoError(t, admin.EnsureTopics(
		t.Context(), conn, []admin.TopicSpec{{Name: topic, Partitions: 1}},
	))
	pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pub.Close()) })
	require.NoError(t, pub.Emit(t.Context(), []record.Record{{Topic: topic, Value: []byte("1")}}))
	flip := func() {
		t.Helper()
		name := filepath.Join(dir, "log", "partitions", topic+"-0", "0.dat")
		raw, err := os.ReadFile(name)
		require.NoError(t, err)
		raw[len(raw)-2] ^= 1
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt(raw, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	flip()

	a := bareApp()
	seen := make(chan string, 10)
	f := stream.NewFollower(conn, topic, quiet, func(r *record.Record) error {
		seen <- "followed " + string(r.Value)
		return nil
	})
	a.followers = append(a.followers, f)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	cfg := stream.DefaultSubscriberConfig(group)
	cfg.Hooks, cfg.Logger = a.subscriberHooks(group), quiet
	cfg.SessionTimeout, cfg.HeartbeatInterval = 6*time.Second, 100*time.Millisecond
	cfg.RebalanceTimeout, cfg.DrainTimeout = 6*time.Second, time.Second
	sub, err := stream.NewSubscriber(conn, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sub.Close()) })
	out, err := sub.Subscribe(t.Context(), topic)
	require.NoError(t, err)
	go func() {
		for msg := range out {
			for _, r := range stream.BatchOf(msg).Records {
				seen <- "handled " + string(r.Value)
			}
			msg.Ack()
		}
	}()

	partitions := check(t, a, "partitions")
	require.Eventually(
		t, func() bool { return partitions() != nil }, 30*time.Second, time.Millisecond,
	)
	const remedy = "kafka.skip_damaged=items/0:0-0"
	require.ErrorContains(t, partitions(), group+" at items/0: items/0 is damaged")
	require.ErrorContains(t, partitions(), remedy)
	require.InDelta(t, 1, a.stoppedPartitions(t, group), 0)
	followers := check(t, a, "followers")
	require.Eventually(
		t, func() bool { return followers() != nil }, 30*time.Second, time.Millisecond,
	)
	require.ErrorContains(t, followers(), "follow items: items/0 is damaged")
	require.ErrorContains(t, followers(), remedy)
	require.Empty(t, seen)

	flip()
	require.ElementsMatch(t, []string{"followed 1", "handled 1"}, []string{<-seen, <-seen})
	require.Eventually(t, func() bool {
		return partitions() == nil && followers() == nil
	}, 30*time.Second, time.Millisecond)
	require.Zero(t, a.stoppedPartitions(t, group))
}
