package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Kafka is the process's connection to the log.
type Kafka struct {
	conn *stream.Conn
	pub  *stream.Publisher
	// retryDelays are those of the retry topics.
	retryDelays []time.Duration
	// retentions are those of the topics whose records are deleted by time.
	retentions map[string]time.Duration
	// delays are how long the records of a retry topic wait before they are to be read.
	delays  map[string]time.Duration
	metrics *telemetry.Metrics
	letters *deadletter.Store
	// unread are the batches of the log that could not be read.
	unread unread
	// writers lets the log compactor of the embedded broker hold back the writing to a topic.
	writers writers
}

var (
	_ processors.Emitter = (*Kafka)(nil)
	_ producers.Emitter  = (*Kafka)(nil)
	_ processors.Log     = (*Kafka)(nil)

	_ processors.LetterLog = (*Kafka)(nil)
)

// OpenKafka connects to the brokers.
func OpenKafka(ctx context.Context, cfg config.Config) (*Kafka, error) {
	actions, err := Actions(cfg)
	if err != nil {
		return nil, err
	}
	c := stream.DefaultConfig(cfg.Kafka.Brokers...)
	c.ClientID, c.Prefix = cfg.Kafka.ClientID, cfg.Kafka.TopicPrefix
	c.Renamed = schemas.Renamed()
	c.RequestTimeout, c.MaxAhead = cfg.Stream.RequestTimeout, cfg.Stream.MaxClockSkew
	c.TLS = stream.TLSConfig{
		Enabled: cfg.Kafka.TLS.Enabled, CAFile: cfg.Kafka.TLS.CAFile,
		CertFile: cfg.Kafka.TLS.CertFile, KeyFile: cfg.Kafka.TLS.KeyFile,
		ServerName: cfg.Kafka.TLS.ServerName, InsecureSkipVerify: cfg.Kafka.TLS.InsecureSkipVerify,
	}
	c.SASL = stream.SASLConfig{
		Mechanism: cfg.Kafka.SASL.Mechanism, Username: cfg.Kafka.SASL.Username,
		Password: cfg.Kafka.SASL.Password,
	}
	k := &Kafka{
		retryDelays: cfg.Topics.RetryDelays, retentions: retentions(TopicsConfig(cfg)),
		delays: delays(cfg.Topics.RetryDelays),
	}
	c.MaxDecompressedBytes = int(cfg.Kafka.MaxDecompressedBytes)
	c.Skipped = k.skipped
	damaged, err := cfg.Kafka.DamagedOffsets()
	if err != nil {
		return nil, fmt.Errorf("kafka.skip_damaged: %w", err)
	}
	for _, o := range damaged {
		c.SkipDamaged = append(c.SkipDamaged, record.Range{
			Topic: o.Topic, Partition: o.Partition, First: o.First, Last: o.Last,
		})
	}
	conn, err := stream.Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka at %s (set KAFKA_BROKERS or --brokers, or "+
			"start everything with \"slipstream dev\"): %w",
			strings.Join(cfg.Kafka.Brokers, ","), err)
	}
	pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	k.conn, k.pub = conn, pub
	k.letters = k.openLetters(actions)
	if err := k.readProducerTimes(ctx); err != nil {
		_ = k.Close()
		return nil, err
	}
	return k, nil
}

// Close flushes and disconnects.
func (k *Kafka) Close() error {
	err := k.pub.Close()
	if cerr := k.conn.Close(); err == nil {
		err = cerr
	}
	return err
}

// Conn returns the connection, for what concerns the brokers only.
func (k *Kafka) Conn() *stream.Conn { return k.conn }

// Publisher returns the publisher, which does not count and is not held back.
func (k *Kafka) Publisher() *stream.Publisher { return k.pub }

