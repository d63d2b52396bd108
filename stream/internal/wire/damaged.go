package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Damaged is the error of a batch that is not what the broker took: its checksum or its length is
// wrong, or it has a format of before Kafka 0.11. The bytes may have suffered on their way, or they
// are damaged on the broker's disk. Another replica may have them whole.
type Damaged struct {
	record.TopicPartition
	// First is the offset that was to be read. Last is the last one of the batch as far as its
	// surroundings tell: its own header may be what is damaged.
	First, Last int64
	Reason      string
}

func (e *Damaged) Error() string {
	return fmt.Sprintf(
		"%s is damaged, offsets %d to %d: %s", e.TopicPartition, e.First, e.Last, e.Reason,
	)
}

// firstBatch returns the batch at the beginning of data. A reason says why what stands there is
// none. Both are empty when data ends before the batch does.
func firstBatch(data []byte) (b []byte, reason string) {
	if len(data) < BatchHeader {
		return nil, ""
	}
	be := binary.BigEndian
	length := int(int32(be.Uint32(data[8:])))
	if length < BatchHeader-batchPrefix {
		return nil, fmt.Sprintf("its length is %d", length)
	}
	if batchPrefix+length > len(data) {
		return nil, ""
	}
	b = data[: batchPrefix+length : batchPrefix+length]
	if magic := b[16]; magic != 2 {
		return nil, fmt.Sprintf(
			"it has format %d, only 2 can be read (Kafka 0.11 and later write it)", magic,
		)
	}
	if crc32.Checksum(b[batchCRCFrom:], castagnoli) != be.Uint32(b[batchCRCAt:]) {
		return nil, "its checksum is wrong"
	}
	return b, ""
}

// damaged deals with what stands at the beginning of data and is no batch.
func (d Decoder) damaged(out Decoded, data []byte, reason string) (Decoded, error) {
	if out.Next > d.From {
		return out, nil
	}
	for _, s := range d.Skip {
		if s.First <= d.From && d.From <= s.Last {
			out.Undecodable = append(out.Undecodable, record.Undecodable{
				TopicPartition: d.TP, First: d.From, Last: s.Last, Raw: bytesOf(data),
				Reason: "damaged, and given up: " + reason,
			})
			out.Next = s.Last + 1
			return out, nil
		}
	}
	return out, &Damaged{
		TopicPartition: d.TP, First: d.From, Last: max(d.From, lastOf(data)), Reason: reason,
	}
}

// bytesOf returns the bytes of the damaged batch at the beginning of data, as far as its length can
// be believed.
func bytesOf(data []byte) []byte {
	if len(data) < BatchHeader {
		return data
	}
	length := int(int32(binary.BigEndian.Uint32(data[8:])))
	if length < BatchHeader-batchPrefix || batchPrefix+length > len(data) {
		return data[:BatchHeader]
	}
	return data[: batchPrefix+length : batchPrefix+length]
}

// lastOf guesses the last offset of the damaged batch at the beginning of data. What stands behind
// it tells, else its own header. It returns -1 where neither can be believed.
func lastOf(data []byte) int64 {
	be := binary.BigEndian
	if b, _ := firstBatch(data[len(bytesOf(data)):]); b != nil {
		return int64(be.Uint64(b)) - 1
	}
	if len(data) < BatchHeader {
		return -1
	}
	const most = 1 << 20 // records in a batch
	if delta := int32(be.Uint32(data[23:])); delta >= 0 && delta < most {
		return int64(be.Uint64(data)) + int64(delta)
	}
	return -1
}
