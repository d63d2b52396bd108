package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// OffsetAt returns the offset of the first record of a partition whose log time is t or later, and
// the end of the partition when there is none. Times of a partition need not be in order: every
// record from t on is at the returned offset or behind it. Times count to the millisecond, rounded
// down; a time before 1970 is the beginning of the partition. Transient errors are tried again
// until ctx ends.
func (c *Conn) OffsetAt(
	ctx context.Context, tp record.TopicPartition, t time.Time,
) (offset int64, err error) {
	err = retry(ctx, func() error {
		// The end is looked up first: what is written in between is behind it.
		all, err := c.Bounds(ctx, map[string][]int{tp.Topic: {tp.Partition}})
		if err != nil {
			return err
		}
		if t.UnixMilli() < 0 {
			offset = all[tp].First
			return nil
		}
		offset, err = c.firstSince(ctx, tp, t)
		if err == nil && offset < 0 {
			offset = all[tp].End
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look up the offset of %s at %s: %w", tp, t.Format(time.RFC3339), err)
	}
	return offset, nil
}

// firstSince asks the partition's leader; -1 is none.
func (c *Conn) firstSince(
	ctx context.Context, tp record.TopicPartition, t time.Time,
) (int64, error) {
	leaders, err := c.leaders(ctx, tp.Topic, false)
	if err != nil {
		return 0, err
	}
	if tp.Partition >= len(leaders) || leaders[tp.Partition] < 0 {
		c.Forget(tp.Topic)
		return 0, wire.Classify(kafka.LeaderNotAvailable)
	}
	req := &listoffsets.Request{ReplicaID: -1, Topics: []listoffsets.RequestTopic{{
		Topic: c.Full(tp.Topic),
		Partitions: []listoffsets.RequestPartition{{
			Partition: int32(tp.Partition), CurrentLeaderEpoch: -1, Timestamp: t.UnixMilli(),
		}},
	}}}
	m, err := c.askBroker(ctx, c.cfg.RequestTimeout, leaders[tp.Partition], req)
	if err != nil {
		return 0, wire.Classify(err)
	}
	for _, topic := range m.(*listoffsets.Response).Topics {
		if len(topic.Partitions) != 1 {
			continue
		}
		p := &topic.Partitions[0]
		if p.ErrorCode != 0 {
			c.Forget(tp.Topic)
			return 0, wire.Classify(wire.Code(p.ErrorCode))
		}
		return p.Offset, nil
	}
	return 0, wire.Classify(fmt.Errorf("the broker's answer leaves it out: %w",
		kafka.NetworkException))
}
