//go:build unix

package embedded

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func appendTimeTopic(t *testing.T, addr, topic string, more map[string]*string) {
	t.Helper()
	configs := map[string]*string{"message.timestamp.type": kadm.StringPtr("LogAppendTime")}
	for k, v := range more {
		configs[k] = v
	}
	createTopic(t, client(t, addr), topic, 1, configs)
}

// produceAt writes a batch of records whose clocks differ from the broker's and from each other.
func produceAt(t *testing.T, addr, topic string, codec kgo.CompressionCodec, keys ...string) {
	t.Helper()
	cl := client(
		t, addr, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(50*time.Millisecond),
	)
	records := make([]*kgo.Record, len(keys))
	for i, k := range keys {
		at := time.Now().Add(time.Duration(i*i-3*i-1) * time.Hour)
		records[i] = &kgo.Record{
			Topic: topic, Key: []byte(k), Value: []byte(strings.Repeat(k, 500)), Timestamp: at,
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(k)}},
		}
	}
	require.NoError(t, cl.ProduceSync(t.Context(), records...).FirstErr())
}

// span is when something was written.
type span struct{ from, to time.Time }

func spanOf(f func()) span {
	from := time.Now().Truncate(time.Millisecond)
	f()
	return span{from, time.Now()}
}

// checkTimes reads a topic with franz-go, which checks every checksum, and with our own reader: the
// records have the broker's time, one for each batch.
func checkTimes(t *testing.T, addr, topic string, written span, values []string) {
	t.Helper()
	records := read(t, addr, topic)
	require.Len(t, records, len(values))
	for i, r := range records {
		assert.Equal(t, values[i], string(r.Key))
		assert.Equal(t, strings.Repeat(values[i], 500), string(r.Value))
		assert.Equal(t, []kgo.RecordHeader{{Key: "h", Value: []byte(values[i])}}, r.Headers)
		assert.EqualValues(t, 1, r.Attrs.TimestampType(), "the type is LogAppendTime")
		assert.False(t, r.Timestamp.Before(written.from), "%s, not %v", r.Timestamp, written)
		assert.False(t, r.Timestamp.After(written.to), "%s, not %v", r.Timestamp, written)
	}
	conn, err := stream.Open(t.Context(), stream.DefaultConfig(addr))
	require.NoError(t, err)
	defer conn.Close()
	var own []record.Record
	tp := record.TopicPartition{Topic: topic}
	require.NoError(t, conn.Read(t.Context(), tp, 0, -1, func(r *record.Record) error {
		own = append(own, *r)
		return nil
	}))
	require.Len(t, own, len(records))
	for i, r := range records {
		assert.Equal(t, r.Offset, own[i].Offset)
		assert.True(t, r.Timestamp.Equal(own[i].Time), "%s, not %s", own[i].Time, r.Timestamp)
		assert.Equal(t, r.Value, own[i].Value)
	}
}

// onBrokers runs a test on the embedded broker and on the real one: they are to do the same.
func onBrokers(t *testing.T, f func(t *testing.T, addr, prefix string)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		f(t, start(t, testConfig(t.TempDir())).Addr(), "t-")
	})
	t.Run("Real", func(t *testing.T) {
		t.Parallel()
		addr := strings.Split(enginetest.Addr(t, "KAFKA_BROKERS"), ",")[0]
		prefix := "appendtime-" + uuid.NewString()[:8] + "-"
		t.Cleanup(func() {
			adm := kadm.NewClient(client(t, addr))
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			topics, err := adm.ListTopics(ctx)
			require.NoError(t, err)
			for name := range topics {
				if strings.HasPrefix(name, prefix) {
					_, err := adm.DeleteTopic(ctx, name)
					require.NoError(t, err)
				}
			}
		})
		f(t, addr, prefix)
	})
}

func TestLogAppendTime(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, addr, prefix string) {
		for name, codec := range codecs {
			topic := prefix + name
			appendTimeTopic(t, addr, topic, nil)
			keys := []string{"a", "b", "c", "d", "e"}
			written := spanOf(func() { produceAt(t, addr, topic, codec, keys...) })
			checkTimes(t, addr, topic, written, keys)

			offset := func(at time.Time) int64 {
				found, err := kadm.NewClient(client(t, addr)).
					ListOffsetsAfterMilli(t.Context(), at.UnixMilli(), topic)
				require.NoError(t, err)
				o, ok := found.Lookup(topic, 0)
				require.True(t, ok)
				require.NoError(t, o.Err)
				return o.Offset
			}
			assert.EqualValues(t, 0, offset(written.from), "searched by the broker's time")
			assert.EqualValues(t, 5, offset(written.to.Add(time.Second)))
		}
	})
}

