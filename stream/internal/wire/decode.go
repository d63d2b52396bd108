package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	attrTxn       = 0x10 // part of a transaction
	attrControl   = 0x20 // a transaction's marker, not data
	minRecordSize = 7    // length, attributes, two deltas, two lengths, header count
)

var errCorrupt = errors.New("corrupt record batch")

// Decoded is what a reader gets of one partition's part of a response.
type Decoded struct {
	// Records are the committed ones, in order.
	Records []record.Record
	// Undecodable are the batches whose records cannot be read, in order.
	Undecodable []record.Undecodable
	// Next is the offset to go on at. It can be well after the last record: markers of
	// transactions, what was aborted and what compaction has removed are no records.
	Next int64
}

// Decoder decodes the batches of one partition.
type Decoder struct {
	TP record.TopicPartition
	// From is the first offset that is wanted.
	From int64
	// Aborted are the aborted transactions with records in the data.
	Aborted []Aborted
	// Limit bounds the memory in bytes that records take when they are decoded, all together. A
	// batch that needs more by itself is undecodable.
	Limit int
	// Skip are the offsets that an operator has given up. What is damaged there is undecodable.
	Skip []record.Range
}

// Decode returns the complete batches of data, or so many as the limit allows. Keys and values are
// slices of data or of what was inflated. When the first batch that is wanted is not what a broker
// has taken, the error is a *Damaged, and nothing has been read. A later one ends the reading
// without an error: the next answer begins with it.
func (d Decoder) Decode(data []byte) (Decoded, error) {
	out := Decoded{Next: d.From}
	transactions := newAborting(d.Aborted)
	room := d.Limit
	be := binary.BigEndian
	for whole := 0; len(data) > 0; whole++ {
		b, reason := firstBatch(data)
		if b == nil && reason == "" {
			if whole > 0 {
				break // cut off by the response's size limit
			}
			reason = "it is cut off" // a broker sends the first batch whole, however large it is
		}
		if reason != "" {
			return d.damaged(out, data, reason)
		}
		data = data[len(b):]
		base := int64(be.Uint64(b))
		after := base + int64(int32(be.Uint32(b[23:]))) + 1
		drop := transactions.drop(b, after-1)
		if after <= out.Next {
			continue // wholly before what was asked for
		}
		if !drop {
			size, err := d.batch(&out, b, after-1, room)
			if errors.Is(err, errTooLarge) && room < d.Limit {
				break // it is the first of the next answer, and has all the room
			}
			if err != nil {
				out.Undecodable = append(out.Undecodable, record.Undecodable{
					TopicPartition: d.TP, First: max(base, out.Next), Last: after - 1,
					Time: record.TimeOf(int64(be.Uint64(b[35:]))), Raw: b,
					Reason: err.Error(),
				})
			}
			room -= size
		}
		out.Next = after
	}
	return out, nil
}

// The bytes that a record and a header need when they are decoded, beside those of their contents.
const (
	recordSize = 176
	headerSize = 40
)

// batch appends the records of one batch that are wanted, all or none, and returns how much memory
// they need.
func (d Decoder) batch(out *Decoded, b []byte, last int64, room int) (size int, err error) {
	be := binary.BigEndian
	base, attributes := int64(be.Uint64(b)), be.Uint16(b[21:])
	first, newest := int64(be.Uint64(b[27:])), int64(be.Uint64(b[35:]))
	count := int(int32(be.Uint32(b[57:])))
	body := b[BatchHeader:]
	if kind := compress.Compression(attributes & attrCodec); kind != 0 {
		if body, err = Inflate(kind, body, room); err != nil {
			return 0, fmt.Errorf("inflate the batch at offset %d of %s: %w", base, d.TP, err)
		}
		size = len(body)
	}
	if count < 0 || count > len(body)/minRecordSize {
		return 0, fmt.Errorf(
			"%w at offset %d of %s: %d records in %d bytes", errCorrupt, base, d.TP, count,
			len(body),
		)
	}
	if size += count * recordSize; size > room {
		return 0, fmt.Errorf("batch at offset %d of %s: %w", base, d.TP, tooLarge(room))
	}
	before := len(out.Records)
	defer func() {
		if err != nil {
			size, out.Records = 0, out.Records[:before]
		}
	}()
	// Amortized, for a response can be made of thousands of batches of one; and bounded, for a
	// count is only a claim.
	out.Records = slices.Grow(out.Records, min(count, 1<<16))
	r := recordReader{b: body, keys: map[string]string{}, room: (room - size) / headerSize}
	free := r.room
	at := base - 1
	for range count {
		rec := record.Record{
			Topic: d.TP.Topic, Partition: d.TP.Partition, Appended: attributes&attrAppended != 0,
		}
		end := r.varint() // the record's length
		if r.bad || end < 0 || end > int64(len(r.b)) {
			return 0, fmt.Errorf(
				"%w at offset %d of %s: a record's length", errCorrupt, base, d.TP,
			)
		}
		rest := r.b[end:]
		r.b = r.b[:end]
		r.read(1) // attributes
		ms := first + r.varint()
		if rec.Appended {
			ms = newest
		}
		rec.Time = record.TimeOf(ms)
		rec.Offset = base + r.varint()
		rec.Key, rec.Value = r.nullable(), r.nullable()
		rec.Headers = r.headers()
		if r.room < 0 {
			return 0, fmt.Errorf("batch at offset %d of %s: %w", base, d.TP, tooLarge(room))
		}
		if r.bad || rec.Offset <= at || rec.Offset > last {
			return 0, fmt.Errorf("%w at offset %d of %s: a record", errCorrupt, base, d.TP)
		}
		r.b, at = rest, rec.Offset
		if rec.Offset >= d.From {
			out.Records = append(out.Records, rec)
		}
	}
	return size + (free-r.room)*headerSize, nil
}

// recordReader reads the variable-length types inside a batch.
type recordReader struct {
	b    []byte
	bad  bool
	keys map[string]string // the names of headers, which repeat
	slab []record.Header   // to be cut into the records' headers
	room int               // how many headers there may still be; below 0 there are too many
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
	if r.room -= int(n); r.room < 0 {
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
