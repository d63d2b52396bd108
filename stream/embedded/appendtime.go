package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"strconv"

	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/stream/internal/wire"
)

// Topics with message.timestamp.type=LogAppendTime. kfake ignores the setting. It even damages a
// batch that has the attribute: it changes both times of the batch and leaves its checksum, so
// every reader refuses the batch, and the next start cuts the log there.
//
// So kfake never sees the attribute. A batch for such a topic is stored with the broker's time in
// place of its times, and with a mark of our own. What is served (responses.go) has Kafka's
// attribute in place of the mark. The stored batch is valid by itself: a restart, compaction and a
// search by time handle it like any other.
const (
	timestampType = "message.timestamp.type"
	logAppendTime = "LogAppendTime"

	attrCodec    = 0x0007
	attrAppended = 0x0008
	// attrMarked stands for attrAppended on disk. Kafka has no such attribute.
	attrMarked = 0x0100
)

// Where the fields of a record batch are, and what comes before the records.
const (
	batchLengthAt = 8
	batchLeaderAt = 12 // the leader's epoch
	batchMagicAt  = 16
	batchCRCAt    = 17
	batchAttrsAt  = 21
	batchFirstAt  = 27
	batchNewestAt = 35
	batchCountAt  = 57
	batchHeader   = 61
	batchPrefix   = 12 // what the length does not count
)

// maxInflated bounds the memory that one compressed batch takes.
const maxInflated = 64 << 20

// messageBytes is Kafka's default of max.message.bytes.
const messageBytes = 1048588

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// guardProduce gives the batches of a request their times, as the topics' timestamp types want it.
func (b *Broker) guardProduce(req kmsg.Request) (kmsg.Response, error, bool) {
	r := req.(*kmsg.ProduceRequest)
	refused := map[*kmsg.ProduceRequestTopicPartition]bool{}
	for i := range r.Topics {
		t := &r.Topics[i]
		var info *kfake.TopicInfo
		if r.Version < 13 {
			info = b.cluster.TopicInfo(t.Topic)
		} else {
			info = b.cluster.TopicIDInfo(t.TopicID)
		}
		if info == nil {
			continue
		}
		kind := info.Configs[timestampType]
		appended := kind != nil && *kind == logAppendTime
		limit := messageBytes
		if v := info.Configs["max.message.bytes"]; v != nil {
			if n, err := strconv.Atoi(*v); err == nil {
				limit = n
			}
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if !intact(p.Records) {
				continue // kfake says what is wrong with it
			}
			attrs := binary.BigEndian.Uint16(p.Records[batchAttrsAt:])
			switch {
			case appended && attrs&attrAppended != 0:
				refused[p] = true
			case appended:
				now := b.cfg.Clock().UnixMilli()
				p.Records = appendedBatch(p.Records, now, limit)
				if pi := b.cluster.PartitionInfo(info.Topic, p.Partition); pi != nil {
					b.appends.note(
						appendedTo{t.Topic, t.TopicID, p.Partition}, pi.HighWatermark, now,
					)
				}
			case attrs&(attrAppended|attrMarked) != 0:
				// Kafka clears it as well: the topic decides.
				binary.BigEndian.PutUint16(
					p.Records[batchAttrsAt:], attrs&^(attrAppended|attrMarked),
				)
				seal(p.Records)
			}
		}
	}
	if len(refused) == 0 {
		return nil, nil, false
	}
	b.cluster.KeepControl()
	if r.Acks == 0 {
		return nil, errors.New("a producer must not set the timestamp type LogAppendTime"), true
	}
	return refuseAppended(r, refused), nil, true
}

