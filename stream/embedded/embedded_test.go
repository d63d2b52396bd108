//go:build unix

package embedded

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func testConfig(dir string) Config {
	cfg := DefaultConfig(dir)
	cfg.Addr = "127.0.0.1:0"
	cfg.CheckEvery = time.Hour // tests call maintenance themselves
	cfg.Log = slog.New(slog.DiscardHandler)
	return cfg
}

func start(t *testing.T, cfg Config) *Broker {
	t.Helper()
	b, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(
		append(
			[]kgo.Opt{
				kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()),
				kgo.ProducerBatchCompression(kgo.NoCompression()),
				kgo.FetchMaxWait(50 * time.Millisecond), kgo.DisableClientMetrics(),
			},
			opts...)...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(
	t *testing.T,
	cl *kgo.Client,
	topic string,
	partitions int32,
	configs map[string]*string,
) {
	t.Helper()
	_, err := kadm.NewClient(cl).CreateTopic(t.Context(), partitions, 1, configs, topic)
	require.NoError(t, err)
}

// produce writes n records of size bytes to partition 0, a batch each, with keys k0, k1, …, modulo
// keys if it is not 0.
func produce(t *testing.T, cl *kgo.Client, topic string, n, size, keys int) {
	t.Helper()
	value := make([]byte, size)
	_, _ = rand.Read(value)
	for i := range n {
		k := i
		if keys > 0 {
			k = i % keys
		}
		r := &kgo.Record{
			Topic: topic, Key: fmt.Appendf(nil, "k%d", k),
			Value: append(fmt.Appendf(nil, "%d:", i), value...),
		}
		require.NoError(t, cl.ProduceSync(t.Context(), r).FirstErr())
	}
}

// read returns the records of partition 0, from the first to the high watermark.
func read(t *testing.T, addr, topic string) []*kgo.Record {
	t.Helper()
	first, end := bounds(t, addr, topic)
	if end == 0 {
		return nil
	}
	cl := client(t, addr)
	meta, err := kadm.NewClient(cl).Metadata(t.Context(), topic)
	require.NoError(t, err)
	var out []*kgo.Record
	for at := first; at < end; {
		req := kmsg.NewPtrFetchRequest()
		req.MinBytes, req.MaxBytes = 1, 8<<20
		req.Topics = []kmsg.FetchRequestTopic{
			{
				Topic:   topic,
				TopicID: meta.Topics[topic].ID,
				Partitions: []kmsg.FetchRequestTopicPartition{
					{FetchOffset: at, PartitionMaxBytes: 8 << 20, CurrentLeaderEpoch: -1},
				},
			},
		}
		res, err := req.RequestWith(t.Context(), cl.Broker(int(meta.Brokers[0].NodeID)))
		require.NoError(t, err)
		require.Len(t, res.Topics, 1)
		f, next := kgo.ProcessFetchPartition(
			kgo.ProcessFetchPartitionOpts{Topic: topic, Offset: at}, &res.Topics[0].Partitions[0],
			kgo.DefaultDecompressor(), nil,
		)
		require.NoError(t, f.Err)
		require.Greater(t, next, at, "the log ends before its high watermark")
		at = next
		out = append(out, f.Records...)
	}
	return out
}

func bounds(t *testing.T, addr, topic string) (first, end int64) {
	t.Helper()
	adm := kadm.NewClient(client(t, addr))
	starts, err := adm.ListStartOffsets(t.Context(), topic)
	require.NoError(t, err)
	ends, err := adm.ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	s, _ := starts.Lookup(topic, 0)
	e, _ := ends.Lookup(topic, 0)
	require.NoError(t, s.Err)
	require.NoError(t, e.Err)
	return s.Offset, e.Offset
}

func latest(records []*kgo.Record) map[string]string {
	out := map[string]string{}
	for _, r := range records {
		v := string(r.Value)
		out[string(r.Key)] = v[:min(len(v), 12)]
	}
	return out
}

func TestSurvivesStop(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		sig  syscall.Signal
	}{{"clean", syscall.SIGTERM}, {"killed", syscall.SIGKILL}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var want []*kgo.Record
			for round := range 3 {
				c := startChild(t, dir, "")
				cl := client(t, c.addr)
				adm := kadm.NewClient(cl)
				if round == 0 {
					createTopic(t, cl, "events", 2, nil)
				}
				require.Equal(t, latest(want), latest(read(t, c.addr, "events")))
				if round > 0 {
					offsets, err := adm.FetchOffsets(t.Context(), "group")
					require.NoError(t, err)
					at, ok := offsets.Lookup("events", 0)
					require.True(t, ok, "the group's offset is gone")
					assert.EqualValues(t, round*50, at.At)
					assert.Equal(t, fmt.Sprintf("v1:%d-%d", round*50, round*50+7), at.Metadata)
				}
				produce(t, cl, "events", 50, 300, 0)
				require.Len(t, read(t, c.addr, "events"), (round+1)*50)
				want = read(t, c.addr, "events")
				commit := kadm.Offsets{}
				commit.Add(
					kadm.Offset{
						Topic: "events", Partition: 0, At: int64((round + 1) * 50),
						Metadata: fmt.Sprintf("v1:%d-%d", (round+1)*50, (round+1)*50+7),
					},
				)
				require.NoError(t, adm.CommitAllOffsets(t.Context(), "group", commit))
				c.stop(t, tc.sig)
			}
		})
	}
}

