// Package streamtest gives the packages around stream a broker to test against.
package streamtest

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
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Engine is a broker to test against.
type Engine struct {
	Conn *stream.Conn
	Fake *kfake.Cluster // nil when the broker is a real one
	Name string         // prefix for topics and groups of this test
}

// Fake starts an in-process broker.
func Fake(t testing.TB, opts ...kfake.Opt) *Engine {
	t.Helper()
	opts = append([]kfake.Opt{
		kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100 * time.Millisecond),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
	}, opts...)
	cluster, err := kfake.NewCluster(opts...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	return &Engine{Conn: openConn(t, cluster.ListenAddrs()...), Fake: cluster, Name: "t"}
}

// Real connects to the broker that KAFKA_BROKERS names.
func Real(t testing.TB) *Engine {
	t.Helper()
	brokers := enginetest.Addr(t, "KAFKA_BROKERS")
	e := &Engine{
		Conn: openConn(t, strings.Split(brokers, ",")...), Name: "s1-" + uuid.NewString()[:8],
	}
	t.Cleanup(func() { e.deleteTopics(t) })
	return e
}

func (e *Engine) deleteTopics(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	res, err := e.Conn.Client().Metadata(ctx, &kafka.MetadataRequest{})
	require.NoError(t, err)
	var mine []string
	for _, topic := range res.Topics {
		if strings.HasPrefix(topic.Name, e.Name) {
			mine = append(mine, topic.Name)
		}
	}
	_, err = e.Conn.Client().DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: mine})
	require.NoError(t, err)
}

func openConn(t testing.TB, brokers ...string) *stream.Conn {
	t.Helper()
	cfg := stream.DefaultConfig(brokers...)
	cfg.MetadataTTL = time.Second
	cfg.MaxDecompressedBytes = 4 << 20
	conn, err := stream.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// Topic makes a topic and waits until it can be used.
func (e *Engine) Topic(t testing.TB, partitions int, configs ...kafka.ConfigEntry) string {
	t.Helper()
	name := fmt.Sprintf("%s-%s", e.Name, uuid.NewString()[:8])
	res, err := e.Conn.Client().
		CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
			Topic: name, NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: configs,
		}}})
	require.NoError(t, err)
	require.NoError(t, res.Errors[name])
	return name
}

// Group returns a configuration for a new group, with short times.
func (e *Engine) Group(t testing.TB) stream.SubscriberConfig {
	t.Helper()
	cfg := stream.DefaultSubscriberConfig(e.Name + "-" + uuid.NewString()[:8])
	cfg.SessionTimeout, cfg.HeartbeatInterval = 6*time.Second, 200*time.Millisecond
	cfg.RebalanceTimeout = 6 * time.Second
	cfg.DrainTimeout = 500 * time.Millisecond
	cfg.JoinBackoff = 50 * time.Millisecond
	cfg.WatchInterval = time.Second
	cfg.IdleClose, cfg.CommitInterval = 50*time.Millisecond, 50*time.Millisecond
	cfg.Logger = Logger(t)
	return cfg
}

// Logger logs into the test when LOG is set, and nowhere otherwise.
func Logger(t testing.TB) *slog.Logger {
	if os.Getenv("LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Publisher returns a publisher that is closed with the test.
func (e *Engine) Publisher(t testing.TB) *stream.Publisher {
	t.Helper()
	p, err := stream.NewPublisher(e.Conn, stream.DefaultPublisherConfig())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// ProduceRaw writes a batch as it stands to one partition.
func (e *Engine) ProduceRaw(t testing.TB, topic string, partition int, batch []byte) {
	t.Helper()
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(e.Conn.Config().Brokers...), kgo.MaxVersions(kversion.V3_0_0()),
	)
	require.NoError(t, err)
	defer cl.Close()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = int32(partition), batch
	to := kmsg.NewProduceRequestTopic()
	to.Topic = e.Conn.Full(topic)
	to.Partitions = append(to.Partitions, part)
	req.Topics = append(req.Topics, to)
	res, err := req.RequestWith(t.Context(), cl)
	require.NoError(t, err)
	require.Zero(t, res.Topics[0].Partitions[0].ErrorCode)
}

// Subscribe joins a group; the returned function closes it.
func (e *Engine) Subscribe(
	t testing.TB,
	cfg stream.SubscriberConfig,
	topics ...string,
) (<-chan *message.Message, func()) {
	t.Helper()
	s, err := stream.NewSubscriber(e.Conn, cfg)
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

// Emit writes n records numbered from start, with the number as value and key, to one partition.
func Emit(t testing.TB, p *stream.Publisher, topic string, partition, start, n int) {
	t.Helper()
	records := make([]record.Record, n)
	for i := range records {
		v := fmt.Appendf(nil, "%d", start+i)
		records[i] = record.Record{Topic: topic, Partition: partition, Key: v, Value: v}
	}
	require.NoError(t, p.Emit(t.Context(), records))
}

// Receive returns the next message.
func Receive(t testing.TB, out <-chan *message.Message) *message.Message {
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

// Committed returns a partition's committed offset and metadata.
func (e *Engine) Committed(t testing.TB, group, topic string, partition int) (int64, string) {
	t.Helper()
	res, err := e.Conn.Client().
		OffsetFetch(
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

// Eventually waits for a condition that only the broker can tell.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for !cond() {
		require.True(t, fault.Sleep(ctx, 10*time.Millisecond), "never: %s", what)
	}
}

// OnEngines runs a test on the in-process broker and, under a name with Real, on the real one.
func OnEngines(t *testing.T, f func(t *testing.T, e *Engine)) {
	t.Run("fake", func(t *testing.T) {
		t.Parallel()
		f(t, Fake(t))
	})
	t.Run("Real", func(t *testing.T) {
		t.Parallel()
		f(t, Real(t))
	})
}