// alterTimes sets whose times a topic keeps and returns when its broker does so. A real one answers
// when the controller has the setting. So a second topic is altered after the first, and records
// are written to it until they have the times wanted.
func alterTimes(t *testing.T, addr, topic, kind string) {
	cl := client(t, addr)
	adm := kadm.NewClient(cl)
	probe := topic + "-probe-" + strings.ToLower(kind)
	createTopic(t, cl, probe, 1, nil)
	for _, name := range []string{topic, probe} {
		res, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{
			{Op: kadm.SetConfig, Name: "message.timestamp.type", Value: &kind},
		}, name)
		require.NoError(t, err)
		require.NoError(t, res[0].Err)
	}
	byProducer := kind == "CreateTime"
	for range 200 {
		produceAt(t, addr, probe, kgo.NoCompression(), "a")
		records := read(t, addr, probe)
		if (records[len(records)-1].Attrs.TimestampType() == 0) == byProducer {
			return
		}
	}
	t.Fatalf("%s does not have the setting", topic)
}

// A topic can be altered: what it holds keeps its times, what comes gets the broker's.
func TestLogAppendTimeFromNowOn(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, addr, prefix string) {
		topic := prefix + "altered"
		createTopic(t, client(t, addr), topic, 1, nil)
		produceAt(t, addr, topic, kgo.Lz4Compression(), "a", "b")
		alterTimes(t, addr, topic, "LogAppendTime")
		written := spanOf(func() { produceAt(t, addr, topic, kgo.Lz4Compression(), "c") })
		alterTimes(t, addr, topic, "CreateTime")
		produceAt(t, addr, topic, kgo.Lz4Compression(), "d")

		records := read(t, addr, topic)
		require.Len(t, records, 4)
		for i, own := range []bool{true, true, false, true} {
			r := records[i]
			assert.Equal(t, own, r.Attrs.TimestampType() == 0, "record %d", i)
			assert.Equal(t, own, r.Timestamp.Before(written.from), "record %d", i)
		}
	})
}

func TestLogAppendTimeOverRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, testConfig(dir))
	keys := []string{"a", "b", "c", "d"}
	spans := map[string]span{}
	for name, codec := range codecs {
		appendTimeTopic(t, b.Addr(), name, nil)
		spans[name] = spanOf(func() { produceAt(t, b.Addr(), name, codec, keys...) })
	}
	require.NoError(t, b.Close())
	c := startChild(t, dir, "")
	for name, written := range spans {
		checkTimes(t, c.addr, name, written, keys)
	}
	for name, codec := range codecs {
		produceAt(t, c.addr, name, codec, "e")
	}
	c.stop(t, 9)
	b = start(t, testConfig(dir))
	for name, written := range spans {
		written.to = time.Now()
		checkTimes(t, b.Addr(), name, written, append(keys[:4:4], "e"))
	}
}

// Compaction keeps some records of a batch: they keep its time.
func TestLogAppendTimeOverCompaction(t *testing.T) {
	t.Parallel()
	cfg := compactingConfig(t.TempDir())
	cfg.CompactAfterBytes = -1
	b := start(t, cfg)
	spans := map[string]span{}
	for name, codec := range codecs {
		appendTimeTopic(t, b.Addr(), name, map[string]*string{
			"cleanup.policy": kadm.StringPtr("compact"),
		})
		spans[name] = spanOf(func() {
			produceAt(t, b.Addr(), name, codec, "a", "b", "c", "d", "e")
		})
		produceAt(t, b.Addr(), name, codec, "a", "c")
		produceAt(t, b.Addr(), name, codec, "a")
		produceAt(t, b.Addr(), name, codec, "f") // the newest batch is not compacted
	}
	require.NoError(t, b.Close())
	cfg.CompactAfterBytes = 0
	steps := 0
	cfg.compactionStep = func(string) { steps++ }
	b = start(t, cfg)
	require.Positive(t, steps)
	for name, written := range spans {
		first := read(t, b.Addr(), name)
		require.Len(t, first, 6, "b, d, e of the first batch, c of the second, a, f")
		for _, r := range first[:3] {
			assert.Equal(t, first[0].Timestamp, r.Timestamp, "one batch, one time")
			assert.False(t, r.Timestamp.After(written.to))
		}
		written.to = time.Now()
		checkTimes(t, b.Addr(), name, written, []string{"b", "d", "e", "c", "a", "f"})
	}
}

// rawBatch is a batch of two records with the given attributes.
func rawBatch(attrs int16) []byte { return rawBatchOver(attrs, 2*near) }

// rawBatchOver returns a batch whose two records are some milliseconds apart.
func rawBatchOver(attrs int16, apart int64) []byte {
	var records []byte
	for i := range int32(2) {
		r := kmsg.Record{
			TimestampDelta64: apart * int64(i), OffsetDelta: i,
			Key: []byte("k"), Value: []byte("v"),
		}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		records = r.AppendTo(records)
	}
	at := time.Now().Add(-time.Hour).UnixMilli()
	b := kmsg.RecordBatch{
		Magic: 2, PartitionLeaderEpoch: -1, Attributes: attrs, LastOffsetDelta: 1,
		FirstTimestamp: at, MaxTimestamp: at + apart, ProducerID: -1, ProducerEpoch: -1,
		FirstSequence: -1, NumRecords: 2, Records: records,
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(
		raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)),
	)
	return raw
}

