package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func sortPartitions(tps []record.TopicPartition) {
	slices.SortFunc(tps, func(a, b record.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

// copartitioned is kafka-go's range balancer on sorted partitions. Brokers list partitions in any
// order, and the balancer cuts the list as it comes: without sorting, partitions of the same number
// of two topics end up with different members.
type copartitioned struct{ kafka.RangeGroupBalancer }

// AssignGroups decides which member gets which partitions.
func (b copartitioned) AssignGroups(
	members []kafka.GroupMember,
	partitions []kafka.Partition,
) kafka.GroupMemberAssignments {
	sorted := slices.Clone(partitions)
	slices.SortFunc(sorted, func(a, b kafka.Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
	})
	return b.RangeGroupBalancer.AssignGroups(members, sorted)
}

func isPermanent(err error) bool { return fault.ClassOf(wire.Classify(err)) == fault.Permanent }

// prepare finds out where each partition stands and asks the Assigned hook. It returns false when
// the generation ended before that or there is nothing to work on.
func (g *generation) prepare(tps []record.TopicPartition) bool {
	var assigned []record.Assignment
	if len(tps) > 0 {
		ok := g.retry("look up positions", func() error {
			var err error
			assigned, err = g.positions(tps)
			return err
		})
		if !ok {
			return false
		}
	}
	assigned = slices.DeleteFunc(assigned, func(a record.Assignment) bool { return a.Next < 0 })
	assigned, ok := g.askHook(assigned)
	if !ok {
		return false
	}
	for _, a := range assigned {
		g.parts = append(g.parts, newPartition(g, a))
	}
	return true
}

// retry calls f until it succeeds or the generation ends.
func (g *generation) retry(what string, f func() error) bool {
	b := fault.Backoff{First: 50 * time.Millisecond, Max: 5 * time.Second}
	for {
		err := f()
		if err == nil {
			return true
		}
		if g.live.Err() != nil {
			return false
		}
		g.failed(fmt.Errorf("%s: %w", what, err))
		if !b.Wait(g.live) {
			return false
		}
	}
}

// askHook calls Assigned until it succeeds, stops partitions or the generation ends.
func (g *generation) askHook(assigned []record.Assignment) ([]record.Assignment, bool) {
	hook := g.cfg.Assigned
	if hook == nil || len(assigned) == 0 {
		return assigned, true
	}
	var stopped PartitionErrors
	damaged := map[record.TopicPartition]bool{}
	ok := g.retry("prepare for the assigned partitions", func() error {
		err := hook(g.live, slices.Clone(assigned))
		var d *wire.Damaged
		if errors.As(err, &d) && !damaged[d.TopicPartition] {
			damaged[d.TopicPartition] = true
			g.stopPartition(d.TopicPartition, err)
		}
		if errors.As(err, &stopped) {
			return nil
		}
		if err != nil && fault.ClassOf(err) == fault.Permanent {
			stopped = PartitionErrors{}
			for _, a := range assigned {
				stopped[a.TopicPartition] = err
			}
			return nil
		}
		return err
	})
	if !ok {
		return nil, false
	}
	for tp := range damaged {
		g.resumePartition(tp)
	}
	return slices.DeleteFunc(assigned, func(a record.Assignment) bool {
		err := stopped[a.TopicPartition]
		if err != nil {
			g.stopPartition(a.TopicPartition, err)
		}
		return err != nil
	}), true
}

// stopPartition reports that a partition is not worked on until the next generation.
func (g *generation) stopPartition(tp record.TopicPartition, err error) {
	g.log.Error("partition stopped", "topic", tp.Topic, "partition", tp.Partition, "error", err)
	if g.cfg.Hooks.PartitionStopped != nil {
		g.cfg.Hooks.PartitionStopped(tp, err)
	}
}

// positions reads the group's offsets and the log's bounds. A partition that must not be worked on
// comes back with a negative Start and has been reported.
func (g *generation) positions(tps []record.TopicPartition) ([]record.Assignment, error) {
	ctx, cancel := context.WithTimeout(g.live, g.cfg.RequestTimeout)
	defer cancel()
	req := &kafka.OffsetFetchRequest{
		GroupID: g.conn.FullGroup(g.cfg.Group), Topics: map[string][]int{},
	}
	parts := map[string][]int{}
	for _, tp := range tps {
		parts[tp.Topic] = append(parts[tp.Topic], tp.Partition)
	}
	for topic, ids := range parts {
		req.Topics[g.conn.Full(topic)] = ids
	}
	res, err := g.conn.client.OffsetFetch(ctx, req)
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return nil, fmt.Errorf("read the group's offsets: %w", wire.Classify(err))
	}
	bounds, err := g.conn.Bounds(ctx, parts)
	if err != nil {
		return nil, err
	}
	type committed struct {
		offset   int64
		metadata string
	}
	offsets := map[record.TopicPartition]committed{}
	for topic, parts := range res.Topics {
		for _, p := range parts {
			if p.Error != nil {
				return nil, fmt.Errorf(
					"read the group's offset of %s/%d: %w", topic, p.Partition,
					wire.Classify(p.Error),
				)
			}
			tp := record.TopicPartition{Topic: g.conn.Logical(topic), Partition: p.Partition}
			offsets[tp] = committed{p.CommittedOffset, p.Metadata}
		}
	}
	out := make([]record.Assignment, len(tps))
	for i, tp := range tps {
		c, ok := offsets[tp]
		if !ok {
			return nil, fault.Transientf(
				"the broker's answer leaves out the group's offset of %s", tp,
			)
		}
		out[i] = g.placed(record.Assignment{
			TopicPartition: tp, Lease: record.LeaseFunc(g.lease.check),
			Committed: max(c.offset, -1), First: bounds[tp].First,
			End: bounds[tp].End, HighWatermark: bounds[tp].HighWatermark,
		}, c.metadata)
	}
	return out, nil
}

// placed decides where a partition starts.
func (g *generation) placed(a record.Assignment, metadata string) record.Assignment {
	a.Next = a.Committed
	if !g.cfg.Intents {
		a.Note = metadata
	}
	if a.Committed < 0 {
		a.Next = a.First
		if g.cfg.Start == FromLast {
			a.Next = a.End
		}
		return a
	}
	after := a.Committed // the offset after the newest record that the group is known to have seen
	if g.cfg.Intents {
		r, err := record.ParseIntent(metadata)
		err = fault.As(fault.Permanent, err)
		if err == nil && r != nil && r.First != a.Committed {
			err = fault.Permanentf(
				"the committed offset %d and its range %v do not belong together", a.Committed, r,
			)
		}
		if err != nil {
			g.stopPartition(a.TopicPartition, err)
			a.Next = -1
			return a
		}
		a.Repeat = r
		if r != nil {
			after = r.Last + 1
		}
	}
	var err error
	switch {
	case a.Committed < a.First && after <= a.HighWatermark && g.expires(a.TopicPartition):
		a.Next, a.Lost = a.First, true
		if a.Repeat != nil && a.Repeat.Last < a.First {
			a.Repeat = nil // nothing of it is left
		}
		g.tellLost(a.TopicPartition, a.Committed, a.First-1)
		return a
	case after > a.HighWatermark:
		err = fmt.Errorf(
			"%w: group %s stands at %d of %s, which ends at %d: the log was replaced or cut; "+
				"`slipstream rebuild` starts over from the log",
			ErrOffsetBeyondEnd,
			g.cfg.Group,
			after,
			a.TopicPartition,
			a.HighWatermark,
		)
	case a.Committed < a.First:
		err = fmt.Errorf(
			"%w: group %s stands at %d of %s, which begins at %d: records were deleted before "+
				"they were read; `slipstream rebuild` starts over from what is left",
			ErrOffsetExpired,
			g.cfg.Group,
			a.Committed,
			a.TopicPartition,
			a.First,
		)
	default:
		return a
	}
	if g.cfg.OffsetPolicy != GoToFirst {
		g.stopPartition(a.TopicPartition, fault.As(fault.Permanent, err))
		a.Next = -1
		return a
	}
	g.log.Warn(
		"starting again at the first offset", "topic", a.Topic, "partition", a.Partition, "first",
		a.First, "reason", err,
	)
	a.Next = a.First
	if a.Repeat != nil && (after > a.HighWatermark || a.Repeat.Last < a.First) {
		a.Repeat = nil // nothing of it is left, or other records stand there now
	}
	return a
}