// refuseAppended answers a request that holds batches with Kafka's attribute for LogAppendTime: for
// these as Kafka does. A request is handled whole or not at all, so the other batches are to be
// sent again.
func refuseAppended(
	r *kmsg.ProduceRequest, refused map[*kmsg.ProduceRequestTopicPartition]bool,
) *kmsg.ProduceResponse {
	resp := r.ResponseKind().(*kmsg.ProduceResponse)
	for i := range r.Topics {
		t := &r.Topics[i]
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for j := range t.Partitions {
			p := &t.Partitions[j]
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.BaseOffset = p.Partition, -1
			rp.ErrorCode = kerr.KafkaStorageError.Code
			if refused[p] {
				rp.ErrorCode = kerr.InvalidTimestamp.Code
				rp.ErrorMessage = kmsg.StringPtr(
					"producer should not set timestamp type to LogAppendTime",
				)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// intact reports whether raw is one whole batch with the right checksum.
func intact(raw []byte) bool {
	return len(raw) >= batchHeader && raw[batchMagicAt] == 2 &&
		int(int32(binary.BigEndian.Uint32(raw[batchLengthAt:])))+batchPrefix == len(raw) &&
		binary.BigEndian.Uint32(raw[batchCRCAt:]) == crc32.Checksum(raw[batchAttrsAt:], castagnoli)
}

// seal sets the length and the checksum of a batch that was changed.
func seal(raw []byte) {
	binary.BigEndian.PutUint32(raw[batchLengthAt:], uint32(len(raw)-batchPrefix))
	binary.BigEndian.PutUint32(raw[batchCRCAt:], crc32.Checksum(raw[batchAttrsAt:], castagnoli))
}

// appendedBatch returns the batch with the time now, in milliseconds, for all its records, as it is
// stored. The records' own times go where they are far apart, because kfake goes by them when it
// compacts and deletes. Where they cannot (a batch that cannot be inflated, or would exceed limit
// bytes), the batch's times still say the same to every reader.
func appendedBatch(raw []byte, now int64, limit int) []byte {
	attrs := binary.BigEndian.Uint16(raw[batchAttrsAt:])
	count := int(int32(binary.BigEndian.Uint32(raw[batchCountAt:])))
	body, err := withoutTimes(raw[batchHeader:], compress.Compression(attrs&attrCodec), count)
	if err == nil && body != nil && batchHeader+len(body) <= limit {
		raw = append(raw[:batchHeader:batchHeader], body...)
	}
	binary.BigEndian.PutUint16(raw[batchAttrsAt:], attrs|attrMarked)
	binary.BigEndian.PutUint64(raw[batchFirstAt:], uint64(now))
	binary.BigEndian.PutUint64(raw[batchNewestAt:], uint64(now))
	seal(raw)
	return raw
}

var errRecords = errors.New("malformed records")

// near is how far apart, in milliseconds, the times of a batch may be and stay. To write records
// anew costs their compression.
const near = 60_000

// withoutTimes returns the records of a batch with the batch's time as their own, or nil if their
// times are near it.
func withoutTimes(body []byte, kind compress.Compression, count int) ([]byte, error) {
	plain, err := wire.Inflate(kind, body, maxInflated)
	if err == nil {
		plain, err = zeroTimes(plain, count)
	}
	if err != nil || plain == nil || kind == compress.None {
		return plain, err
	}
	var packed bytes.Buffer
	w := kind.Codec().NewWriter(&packed)
	_, err = w.Write(plain)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// zeroTimes copies records and sets the difference of each to the batch's time to zero. It returns
// nil if all are near it.
func zeroTimes(body []byte, count int) ([]byte, error) {
	out := make([]byte, 0, len(body))
	far := false
	for range count {
		size, n := binary.Varint(body)
		if n <= 0 || size < 1 || size > int64(len(body)-n) {
			return nil, errRecords
		}
		rec := body[n : n+int(size)]
		body = body[n+int(size):]
		apart, n := binary.Varint(rec[1:]) // behind the attributes
		if n <= 0 {
			return nil, errRecords
		}
		far = far || apart > near || apart < -near
		rest := rec[1+n:]
		out = binary.AppendVarint(out, int64(len(rest)+2))
		out = append(append(out, rec[0], 0), rest...)
	}
	if len(body) > 0 {
		return nil, errRecords
	}
	if !far {
		return nil, nil
	}
	return out, nil
}

// repairChecksums puts right, in a segment and its file, the checksums that kfake has spoiled: of
// batches that had Kafka's attribute for LogAppendTime when an older version took them. kfake would
// cut the log at the first of them. They are known by the one time that it gave them.
func repairChecksums(name string, segment []byte) (err error) {
	var f *os.File
	at := int64(0)
	eachBatch(segment, func(raw []byte) bool {
		start := at
		at += int64(len(raw))
		if intact(raw) {
			return true
		}
		if binary.BigEndian.Uint16(raw[batchAttrsAt:])&attrAppended == 0 ||
			!bytes.Equal(raw[batchFirstAt:batchNewestAt], raw[batchNewestAt:batchNewestAt+8]) {
			return false
		}
		seal(raw)
		if f == nil {
			if f, err = os.OpenFile(name, os.O_WRONLY, 0); err != nil {
				return false
			}
		}
		_, err = f.WriteAt(raw[batchCRCAt:batchAttrsAt], start+batchCRCAt)
		return err == nil
	})
	if f != nil {
		err = errors.Join(err, f.Sync(), f.Close())
	}
	return err
}
