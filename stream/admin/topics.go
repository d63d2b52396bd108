// Package admin looks after topics, and after the offsets and members of consumer groups: what
// commands and start-up need of a broker, and no handler does.
package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Emitter writes records and returns when all replicas have them. *stream.Publisher is one.
type Emitter interface {
	Emit(ctx context.Context, records []record.Record) error
}

// retry calls f until it succeeds, fails for good, or ctx ends: a fresh coordinator is not
// available for a moment.
func retry(ctx context.Context, f func() error) error {
	return fault.Retry(ctx, fault.Backoff{First: 20 * time.Millisecond, Max: 2 * time.Second}, f)
}

// TopicSpec says how a topic is to be.
type TopicSpec struct {
	Name       string
	Partitions int
	// PartitionsFrom is what an operator sets for Partitions, for messages; "" is a fixed number.
	PartitionsFrom string
	// Replication is the number of copies; 0 leaves it to the brokers.
	Replication int
	// Compact keeps the latest record of each key for good; with a positive RetentionMs old ones go
	// all the same.
	Compact bool
	// LogAppendTime makes the time of each record the broker's at which it was appended, whatever
	// the producer says; otherwise the topic keeps the type that it has, at first the brokers'
	// default (CreateTime: the producer's). Records that are on the log keep their times.
	LogAppendTime bool
	// RetentionMs and RetentionBytes (per partition) bound what is kept: 0 leaves it to the
	// brokers, -1 is without bound.
	RetentionMs, RetentionBytes int64
	// RetentionAtLeast leaves a longer retention than RetentionMs as it is on the broker.
	RetentionAtLeast bool
	// Config holds further topic configurations by Kafka's names; it has the last word.
	Config map[string]string
}

// configs returns the spec in Kafka's names.
func (s TopicSpec) configs() map[string]string {
	c := map[string]string{}
	switch {
	case s.Compact && s.RetentionMs > 0:
		c["cleanup.policy"] = "compact,delete"
	case s.Compact:
		c["cleanup.policy"] = "compact"
	}
	if s.LogAppendTime {
		c["message.timestamp.type"] = "LogAppendTime"
	}
	if s.RetentionMs != 0 {
		c["retention.ms"] = strconv.FormatInt(s.RetentionMs, 10)
	}
	if s.RetentionBytes != 0 {
		c["retention.bytes"] = strconv.FormatInt(s.RetentionBytes, 10)
	}
	maps.Copy(c, s.Config)
	return c
}

// usableWithin bounds how long EnsureTopics waits for new topics to have leaders.
const usableWithin = 30 * time.Second

// EnsureTopics creates the topics that are missing, brings the configurations of the others in
// line, and returns when all can be written and read. Calling it again, or from several processes
// at once, is harmless. A topic with another number of partitions is an error: keys would move
// between partitions.
func EnsureTopics(ctx context.Context, conn *stream.Conn, specs []TopicSpec) error {
	for _, s := range specs {
		if s.Name == "" || s.Partitions < 1 {
			return fault.Permanentf(
				"topic %q with %d partitions: want a name and at least one partition", s.Name,
				s.Partitions,
			)
		}
	}
	found, err := layouts(ctx, conn, specs)
	if err != nil {
		return err
	}
	var missing, existing []TopicSpec
	for _, s := range specs {
		if t, ok := found[s.Name]; ok {
			if err := samePartitions(t, s); err != nil {
				return err
			}
			existing = append(existing, s)
		} else {
			missing = append(missing, s)
		}
	}
	if err := createTopics(ctx, conn, missing); err != nil {
		return err
	}
	if err := awaitTopics(ctx, conn, specs); err != nil {
		return err
	}
	return alignConfigs(ctx, conn, existing)
}

func createTopics(ctx context.Context, conn *stream.Conn, specs []TopicSpec) error {
	if len(specs) == 0 {
		return nil
	}
	req := &kafka.CreateTopicsRequest{}
	for _, s := range specs {
		t := kafka.TopicConfig{
			Topic: conn.Full(s.Name), NumPartitions: s.Partitions, ReplicationFactor: -1,
		}
		if s.Replication > 0 {
			t.ReplicationFactor = s.Replication
		}
		for _, name := range slices.Sorted(maps.Keys(s.configs())) {
			t.ConfigEntries = append(
				t.ConfigEntries,
				kafka.ConfigEntry{ConfigName: name, ConfigValue: s.configs()[name]},
			)
		}
		req.Topics = append(req.Topics, t)
	}
	res, err := conn.Client().CreateTopics(ctx, req)
	if err != nil {
		return fmt.Errorf("create %d topics: %w", len(specs), wire.Classify(err))
	}
	var errs []error
	for _, s := range specs {
		if err := res.Errors[conn.Full(s.Name)]; err != nil &&
			!errors.Is(err, kafka.TopicAlreadyExists) {
			errs = append(errs, fmt.Errorf("create topic %s: %w", s.Name, wire.Classify(err)))
		}
	}
	return errors.Join(errs...)
}

