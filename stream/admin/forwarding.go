package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/slipstream-rec/slipstream/fault"
)

// forwardingKey is the key, in the meta topic, of where a group began to forward.
func forwardingKey(group string) string { return "forwarding." + group }

// NoteForwarding notes from which offsets of a topic on a group forwards misplaced records: its
// position, the beginning of a partition without one. It does nothing when that was noted before.
// Call it before the first member that forwards starts, and after the last that does not has
// stopped.
func (m Meta) NoteForwarding(ctx context.Context, group, topic string) error {
	before, err := m.ForwardingBegan(ctx, group)
	if err != nil || before != nil {
		return err
	}
	lags, err := Lag(ctx, m.Conn, map[string][]string{group: {topic}})
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
	return m.write(ctx, forwardingKey(group), string(value))
}

// ForwardingBegan returns what NoteForwarding has written, by partition, and nil when it has not.
// What the group has handled before these offsets it has not forwarded.
func (m Meta) ForwardingBegan(
	ctx context.Context, group string,
) (from map[int]int64, err error) {
	noted, err := m.Setting(ctx, forwardingKey(group))
	if err != nil || noted == "" {
		return nil, err
	}
	if err := json.Unmarshal([]byte(noted), &from); err != nil {
		return nil, fault.Permanentf("%s in %s: %w", forwardingKey(group), m.Topic, err)
	}
	return from, nil
}
