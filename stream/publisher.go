package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Names of a Watermill message's metadata that stand for parts of a record. On the way out
// MetadataKey gives the record's key; the others are set by the Subscriber and never become
// headers.
const (
	MetadataKey       = "kafka_key"
	MetadataTopic     = "kafka_topic"
	MetadataPartition = "kafka_partition"
	// MetadataFirst is the offset of the first record, with a batch of one that of the record.
	MetadataFirst = "kafka_first"
	MetadataLast  = "kafka_last"
	MetadataTime  = "kafka_time" // RFC 3339; batches of one only

	// HeaderUUID is the header that carries a Watermill message's UUID, as in Watermill's own Kafka
	// adapter.
	HeaderUUID = "_watermill_message_uuid"
)

// PublisherConfig says how records are sent. Take DefaultPublisherConfig and change what you need.
type PublisherConfig struct {
	// Compression is "none", "gzip", "snappy", "lz4" or "zstd". Default lz4. Small batches, and
	// those of topics that do not get smaller, are sent as they are.
	Compression string
	// MaxBatchBytes bounds what one request carries for one partition, before compression. Keep it
	// below the topics' max.message.bytes. A larger single record is tried alone. Default 512 KiB.
	MaxBatchBytes int
	// MaxRequestBytes bounds one request. Default 4 MiB.
	MaxRequestBytes int
	// MaxInFlight bounds the requests under way at once to one broker; one partition never has two.
	// Default 3.
	MaxInFlight int
	// RequestTimeout bounds one exchange. Default 10 s; keep it below half the session timeout of
	// the groups that emit.
	RequestTimeout time.Duration
	// Timeout bounds how long transient errors are tried again before Emit gives up; the context
	// may end it earlier. Default 30 s.
	Timeout time.Duration
}

// DefaultPublisherConfig returns the settings that suit events of a few hundred bytes.
func DefaultPublisherConfig() PublisherConfig {
	return PublisherConfig{
		Compression:     "lz4",
		MaxBatchBytes:   512 << 10,
		MaxRequestBytes: 4 << 20,
		MaxInFlight:     3,
		RequestTimeout:  10 * time.Second,
		Timeout:         30 * time.Second,
	}
}

