package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Code is a broker's error code as an error.
func Code(code int16) error { return kafka.Error(code) }

// Attributes of a record batch.
const (
	attrCodec     = 0x07
	attrAppended  = 0x08 // the batch's time is the broker's, for all records
	attrControl   = 0x20 // a transaction's marker, not data
	maxInflated   = 1 << 28
	minRecordSize = 7 // length, attributes, two deltas, two lengths, header count
)

var errCorrupt = errors.New("corrupt record batch")

// DecodeBatches returns the records at or after from. next is the offset after the last complete
// batch, which on a compacted topic can be well after the last record; it is from when there is no
// complete batch. Keys and values are slices of data or of what was inflated.
func DecodeBatches(
	tp record.TopicPartition,
	data []byte,
	from int64,
) (records []record.Record, next int64, err error) {
	next = from
	be := binary.BigEndian
	for len(data) >= BatchHeader {
		length := int(int32(be.Uint32(data[8:])))
		if length < BatchHeader-batchPrefix {
			return records, next, fmt.Errorf(
				"%w at offset %d of %s: length %d", errCorrupt, next, tp, length,
			)
		}
		if batchPrefix+length > len(data) {
			break // cut off by the response's size limit
		}
		b := data[:batchPrefix+length]
		data = data[batchPrefix+length:]
		base := int64(be.Uint64(b))
		if magic := b[16]; magic != 2 {
			return records, next, fmt.Errorf(
				"batch at offset %d of %s has format %d, only 2 can be read (Kafka 0.11 and "+
					"later write it)",
				base,
				tp,
				magic,
			)
		}
		if sum := crc32.Checksum(b[batchCRCFrom:], castagnoli); sum != be.Uint32(b[batchCRCAt:]) {
			return records, next, fmt.Errorf(
				"%w at offset %d of %s: checksum", errCorrupt, base, tp,
			)
		}
		after := base + int64(int32(be.Uint32(b[23:]))) + 1
		if after <= next {
			continue // wholly before what was asked for
		}
		if be.Uint16(b[21:])&attrControl == 0 {
			if records, err = decodeBatch(records, tp, b, base, next); err != nil {
				return records, next, err
			}
		}
		next = after
	}
	return records, next, nil
}

func decodeBatch(
	dst []record.Record,
	tp record.TopicPartition,
	b []byte,
	base, from int64,
) ([]record.Record, error) {
	be := binary.BigEndian
	attributes := be.Uint16(b[21:])
	first, newest := int64(be.Uint64(b[27:])), int64(be.Uint64(b[35:]))
	count := int(int32(be.Uint32(b[57:])))
	body := b[BatchHeader:]
	if kind := compress.Compression(attributes & attrCodec); kind != 0 {
		var err error
		if body, err = inflate(kind, body); err != nil {
			return dst, fmt.Errorf("inflate the batch at offset %d of %s: %w", base, tp, err)
		}
	}
	if count < 0 || count > len(body)/minRecordSize {
		return dst, fmt.Errorf(
			"%w at offset %d of %s: %d records in %d bytes", errCorrupt, base, tp, count, len(body),
		)
	}
	// Amortized, for a response can be made of thousands of batches of one; and bounded, for a
	// count is only a claim.
	dst = slices.Grow(dst, min(count, 1<<16))
	r := recordReader{b: body, keys: map[string]string{}}
	for range count {
		rec := record.Record{Topic: tp.Topic, Partition: tp.Partition}
		end := r.varint() // the record's length
		if r.bad || end < 0 || end > int64(len(r.b)) {
			return dst, fmt.Errorf("%w at offset %d of %s: a record's length", errCorrupt, base, tp)
		}
		rest := r.b[end:]
		r.b = r.b[:end]
		r.read(1) // attributes
		ms := first + r.varint()
		if attributes&attrAppended != 0 {
			ms = newest
		}
		rec.Time = record.TimeOf(ms)
		rec.Offset = base + r.varint()
		rec.Key, rec.Value = r.nullable(), r.nullable()
		rec.Headers = r.headers()
		if r.bad {
			return dst, fmt.Errorf("%w at offset %d of %s: a record", errCorrupt, base, tp)
		}
		r.b = rest
		if rec.Offset >= from {
			dst = append(dst, rec)
		}
	}
	return dst, nil
}

func inflate(kind compress.Compression, packed []byte) ([]byte, error) {
	codec := kind.Codec()
	if codec == nil {
		return nil, fmt.Errorf("unknown codec %d", kind)
	}
	r := codec.NewReader(bytes.NewReader(packed))
	defer r.Close()
	var out bytes.Buffer
	out.Grow(4 * len(packed))
	n, err := io.Copy(&out, io.LimitReader(r, maxInflated+1))
	if err == nil && n > maxInflated {
		err = fmt.Errorf("more than %d bytes", maxInflated)
	}
	return out.Bytes(), err
}

// recordReader reads the variable-length types inside a batch.
type recordReader struct {
	b    []byte
	bad  bool
	keys map[string]string // the names of headers, which repeat
	slab []record.Header   // to be cut into the records' headers
}

func (r *recordReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *recordReader) read(n int64) []byte {
	if r.bad || n < 0 || n > int64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// nullable keeps nil apart from empty.
func (r *recordReader) nullable() []byte {
	n := r.varint()
	if n < 0 {
		return nil
	}
	return r.read(n)
}

func (r *recordReader) headers() []record.Header {
	n := r.varint()
	if n <= 0 || r.bad {
		return nil
	}
	if n > int64(len(r.b))/2 {
		r.bad = true
		return nil
	}
	if int64(len(r.slab)) < n {
		r.slab = make([]record.Header, max(n, 256))
	}
	hs := r.slab[:n:n]
	r.slab = r.slab[n:]
	for i := range hs {
		name := r.read(r.varint())
		known, ok := r.keys[string(name)]
		if !ok {
			known = string(name)
			r.keys[known] = known
		}
		hs[i] = record.Header{Key: known, Value: r.nullable()}
	}
	return hs
}