func TestTimeDeletesNothing(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	b := start(t, cfg)
	cl := client(t, b.Addr())
	adm := kadm.NewClient(cl)
	createTopic(t, cl, "plain", 1, map[string]*string{"retention.ms": kadm.StringPtr("1")})
	createTopic(
		t,
		cl,
		"compacted",
		1,
		map[string]*string{
			"cleanup.policy": kadm.StringPtr("compact,delete"), "retention.ms": kadm.StringPtr("1"),
		},
	)
	old := time.Now().Add(-30 * 24 * time.Hour)
	for _, topic := range []string{"plain", "compacted"} {
		for i := range 3 {
			r := &kgo.Record{
				Topic: topic, Key: fmt.Appendf(nil, "k%d", i), Value: []byte("v"), Timestamp: old,
			}
			require.NoError(t, cl.ProduceSync(t.Context(), r).FirstErr())
		}
		set := []kadm.AlterConfig{
			{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("1")},
			{Op: kadm.SetConfig, Name: "max.message.bytes", Value: kadm.StringPtr("2000000")},
		}
		changed, err := adm.AlterTopicConfigs(t.Context(), set, topic)
		require.NoError(t, err)
		require.NoError(t, changed[0].Err)
		changed, err = adm.AlterTopicConfigsState(t.Context(), set[:1], topic)
		require.NoError(t, err)
		require.NoError(t, changed[0].Err)
	}
	b.cluster.ApplyRetention()
	b.cluster.Compact()
	assert.Len(t, read(t, b.Addr(), "plain"), 3)
	assert.Len(t, read(t, b.Addr(), "compacted"), 3)

	// Nor do the group's offsets expire, and nobody can change that.
	res, err := adm.AlterBrokerConfigs(
		t.Context(),
		[]kadm.AlterConfig{
			{Op: kadm.SetConfig, Name: "log.retention.ms", Value: kadm.StringPtr("1")},
		},
	)
	require.NoError(t, err)
	require.ErrorIs(t, res[0].Err, kerr.PolicyViolation)
	res, err = adm.AlterBrokerConfigsState(
		t.Context(),
		[]kadm.AlterConfig{{Name: "offsets.retention.minutes", Value: kadm.StringPtr("1")}},
	)
	require.NoError(t, err)
	require.ErrorIs(t, res[0].Err, kerr.PolicyViolation)
	described, err := adm.DescribeBrokerConfigs(t.Context(), 0)
	require.NoError(t, err)
	is := map[string]string{}
	for _, c := range described[0].Configs {
		is[c.Key] = c.MaybeValue()
	}
	for name, want := range brokerConfigs(cfg.segmentBytes()) {
		assert.Equal(t, want, is[name], name)
	}
}