// Validate returns an error that says what to change, or nil.
func (c PublisherConfig) Validate() error {
	var errs []error
	if _, err := c.codec(); err != nil {
		errs = append(errs, err)
	}
	if c.MaxBatchBytes < 1024 {
		errs = append(
			errs, fmt.Errorf("MaxBatchBytes must be at least 1024, not %d", c.MaxBatchBytes),
		)
	}
	if c.MaxRequestBytes < c.MaxBatchBytes {
		errs = append(
			errs,
			fmt.Errorf(
				"MaxRequestBytes (%d) must be at least MaxBatchBytes (%d)", c.MaxRequestBytes,
				c.MaxBatchBytes,
			),
		)
	}
	if c.MaxInFlight < 1 {
		errs = append(errs, fmt.Errorf("MaxInFlight must be at least 1, not %d", c.MaxInFlight))
	}
	if c.RequestTimeout <= 0 || c.Timeout <= 0 {
		errs = append(errs, errors.New("RequestTimeout and Timeout must be positive"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("publisher configuration: %w", err)
	}
	return nil
}

func (c PublisherConfig) codec() (compress.Codec, error) {
	if c.Compression == "" || c.Compression == "none" {
		return nil, nil
	}
	var kind compress.Compression
	if err := kind.UnmarshalText([]byte(c.Compression)); err != nil {
		return nil, err
	}
	return kind.Codec(), nil
}

// EmitError is returned by Publisher.Emit when some records, or all, were not acknowledged. The
// others were. Get at it with errors.As.
type EmitError struct {
	// Failed lists the records by their index in the call, in order.
	Failed []fault.Rejection
	// Total is the number of records in the call.
	Total int
}

func (e *EmitError) Error() string {
	if len(e.Failed) == 0 {
		return "no records failed"
	}
	return fmt.Sprintf(
		"%d of %d records not acknowledged, the first (index %d): %v", len(e.Failed), e.Total,
		e.Failed[0].Index, e.Failed[0].Err,
	)
}

// Rejections returns Failed: packages that do not know this one ask for it by this method.
func (e *EmitError) Rejections() []fault.Rejection { return e.Failed }

// orNil returns nil when nothing failed, else the error under the class that decides for the whole
// call: transient before unknown before permanent, so that a record that is refused does not make
// its neighbours' outage look permanent.
func (e *EmitError) orNil() error {
	if len(e.Failed) == 0 {
		return nil
	}
	seen := map[fault.Class]bool{}
	for i := range e.Failed {
		seen[fault.ClassOf(e.Failed[i].Err)] = true
	}
	for _, c := range []fault.Class{fault.Canceled, fault.Transient, fault.Unknown} {
		if seen[c] {
			return fault.As(c, e)
		}
	}
	return fault.As(fault.Permanent, e)
}

// Publisher sends records and returns when all in-sync replicas have them. It implements
// Watermill's message.Publisher.
//
// Concurrent callers share requests: while a request for a partition is under way what comes in for
// it is collected, so that no linger is needed. The order of a partition's records is the order of
// the calls. After an ambiguous failure (a timeout) a record may be there although its error says
// otherwise, or twice: consumers drop repeats. Safe for concurrent use.
type Publisher struct {
	conn *Conn
	cfg  PublisherConfig
	// compression decides batch by batch.
	compression wire.Compression

	roundRobin atomic.Uint32 // for records without a key
	requests   context.Context
	cancel     context.CancelFunc

	mu      sync.Mutex
	closed  bool
	queues  map[record.TopicPartition]*sendQueue
	ready   []*sendQueue  // queues with records and no request under way, oldest first
	senders map[int32]int // running senders by broker; -1 collects queues whose leader is unknown
	working sync.WaitGroup
	// encoding is held for reading while records are read.
	encoding sync.RWMutex
	calls    sync.WaitGroup
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher returns a publisher on the connection.
func NewPublisher(conn *Conn, cfg PublisherConfig) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	codec, err := cfg.codec()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Publisher{
		conn: conn, cfg: cfg, compression: wire.Compression{Codec: codec}, requests: ctx,
		cancel: cancel, queues: map[record.TopicPartition]*sendQueue{}, senders: map[int32]int{},
	}, nil
}

// errPublisherClosed is what calls after Close get.
var errPublisherClosed = fault.As(fault.Canceled, errors.New("publisher is closed"))

// Publish sends the messages to the topic and returns when all are acknowledged. A message's key is
// its MetadataKey; the other metadata and the UUID become headers. The contexts of the messages are
// honored: the first one bounds the call.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	records := make([]record.Record, len(messages))
	for i, m := range messages {
		records[i] = recordOf(topic, m)
	}
	if err := p.Emit(messages[0].Context(), records); err != nil {
		return fmt.Errorf("publish %d messages to %s: %w", len(messages), topic, err)
	}
	return nil
}

func recordOf(topic string, m *message.Message) record.Record {
	r := record.Record{Topic: topic, Partition: record.AnyPartition, Value: m.Payload}
	r.Headers = make([]record.Header, 0, len(m.Metadata)+1)
	if m.UUID != "" {
		r.Headers = append(r.Headers, record.Header{Key: HeaderUUID, Value: []byte(m.UUID)})
	}
	for k, v := range m.Metadata {
		switch {
		case k == MetadataKey:
			r.Key = []byte(v)
		case reserved(k):
		default:
			r.Headers = append(r.Headers, record.Header{Key: k, Value: []byte(v)})
		}
	}
	return r
}

// reserved reports whether metadata of this name stands for a part of the record rather than a
// header.
func reserved(name string) bool {
	switch name {
	case MetadataKey,
		MetadataTopic,
		MetadataPartition,
		MetadataFirst,
		MetadataLast,
		MetadataTime,
		HeaderUUID:
		return true
	}
	return false
}

// Emit sends the records and returns when all in-sync replicas have them, or with an *EmitError
// that names those that failed. A negative Partition lets the key choose (murmur2, as the Java
// client does); a record without a key goes to any. Transient errors are tried again until ctx ends
// or the configured timeout. The records must not be changed during the call.
func (p *Publisher) Emit(ctx context.Context, records []record.Record) error {
	if len(records) == 0 {
		return nil
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return errPublisherClosed
	}
	p.calls.Add(1)
	p.mu.Unlock()
	defer p.calls.Done()

	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	failed := &EmitError{Total: len(records)}
	call := &emitCall{ctx: ctx, errs: make([]error, len(records)), done: make(chan struct{})}
	items := p.route(ctx, call, records)
	if len(items) > 0 {
		call.open.Store(int64(len(items)))
		p.enqueue(items)
		select {
		case <-call.done:
		case <-ctx.Done():
			p.abandon(items)
			<-call.done
		}
	}
	for i, err := range call.errs {
		if err != nil {
			failed.Failed = append(failed.Failed, fault.Rejection{Index: i, Err: err})
		}
	}
	return failed.orNil()
}

// route gives each record its partition; what cannot be routed fails in the call at once.
func (p *Publisher) route(
	ctx context.Context,
	call *emitCall,
	records []record.Record,
) []*sendItem {
	items := make([]*sendItem, 0, len(records))
	backing := make([]sendItem, len(records))
	counts := map[string]int{}
	problems := map[string]error{}
	for i := range records {
		r := &records[i]
		n, known := counts[r.Topic]
		if !known {
			var err error
			if n, err = p.partitions(ctx, r.Topic); err != nil {
				problems[r.Topic] = err
			}
			counts[r.Topic] = n
		}
		if err := problems[r.Topic]; err != nil {
			call.errs[i] = err
			continue
		}
		partition := r.Partition
		switch {
		case partition >= n:
			call.errs[i] = fault.Permanentf(
				"emit to %s: there is no partition %d, the topic has %d", r.Topic, partition, n,
			)
			continue
		case partition < 0 && r.Key == nil:
			partition = int(p.roundRobin.Add(1) % uint32(n))
		case partition < 0:
			partition = record.PartitionOf(r.Key, n)
		}
		backing[i] = sendItem{
			call: call, index: i, record: r, size: wire.SizeOf(r),
			to: record.TopicPartition{Topic: r.Topic, Partition: partition},
		}
		items = append(items, &backing[i])
	}
	return items
}

// partitions returns the number of partitions of the topic, and waits for a topic that is just
// being made.
func (p *Publisher) partitions(ctx context.Context, topic string) (int, error) {
	deadline := time.Now().Add(2*p.conn.cfg.MetadataTTL + time.Second)
	for {
		l, err := p.conn.leaders(ctx, topic, false)
		if err == nil && len(l) > 0 {
			return len(l), nil
		}
		if err == nil {
			err = fault.Transientf("topic %s has no partitions yet", topic)
		}
		if errors.Is(err, kafka.UnknownTopicOrPartition) && time.Now().After(deadline) {
			return 0, fmt.Errorf(
				"topic %s does not exist; `slipstream migrate` makes the topics: %w", topic, err,
			)
		}
		if fault.ClassOf(err) != fault.Transient || !fault.Sleep(ctx, 100*time.Millisecond) {
			return 0, err
		}
	}
}

// Close waits for the calls under way, which end by their own contexts and timeouts, and releases
// the publisher. Later calls fail.
func (p *Publisher) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.calls.Wait()
	p.working.Wait()
	p.cancel()
	return nil
}
