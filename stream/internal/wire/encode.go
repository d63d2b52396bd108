package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/segmentio/kafka-go/compress"

	"github.com/slipstream-rec/slipstream/stream/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sizes and places within a record batch of version 2, the only one written and read here (Kafka
// 0.11 and later).
const (
	BatchHeader  = 61 // bytes before the first record
	batchPrefix  = 12 // base offset and length, which the length does not count
	batchCRCAt   = 17
	batchCRCFrom = 21 // the checksum covers everything from here
	MaxRecords   = 1 << 20
	// recordOverhead is an upper estimate for a record without headers: lengths, deltas and
	// attributes.
	recordOverhead = 40
)

// SizeOf estimates what a record adds to a batch, from above.
func SizeOf(r *record.Record) int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += 10 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// AppendBatch appends the records as one batch, compressed with codec (nil: not at all). A zero
// time becomes now.
func AppendBatch(
	dst []byte,
	records []*record.Record,
	codec compress.Codec,
	now time.Time,
) ([]byte, error) {
	start := len(dst)
	first, newest := int64(0), int64(0)
	dst = append(dst, make([]byte, BatchHeader)...)
	for i, r := range records {
		ms := now.UnixMilli()
		if !r.Time.IsZero() {
			ms = r.Time.UnixMilli()
		}
		if i == 0 {
			first, newest = ms, ms
		}
		newest = max(newest, ms)
		dst = appendRecord(dst, r, ms-first, int64(i))
	}
	attributes := uint16(0)
	if codec != nil {
		var packed bytes.Buffer
		w := codec.NewWriter(&packed)
		if _, err := w.Write(dst[start+BatchHeader:]); err != nil {
			return dst[:start], fmt.Errorf("compress a batch of %d records: %w", len(records), err)
		}
		if err := w.Close(); err != nil {
			return dst[:start], fmt.Errorf("compress a batch of %d records: %w", len(records), err)
		}
		if packed.Len() < len(dst)-start-BatchHeader {
			attributes = uint16(codec.Code())
			dst = append(dst[:start+BatchHeader], packed.Bytes()...)
		}
	}
	b := dst[start:]
	be := binary.BigEndian
	be.PutUint32(b[8:], uint32(len(b)-batchPrefix))
	be.PutUint32(b[12:], ^uint32(0)) // partition leader epoch: unknown
	b[16] = 2                        // magic
	be.PutUint16(b[21:], attributes)
	be.PutUint32(b[23:], uint32(len(records)-1))
	be.PutUint64(b[27:], uint64(first))
	be.PutUint64(b[35:], uint64(newest))
	be.PutUint64(b[43:], ^uint64(0)) // no producer id,
	be.PutUint16(b[51:], ^uint16(0)) // epoch
	be.PutUint32(b[53:], ^uint32(0)) // or sequence
	be.PutUint32(b[57:], uint32(len(records)))
	be.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchCRCFrom:], castagnoli))
	return dst, nil
}

func appendRecord(dst []byte, r *record.Record, timeDelta, offsetDelta int64) []byte {
	n := 1 + varintLen(timeDelta) + varintLen(offsetDelta) + bytesLen(r.Key) + bytesLen(
		r.Value,
	) + varintLen(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += varintLen(int64(len(h.Key))) + len(h.Key) + bytesLen(h.Value)
	}
	dst = binary.AppendVarint(dst, int64(n))
	dst = append(dst, 0) // attributes: none are defined
	dst = binary.AppendVarint(dst, timeDelta)
	dst = binary.AppendVarint(dst, offsetDelta)
	dst = appendNullable(dst, r.Key)
	dst = appendNullable(dst, r.Value)
	dst = binary.AppendVarint(dst, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		dst = binary.AppendVarint(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendNullable(dst, h.Value)
	}
	return dst
}

// appendNullable keeps nil (on a compacted topic: a tombstone) apart from empty.
func appendNullable(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

func bytesLen(b []byte) int {
	if b == nil {
		return varintLen(-1)
	}
	return varintLen(int64(len(b))) + len(b)
}

// varintLen returns the length of the zigzag encoding that binary.AppendVarint writes.
func varintLen(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}

// PutSize writes the length of a record set into its first four bytes.
func PutSize(body []byte) {
	n := len(body) - 4
	body[0], body[1], body[2], body[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
}
