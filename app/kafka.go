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
)

// Kafka is the process's connection to the log, in the vocabulary of schemas: topics without their prefix.
type Kafka struct {
	conn   *stream.Conn
	pub    *stream.Publisher
	prefix string
	// retryDelays are those of the retry topics.
	retryDelays []time.Duration
	metrics     *telemetry.Metrics
	// writers lets the keeper of the embedded log hold back the writing to a topic.
	writers writers
}

var (
	_ processors.Emitter = (*Kafka)(nil)
	_ producers.Emitter  = (*Kafka)(nil)
	_ processors.Log     = (*Kafka)(nil)
)

// OpenKafka connects to the brokers.
func OpenKafka(ctx context.Context, cfg config.Config) (*Kafka, error) {
	c := stream.DefaultConfig(cfg.Kafka.Brokers...)
	c.ClientID = cfg.Kafka.ClientID
	c.RequestTimeout = cfg.Stream.RequestTimeout
	c.TLS = stream.TLSConfig{
		Enabled: cfg.Kafka.TLS.Enabled, CAFile: cfg.Kafka.TLS.CAFile, CertFile: cfg.Kafka.TLS.CertFile, KeyFile: cfg.Kafka.TLS.KeyFile,
		ServerName: cfg.Kafka.TLS.ServerName, InsecureSkipVerify: cfg.Kafka.TLS.InsecureSkipVerify,
	}
	c.SASL = stream.SASLConfig{Mechanism: cfg.Kafka.SASL.Mechanism, Username: cfg.Kafka.SASL.Username, Password: cfg.Kafka.SASL.Password}
	conn, err := stream.Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka at %s (set KAFKA_BROKERS or --brokers, or start everything with \"slipstream dev\"): %w",
			strings.Join(cfg.Kafka.Brokers, ","), err)
	}
	pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &Kafka{conn: conn, pub: pub, prefix: cfg.Kafka.TopicPrefix, retryDelays: cfg.Topics.RetryDelays}, nil
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

// Publisher returns the publisher of records under their full names.
func (k *Kafka) Publisher() *stream.Publisher { return k.pub }

// Prefix returns what stands before the names of topics and groups on the brokers.
func (k *Kafka) Prefix() string { return k.prefix }

// Emit implements processors.Emitter.
func (k *Kafka) Emit(ctx context.Context, batch []schemas.Message) error {
	if len(batch) == 0 {
		return nil
	}
	records := make([]stream.Record, len(batch))
	names := make(map[string]string, 2)
	total := 0
	for i := range batch {
		total += len(batch[i].Headers)
	}
	headers := make([]stream.Header, 0, total) // all in one piece
	for i := range batch {
		m := &batch[i]
		from := len(headers)
		for _, h := range m.Headers {
			headers = append(headers, stream.Header(h))
		}
		topic, ok := names[m.Topic]
		if !ok {
			if leave, held := k.writers.enter(m.Topic); held {
				defer leave()
			}
			topic = k.prefix + m.Topic
			names[m.Topic] = topic
		}
		records[i] = stream.Record{Topic: topic, Partition: m.Partition, Key: m.Key, Value: m.Value, Headers: headers[from:len(headers):len(headers)]}
	}
	if err := k.pub.Emit(ctx, records); err != nil {
		var partial *stream.EmitError
		if errors.As(err, &partial) {
			// The class decides what the guard does: an outage of the log must not look like a mystery.
			return fault.As(fault.ClassOf(err), &producers.EmitError{Failed: partial.Failed, Total: partial.Total})
		}
		return err
	}
	if k.metrics != nil {
		k.count(batch)
	}
	return nil
}

func (k *Kafka) count(batch []schemas.Message) {
	type series struct{ topic, kind string }
	counts := make(map[series]int)
	for i := range batch {
		kind := ""
		for _, h := range batch[i].Headers {
			if h.Key == schemas.HeaderType {
				kind = string(h.Value)
			}
		}
		counts[series{batch[i].Topic, kind}]++
	}
	for s, n := range counts {
		k.metrics.Produced(s.topic, s.kind, n)
	}
}

// Read implements processors.Log.
func (k *Kafka) Read(ctx context.Context, topic string, partition int, from, to int64, f func(*schemas.Record) error) error {
	return stream.ReadPartition(ctx, k.conn, stream.TopicPartition{Topic: k.prefix + topic, Partition: partition}, from, to, func(r *stream.Record) error {
		rec := k.record(r)
		return f(&rec)
	})
}

// record turns a record of the stream into one of schemas.
func (k *Kafka) record(r *stream.Record) schemas.Record {
	rec, _ := k.appendRecord(r, make([]schemas.Header, 0, len(r.Headers)))
	return rec
}

// appendRecord is record with the headers' memory taken from the end of headers, which it returns with them.
func (k *Kafka) appendRecord(r *stream.Record, headers []schemas.Header) (schemas.Record, []schemas.Header) {
	from := len(headers)
	for _, h := range r.Headers {
		headers = append(headers, schemas.Header(h))
	}
	return schemas.Record{
		Topic: strings.TrimPrefix(r.Topic, k.prefix), Partition: r.Partition, Offset: r.Offset, Time: r.Time.UTC(), Key: r.Key, Value: r.Value,
		Headers: headers[from:len(headers):len(headers)],
	}, headers
}

