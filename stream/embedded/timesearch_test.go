//go:build unix

package embedded

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// listed asks for an offset of partition 0.
func listed(
	t *testing.T, cl *kgo.Client, topic string, ms int64, more ...int64,
) []kmsg.ListOffsetsResponseTopicPartition {
	t.Helper()
	meta, err := kadm.NewClient(cl).BrokerMetadata(t.Context())
	require.NoError(t, err)
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for i, at := range append([]int64{ms}, more...) {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp, p.CurrentLeaderEpoch = int32(i), at, -1
		rt.Partitions = append(rt.Partitions, p)
	}
	req.Topics = append(req.Topics, rt)
	res, err := cl.Broker(int(meta.Brokers[0].NodeID)).RetriableRequest(t.Context(), req)
	require.NoError(t, err)
	out := res.(*kmsg.ListOffsetsResponse).Topics[0].Partitions
	// in the broker's order
	slices.SortFunc(out, func(a, b kmsg.ListOffsetsResponseTopicPartition) int {
		return cmp.Compare(a.Partition, b.Partition)
	})
	return out
}

// The first record since a time, or the first with the newest one: the same as Kafka says, over
// batches of every codec, times that go back and several segments.
func TestOffsetsByTime(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, addr, topic string, records []*kgo.Record) {
		t.Helper()
		cl := client(t, addr)
		newest := records[0]
		for _, r := range records {
			if r.Timestamp.After(newest.Timestamp) {
				newest = r
			}
		}
		for n := range 60 {
			at := records[0].Timestamp.Add(time.Duration(n*5-30) * time.Second)
			want := kmsg.NewListOffsetsResponseTopicPartition()
			for _, r := range records {
				if !r.Timestamp.Before(at) {
					want.Offset, want.Timestamp = r.Offset, r.Timestamp.UnixMilli()
					break
				}
			}
			got := listed(t, cl, topic, at.UnixMilli())[0]
			require.Zero(t, got.ErrorCode)
			require.Equal(t, want.Offset, got.Offset, "%s", at)
			require.Equal(t, want.Timestamp, got.Timestamp, "%s", at)
		}
		got := listed(t, cl, topic, offsetOfNewestTime)[0]
		require.Equal(t, newest.Offset, got.Offset)
		require.Equal(t, newest.Timestamp.UnixMilli(), got.Timestamp)
	}
	fill := func(t *testing.T, addr, topic string) (records []*kgo.Record) {
		rnd := rand.New(rand.NewPCG(1, 2))
		noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		n := 0
		for round := range 10 {
			for _, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
				cl := client(t, addr, kgo.ProducerBatchCompression(codecs[name]),
					kgo.ProducerLinger(20*time.Millisecond))
				batch := make([]*kgo.Record, 4)
				for i := range batch {
					n++
					back := time.Duration(rnd.IntN(20)-10) * time.Second
					batch[i] = &kgo.Record{
						Topic: topic, Timestamp: noon.Add(time.Duration(n)*time.Second + back),
						Value: bytes.Repeat(fmt.Append(nil, round), 3000),
					}
				}
				require.NoError(t, cl.ProduceSync(t.Context(), batch...).FirstErr())
				records = append(records, batch...)
			}
		}
		return records
	}
	t.Run("as Kafka", func(t *testing.T) {
		t.Parallel()
		onBrokers(t, func(t *testing.T, addr, prefix string) {
			topic := prefix + "times"
			createTopic(t, client(t, addr), topic, 1, nil)
			check(t, addr, topic, fill(t, addr, topic))
			empty := prefix + "empty"
			createTopic(t, client(t, addr), empty, 2, nil)
			cl := client(t, addr)
			got := listed(t, cl, empty, 0, oldestOffset)
			require.EqualValues(t, -1, got[0].Offset)
			require.EqualValues(t, 0, got[1].Offset)
			got = listed(t, cl, empty, offsetOfNewestTime, newestOffset, 0)
			require.EqualValues(t, -1, got[0].Offset)
			require.EqualValues(t, 0, got[1].Offset)
			require.Equal(t, kerr.UnknownTopicOrPartition.Code, got[2].ErrorCode)
		})
	})
	t.Run("segments and a restart", func(t *testing.T) {
		t.Parallel()
		cfg := testConfig(t.TempDir())
		cfg.SegmentBytes = minSegmentBytes
		b := start(t, cfg)
		createTopic(t, client(t, b.Addr()), "times", 1, nil)
		records := fill(t, b.Addr(), "times")
		logs, err := scan(b.logDir())
		require.NoError(t, err)
		require.Greater(t, len(logs[0].segments), 2)
		check(t, b.Addr(), "times", records)
		require.NoError(t, b.Close())
		check(t, start(t, cfg).Addr(), "times", records)
	})
}

