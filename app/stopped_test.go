package app

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func healthy(t *testing.T, a *App) func() error {
	t.Helper()
	return check(t, a, "partitions")
}

func bareApp() *App {
	return &App{
		metrics: telemetry.NewMetrics("test"), kafka: &Kafka{}, engines: &Engines{},
		log: slog.New(slog.DiscardHandler),
	}
}

// Two groups stop at the same partition for reasons of their own. Each is named with its reason
// until its own group is assigned anew.
func TestReadinessNamesTheGroupOfAStoppedPartition(t *testing.T) {
	t.Parallel()
	a := bareApp()
	ping := healthy(t, a)
	embed, analytics := a.subscriberHooks("embed"), a.subscriberHooks("analytics")
	tp := record.TopicPartition{Topic: "interactions", Partition: 3}
	embed.Generation(1, 4)
	analytics.Generation(1, 4)
	embed.PartitionStopped(tp, errors.New("records were deleted unread"))
	analytics.PartitionStopped(tp, errors.New("its offset is past the end"))
	err := ping()
	require.ErrorContains(t, err, "embed at "+tp.String()+": records were deleted unread")
	require.ErrorContains(t, err, "analytics at "+tp.String()+": its offset is past the end")
	require.Equal(t, err.Error(), ping().Error(), "the same answer while nothing changes")

	embed.Generation(2, 4)
	err = ping()
	require.NotContains(t, err.Error(), "embed")
	require.ErrorContains(t, err, "analytics at "+tp.String())
	analytics.Generation(2, 0) // another process has the partition now
	require.NoError(t, ping())
}

// A partition stops, because the group's offset is past the end of the log, and works again.
func TestReadinessRecovers(t *testing.T) {
	t.Parallel()
	bc := embedded.DefaultConfig(t.TempDir())
	bc.Addr, bc.Log = "127.0.0.1:0", slog.New(slog.DiscardHandler)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	conn, err := stream.Open(t.Context(), stream.DefaultConfig(broker.Addr()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	const topic, group, behind = "interactions", "embed", 5
	require.NoError(t, admin.EnsureTopics(
		t.Context(), conn, []admin.TopicSpec{{Name: topic, Partitions: 1}},
	))
	kc, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DisableClientMetrics())
	require.NoError(t, err)
	t.Cleanup(kc.Close)
	commit := kadm.Offsets{}
	commit.Add(kadm.Offset{Topic: topic, Partition: 0, At: behind})
	require.NoError(t, kadm.NewClient(kc).CommitAllOffsets(t.Context(), group, commit))

	a := bareApp()
	ping := healthy(t, a)
	seen := make(chan int64, 2*behind)
	join := func() {
		cfg := stream.DefaultSubscriberConfig(group)
		cfg.Hooks, cfg.Logger = a.subscriberHooks(group), slog.New(slog.DiscardHandler)
		cfg.SessionTimeout, cfg.HeartbeatInterval = 6*time.Second, 100*time.Millisecond
		cfg.RebalanceTimeout, cfg.DrainTimeout = 6*time.Second, time.Second
		sub, err := stream.NewSubscriber(conn, cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, sub.Close()) })
		out, err := sub.Subscribe(t.Context(), topic)
		require.NoError(t, err)
		go func() {
			for msg := range out {
				seen <- stream.BatchOf(msg).First
				msg.Ack()
			}
		}()
	}
	join()
	require.Eventually(t, func() bool { return ping() != nil }, 20*time.Second, time.Millisecond)
	require.ErrorContains(t, ping(), "embed at "+topic)

	pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pub.Close()) })
	for i := range behind + 1 {
		require.NoError(t, pub.Emit(t.Context(), []record.Record{
			{Topic: topic, Value: fmt.Append(nil, i)},
		}))
	}
	join() // a member more: the group is assigned anew
	select {
	case first := <-seen:
		require.EqualValues(t, behind, first)
	case <-time.After(30 * time.Second):
		t.Fatal("the partition does not work again")
	}
	require.Eventually(t, func() bool { return ping() == nil }, 20*time.Second, time.Millisecond)
}