func TestPartitionIsNeverEmptied(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	cfg.SegmentBytes = minSegmentBytes
	b := start(t, cfg)
	cl := client(t, b.Addr())
	createTopic(
		t,
		cl,
		"small",
		1,
		map[string]*string{
			"retention.bytes": kadm.StringPtr("1"), "segment.bytes": kadm.StringPtr("1000000000"),
		},
	)
	produce(t, cl, "small", 30, 400<<10, 0)
	b.cluster.ApplyRetention()
	first, end := bounds(t, b.Addr(), "small")
	assert.Positive(t, first, "retention by bytes must have removed something")
	assert.EqualValues(t, 30, end)
	assert.Len(t, read(t, b.Addr(), "small"), int(end-first))

	// Deleting everything on request would forget the offsets at the next start.
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Topics = []kmsg.DeleteRecordsRequestTopic{
		{
			Topic:      "small",
			Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: -1}},
		},
	}
	for range 2 { // the refusal stays
		res, err := req.RequestWith(t.Context(), cl)
		require.NoError(t, err)
		assert.Equal(t, kerr.PolicyViolation.Code, res.Topics[0].Partitions[0].ErrorCode)
	}

	require.NoError(t, b.Close())
	again := start(t, cfg)
	_, endAgain := bounds(t, again.Addr(), "small")
	assert.Equal(t, end, endAgain)
}

func TestCap(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	cfg.MaxLogBytes = minLogBytes
	cfg.SegmentBytes = 512 << 10
	b := start(t, cfg)
	cl := client(t, b.Addr())
	for _, topic := range []string{"large", "small"} {
		createTopic(t, cl, topic, 1, nil)
	}
	createTopic(
		t, cl, "compacted", 1, map[string]*string{"cleanup.policy": kadm.StringPtr("compact")},
	)
	produce(t, cl, "small", 10, 100<<10, 0)
	produce(t, cl, "compacted", 10, 100<<10, 0)
	produce(t, cl, "large", 48, 512<<10, 0)

	b.trimLive()
	logs, err := scan(b.logDir())
	require.NoError(t, err)
	bytes, _ := totals(logs)
	assert.LessOrEqual(t, bytes, cfg.MaxLogBytes)
	assert.Greater(t, bytes, cfg.MaxLogBytes/2, "no more goes than has to")
	first, end := bounds(t, b.Addr(), "large")
	assert.Positive(t, first)
	assert.EqualValues(t, 48, end)
	assert.Len(t, read(t, b.Addr(), "large"), int(end-first))
	assert.Len(t, read(t, b.Addr(), "small"), 10)
	assert.Len(t, read(t, b.Addr(), "compacted"), 10)

	// The same at start, before the log is loaded.
	require.NoError(t, b.Close())
	cfg.MaxLogBytes *= 4
	b = start(t, cfg)
	produce(t, client(t, b.Addr()), "large", 48, 512<<10, 0)
	require.NoError(t, b.Close())
	cfg.MaxLogBytes /= 4
	b = start(t, cfg)
	logs, err = scan(b.logDir())
	require.NoError(t, err)
	bytes, _ = totals(logs)
	assert.LessOrEqual(t, bytes, cfg.MaxLogBytes)
	first, end = bounds(t, b.Addr(), "large")
	assert.EqualValues(t, 96, end)
	assert.Len(t, read(t, b.Addr(), "large"), int(end-first))
	assert.Len(t, read(t, b.Addr(), "compacted"), 10)
}

