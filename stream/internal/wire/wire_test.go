package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/record"
)

func sampleRecords(n int) []*record.Record {
	out := make([]*record.Record, n)
	for i := range out {
		out[i] = &record.Record{
			Time: time.UnixMilli(
				1_700_000_000_000 + int64(i*7-3),
			), Key: fmt.Appendf(nil, "key %d", i), Value: []byte(strings.Repeat("v", i*3)),
			Headers: []record.Header{{Key: "h", Value: fmt.Appendf(nil, "%d", i)}},
		}
	}
	out[0].Value = nil
	out[n-1].Key, out[n-1].Headers = nil, nil
	return out
}

// place sets the base offset, as the broker does; it is not covered by the checksum.
func place(batch []byte, base int64) []byte {
	binary.BigEndian.PutUint64(batch, uint64(base))
	return batch
}

func TestBatchRoundTrip(t *testing.T) {
	t.Parallel()
	for _, codec := range []compress.Codec{
		nil, &compress.GzipCodec, &compress.SnappyCodec, &compress.Lz4Codec, &compress.ZstdCodec,
	} {
		in := sampleRecords(50)
		b, err := AppendBatch(nil, in, codec, time.Now())
		require.NoError(t, err)
		got, err := Decoder{
			TP: record.TopicPartition{Topic: "t", Partition: 3}, Limit: 1 << 20,
		}.Decode(place(b, 100))
		require.NoError(t, err)
		require.Empty(t, got.Undecodable)
		require.EqualValues(t, 150, got.Next)
		require.Len(t, got.Records, 50)
		for i, r := range got.Records {
			want := *in[i]
			want.Time = want.Time.UTC()
			want.Topic, want.Partition, want.Offset = "t", 3, int64(100+i)
			require.Equal(t, want, r)
		}
	}
}

// TestBatchIsWhatKafkaGoReads checks the encoder against a decoder of other hands.
func TestBatchIsWhatKafkaGoReads(t *testing.T) {
	t.Parallel()
	in := sampleRecords(20)
	b, err := AppendBatch(make([]byte, 4), in, &compress.Lz4Codec, time.Now())
	require.NoError(t, err)
	PutSize(b)
	var set protocol.RecordSet
	_, err = set.ReadFrom(bytes.NewReader(b))
	require.NoError(t, err)
	for i := range in {
		r, err := set.Records.ReadRecord()
		require.NoError(t, err)
		key, _ := protocol.ReadAll(r.Key)
		value, _ := protocol.ReadAll(r.Value)
		require.Equal(t, in[i].Key, key)
		require.Equal(t, in[i].Value, value)
		require.True(t, in[i].Time.Equal(r.Time))
	}
	_, err = set.Records.ReadRecord()
	require.ErrorIs(t, err, io.EOF)
}

func TestDecodeStepsOverGapsAndMarkers(t *testing.T) {
	t.Parallel()
	tp := record.TopicPartition{Topic: "t", Partition: 0}
	batch := func(base int64, n int, change func(b []byte)) []byte {
		in := sampleRecords(n)
		b, err := AppendBatch(nil, in, nil, time.Now())
		require.NoError(t, err)
		place(b, base)
		if change != nil {
			change(b)
		}
		binary.BigEndian.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchCRCFrom:], castagnoli))
		return b
	}
	log := bytes.Join([][]byte{
		batch(10, 2, nil),
		// six records compacted away at the end: up to 19
		batch(12, 2, func(b []byte) { binary.BigEndian.PutUint32(b[23:], 7) }),
		// a transaction's marker
		batch(20, 2, func(b []byte) { binary.BigEndian.PutUint16(b[21:], attrControl) }),
		// time of the broker
		batch(30, 2, func(b []byte) { binary.BigEndian.PutUint16(b[21:], attrAppended) }),
	}, nil)
	d := Decoder{TP: tp, From: 11, Limit: 1 << 20}
	got, err := d.Decode(log)
	require.NoError(t, err)
	var offsets []int64
	for _, r := range got.Records {
		offsets = append(offsets, r.Offset)
	}
	require.Equal(t, []int64{11, 12, 13, 30, 31}, offsets)
	require.EqualValues(t, 32, got.Next)
	require.Equal(t, got.Records[3].Time, got.Records[4].Time)

	got, err = d.Decode(log[:len(log)-1])
	require.NoError(t, err)
	require.EqualValues(t, 22, got.Next, "a batch that is cut off is read again, whole")

	log[len(log)-1] ^= 1
	got, err = d.Decode(log)
	require.NoError(t, err)
	require.EqualValues(t, 22, got.Next)
	require.Len(t, got.Records, 3, "what came before it is good")
}