// produceRaw sends batches as they are, one for each topic, and returns the broker's answers.
func produceRaw(
	t *testing.T, addr string, batches map[string][]byte,
) map[string]kmsg.ProduceResponseTopicPartition {
	t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 5000
	for topic, raw := range batches {
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic = topic
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Records = raw
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
	}
	cl := client(t, addr)
	meta, err := kadm.NewClient(cl).BrokerMetadata(t.Context())
	require.NoError(t, err)
	res, err := cl.Broker(int(meta.Brokers[0].NodeID)).Request(t.Context(), byName{req})
	require.NoError(t, err)
	out := map[string]kmsg.ProduceResponseTopicPartition{}
	for _, topic := range res.(*kmsg.ProduceResponse).Topics {
		out[topic.Topic] = topic.Partitions[0]
	}
	return out
}

// byName is a request that names its topics, as clients did before version 13.
type byName struct{ *kmsg.ProduceRequest }

func (byName) MaxVersion() int16 { return 12 }

// A batch that asks for LogAppendTime: the topic decides. No reader is served a wrong checksum, and
// the next start does not cut the log there.
func TestBatchThatAsksForLogAppendTime(t *testing.T) {
	t.Parallel()
	const asks = 0x08
	onBrokers(t, func(t *testing.T, addr, prefix string) {
		create, appended := prefix+"create", prefix+"append"
		createTopic(t, client(t, addr), create, 1, nil)
		appendTimeTopic(t, addr, appended, nil)

		got := produceRaw(t, addr, map[string][]byte{create: rawBatch(asks)})[create]
		require.NoError(t, kerr.ErrorForCode(got.ErrorCode))
		assert.EqualValues(t, -1, got.LogAppendTime)
		records := read(t, addr, create)
		require.Len(t, records, 2)
		for i, r := range records {
			assert.EqualValues(t, 0, r.Attrs.TimestampType())
			age, later := time.Since(r.Timestamp), time.Duration(i)*2*near*time.Millisecond
			assert.InDelta(t, time.Hour-later, age, float64(time.Minute))
		}

		got = produceRaw(t, addr, map[string][]byte{appended: rawBatch(asks)})[appended]
		assert.Equal(t, kerr.InvalidTimestamp, kerr.ErrorForCode(got.ErrorCode))
		_, end := bounds(t, addr, appended)
		assert.Zero(t, end, "nothing was written")

		written := spanOf(func() {
			got = produceRaw(t, addr, map[string][]byte{appended: rawBatch(0)})[appended]
		})
		require.NoError(t, kerr.ErrorForCode(got.ErrorCode))
		assert.GreaterOrEqual(t, got.LogAppendTime, written.from.UnixMilli(), "the answer tells")
		assert.LessOrEqual(t, got.LogAppendTime, written.to.UnixMilli())
		for _, r := range read(t, addr, appended) {
			assert.Equal(t, got.LogAppendTime, r.Timestamp.UnixMilli())
		}
	})
}

func TestBatchThatAsksForLogAppendTimeOverRestart(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	b := start(t, cfg)
	createTopic(t, client(t, b.Addr()), "events", 1, nil)
	for range 3 {
		produceRaw(t, b.Addr(), map[string][]byte{"events": rawBatch(0x08)})
	}
	require.Len(t, read(t, b.Addr(), "events"), 6)
	require.NoError(t, b.Close())
	b = start(t, cfg)
	require.Len(t, read(t, b.Addr(), "events"), 6)
}

// A log of an older version, in which such batches have the wrong checksum, is kept whole.
func TestSpoiledChecksumsAreRepaired(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	b := start(t, cfg)
	createTopic(t, client(t, b.Addr()), "events", 1, nil)
	size := len(rawBatch(0))
	for range 4 {
		produceRaw(t, b.Addr(), map[string][]byte{"events": rawBatch(0)})
	}
	require.NoError(t, b.Close())
	dir := filepath.Join(cfg.Dir, "log", "partitions", "events-0")
	segment := filepath.Join(dir, "0.dat")
	raw, err := os.ReadFile(segment)
	require.NoError(t, err)
	require.Len(t, raw, 4*size)
	now := time.Now().UnixMilli()
	for _, n := range []int{1, 2} {
		batch := raw[n*size : (n+1)*size]
		batch[22] |= 0x08
		binary.BigEndian.PutUint64(batch[27:], uint64(now))
		binary.BigEndian.PutUint64(batch[35:], uint64(now))
	}
	require.NoError(t, os.WriteFile(segment, raw, 0o644))
	// An older version leaves none of our own files.
	require.NoError(t, os.RemoveAll(filepath.Join(cfg.Dir, "sequences.json")))
	b = start(t, cfg)
	records := read(t, b.Addr(), "events")
	require.Len(t, records, 8)
	for i, r := range records {
		assert.Equal(t, i/2 == 1 || i/2 == 2, r.Timestamp.UnixMilli() == now, "record %d", i)
	}
}
