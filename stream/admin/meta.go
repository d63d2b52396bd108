package admin

import (
	"context"
	"fmt"
	"slices"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Meta is a compacted topic of one partition with what all readers of the log must have in common.
// A fact is a key with a value that stays as it was first written. A setting may be changed: the
// last value that was written counts. Safe for concurrent use, also by several processes.
type Meta struct {
	Conn    *stream.Conn
	Emitter Emitter
	Topic   string
}

// Fact returns the value of a key, or "" when there is none.
func (m Meta) Fact(ctx context.Context, key string) (string, error) {
	values, err := m.values(ctx, key)
	values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
	if err != nil || len(values) == 0 {
		return "", err
	}
	// Two that write at once both take the first. Writing it again makes sure that compaction,
	// which keeps the last, agrees.
	if first := values[0]; values[len(values)-1] != first {
		if err := m.write(ctx, key, first); err != nil {
			return "", err
		}
	}
	return values[0], nil
}

// Establish returns the value of a key, and makes it value where the key has none. value must not
// be empty.
func (m Meta) Establish(ctx context.Context, key, value string) (string, error) {
	if have, err := m.Fact(ctx, key); err != nil || have != "" {
		return have, err
	}
	if err := m.write(ctx, key, value); err != nil {
		return "", err
	}
	have, err := m.Fact(ctx, key)
	if err == nil && have == "" {
		err = fault.Transientf("%s was written to %s but cannot be read back", key, m.Topic)
	}
	return have, err
}

// Setting returns the value of a key, the last that was written, or "" when there is none or a
// tombstone came last.
func (m Meta) Setting(ctx context.Context, key string) (string, error) {
	values, err := m.values(ctx, key)
	if err != nil || len(values) == 0 {
		return "", err
	}
	return values[len(values)-1], nil
}

// Set writes the value of a setting, which must not be empty. Of several that set at once the last
// to be written wins: it is an error for the others, of class transient.
func (m Meta) Set(ctx context.Context, key, value string) error {
	if err := m.write(ctx, key, value); err != nil {
		return err
	}
	have, err := m.Setting(ctx, key)
	if err == nil && have != value {
		err = fault.Transientf("%s was written to %s as %q, and %q stands there now",
			key, m.Topic, value, have)
	}
	return err
}

func (m Meta) write(ctx context.Context, key, value string) error {
	written := record.Record{Topic: m.Topic, Key: []byte(key), Value: []byte(value)}
	if err := m.Emitter.Emit(ctx, []record.Record{written}); err != nil {
		return fmt.Errorf("write %s to %s: %w", key, m.Topic, err)
	}
	return nil
}

// values returns what was written under a key, in order, "" for a tombstone.
func (m Meta) values(ctx context.Context, key string) ([]string, error) {
	var values []string
	err := m.Conn.Read(
		ctx,
		record.TopicPartition{Topic: m.Topic},
		0,
		-1,
		func(r *record.Record) error {
			if string(r.Key) == key {
				values = append(values, string(r.Value))
			}
			return nil
		},
	)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return values, nil
}
