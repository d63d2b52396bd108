//go:build linux

package torture

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

const (
	codecGzip   = 1
	bombRecords = 3
	// bombBytes are the blanks of one of its records: 300 MiB in all.
	bombBytes = 100 << 20
)

// compressionBomb returns a batch of some hundred kilobytes that decompresses to 300 MiB of blanks.
func compressionBomb() ([]byte, error) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	blanks := bytes.Repeat([]byte{' '}, 1<<20)
	for n := range bombRecords {
		body := []byte{0, 0} // attributes, difference of time
		body = binary.AppendVarint(body, int64(n))
		// A compacted topic takes no records without a key.
		body = append(binary.AppendVarint(body, int64(len(plantedHeader))), plantedHeader...)
		body = binary.AppendVarint(body, bombBytes)
		head := binary.AppendVarint(nil, int64(len(body)+bombBytes+1))
		if _, err := w.Write(append(head, body...)); err != nil {
			return nil, err
		}
		for range bombBytes / len(blanks) {
			if _, err := w.Write(blanks); err != nil {
				return nil, err
			}
		}
		if _, err := w.Write([]byte{0}); err != nil { // no headers
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return batchOf(packed.Bytes()), nil
}

// batchOf returns the record batch of a bomb.
func batchOf(packed []byte) []byte {
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: codecGzip, LastOffsetDelta: bombRecords - 1,
		FirstTimestamp: now, MaxTimestamp: now, ProducerID: -1, ProducerEpoch: -1,
		FirstSequence: -1, NumRecords: bombRecords, Records: packed,
	}
	const lengthEnd, crcAt, crcEnd = 12, 17, 21
	out := b.AppendTo(nil)
	binary.BigEndian.PutUint32(out[lengthEnd-4:], uint32(len(out)-lengthEnd))
	sum := crc32.Checksum(out[crcEnd:], crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(out[crcAt:], sum)
	return out
}

// raw writes a batch as it stands. An error that is no answer of the broker leaves open whether it
// is there.
func (f *foreign) raw(ctx context.Context, topic string, partition int32, batch []byte) error {
	c, err := f.connect(kgo.MaxVersions(kversion.V3_0_0())) // those name topics, not their ids
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, batch
	to := kmsg.NewProduceRequestTopic()
	to.Topic = f.prefix + topic
	to.Partitions = append(to.Partitions, part)
	req.Topics = append(req.Topics, to)
	res, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		return fmt.Errorf("the answer has %d topics", len(res.Topics))
	}
	return kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode)
}

// refused tells whether a broker has refused a request for good.
func refused(err error) bool {
	var code *kerr.Error
	return errors.As(err, &code) && !code.Retriable
}

// bomb writes a batch that nobody can read to a topic that applications write to.
func (h *harness) bomb(ctx context.Context, r *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	topics := []string{
		schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicItems, schemas.TopicUsers,
	}
	topic, partition := topics[r.IntN(len(topics))], int32(r.IntN(h.cfg.Partitions))
	batch, err := h.bombs()
	if err != nil {
		return err
	}
	for {
		if err := h.foreign.raw(ctx, topic, partition, batch); err == nil {
			h.ledger.count(func(l *ledger) { l.bombs++ })
			return nil
		} else if refused(err) || !wait(ctx, 300*time.Millisecond) {
			return fmt.Errorf("write a batch that cannot be read to %s: %w",
				record.TopicPartition{Topic: topic, Partition: int(partition)}, err)
		}
	}
}