// blankBatch is a gzip batch of two records, the second of which has so many blanks as its value.
func blankBatch(t *testing.T, at time.Time, blanks int) []byte {
	t.Helper()
	const gzip = 1
	var body bytes.Buffer
	w := compress.Gzip.Codec().NewWriter(&body)
	small := kmsg.Record{Value: []byte("v")}
	small.Length = int32(len(small.AppendTo(nil)) - 1)
	large := []byte{0} // attributes
	large = binary.AppendVarint(large, 1000)
	large = binary.AppendVarint(large, 1)  // the offset
	large = binary.AppendVarint(large, -1) // no key
	large = binary.AppendVarint(large, int64(blanks))
	head := small.AppendTo(nil)
	head = binary.AppendVarint(head, int64(len(large)+blanks+1))
	_, err := w.Write(append(head, large...))
	require.NoError(t, err)
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	for left := blanks; left > 0; left -= len(chunk) {
		_, err = w.Write(chunk[:min(left, len(chunk))])
		require.NoError(t, err)
	}
	_, err = io.WriteString(w, "\x00") // no headers
	require.NoError(t, err)
	require.NoError(t, w.Close())
	raw := append(rawBatch(gzip)[:batchHeader], body.Bytes()...)
	ms := uint64(at.UnixMilli())
	binary.BigEndian.PutUint64(raw[batchFirstAt:], ms)
	binary.BigEndian.PutUint64(raw[batchNewestAt:], ms+1000)
	seal(raw)
	return raw
}

// A batch that grows to 300 MiB is not decompressed by a search for a time, also after a restart.
// The answer is its first offset at the latest, so that nothing since then is left out. This test
// measures all memory that is allocated meanwhile, so no other one runs beside it.
func TestOffsetsByTimeLeaveLargeBatchesPacked(t *testing.T) {
	const blanks = 300 << 20
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := &brokerClock{}
	cfg := testConfig(t.TempDir())
	cfg.Clock = clock.now
	b := start(t, cfg)
	createTopic(t, client(t, b.Addr()), "created", 1, nil)
	appendTimeTopic(t, b.Addr(), "appended", nil)
	for i, batch := range [][]byte{
		blankBatch(t, noon, 10), blankBatch(t, noon.Add(10*time.Second), blanks),
		blankBatch(t, noon.Add(20*time.Second), 10),
	} {
		clock.set(noon.Add(10 * time.Duration(i) * time.Second))
		answers := produceRaw(t, b.Addr(), map[string][]byte{
			"created": bytes.Clone(batch), "appended": batch,
		})
		for _, p := range answers {
			require.NoError(t, kerr.ErrorForCode(p.ErrorCode))
		}
	}
	require.NoError(t, b.Close())
	cl := client(t, start(t, cfg).Addr())
	listed(t, cl, "created", oldestOffset)
	for topic, most := range map[string]uint64{"appended": 16 << 20, "created": 4 * maxInflated} {
		for at, want := range map[time.Duration]int64{
			0: 0, 5 * time.Second: 2, 10 * time.Second: 2, 11 * time.Second: 4, 15 * time.Second: 4,
		} {
			if topic == "created" && at == 11*time.Second {
				want = 2 // the second record is not known to be the first since then
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := listed(t, cl, topic, noon.Add(at).UnixMilli())[0]
			runtime.ReadMemStats(&after)
			require.Zero(t, got.ErrorCode)
			require.Equal(t, want, got.Offset, "%s, %s", topic, at)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, most, "%s, %s", topic, at)
		}
	}
}