func FuzzDecodeBatches(f *testing.F) {
	for _, codec := range []compress.Codec{nil, &compress.SnappyCodec, &compress.Lz4Codec} {
		b, err := AppendBatch(nil, sampleRecords(5), codec, time.Now())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// Let the fuzzer past the checksum.
		if len(data) > BatchHeader {
			n := min(int(uint32(batchPrefix)+binary.BigEndian.Uint32(data[8:])), len(data))
			if n > batchCRCFrom {
				binary.BigEndian.PutUint32(
					data[batchCRCAt:], crc32.Checksum(data[batchCRCFrom:n], castagnoli),
				)
			}
		}
		got, err := Decoder{TP: record.TopicPartition{Topic: "t"}, Limit: 1 << 20}.Decode(data)
		if err == nil && got.Next < 0 {
			t.Fatalf("went backwards to %d", got.Next)
		}
		at := int64(-1)
		for i := range got.Records {
			if o := got.Records[i].Offset; o <= at || o >= got.Next {
				t.Fatalf("offset %d after %d and before %d", o, at, got.Next)
			}
			at = got.Records[i].Offset
		}
		for _, u := range got.Undecodable {
			if u.First < 0 || u.Last < u.First || u.Last >= got.Next || u.Reason == "" {
				t.Fatalf("undecodable from %d to %d before %d", u.First, u.Last, got.Next)
			}
		}
	})
}

func FuzzDecodeFetch(f *testing.F) {
	f.Add(
		[]byte{
			0, 0, 0, fetchCorrelation, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0,
			0,
		},
	)
	f.Fuzz(func(t *testing.T, body []byte) {
		req := Fetch{Asks: []Ask{{TP: record.TopicPartition{Topic: "t", Partition: 0}}}}
		_ = req.decode(body)
	})
}

func BenchmarkDecode(b *testing.B) {
	in := make([]*record.Record, 1000)
	for i := range in {
		in[i] = &record.Record{
			Key: fmt.Appendf(nil, "user-%d", i), Value: []byte(strings.Repeat("x", 220)),
			Headers: []record.Header{{Key: "ce_type", Value: []byte("interaction.recorded.v1")}},
		}
	}
	data, err := AppendBatch(nil, in, nil, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, err := Decoder{TP: record.TopicPartition{Topic: "t"}, Limit: 32 << 20}.Decode(data)
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(in)), "ns/record")
}

func BenchmarkEncode(b *testing.B) {
	in := make([]*record.Record, 1000)
	for i := range in {
		in[i] = &record.Record{
			Key: fmt.Appendf(nil, "user-%d", i), Value: []byte(strings.Repeat("x", 220)),
			Headers: []record.Header{{Key: "ce_type", Value: []byte("interaction.recorded.v1")}},
		}
	}
	for _, codec := range []compress.Codec{nil, &compress.Lz4Codec, &compress.SnappyCodec} {
		name := "none"
		if codec != nil {
			name = codec.Name()
		}
		b.Run(name, func(b *testing.B) {
			var dst []byte
			for b.Loop() {
				var err error
				if dst, err = AppendBatch(dst[:0], in, codec, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(in)), "ns/record")
		})
	}
}
