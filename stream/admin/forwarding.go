package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// forwardingKey is the key, in the meta topic, of where a group began to forward.
func forwardingKey(group string) string { return "forwarding." + group }

// NoteForwarding writes to the compacted metaTopic from which offsets of a topic on a group
// forwards misplaced records: its position, the beginning of a partition without one. It does
// nothing when that was noted before. Call it before the first member that forwards starts, and
// after the last that does not has stopped.
func NoteForwarding(
	ctx context.Context,
	conn *stream.Conn,
	emitter Emitter,
	metaTopic, group, topic string,
) error {
	before, err := ForwardingBegan(ctx, conn, metaTopic, group)
	if err != nil || before != nil {
		return err
	}
	lags, err := Lag(ctx, conn, map[string][]string{group: {topic}})
	if err != nil {
		return fmt.Errorf("read where %s stands: %w", group, err)
	}
	from := make(map[string]int64, len(lags))
	for i := range lags {
		l := &lags[i]
		from[strconv.Itoa(l.Partition)] = max(l.Committed, l.First)
	}
	value, err := json.Marshal(from)
	if err != nil {
		return err
	}
	r := record.Record{Topic: metaTopic, Key: []byte(forwardingKey(group)), Value: value}
	if err := emitter.Emit(ctx, []record.Record{r}); err != nil {
		return fmt.Errorf("note from where on %s forwards: %w", group, err)
	}
	return nil
}

// ForwardingBegan returns what NoteForwarding has written, by partition, and nil when it has not.
// What the group has handled before these offsets it has not forwarded.
func ForwardingBegan(
	ctx context.Context, conn *stream.Conn, metaTopic, group string,
) (from map[int]int64, err error) {
	err = conn.Read(
		ctx, record.TopicPartition{Topic: metaTopic}, 0, -1,
		func(r *record.Record) error {
			if string(r.Key) != forwardingKey(group) {
				return nil
			}
			if from = nil; len(r.Value) == 0 {
				return nil
			}
			from = make(map[int]int64)
			if err := json.Unmarshal(r.Value, &from); err != nil {
				return fault.Permanentf("offset %d of %s: %w", r.Offset, metaTopic, err)
			}
			return nil
		},
	)
	if err != nil {
		return nil, fmt.Errorf("read from where on %s forwards: %w", group, err)
	}
	return from, nil
}
