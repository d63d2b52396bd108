package wire

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// logged is one batch of a log in a test: its first offset, its producer and the values. A marker
// has the value commit or abort.
type logged struct {
	base     int64
	producer int64
	epoch    int16
	attr     uint16
	value    string
}

func (l logged) bytes(t testing.TB) []byte {
	t.Helper()
	r := &record.Record{Value: []byte(l.value)}
	if l.attr&attrControl != 0 {
		r.Key = []byte{0, 0, 0, 0} // an abort
		if l.value == "commit" {
			r.Key[3] = 1
		}
	}
	b, err := AppendBatch(nil, []*record.Record{r}, nil, time.Now())
	require.NoError(t, err)
	be := binary.BigEndian
	be.PutUint16(b[21:], l.attr)
	be.PutUint64(b[43:], uint64(l.producer))
	be.PutUint16(b[51:], uint16(l.epoch))
	be.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchCRCFrom:], castagnoli))
	return place(b, l.base)
}

func TestAbortedTransactionsAreDropped(t *testing.T) {
	t.Parallel()
	const marker = attrTxn | attrControl
	for _, tt := range []struct {
		name    string
		log     []logged
		from    int64
		aborted []Aborted
		want    string
	}{
		{
			name: "from the first offset to the marker",
			log: []logged{
				{0, 7, 0, attrTxn, "committed"},
				{1, 7, 0, marker, "commit"},
				{2, 7, 0, attrTxn, "aborted"},
				{3, -1, -1, 0, "plain"},
				{4, 8, 0, attrTxn, "other"},
				{5, 7, 0, attrTxn, "aborted"},
				{6, 8, 0, marker, "commit"},
				{7, 7, 0, marker, "abort"},
				{8, 7, 0, attrTxn, "later"},
				{9, 7, 0, marker, "commit"},
			},
			aborted: []Aborted{{Producer: 7, First: 2}},
			want:    "committed plain other later",
		},
		{
			name: "two transactions of one producer, listed in any order",
			log: []logged{
				{0, 7, 0, attrTxn, "aborted"},
				{1, 7, 0, marker, "abort"},
				{2, 7, 0, attrTxn, "between"},
				{3, 7, 0, marker, "commit"},
				{4, 7, 0, attrTxn, "aborted"},
				{5, 7, 0, marker, "abort"},
			},
			aborted: []Aborted{{Producer: 7, First: 4}, {Producer: 7, First: 0}},
			want:    "between",
		},
		{
			name: "begun before what is fetched, and its producer goes on without a transaction",
			log: []logged{
				{5, 7, 0, attrTxn, "aborted"},
				{6, 7, 0, marker, "abort"},
				{7, 7, 0, 0, "plain"},
			},
			from: 5, aborted: []Aborted{{Producer: 7, First: 1}},
			want: "plain",
		},
		{
			name: "a marker before what was asked for",
			log: []logged{
				{0, 7, 0, attrTxn, "aborted"},
				{1, 7, 0, marker, "abort"},
				{2, 7, 0, attrTxn, "later"},
			},
			from: 2, aborted: []Aborted{{Producer: 7, First: 0}},
			want: "later",
		},
		{
			name: "the marker of another producer",
			log: []logged{
				{0, 7, 0, attrTxn, "aborted"},
				{1, 8, 0, marker, "abort"},
				{2, 7, 0, attrTxn, "aborted"},
			},
			aborted: []Aborted{{Producer: 7, First: 0}},
		},
		{
			name: "without a marker, until its next epoch",
			log: []logged{
				{0, 7, 3, attrTxn, "aborted"},
				{1, 7, 3, attrTxn, "aborted"},
				{2, 7, 4, attrTxn, "later"},
				{3, 7, 4, attrTxn, "later"},
			},
			aborted: []Aborted{{Producer: 7, First: 0}},
			want:    "later later",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			for _, b := range tt.log {
				log.Write(b.bytes(t))
			}
			part := Fetched{
				TP: record.TopicPartition{Topic: "t"}, Batches: log.Bytes(), Aborted: tt.aborted,
			}
			got, err := part.Decode(tt.from, 1<<20)
			require.NoError(t, err)
			require.Equal(t, tt.log[len(tt.log)-1].base+1, got.Next)
			var values []string
			for _, r := range got.Records {
				values = append(values, string(r.Value))
			}
			require.Equal(t, tt.want, strings.Join(values, " "))
		})
	}
}
