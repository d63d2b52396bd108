package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Bounds are the ends of a partition's log.
type Bounds struct {
	// First is the oldest offset kept. End is the offset at which reading waits for more: every
	// transaction that began before has ended (Kafka's last stable offset). HighWatermark is the
	// offset after the newest record. It is beyond End exactly while a transaction is open, and
	// never before.
	First, End, HighWatermark int64
}

// Offsets returns the bounds of every partition of the topics.
func (c *Conn) Offsets(
	ctx context.Context,
	topics ...string,
) (map[record.TopicPartition]Bounds, error) {
	parts := map[string][]int{}
	for _, topic := range topics {
		n, err := c.Partitions(ctx, topic)
		if err != nil {
			return nil, err
		}
		for i := range n {
			parts[topic] = append(parts[topic], i)
		}
	}
	return c.Bounds(ctx, parts)
}

// Bounds returns the bounds of partitions, by topic.
func (c *Conn) Bounds(
	ctx context.Context,
	parts map[string][]int,
) (map[record.TopicPartition]Bounds, error) {
	byLeader := map[int32][]record.TopicPartition{}
	out := map[record.TopicPartition]Bounds{}
	for topic, ids := range parts {
		leaders, err := c.leaders(ctx, topic, false)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			tp := record.TopicPartition{Topic: topic, Partition: id}
			if id < 0 || id >= len(leaders) || leaders[id] < 0 {
				c.Forget(topic)
				return nil, fmt.Errorf(
					"look up the ends of %s: %w", tp, wire.Classify(kafka.LeaderNotAvailable),
				)
			}
			byLeader[leaders[id]] = append(byLeader[leaders[id]], tp)
		}
	}
	for leader, tps := range byLeader {
		ends, failed, err := c.ends(ctx, leader, tps)
		if err != nil {
			return nil, err
		}
		for _, tp := range tps {
			if err := failed[tp]; err != nil {
				return nil, err
			}
		}
		maps.Copy(out, ends)
	}
	return out, nil
}

// Oldest returns the offset of the oldest record that a partition keeps, its end if there is none.
func (c *Conn) Oldest(ctx context.Context, tp record.TopicPartition) (int64, error) {
	all, err := c.Bounds(ctx, map[string][]int{tp.Topic: {tp.Partition}})
	return all[tp].First, err
}

// ends asks one broker for the ends of the partitions. failed holds the errors of those for which
// it has no answer.
func (c *Conn) ends(
	ctx context.Context, leader int32, tps []record.TopicPartition,
) (ends map[record.TopicPartition]Bounds, failed map[record.TopicPartition]error, err error) {
	ends, failed = make(
		map[record.TopicPartition]Bounds, len(tps),
	), map[record.TopicPartition]error{}
	for _, tp := range tps {
		ends[tp] = Bounds{First: -1, End: -1, HighWatermark: -1}
	}
	// The last stable offset comes after the high watermark: where it is lower all the same, a
	// transaction is open, and not a moment has passed in between.
	for _, end := range []logEnd{
		{kafka.FirstOffset, 0, func(b *Bounds, offset int64) { b.First = offset }},
		{kafka.LastOffset, 0, func(b *Bounds, offset int64) { b.HighWatermark = offset }},
		{kafka.LastOffset, readCommitted, func(b *Bounds, offset int64) { b.End = offset }},
	} {
		if err := c.listOffsets(ctx, leader, tps, end, ends, failed); err != nil {
			return nil, nil, err
		}
	}
	for _, tp := range tps {
		b := ends[tp]
		if failed[tp] == nil && (b.First < 0 || b.End < 0 || b.HighWatermark < 0) {
			failed[tp] = fault.Transientf(
				"look up the ends of %s: the broker's answer leaves it out", tp,
			)
		}
		b.HighWatermark = max(b.HighWatermark, b.End)
		ends[tp] = b
	}
	return ends, failed, nil
}

// logEnd is one of the ends that a broker can be asked for.
type logEnd struct {
	timestamp int64
	isolation int8
	note      func(b *Bounds, offset int64)
}

// readCommitted is the isolation level at which the end of a log is its last stable offset.
const readCommitted = 1