// layouts returns the existing ones of the topics, with the number of partitions that have a leader
// and of all.
func layouts(
	ctx context.Context,
	conn *stream.Conn,
	specs []TopicSpec,
) (map[string]kafka.Topic, error) {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = conn.Full(s.Name)
	}
	if len(names) == 0 {
		return nil, nil // an empty request would list every topic
	}
	res, err := conn.Client().Metadata(ctx, &kafka.MetadataRequest{Topics: names})
	if err != nil {
		return nil, fmt.Errorf("look up %d topics: %w", len(names), wire.Classify(err))
	}
	found := map[string]kafka.Topic{}
	for _, t := range res.Topics {
		switch {
		case errors.Is(t.Error, kafka.UnknownTopicOrPartition):
		case t.Error != nil && !errors.Is(t.Error, kafka.LeaderNotAvailable):
			return nil, fmt.Errorf("look up topic %s: %w", t.Name, wire.Classify(t.Error))
		default:
			found[conn.Logical(t.Name)] = t
		}
	}
	return found, nil
}

// awaitTopics waits until every partition of every topic has a leader that answers.
func awaitTopics(ctx context.Context, conn *stream.Conn, specs []TopicSpec) error {
	ctx, cancel := context.WithTimeout(ctx, usableWithin)
	defer cancel()
	for {
		waitingFor, err := notUsable(ctx, conn, specs)
		if waitingFor == "" && err == nil {
			return nil
		}
		if fault.ClassOf(err) == fault.Permanent {
			return err
		}
		if !fault.Sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf(
				"wait for topic %s to be usable: %w", waitingFor,
				errors.Join(err, fault.As(fault.Transient, ctx.Err())),
			)
		}
	}
}

// notUsable names a topic that cannot be used yet, or nothing.
func notUsable(ctx context.Context, conn *stream.Conn, specs []TopicSpec) (string, error) {
	found, err := layouts(ctx, conn, specs)
	if err != nil {
		return "?", err
	}
	ask := map[string][]kafka.OffsetRequest{}
	for _, s := range specs {
		t, ok := found[s.Name]
		if !ok || len(t.Partitions) == 0 {
			return s.Name, nil
		}
		if err := samePartitions(t, s); err != nil {
			return s.Name, err
		}
		for _, p := range t.Partitions {
			if !usable(p.Error) || p.Leader.Host == "" {
				return s.Name, nil
			}
			ask[conn.Full(s.Name)] = append(ask[conn.Full(s.Name)], kafka.LastOffsetOf(p.ID))
		}
	}
	if len(ask) == 0 {
		return "", nil
	}
	// The controller knows of leaders before the leaders know of themselves.
	res, err := conn.Client().ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: ask})
	if err != nil {
		return specs[0].Name, fmt.Errorf("list offsets: %w", wire.Classify(err))
	}
	for topic, parts := range res.Topics {
		for _, p := range parts {
			if !usable(p.Error) {
				return topic, nil
			}
		}
	}
	return "", nil
}

// samePartitions returns an error that says what to do when a topic has another number of
// partitions. One that is just being made may have none yet.
func samePartitions(t kafka.Topic, s TopicSpec) error {
	n := len(t.Partitions)
	if n == 0 || n == s.Partitions {
		return nil
	}
	keep := fmt.Sprintf("Give it %d again", n)
	if s.PartitionsFrom != "" {
		keep = fmt.Sprintf("Set %s=%d", s.PartitionsFrom, n)
	}
	return fault.Permanentf(
		"topic %s has %d partitions, not %d: changing the number would move keys between "+
			"partitions and break their order. "+
			"%s, or choose another folder or topic prefix and replay into it, or delete the topic "+
			"if its data may go",
		t.Name, n, s.Partitions, keep,
	)
}

// usable reports whether a partition has answered without an error: whichever it is, the answer is
// to wait.
func usable(err error) bool { return err == nil }

// DeleteTopics deletes the topics and what is in them, and returns when they are gone. One that
// does not exist is no error.
func DeleteTopics(ctx context.Context, conn *stream.Conn, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	full := make([]string, len(names))
	for i, name := range names {
		full[i] = conn.Full(name)
	}
	res, err := conn.Client().DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: full})
	if err != nil {
		return fmt.Errorf("delete %d topics: %w", len(names), wire.Classify(err))
	}
	var errs []error
	specs := make([]TopicSpec, len(names))
	for i, name := range names {
		specs[i].Name = name
		conn.Forget(name)
		if err := res.Errors[full[i]]; err != nil &&
			!errors.Is(err, kafka.UnknownTopicOrPartition) {
			errs = append(errs, fmt.Errorf("delete topic %s: %w", name, wire.Classify(err)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, usableWithin)
	defer cancel()
	for {
		left, err := layouts(ctx, conn, specs)
		if err == nil && len(left) == 0 {
			return nil
		}
		if !fault.Sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf(
				"wait for %d topics to be gone: %w", len(names),
				errors.Join(err, fault.As(fault.Transient, ctx.Err())),
			)
		}
	}
}