// Emit implements processors.Emitter.
func (k *Kafka) Emit(ctx context.Context, batch []record.Record) error {
	if len(batch) == 0 {
		return nil
	}
	topics := make([]string, 0, 2)
	for i := range batch {
		if t := batch[i].Topic; !slices.Contains(topics, t) {
			topics = append(topics, t)
			if leave, held := k.writers.enter(t); held {
				defer leave()
			}
		}
	}
	if err := k.pub.Emit(ctx, batch); err != nil {
		var partial *stream.EmitError
		if errors.As(err, &partial) {
			// The class decides what the guard does: an outage of the log must not look like a
			// mystery.
			return fault.As(
				fault.ClassOf(err),
				&producers.EmitError{Failed: partial.Failed, Total: partial.Total},
			)
		}
		return err
	}
	if k.metrics != nil {
		k.count(batch)
	}
	return nil
}

func (k *Kafka) count(batch []record.Record) {
	type series struct{ topic, kind, origin string }
	counts := make(map[series]int)
	for i := range batch {
		r := &batch[i]
		kind := r.Header(schemas.HeaderType)
		if kind == "" { // forwarded: it says its kind in the value, if at all
			kind = string(schemas.ContentOf(r).Kind)
		}
		counts[series{r.Topic, kind, r.Header(record.HeaderOriginTopic)}]++
	}
	for s, n := range counts {
		if s.kind == "" && s.origin != "" {
			s.kind = firstKind(s.origin)
		}
		k.metrics.Produced(s.topic, s.kind, n)
	}
}

// firstKind returns the kind of a record without one that was forwarded from a topic: the topic's
// first, as its readers take it. It is empty for other topics.
func firstKind(origin string) string {
	for _, t := range schemas.Topics(schemas.DefaultTopicsConfig()) {
		if t.Name == origin && len(t.Kinds) > 0 {
			return string(t.Kinds[0])
		}
	}
	return ""
}

// Read implements processors.Log.
func (k *Kafka) Read(
	ctx context.Context,
	topic string,
	partition int,
	from, to int64,
	f func(*record.Record) error,
) error {
	return k.conn.Read(ctx, record.TopicPartition{Topic: topic, Partition: partition}, from, to, f)
}

// OffsetAt implements processors.Log.
func (k *Kafka) OffsetAt(
	ctx context.Context, topic string, partition int, t time.Time,
) (int64, error) {
	return k.conn.OffsetAt(ctx, record.TopicPartition{Topic: topic, Partition: partition}, t)
}

// Follower returns a follower of a whole topic.
func (k *Kafka) Follower(
	topic string, log *slog.Logger, f func(*record.Record) error,
) *stream.Follower {
	return stream.NewFollower(k.conn, topic, log, f)
}

// TopicsConfig is what the configuration says of topics.
func TopicsConfig(cfg config.Config) schemas.TopicsConfig {
	return schemas.TopicsConfig{
		Partitions: cfg.Topics.Partitions, Retention: cfg.Topics.Retention,
		RetryDelays: cfg.Topics.RetryDelays,
	}
}

// retentions returns how long the records are kept of the topics that are not kept for good.
func retentions(c schemas.TopicsConfig) map[string]time.Duration {
	out := make(map[string]time.Duration)
	for _, t := range processors.Topics(c) {
		if !t.Compact && t.Retention > 0 {
			out[t.Name] = t.Retention
		}
	}
	return out
}

// delays returns how long the records of each retry topic wait.
func delays(of []time.Duration) map[string]time.Duration {
	out := make(map[string]time.Duration)
	for _, group := range processors.Groups() {
		for _, d := range of {
			out[record.RetryTopic(group, d)] = d
		}
	}
	return out
}

// expires tells whether the records of a topic are deleted by time.
func (k *Kafka) expires(topic string) bool { return k.retentions[topic] > 0 }

// EnsureTopics creates what is missing of the declared topics, and brings the others in line.
func (k *Kafka) EnsureTopics(ctx context.Context, cfg config.Config) error {
	if err := k.noteProducerTimes(ctx, cfg); err != nil {
		return err
	}
	if err := admin.EnsureTopics(ctx, k.conn, topicSpecs(cfg)); err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	return nil
}