func TestCapRefusesWhatCannotBeTrimmed(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	cfg.MaxLogBytes = 4 * minLogBytes
	cfg.CompactAfterBytes = -1
	b := start(t, cfg)
	cl := client(t, b.Addr())
	createTopic(
		t, cl, "compacted", 1, map[string]*string{"cleanup.policy": kadm.StringPtr("compact")},
	)
	produce(t, cl, "compacted", 60, 800<<10, 0)
	require.NoError(t, b.Close())
	cfg.MaxLogBytes = minLogBytes
	_, err := Start(t.Context(), cfg)
	require.ErrorContains(t, err, "raise MaxLogBytes")
	cfg.MaxLogBytes = 4 * minLogBytes
	b = start(t, cfg) // the failed start has not kept the lock, nor touched anything
	assert.Len(t, read(t, b.Addr(), "compacted"), 60)
}

func TestFolderIsLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startChild(t, dir, "")
	_, err := Start(t.Context(), testConfig(dir))
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, dir)
	c.stop(t, syscall.SIGKILL)
	start(t, testConfig(dir)) // the lock dies with the process
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t.TempDir())
	cfg.Addr = ln.Addr().String()
	_, err = Start(t.Context(), cfg)
	require.ErrorContains(t, err, "take another address")
	require.NoError(t, ln.Close())
	b := start(t, cfg)
	assert.Equal(t, cfg.Addr, b.Addr())
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no folder", func(c *Config) { c.Dir = "" }, "Dir"},
		{"no port", func(c *Config) { c.Addr = "127.0.0.1" }, "host:port"},
		{"open to the world", func(c *Config) { c.Addr = "0.0.0.0:9092" }, "loopback"},
		{"a host", func(c *Config) { c.Addr = "example.com:9092" }, "loopback"},
		{"bad port", func(c *Config) { c.Addr = "127.0.0.1:99999" }, "65535"},
		{"tiny cap", func(c *Config) { c.MaxLogBytes = 1 }, "MaxLogBytes"},
		{"tiny segment", func(c *Config) { c.SegmentBytes = 1 }, "SegmentBytes"},
		{"no checks", func(c *Config) { c.CheckEvery = 0 }, "CheckEvery"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := DefaultConfig("x")
			require.NoError(t, cfg.Validate())
			tc.change(&cfg)
			require.ErrorContains(t, cfg.Validate(), tc.want)
		})
	}
}

// A clean stop saves the members it has; they would hold up the next process's first
// rebalance for their session timeout.
func TestOldMembersAreForgotten(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	b := start(t, cfg)
	createTopic(t, client(t, b.Addr()), "events", 1, nil)
	member := func(b *Broker) *kgo.Client {
		return client(
			t, b.Addr(), kgo.ConsumerGroup("group"), kgo.ConsumeTopics("events"),
			kgo.SessionTimeout(45*time.Second), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		)
	}
	produce(t, client(t, b.Addr()), "events", 1, 10, 0)
	first := member(b)
	require.NoError(t, first.PollFetches(t.Context()).Err())
	require.NoError(t, b.Close()) // with the member still in the group
	first.CloseAllowingRebalance()

	b = start(t, cfg)
	produce(t, client(t, b.Addr()), "events", 1, 10, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	second := member(b)
	require.NoError(t, second.PollFetches(ctx).Err())
}

func TestCloseTwice(t *testing.T) {
	t.Parallel()
	b, err := Start(t.Context(), testConfig(t.TempDir()))
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
}

func TestStartStopsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	_, err := Start(ctx, testConfig(dir))
	require.ErrorIs(t, err, context.Canceled)
	start(t, testConfig(dir))
}

func TestTornTail(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	b := start(t, cfg)
	cl := client(t, b.Addr())
	createTopic(t, cl, "events", 1, nil)
	produce(t, cl, "events", 20, 100, 0)
	require.NoError(t, b.Close())
	// What a crash of the machine leaves: half a batch at the end.
	f, err := os.OpenFile(
		filepath.Join(b.logDir(), "partitions", "events-0", "0.dat"), os.O_APPEND|os.O_WRONLY, 0,
	)
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 40))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	b = start(t, cfg)
	assert.Len(t, read(t, b.Addr(), "events"), 20)
	produce(t, client(t, b.Addr()), "events", 5, 100, 0)
	assert.Len(t, read(t, b.Addr(), "events"), 25)
}