// listOffsets asks one broker for one end of the partitions and notes the answers in out, or in
// failed.
func (c *Conn) listOffsets(
	ctx context.Context, leader int32, tps []record.TopicPartition, end logEnd,
	out map[record.TopicPartition]Bounds, failed map[record.TopicPartition]error,
) error {
	req := &listoffsets.Request{ReplicaID: -1, IsolationLevel: end.isolation}
	byTopic := map[string]int{}
	for _, tp := range tps {
		t, ok := byTopic[tp.Topic]
		if !ok {
			t = len(req.Topics)
			byTopic[tp.Topic] = t
			req.Topics = append(req.Topics, listoffsets.RequestTopic{Topic: c.Full(tp.Topic)})
		}
		req.Topics[t].Partitions = append(req.Topics[t].Partitions, listoffsets.RequestPartition{
			Partition: int32(tp.Partition), CurrentLeaderEpoch: -1, Timestamp: end.timestamp,
		})
	}
	m, err := c.askBroker(ctx, c.cfg.RequestTimeout, leader, req)
	if err != nil {
		return fmt.Errorf("look up the ends of %d partitions: %w", len(tps), wire.Classify(err))
	}
	for _, t := range m.(*listoffsets.Response).Topics {
		for _, p := range t.Partitions {
			tp := record.TopicPartition{Topic: c.Logical(t.Topic), Partition: int(p.Partition)}
			if p.ErrorCode != 0 {
				c.Forget(tp.Topic)
				err := wire.Classify(wire.Code(p.ErrorCode))
				failed[tp] = fmt.Errorf("look up the ends of %s: %w", tp, err)
				continue
			}
			b := out[tp]
			end.note(&b, p.Offset)
			out[tp] = b
		}
	}
	return nil
}

// How the readers without a group fetch.
const (
	readMaxWait  = 250 * time.Millisecond
	readMaxBytes = 4 << 20
	slowestRetry = 2 * time.Second // the longest pause after a failure
)

// Read calls fn for the committed records of one partition with offsets from ≤ offset < to, in
// order. A negative to means the end at the time of the call (Bounds.End), and one beyond the high
// watermark means that. Where a transaction is open before to, Read waits until it has ended. A
// from before the oldest record means the oldest. Transient errors are tried again until ctx ends.
// Batches whose records cannot be read are skipped, and told to Config.Skipped. Where the log stays
// damaged for some seconds, Read returns an error that says so and for which the caller should
// wait (fault.Waits). An error of fn ends the reading and is returned. The record is fn's to keep.
func (c *Conn) Read(
	ctx context.Context,
	tp record.TopicPartition,
	from, to int64,
	fn func(*record.Record) error,
) error {
	clock, end, err := c.read(ctx, tp, from, to, c.clockAt(tp, from), visitor{fn, c.skip})
	if err == nil && from <= end {
		c.noteClock(tp, end, clock)
	}
	return err
}

// visitor gets what a reading finds, in order.
type visitor struct {
	record func(*record.Record) error
	// unreadable gets the batches whose records cannot be read.
	unreadable func(*record.Undecodable)
}

