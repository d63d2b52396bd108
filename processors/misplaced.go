package processors

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/forward"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Misplaced records.
//
// One member owns all records of a key, since all of them are in the partition that the key
// chooses (record.PartitionOf). Other people's producers write elsewhere: librdkafka's default
// partitioner differs from Java's, and some records have no key, or the wrong one. Such a record is
// misplaced. The processor judges it where it stands, by the recent ids of that partition, and
// forwards it to <group>.misplaced, where the owner of its key learns from it.
//
// A record there carries its origin. The owner decodes it as if it still stood there, so that an
// event without an id or a time has the same ones for everybody. It does not look at the id of the
// event, which has been judged, but drops an origin that it has seen before.

// Misplaced counts records that a processor has forwarded.
type Misplaced struct {
	// Group is the processor's, Topic the one in which the records stood.
	Group, Topic string
	// Source is the source of the events, which names their producer.
	Source string
	// Records is how many there were, at least 1. A repeated batch counts again.
	Records int
}

// misplaced are the records of one batch that are to be forwarded.
type misplaced struct {
	group, topic string
	moves        []forward.Move
	counts       map[string]int // by source
}

func (m *misplaced) add(move forward.Move, source string) {
	if m.counts == nil {
		m.counts = make(map[string]int)
	}
	m.moves = append(m.moves, move)
	m.counts[source]++
}

// forward writes the records to the topic of misplaced ones. Records that the log refuses are
// rejected.
func (m *misplaced) forward(
	ctx context.Context, f *forward.Forwarder, b *record.Batch, rejects *fault.Reject,
	told func(Misplaced),
) error {
	rejected, err := f.Forward(ctx, b, m.moves)
	if err != nil {
		return fmt.Errorf("forward %d misplaced records: %w", len(m.moves), err)
	}
	for _, x := range rejected {
		rejects.Add(x.Index, x.Err)
	}
	for source, n := range m.counts {
		told(Misplaced{Group: m.group, Topic: m.topic, Source: source, Records: n})
	}
	return nil
}

// BelongsIn returns the partition, of n, that owns a record of a topic whose misplaced records are
// forwarded. ok is false for other topics, and for records that cannot be decoded.
func BelongsIn(r *record.Record, n int) (partition int, ok bool) {
	var id string
	var err error
	switch r.Topic {
	case schemas.TopicInteractions:
		var x schemas.Interaction
		x, err = schemas.DecodeInteraction(r)
		id = x.UserID
	case schemas.TopicItems:
		var x schemas.Item
		x, err = schemas.DecodeItem(r)
		id = x.ItemID
	default:
		return 0, false
	}
	if err != nil {
		return 0, false
	}
	return record.PartitionOf([]byte(id), n), true
}

// newForwarder returns the forwarder of a group.
func newForwarder(
	group string, s Streams, partitions int, skew time.Duration,
) *forward.Forwarder {
	return forward.New(s.Log, s.Emit, forward.Config{
		Topic: record.MisplacedTopic(group), Partitions: partitions, MaxClockSkew: skew,
	})
}

// atOrigin returns a record of a group's topic of misplaced ones as it stood before it was
// forwarded, and any other record as it is. A record there without an origin is invalid.
func atOrigin(r *record.Record, group string) (*record.Record, error) {
	if r.Topic != record.MisplacedTopic(group) {
		return r, nil
	}
	at, err := record.AtOrigin(r)
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	return &at, nil
}

// wasForwarded tells whether a record stands in a group's topic of misplaced ones, or stood there
// before it became a dead letter that was replayed.
func wasForwarded(r *record.Record, group string) bool {
	topic := r.Topic
	if topic == record.ReplayTopic(group) {
		topic = r.Header(record.HeaderTopic) // the name on the broker, which may have a prefix
	}
	return strings.HasSuffix(topic, record.MisplacedTopic(group))
}

// checkForwarded rejects a record in a group's topic of misplaced ones that is misplaced there too:
// whoever wrote it was not the group.
func checkForwarded(r *record.Record, id string, partitions int) error {
	if want := record.PartitionOf([]byte(id), partitions); want != r.Partition {
		return fault.Permanentf("%q is in partition %d of %s but belongs in %d",
			id, r.Partition, r.Topic, want)
	}
	return nil
}
