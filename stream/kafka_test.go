package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// engine is a broker to test against.
type engine struct {
	conn *Conn
	fake *kfake.Cluster // nil when the broker is a real one
	name string         // prefix for topics and groups of this test
}

// fakeEngine starts an in-process broker.
func fakeEngine(t testing.TB, opts ...kfake.Opt) *engine {
	t.Helper()
	opts = append([]kfake.Opt{
		kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100 * time.Millisecond),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
	}, opts...)
	cluster, err := kfake.NewCluster(opts...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	return &engine{conn: openConn(t, cluster.ListenAddrs()...), fake: cluster, name: "t"}
}

// realEngine connects to the broker that KAFKA_BROKERS names.
func realEngine(t testing.TB) *engine {
	t.Helper()
	brokers := enginetest.Addr(t, "KAFKA_BROKERS")
	e := &engine{
		conn: openConn(t, strings.Split(brokers, ",")...), name: "s1-" + uuid.NewString()[:8],
	}
	t.Cleanup(func() { e.deleteTopics(t) })
	return e
}

func (e *engine) deleteTopics(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	res, err := e.conn.client.Metadata(ctx, &kafka.MetadataRequest{})
	require.NoError(t, err)
	var mine []string
	for _, topic := range res.Topics {
		if strings.HasPrefix(topic.Name, e.name) {
			mine = append(mine, topic.Name)
		}
	}
	_, err = e.conn.client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: mine})
	require.NoError(t, err)
}

func openConn(t testing.TB, brokers ...string) *Conn {
	t.Helper()
	cfg := DefaultConfig(brokers...)
	cfg.MetadataTTL = time.Second
	conn, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// topic makes a topic and waits until it can be used.
func (e *engine) topic(t testing.TB, partitions int, configs ...kafka.ConfigEntry) string {
	t.Helper()
	name := fmt.Sprintf("%s-%s", e.name, uuid.NewString()[:8])
	res, err := e.conn.client.CreateTopics(
		t.Context(),
		&kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
			Topic: name, NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: configs,
		}}},
	)
	require.NoError(t, err)
	require.NoError(t, res.Errors[name])
	if e.fake == nil { // Kafka chooses leaders afterwards
		eventually(t, "leaders of "+name, func() bool {
			_, err := e.conn.Offsets(t.Context(), name)
			return err == nil
		})
	}
	return name
}

// group returns a configuration for a new group, with short times.
func (e *engine) group(t testing.TB) SubscriberConfig {
	t.Helper()
	cfg := DefaultSubscriberConfig(e.name + "-" + uuid.NewString()[:8])
	cfg.SessionTimeout, cfg.HeartbeatInterval = 6*time.Second, 200*time.Millisecond
	cfg.RebalanceTimeout = 6 * time.Second
	cfg.DrainTimeout = 500 * time.Millisecond
	cfg.JoinBackoff = 50 * time.Millisecond
	cfg.WatchInterval = time.Second
	cfg.IdleClose, cfg.CommitInterval = 50*time.Millisecond, 50*time.Millisecond
	cfg.Logger = testLogger(t)
	return cfg
}

// testLogger logs into the test when LOG is set, and nowhere otherwise.
func testLogger(t testing.TB) *slog.Logger {
	if os.Getenv("LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (e *engine) publisher(t testing.TB) *Publisher {
	t.Helper()
	p, err := NewPublisher(e.conn, DefaultPublisherConfig())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// subscriber joins a group; the returned function closes it.
func (e *engine) subscribe(
	t testing.TB,
	cfg SubscriberConfig,
	topics ...string,
) (<-chan *message.Message, func()) {
	t.Helper()
	s, err := NewSubscriber(e.conn, cfg)
	require.NoError(t, err)
	out, err := s.Subscribe(t.Context(), strings.Join(topics, ","))
	require.NoError(t, err)
	var closed atomic.Bool
	stop := func() {
		if closed.CompareAndSwap(false, true) {
			require.NoError(t, s.Close())
		}
	}
	t.Cleanup(stop)
	return out, stop
}

// emit writes n records numbered from start, with the number as value and key, to one partition.
func emit(t testing.TB, p *Publisher, topic string, partition, start, n int) {
	t.Helper()
	records := make([]record.Record, n)
	for i := range records {
		v := fmt.Appendf(nil, "%d", start+i)
		records[i] = record.Record{Topic: topic, Partition: partition, Key: v, Value: v}
	}
	require.NoError(t, p.Emit(t.Context(), records))
}

// receive returns the next message.
func receive(t testing.TB, out <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, ok := <-out:
		require.True(t, ok, "the channel is closed")
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("no message within 20 s")
		return nil
	}
}

// committed returns a partition's committed offset and metadata.
func (e *engine) committed(t testing.TB, group, topic string, partition int) (int64, string) {
	t.Helper()
	res, err := e.conn.client.OffsetFetch(
		t.Context(),
		&kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {partition}}},
	)
	require.NoError(t, err)
	if errors.Is(res.Error, kafka.GroupIdNotFound) {
		return -1, ""
	}
	require.NoError(t, res.Error)
	p := res.Topics[topic][0]
	require.NoError(t, p.Error)
	return p.CommittedOffset, p.Metadata
}

// eventually waits for a condition that only the broker can tell.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for !cond() {
		require.True(t, fault.Sleep(ctx, 10*time.Millisecond), "never: %s", what)
	}
}

// onEngines runs a test on the in-process broker and, under a name with Real, on the real one.
func onEngines(t *testing.T, f func(t *testing.T, e *engine)) {
	t.Run("fake", func(t *testing.T) {
		t.Parallel()
		f(t, fakeEngine(t))
	})
	t.Run("Real", func(t *testing.T) {
		t.Parallel()
		f(t, realEngine(t))
	})
}