// read is Read with the clock of the records from from on. It returns the clock at the end, and
// where that is.
func (c *Conn) read(
	ctx context.Context, tp record.TopicPartition, from, to int64, clock logClock, v visitor,
) (_ logClock, end int64, err error) {
	var b Bounds
	err = retry(ctx, func() error {
		all, err := c.Bounds(ctx, map[string][]int{tp.Topic: {tp.Partition}})
		b = all[tp]
		return err
	})
	if err != nil {
		return clock, 0, fmt.Errorf("read %s: %w", tp, err)
	}
	if to < 0 {
		to = b.End
	}
	to = min(to, b.HighWatermark)
	clock.known = clock.known || from <= b.First
	var gap wire.EndGap
	for next := max(from, b.First); next < to; {
		var got wire.Decoded
		var damaged error
		failures := 0
		err := retry(ctx, func() error {
			res, empty, err := c.fetchOne(ctx, tp, next)
			if err != nil {
				return err
			}
			if res.LogStart > next { // deleted while we read
				next = res.LogStart
			}
			if got, err = c.decode(res, next); err == nil {
				err = c.passGap(ctx, &gap, &got, res, empty)
			}
			next = got.Next
			if failures++; Damaged(err) && readBackoff.Lasts(failures) {
				damaged = err
				return nil
			}
			return err
		})
		records := got.Records
		for i := range records {
			if records[i].Offset >= to {
				records = records[:i]
				break
			}
		}
		if err = cmp.Or(err, damaged); err == nil {
			err = retry(ctx, func() error {
				clock, err = c.date(ctx, tp, clock, records)
				if Damaged(err) { // that has been tried for long enough
					damaged, err = err, nil
				}
				return err
			})
			err = cmp.Or(err, damaged)
		}
		if err != nil {
			return clock, 0, fmt.Errorf("read %s from offset %d: %w", tp, next, err)
		}
		for i := range got.Undecodable {
			if got.Undecodable[i].First < to {
				v.unreadable(&got.Undecodable[i])
			}
		}
		for i := range records {
			if err := v.record(&records[i]); err != nil {
				return clock, 0, fmt.Errorf("read %s, offset %d: %w", tp, records[i].Offset, err)
			}
		}
	}
	return clock, to, nil
}

// readBackoff is how long Read waits between attempts.
var readBackoff = fault.Backoff{First: 20 * time.Millisecond, Max: slowestRetry}

// retry calls f until it succeeds, its error is not transient, or ctx ends.
func retry(ctx context.Context, f func() error) error {
	return fault.Retry(ctx, readBackoff, f)
}

// fetchOne fetches one partition. An offset out of range is answered with the log's start and no
// records when it is before it.
func (c *Conn) fetchOne(
	ctx context.Context,
	tp record.TopicPartition,
	offset int64,
) (res *wire.Fetched, empty bool, err error) {
	leaders, err := c.leaders(ctx, tp.Topic, false)
	if err != nil {
		return nil, false, err
	}
	if tp.Partition >= len(leaders) || leaders[tp.Partition] < 0 {
		c.Forget(tp.Topic)
		return nil, false, fmt.Errorf(
			"partition %s: %w", tp, wire.Classify(kafka.LeaderNotAvailable),
		)
	}
	results, empty, err := c.fetch(ctx, leaders[tp.Partition], []wire.Ask{{TP: tp, Offset: offset}})
	if err != nil {
		c.Forget(tp.Topic)
		return nil, false, fmt.Errorf("fetch %s: %w", tp, err)
	}
	for i := range results {
		res := &results[i]
		switch {
		case res.TP != tp:
		case res.Code == 0:
			return res, empty, nil
		case errors.Is(wire.Code(res.Code), kafka.OffsetOutOfRange):
			all, err := c.Bounds(ctx, map[string][]int{tp.Topic: {tp.Partition}})
			if err != nil {
				return nil, false, err
			}
			if b := all[tp]; offset < b.First {
				return &wire.Fetched{
					TP: tp, LogStart: b.First, HighWatermark: b.HighWatermark, LastStable: b.End,
				}, false, nil
			}
			return nil, false, fmt.Errorf(
				"fetch %s at %d: %w", tp, offset, wire.Classify(wire.Code(res.Code)),
			)
		default:
			c.Forget(tp.Topic)
			return nil, false, fmt.Errorf("fetch %s: %w", tp, wire.Classify(wire.Code(res.Code)))
		}
	}
	return nil, false, fault.Transientf("fetch %s: the broker's answer leaves it out", tp)
}

// fetch performs one exchange for a reader without a group.
func (c *Conn) fetch(
	ctx context.Context,
	leader int32,
	asks []wire.Ask,
) (results []wire.Fetched, empty bool, err error) {
	req := &wire.Fetch{
		Leader: leader, ClientID: c.cfg.ClientID, Names: c.names,
		MaxWaitMillis: int32(readMaxWait.Milliseconds()),
		MaxBytes:      readMaxBytes, PartitionMax: readMaxBytes / 4, Asks: asks,
	}
	if _, err := c.roundTrip(ctx, readMaxWait+c.cfg.RequestTimeout, req); err != nil {
		return nil, false, wire.Classify(err)
	}
	return req.Results, req.Empty, nil
}
