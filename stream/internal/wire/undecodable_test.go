package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/record"
)

const testLimit = 4 << 20

// changed returns a batch of n records at base after change, with a right checksum.
func changed(t testing.TB, base int64, n int, change func(b []byte) []byte) []byte {
	t.Helper()
	b, err := AppendBatch(nil, sampleRecords(n), nil, time.Now())
	require.NoError(t, err)
	if change != nil {
		b = change(b)
	}
	be := binary.BigEndian
	be.PutUint32(b[8:], uint32(len(b)-batchPrefix))
	be.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchCRCFrom:], castagnoli))
	return place(b, base)
}

// packed replaces the records of a batch by what is said to be compressed with the codec.
func packed(codec compress.Compression, body []byte) func(b []byte) []byte {
	return func(b []byte) []byte {
		binary.BigEndian.PutUint16(b[21:], uint16(codec))
		return append(slices.Clone(b[:BatchHeader]), body...)
	}
}

func deflate(t testing.TB, codec compress.Codec, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := codec.NewWriter(&out)
	_, err := w.Write(body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// TestUndecodableBatchesAreSteppedOver: whatever a producer has put into a batch, what stands
// before and behind it is read, and memory is bounded.
func TestUndecodableBatchesAreSteppedOver(t *testing.T) {
	blanks := bytes.Repeat([]byte{' '}, 16*testLimit)
	sound := changed(t, 0, 4, nil)[BatchHeader:]
	for _, tt := range []struct {
		name   string
		reason string
		change func(b []byte) []byte
	}{
		{"gzip named lz4", "inflate", packed(3, deflate(t, &compress.GzipCodec, sound))},
		{"lz4 named gzip", "inflate", packed(1, deflate(t, &compress.Lz4Codec, sound))},
		{"plain named snappy", "inflate", packed(2, sound)},
		{"plain named zstd", "inflate", packed(4, sound)},
		{"no such codec", "unknown codec 7", packed(7, sound)},
		{"cut off", "inflate", packed(1, deflate(t, &compress.GzipCodec, sound)[:20])},
		{"blanks in gzip", "larger", packed(1, deflate(t, &compress.GzipCodec, blanks))},
		{"blanks in snappy", "larger", packed(2, deflate(t, &compress.SnappyCodec, blanks))},
		{"blanks in lz4", "larger", packed(3, deflate(t, &compress.Lz4Codec, blanks))},
		{"blanks in zstd", "larger", packed(4, deflate(t, &compress.ZstdCodec, blanks))},
		{
			"a zstd frame that announces a window of half a gigabyte", "larger",
			packed(4, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x98, 1, 0, 0}),
		},
		{
			"a snappy block that announces four gigabytes", "larger",
			packed(2, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 1, 2, 3}),
		},
		{
			"a frame of snappy that announces four gigabytes", "EOF",
			packed(2, append(append(slices.Clone(xerialMagic), make([]byte, 8)...),
				0xff, 0xff, 0xff, 0xff, 1, 2, 3)),
		},
		{"more records than bytes", "records in", func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[57:], 1<<30)
			return b
		}},
		{"a record behind the last offset", "a record", func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[23:], 1)
			return b
		}},
		{"no records but noise", "a record", func(b []byte) []byte {
			for i := BatchHeader; i < len(b); i++ {
				b[i] = 0xfe
			}
			return b
		}},
		{"millions of empty headers", "larger", func(b []byte) []byte {
			const n = 1 << 20
			r := binary.AppendVarint([]byte{0, 0, 0, 1, 1}, n)
			r = append(r, make([]byte, 2*n)...)
			binary.BigEndian.PutUint32(b[57:], 1)
			return append(binary.AppendVarint(b[:BatchHeader], int64(len(r))), r...)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := changed(t, 102, 4, tt.change)
			log := bytes.Join(
				[][]byte{changed(t, 100, 2, nil), bad, changed(t, 106, 2, nil)}, nil,
			)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			d := Decoder{TP: record.TopicPartition{Topic: "t"}, From: 101, Limit: testLimit}
			got, err := d.Decode(log)
			runtime.ReadMemStats(&after)
			require.NoError(t, err)
			require.Less(t, int(after.TotalAlloc-before.TotalAlloc), 6*testLimit)
			if len(got.Records) == 1 { // it needs all the room, which it gets the next time
				require.EqualValues(t, 102, got.Next)
				d.From = got.Next
				rest, err := d.Decode(log)
				require.NoError(t, err)
				rest.Records = append(got.Records, rest.Records...)
				got = rest
			}
			require.EqualValues(t, 108, got.Next)
			var offsets []int64
			for _, r := range got.Records {
				offsets = append(offsets, r.Offset)
			}
			require.Equal(t, []int64{101, 106, 107}, offsets)
			require.Len(t, got.Undecodable, 1)
			u := got.Undecodable[0]
			require.Contains(t, u.Reason, tt.reason)
			u.Reason, u.Time = "", time.Time{}
			last := int64(102 + binary.BigEndian.Uint32(bad[23:]))
			require.Equal(t, record.Undecodable{
				TopicPartition: d.TP, First: 102, Last: last, Raw: bad,
			}, u)
		})
	}
}

// TestManyLargeBatchesShareTheLimit: a response of a few kilobytes may hold a thousand batches that
// are each within the limit.
func TestManyLargeBatchesShareTheLimit(t *testing.T) {
	var log []byte
	const batches = 100
	for i := range batches {
		r := &record.Record{Value: bytes.Repeat([]byte{' '}, 1<<20)}
		b, err := AppendBatch(nil, []*record.Record{r}, &compress.GzipCodec, time.Now())
		require.NoError(t, err)
		log = append(log, place(b, int64(i))...)
	}
	d := Decoder{TP: record.TopicPartition{Topic: "t"}, Limit: testLimit}
	for answers := 1; d.From < batches; answers++ {
		got, err := d.Decode(log)
		require.NoError(t, err)
		require.Empty(t, got.Undecodable)
		require.LessOrEqual(t, len(got.Records)<<20, testLimit)
		for i, r := range got.Records {
			require.Equal(t, d.From+int64(i), r.Offset, fmt.Sprint(answers))
		}
		require.Greater(t, got.Next, d.From)
		d.From = got.Next
	}
}