// Follower returns a follower of a whole topic, which is named without the prefix.
func (k *Kafka) Follower(
	topic string, log *slog.Logger, f func(*schemas.Record) error,
) *stream.Follower {
	return stream.NewFollower(k.conn, k.prefix+topic, log, func(r *stream.Record) error {
		rec := k.record(r)
		return f(&rec)
	})
}

// TopicsConfig is what the configuration says of topics.
func TopicsConfig(cfg config.Config) schemas.TopicsConfig {
	return schemas.TopicsConfig{Partitions: cfg.Topics.Partitions, Retention: cfg.Topics.Retention, RetryDelays: cfg.Topics.RetryDelays}
}

// EnsureTopics creates what is missing of the declared topics.
func (k *Kafka) EnsureTopics(ctx context.Context, cfg config.Config) error {
	declared := processors.Topics(TopicsConfig(cfg))
	specs := make([]stream.TopicSpec, len(declared))
	for i, t := range declared {
		spec := stream.TopicSpec{Name: k.prefix + t.Name, Partitions: t.Partitions, Replication: cfg.Topics.ReplicationFactor, Compact: t.Compact, RetentionMs: -1, RetentionBytes: -1}
		if t.Retention > 0 {
			spec.RetentionMs = t.Retention.Milliseconds()
		}
		if t.Compact && t.Retention == 0 {
			spec.RetentionMs = 0
		}
		specs[i] = spec
	}
	if err := stream.EnsureTopics(ctx, k.conn, specs); err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	return nil
}

// RequireTopics returns an error that says what to do when the topics that applications write are missing.
func (k *Kafka) RequireTopics(ctx context.Context) error {
	for _, t := range []string{schemas.TopicItems, schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicUsers} {
		if _, err := k.conn.Offsets(ctx, k.prefix+t); err != nil {
			return fmt.Errorf("topic %q: %w; \"slipstream run\", \"slipstream dev\" and \"slipstream migrate\" create the topics (is --topic-prefix the same there?)", k.prefix+t, err)
		}
	}
	return nil
}

// LogID returns the id of the log, and writes a new one where there is none.
func (k *Kafka) LogID(ctx context.Context) (string, error) {
	return stream.LogID(ctx, k.conn, k.pub, k.prefix+schemas.TopicMeta, true)
}

// Epoch returns the log's epoch, which is part of every position (sinks.Position).
func (k *Kafka) Epoch(ctx context.Context) (int, error) {
	return stream.Epoch(ctx, k.conn, k.prefix+schemas.TopicMeta)
}

// RaiseEpoch raises the log's epoch and returns it. It is an error while a processor that writes or
// compares positions runs.
func (k *Kafka) RaiseEpoch(ctx context.Context) (int, error) {
	for _, group := range []string{schemas.GroupEmbed, schemas.GroupCatalog} {
		members, err := stream.Members(ctx, k.conn, k.prefix+group)
		if err != nil {
			return 0, err
		}
		if len(members) > 0 {
			return 0, fmt.Errorf("%s is running (%s): stop it before the epoch is raised, since a "+
				"process keeps the epoch it was started with",
				group, strings.Join(slices.Compact(members), ", "))
		}
	}
	return stream.RaiseEpoch(ctx, k.conn, k.pub, k.prefix+schemas.TopicMeta)
}

// handler runs a processor on batches of the stream.
func (k *Kafka) handler(logID string, p processors.Processor) stream.Handler {
	return func(ctx context.Context, b *stream.Batch) error {
		batch := &processors.Batch{
			Range:  schemas.Range{LogID: logID, Topic: strings.TrimPrefix(b.Topic, k.prefix), Partition: b.Partition, First: b.First, Last: b.Last, Repeat: b.Repeat},
			Repeat: b.Repeat, HighWatermark: b.HighWatermark, Lease: b.CheckLease, Records: make([]schemas.Record, len(b.Records)),
		}
		total := 0
		for i := range b.Records {
			total += len(b.Records[i].Headers)
		}
		headers := make([]schemas.Header, 0, total) // all in one piece
		for i := range b.Records {
			batch.Records[i], headers = k.appendRecord(&b.Records[i], headers)
		}
		return p.Handle(ctx, batch)
	}
}

// assignments turns what a generation has been given into the processors' terms.
func (k *Kafka) assignments(in []stream.Assignment) []processors.Assignment {
	out := make([]processors.Assignment, len(in))
	for i, a := range in {
		next := max(a.Start, a.First)
		if a.Repeat != nil {
			next = a.Repeat.First
		}
		out[i] = processors.Assignment{Topic: strings.TrimPrefix(a.Topic, k.prefix), Partition: a.Partition, Next: next, Committed: a.Committed >= 0}
	}
	return out
}

func (k *Kafka) revoked(in []stream.TopicPartition) []processors.Assignment {
	out := make([]processors.Assignment, len(in))
	for i, tp := range in {
		out[i] = processors.Assignment{Topic: strings.TrimPrefix(tp.Topic, k.prefix), Partition: tp.Partition}
	}
	return out
}

// now is the wall clock, which processors are given.
func now() time.Time { return time.Now() }