// topicSpecs are the declared topics as they are to be on the broker.
func topicSpecs(cfg config.Config) []admin.TopicSpec {
	declared := processors.Topics(TopicsConfig(cfg))
	specs := make([]admin.TopicSpec, len(declared))
	for i, t := range declared {
		spec := admin.TopicSpec{
			Name: t.Name, Partitions: t.Partitions, Replication: cfg.Topics.ReplicationFactor,
			Compact: t.Compact, LogAppendTime: t.LogAppendTime,
			RetentionMs: -1, RetentionBytes: -1, RetentionAtLeast: t.AtLeast,
		}
		if t.Partitions == cfg.Topics.Partitions {
			spec.PartitionsFrom = "SLIPSTREAM_TOPICS_PARTITIONS"
		}
		if t.Retention > 0 {
			spec.RetentionMs = t.Retention.Milliseconds()
		}
		if t.Compact && t.Retention == 0 {
			spec.RetentionMs = 0
		}
		specs[i] = spec
	}
	return specs
}

// RequireTopics returns an error that says what to do when the topics that applications write are
// missing.
func (k *Kafka) RequireTopics(ctx context.Context) error {
	for _, t := range []string{
		schemas.TopicItems, schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicUsers,
	} {
		if _, err := k.conn.Offsets(ctx, t); err != nil {
			return fmt.Errorf(
				"topic %q: %w; \"slipstream run\", \"slipstream dev\" and \"slipstream "+
					"migrate\" create the topics (is --topic-prefix the same there?)",
				k.conn.Full(t), err,
			)
		}
	}
	return nil
}

// LogID returns the id of the log, and writes a new one where there is none.
func (k *Kafka) LogID(ctx context.Context) (string, error) {
	return admin.LogID(ctx, k.conn, k.pub, schemas.TopicMeta, true)
}

// Epoch returns the log's epoch, which is part of every position (sinks.Position).
func (k *Kafka) Epoch(ctx context.Context) (int, error) {
	return admin.Epoch(ctx, k.conn, schemas.TopicMeta)
}

// RaiseEpoch raises the log's epoch and returns it. It is an error while a processor that writes or
// compares positions runs.
func (k *Kafka) RaiseEpoch(ctx context.Context) (int, error) {
	err := k.requireStopped(ctx, "the epoch is raised, since a process keeps the epoch it was "+
		"started with", schemas.GroupEmbed, schemas.GroupCatalog, schemas.GroupRecommend,
		record.RetryGroup(schemas.GroupRecommend))
	if err != nil {
		return 0, err
	}
	return admin.RaiseEpoch(ctx, k.conn, k.pub, schemas.TopicMeta)
}

// requireStopped returns an error when a group has members: they are to be stopped before what
// follows.
func (k *Kafka) requireStopped(ctx context.Context, before string, groups ...string) error {
	for _, group := range groups {
		members, err := admin.Members(ctx, k.conn, group)
		if err != nil {
			return err
		}
		if len(members) > 0 {
			return fmt.Errorf("%s is running (%s): stop it before %s",
				group, strings.Join(slices.Compact(members), ", "), before)
		}
	}
	return nil
}

// NoteForwarding notes, once, from where on embed forwards misplaced events. What it has handled
// before it has learned, or missed, where it stood. (Items were dead letters then.) The first time
// it is a transient error while embed runs: an instance of an older version would go on without
// forwarding, behind the offsets that are noted.
func (k *Kafka) NoteForwarding(ctx context.Context) error {
	if began, err := k.ForwardingBegan(ctx); err != nil || began != nil {
		return err
	}
	err := k.requireStopped(
		ctx, "the upgrade: it does not forward misplaced events", schemas.GroupEmbed,
	)
	if err != nil {
		// An instance that was started beside this one may have noted it, and joined.
		if began, again := k.ForwardingBegan(ctx); again != nil || began != nil {
			return again
		}
		return fault.As(fault.Transient, err)
	}
	return k.meta().NoteForwarding(ctx, schemas.GroupEmbed, schemas.TopicInteractions)
}

// ForwardingBegan returns what NoteForwarding has noted, by partition of interactions.
func (k *Kafka) ForwardingBegan(ctx context.Context) (map[int]int64, error) {
	return k.meta().ForwardingBegan(ctx, schemas.GroupEmbed)
}

// now is the wall clock, which processors are given.
func now() time.Time { return time.Now() }
