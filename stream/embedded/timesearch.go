package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/stream/internal/wire"
)

// Offsets by time. kfake decompresses the batch in question whole, whatever comes out of it: a few
// of 300 MiB took 1.6 GB. So requests that ask for a time are answered here, from the headers of
// the batches on disk, and a batch is decompressed up to maxInflated only.

// Offsets that a request asks for in place of a time.
const (
	newestOffset       = -1
	oldestOffset       = -2
	offsetOfNewestTime = -3 // of the first record with the newest time
	oldestLocalOffset  = -4
)

// readCommitted is the isolation level at which a log ends at its last stable offset.
const readCommitted = 1

// guardListOffsets answers a request that asks for a time. kfake answers the others.
func (b *Broker) guardListOffsets(req kmsg.Request) (kmsg.Response, error, bool) {
	r := req.(*kmsg.ListOffsetsRequest)
	if !asksForTime(r) {
		return nil, nil, false
	}
	b.cluster.KeepControl()
	resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
	for i := range r.Topics {
		t := &r.Topics[i]
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		for j := range t.Partitions {
			rt.Partitions = append(rt.Partitions, b.listOffset(r, t.Topic, &t.Partitions[j]))
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil, true
}

// asksForTime tells whether kfake would look into a batch. In version 0 it goes by segments.
func asksForTime(r *kmsg.ListOffsetsRequest) bool {
	for i := range r.Topics {
		for _, p := range r.Topics[i].Partitions {
			if r.Version > 0 && (p.Timestamp >= 0 || p.Timestamp == offsetOfNewestTime) {
				return true
			}
		}
	}
	return false
}

func (b *Broker) listOffset(
	r *kmsg.ListOffsetsRequest, topic string, q *kmsg.ListOffsetsRequestTopicPartition,
) kmsg.ListOffsetsResponseTopicPartition {
	p := kmsg.NewListOffsetsResponseTopicPartition() // says that nothing was found
	p.Partition = q.Partition
	t, info := b.cluster.TopicInfo(topic), b.cluster.PartitionInfo(topic, q.Partition)
	switch {
	case t == nil || info == nil:
		p.ErrorCode = kerr.UnknownTopicOrPartition.Code
		return p
	case q.CurrentLeaderEpoch > info.Epoch:
		p.ErrorCode = kerr.UnknownLeaderEpoch.Code
		return p
	case q.CurrentLeaderEpoch >= 0 && q.CurrentLeaderEpoch < info.Epoch:
		p.ErrorCode = kerr.FencedLeaderEpoch.Code
		return p
	}
	end := info.HighWatermark
	if r.ReplicaID == -1 && r.IsolationLevel == readCommitted {
		end = info.LastStableOffset
	}
	switch {
	case q.Timestamp == newestOffset:
		p.Offset, p.LeaderEpoch = end, info.Epoch
	case q.Timestamp == oldestOffset, q.Timestamp == oldestLocalOffset:
		p.Offset, p.LeaderEpoch = info.LogStartOffset, info.Epoch
	case q.Timestamp >= 0, q.Timestamp == offsetOfNewestTime:
		found, err := b.times.search(b.logDir(), t, info, q.Timestamp)
		switch {
		case err != nil:
			b.log.Warn("embedded broker: look up an offset by time", "topic", topic,
				"partition", q.Partition, "err", err)
			p.ErrorCode = kerr.KafkaStorageError.Code
		case found != nil && found.offset < end:
			p.Offset, p.Timestamp, p.LeaderEpoch = found.offset, found.time, found.epoch
		}
	}
	return p
}

// timeIndex holds the newest time of each segment that was searched, so that a search reads one
// segment. Safe for concurrent use.
type timeIndex struct {
	mu     sync.Mutex
	newest map[indexedPartition]map[segment]int64 // a segment that has grown is another one
}

// indexedPartition is a partition, not one of a topic of the same name that was deleted.
type indexedPartition struct {
	topic     [16]byte
	partition int32
}

// placed is a record, or the first offset of a batch that cannot be read.
type placed struct {
	offset, time int64
	epoch        int32
}

// search returns the first record of a partition, in the order of offsets, whose time is not before
// ms; or, of offsetOfNewestTime, the first one with the newest time. It returns nil for none.
func (x *timeIndex) search(
	logDir string, t *kfake.TopicInfo, info *kfake.PartitionInfo, ms int64,
) (*placed, error) {
	l := logOf(logDir, t.Topic, int(info.Partition))
	if err := l.readSegments(); err != nil {
		return nil, err
	}
	newest, err := x.newestOf(indexedPartition{t.TopicID, info.Partition}, &l)
	if err != nil {
		return nil, err
	}
	if ms == offsetOfNewestTime {
		for _, at := range newest {
			ms = max(ms, at)
		}
	}
	if ms < 0 {
		return nil, nil
	}
	for _, seg := range l.segments {
		if newest[seg] < ms {
			continue
		}
		var found *placed
		err := l.eachStored(seg, func(raw []byte) bool {
			if newestTime(raw) >= ms && lastOffset(raw) >= info.LogStartOffset {
				found = firstAt(raw, ms, info.LogStartOffset)
			}
			return found == nil
		})
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, nil
}

// newestOf returns the newest time of each segment. It reads those that it does not know.
func (x *timeIndex) newestOf(at indexedPartition, l *partitionLog) (map[segment]int64, error) {
	x.mu.Lock()
	known := x.newest[at]
	x.mu.Unlock()
	newest := make(map[segment]int64, len(l.segments))
	for _, seg := range l.segments {
		ms, ok := known[seg]
		if !ok {
			ms = -1
			if err := l.eachStored(seg, func(raw []byte) bool {
				ms = max(ms, newestTime(raw))
				return true
			}); err != nil {
				return nil, err
			}
		}
		newest[seg] = ms
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.newest == nil {
		x.newest = map[indexedPartition]map[segment]int64{}
	}
	x.newest[at] = newest
	return newest, nil
}

// eachStored calls f with each batch of a segment until f returns false. A segment that retention
// has removed meanwhile has none.
func (l *partitionLog) eachStored(seg segment, f func(raw []byte) bool) error {
	raw, err := os.ReadFile(filepath.Join(l.dir, strconv.FormatInt(seg.base, 10)+".dat"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read segment %d of %s/%d: %w", seg.base, l.topic, l.partition, err)
	}
	eachBatch(raw, f)
	return nil
}

// newestTime returns the newest time of a batch's records, as its header has it.
func newestTime(raw []byte) int64 {
	at := batchNewestAt
	if isMarked(raw) { // compaction may have changed the newest one, see unmark
		at = batchFirstAt
	}
	return int64(binary.BigEndian.Uint64(raw[at:]))
}

func lastOffset(raw []byte) int64 {
	be := binary.BigEndian
	return int64(be.Uint64(raw)) + int64(int32(be.Uint32(raw[batchLastAt:])))
}

// firstAt returns the first record of a batch from an offset on whose time is not before ms, nil
// for none. Records of a marked batch have one time. Of a batch that cannot be read, or only with
// more memory than maxInflated, it returns the first offset: so nothing since ms is left out.
func firstAt(raw []byte, ms, start int64) *placed {
	be := binary.BigEndian
	base := int64(be.Uint64(raw))
	batch := &placed{
		offset: max(base, start), time: newestTime(raw),
		epoch: int32(be.Uint32(raw[batchLeaderAt:])),
	}
	if isMarked(raw) {
		return batch
	}
	kind := compress.Compression(be.Uint16(raw[batchAttrsAt:]) & attrCodec)
	body, err := wire.Inflate(kind, raw[batchHeader:], maxInflated)
	if err != nil {
		return batch
	}
	first := int64(be.Uint64(raw[batchFirstAt:]))
	for range int(int32(be.Uint32(raw[batchCountAt:]))) {
		size, n := binary.Varint(body)
		if n <= 0 || size < 1 || size > int64(len(body)-n) {
			return batch
		}
		rec := body[n+1 : n+int(size)] // behind the attributes
		body = body[n+int(size):]
		later, n := binary.Varint(rec)
		if n <= 0 {
			return batch
		}
		further, m := binary.Varint(rec[n:])
		if m <= 0 {
			return batch
		}
		if first+later >= ms && base+further >= start {
			return &placed{offset: base + further, time: first + later, epoch: batch.epoch}
		}
	}
	return nil
}
