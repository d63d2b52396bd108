package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// PartitionLag is how far a group is on one partition.
type PartitionLag struct {
	Group string
	record.TopicPartition
	// First, End and HighWatermark bound the log; see stream.Bounds.
	First, End, HighWatermark int64
	// Committed is the group's offset, -1 when there is none.
	Committed int64
	// Lag is how many offsets lie between the group's position and End; without a commit, those of
	// the whole partition. On a compacted topic fewer of them hold a record.
	Lag int64
	// Undecided is how many offsets lie behind the beginning of an open transaction: nobody gets to
	// read them until it has ended. 0 while none is open.
	Undecided int64
	// Metadata is what the group has committed beside its offset: the uncertain intent, see Range.
	Metadata string
}

// Lag returns the lag of each group on each partition of its topics, sorted. A group without topics
// is asked for all that it has commits for.
func Lag(
	ctx context.Context,
	conn *stream.Conn,
	groups map[string][]string,
) ([]PartitionLag, error) {
	var out []PartitionLag
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		lags, err := committed(ctx, conn, group, groups[group])
		if err != nil {
			return nil, fmt.Errorf("lag of group %s: %w", group, err)
		}
		out = append(out, lags...)
	}
	return out, addBounds(ctx, conn, out)
}

// committed returns the group's commits; with topics, those of all their partitions.
func committed(
	ctx context.Context,
	conn *stream.Conn,
	group string,
	topics []string,
) ([]PartitionLag, error) {
	req := &kafka.OffsetFetchRequest{GroupID: conn.FullGroup(group)}
	for _, topic := range topics {
		n, err := conn.Partitions(ctx, topic)
		if err != nil {
			return nil, err
		}
		if req.Topics == nil {
			req.Topics = map[string][]int{}
		}
		for p := range n {
			req.Topics[conn.Full(topic)] = append(req.Topics[conn.Full(topic)], p)
		}
	}
	res, err := conn.Client().OffsetFetch(ctx, req)
	if err == nil {
		err = res.Error
	}
	// kfake's answer for a group that nobody has joined yet; Kafka says that it has no commits
	if errors.Is(err, kafka.GroupIdNotFound) {
		return uncommitted(conn, group, req.Topics), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read committed offsets: %w", wire.Classify(err))
	}
	var out []PartitionLag
	for topic, parts := range res.Topics {
		for _, p := range parts {
			if p.Error != nil {
				return nil, fmt.Errorf(
					"read committed offset of %s/%d: %w", topic, p.Partition,
					wire.Classify(p.Error),
				)
			}
			out = append(
				out,
				PartitionLag{
					Group: group,
					TopicPartition: record.TopicPartition{
						Topic: conn.Logical(topic), Partition: p.Partition,
					},
					Committed: p.CommittedOffset,
					Metadata:  p.Metadata,
				},
			)
		}
	}
	slices.SortFunc(out, func(a, b PartitionLag) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return a.Partition - b.Partition
	})
	return out, nil
}

// addBounds asks for the ends of all partitions and computes the lags.
func addBounds(ctx context.Context, conn *stream.Conn, lags []PartitionLag) error {
	parts := map[string][]int{}
	seen := map[record.TopicPartition]bool{}
	for _, l := range lags {
		if !seen[l.TopicPartition] {
			seen[l.TopicPartition] = true
			parts[l.Topic] = append(parts[l.Topic], l.Partition)
		}
	}
	bounds, err := conn.Bounds(ctx, parts)
	if err != nil {
		return err
	}
	for i := range lags {
		l := &lags[i]
		b := bounds[l.TopicPartition]
		l.First, l.End, l.HighWatermark = b.First, b.End, b.HighWatermark
		l.Lag = max(l.End-max(l.Committed, l.First), 0)
		l.Undecided = l.HighWatermark - l.End
	}
	return nil
}

// uncommitted is what is said of a group that does not exist.
func uncommitted(conn *stream.Conn, group string, topics map[string][]int) []PartitionLag {
	var out []PartitionLag
	for topic, partitions := range topics {
		for _, p := range partitions {
			out = append(
				out,
				PartitionLag{
					Group:          group,
					TopicPartition: record.TopicPartition{Topic: conn.Logical(topic), Partition: p},
					Committed:      -1,
				},
			)
		}
	}
	return out
}

// ErrGroupActive says that a group's offsets cannot be changed because it has members.
var ErrGroupActive = errors.New("the consumer group has members")

// ResetOffsets moves a group to the given offsets, for whoever rebuilds a store from the log, and
// forgets uncertain intents. The group must have no members: a member would go on from where it is,
// and commit over it.
func ResetOffsets(
	ctx context.Context,
	conn *stream.Conn,
	group string,
	to map[record.TopicPartition]int64,
) error {
	commits := make([]commit, 0, len(to))
	for tp, offset := range to {
		commits = append(
			commits, commit{topic: conn.Full(tp.Topic), partition: tp.Partition, offset: offset},
		)
	}
	err := commitAll(ctx, conn, group, commits)
	if errors.Is(err, ErrGroupActive) {
		err = fault.As(fault.Permanent, fmt.Errorf("%w: stop every process that runs it, and "+
			"wait until "+
			"its session timeout has passed", err))
	}
	if err != nil {
		return fmt.Errorf("reset offsets of group %s: %w", group, err)
	}
	return nil
}
