package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// The SASL mechanisms that SASLConfig.Mechanism may name.
const (
	SASLPlain       = "PLAIN"
	SASLScramSHA256 = "SCRAM-SHA-256"
	SASLScramSHA512 = "SCRAM-SHA-512"
)

// TLSConfig says how connections to the brokers are encrypted. The zero value is plain text.
type TLSConfig struct {
	// Enabled turns TLS on. The other fields have no effect without it.
	Enabled bool
	// CAFile is a PEM file with the authorities to trust; empty means those of the system.
	CAFile string
	// CertFile and KeyFile are PEM files of a client certificate. Both or neither.
	CertFile, KeyFile string
	// ServerName overrides the name that the brokers' certificates are checked against.
	ServerName string
	// InsecureSkipVerify accepts any certificate: for experiments only.
	InsecureSkipVerify bool
}

// SASLConfig says how to authenticate. The zero value does not.
type SASLConfig struct {
	// Mechanism is empty, SASLPlain, SASLScramSHA256 or SASLScramSHA512.
	Mechanism          string
	Username, Password string
}

// Config says how to reach the Kafka cluster.
type Config struct {
	// Brokers are the host:port pairs to start from; the others are discovered. Required.
	Brokers []string
	// Prefix begins the name of every topic and group on the broker, so that several installations
	// can share one. This package's API speaks logical names, without it. Default none.
	Prefix string
	// Renamed holds names of an older version. Open looks which of its topics the broker has under
	// an old name only: those keep it there. This package's API speaks the new names.
	Renamed record.Renamed
	// ClientID names this process in the brokers' logs and quotas. Default "slipstream".
	ClientID string
	TLS      TLSConfig
	SASL     SASLConfig
	// DialTimeout bounds the making of one connection, with TLS and SASL. Default 5 s.
	DialTimeout time.Duration
	// RequestTimeout bounds every exchange with a broker that has no tighter bound of its own.
	// Default 10 s.
	RequestTimeout time.Duration
	// OpenTimeout is how long Open keeps trying to reach a first broker. Default 15 s.
	OpenTimeout time.Duration
	// MaxDecompressedBytes bounds the memory that the records of one partition's part of an answer
	// take when they are decompressed and decoded. A batch that needs more by itself cannot be
	// read: a group makes it a dead letter, and the other readers skip it. Default 32 MiB.
	MaxDecompressedBytes int
	// SkipDamaged are offsets that an operator has given up, because no replica has them whole.
	// Where the log is damaged there, they are one batch that cannot be read. What is whole there
	// is read. LogID and Repeat do not matter. Default none.
	SkipDamaged []record.Range
	// Skipped, if not nil, is told of every batch that a reader without a group has skipped because
	// its records cannot be read: Conn.Read and Follower. Several goroutines call it, and it must
	// not block.
	Skipped func(u *record.Undecodable)
	// MetadataTTL is the longest time that the knowledge of topics and leaders is used before it is
	// asked for again. Default 2 s.
	MetadataTTL time.Duration
	// MaxAhead becomes the MaxAhead of every record that is read. Default 0: no bound.
	MaxAhead time.Duration
}

// DefaultConfig returns the configuration for the given brokers: plain text, no authentication.
func DefaultConfig(brokers ...string) Config {
	return Config{
		Brokers:        brokers,
		ClientID:       "slipstream",
		DialTimeout:    5 * time.Second,
		RequestTimeout: 10 * time.Second,
		OpenTimeout:    15 * time.Second,
		MetadataTTL:    2 * time.Second,

		MaxDecompressedBytes: 32 << 20,
	}
}

// Validate returns an error that says what to change, or nil.
func (c Config) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("no brokers: set KAFKA_BROKERS to host:port[,host:port…]"))
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			errs = append(errs, fmt.Errorf("broker %q is not host:port: %w", b, err))
		}
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		errs = append(
			errs, errors.New("a client certificate needs both a certificate and a key file"),
		)
	}
	switch c.SASL.Mechanism {
	case "":
	case SASLPlain, SASLScramSHA256, SASLScramSHA512:
		if c.SASL.Username == "" {
			errs = append(errs, fmt.Errorf("SASL %s needs a user name", c.SASL.Mechanism))
		}
	default:
		errs = append(errs, fmt.Errorf("unknown SASL mechanism %q: use %s, %s or %s",
			c.SASL.Mechanism, SASLPlain, SASLScramSHA256, SASLScramSHA512))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"dial timeout", c.DialTimeout},
		{"request timeout", c.RequestTimeout},
		{"open timeout", c.OpenTimeout},
		{"metadata TTL", c.MetadataTTL},
	} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("the %s must be positive, not %v", d.name, d.value))
		}
	}
	if c.MaxDecompressedBytes < 1<<20 {
		errs = append(errs, fmt.Errorf(
			"MaxDecompressedBytes must be at least 1 MiB, not %d", c.MaxDecompressedBytes,
		))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kafka configuration: %w", err)
	}
	return nil
}

func (c Config) tlsConfig() (*tls.Config, error) {
	if !c.TLS.Enabled {
		return nil, nil
	}
	t := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName,
		InsecureSkipVerify: c.TLS.InsecureSkipVerify,
	}
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read certificate authorities: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf(
				"read certificate authorities: %s holds no PEM certificate", c.TLS.CAFile,
			)
		}
	}
	if c.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

func (c Config) mechanism() (sasl.Mechanism, error) {
	switch c.SASL.Mechanism {
	case SASLPlain:
		return plain.Mechanism{Username: c.SASL.Username, Password: c.SASL.Password}, nil
	case SASLScramSHA256:
		return scram.Mechanism(scram.SHA256, c.SASL.Username, c.SASL.Password)
	case SASLScramSHA512:
		return scram.Mechanism(scram.SHA512, c.SASL.Username, c.SASL.Password)
	}
	return nil, nil
}

// Conn is the process's one connection pool to the cluster, shared by publishers, subscribers,
// readers and administration: a topic made through one pool would be unknown to another for
// seconds. Safe for concurrent use.
type Conn struct {
	cfg       Config
	addr      net.Addr
	transport *kafka.Transport
	client    *kafka.Client
	dialer    *kafka.Dialer
	cancel    context.CancelFunc
	names     record.Names

	mu sync.Mutex
	// by topic; entries older than the metadata TTL are asked for again
	layouts map[string]topicLayout
	// see SetProducerTimes; never changed, only replaced
	producerTimes map[string]time.Time
	// where the last reading of each partition has ended, see clockAt
	clocks map[record.TopicPartition]clockOf
}

// topicLayout is what the process knows of a topic.
type topicLayout struct {
	leaders []int32 // by partition; -1 means none at the moment
	asked   time.Time
}

// Open connects to the cluster and fails when no broker can be reached within cfg.OpenTimeout.
func Open(ctx context.Context, cfg Config) (*Conn, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t, err := cfg.tlsConfig()
	if err != nil {
		return nil, fmt.Errorf("open kafka: %w", err)
	}
	mechanism, err := cfg.mechanism()
	if err != nil {
		return nil, fmt.Errorf("open kafka: %w", err)
	}
	dial := (&net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 15 * time.Second}).DialContext
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &Conn{
		cfg:  cfg,
		addr: kafka.TCP(cfg.Brokers...),
		transport: &kafka.Transport{
			Dial: dial, DialTimeout: cfg.DialTimeout, IdleTimeout: 30 * time.Second,
			MetadataTTL: cfg.MetadataTTL,
			ClientID:    cfg.ClientID, TLS: t, SASL: mechanism, Context: background,
		},
		dialer: &kafka.Dialer{
			ClientID: cfg.ClientID, Timeout: cfg.DialTimeout, DialFunc: dial, TLS: t,
			SASLMechanism: mechanism,
		},
		cancel:  cancel,
		layouts: map[string]topicLayout{},
		clocks:  map[record.TopicPartition]clockOf{},
	}
	c.client = &kafka.Client{Addr: c.addr, Timeout: cfg.RequestTimeout, Transport: c.transport}
	if err := c.reach(ctx); err != nil {
		c.Close()
		return nil, err
	}
	if err := c.findNames(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// findNames looks which topics stand on the broker under an old name.
func (c *Conn) findNames(ctx context.Context) error {
	c.names = record.Names{Prefix: c.cfg.Prefix}
	if c.cfg.Renamed.IsZero() {
		return nil
	}
	res, err := c.client.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return fmt.Errorf("list the topics on the broker: %w", wire.Classify(err))
	}
	topics := make([]string, len(res.Topics))
	for i, t := range res.Topics {
		topics[i] = t.Name
	}
	c.names = c.cfg.Renamed.Names(c.cfg.Prefix, topics)
	return nil
}

// Names translates between logical names and those on the broker.
func (c *Conn) Names() record.Names { return c.names }

// reach waits until a broker has answered.
func (c *Conn) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.OpenTimeout)
	defer cancel()
	var told error // what a broker or the network said, which tells more than the end of the time
	for {
		_, err := c.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{}})
		if err == nil {
			return nil
		}
		if told == nil || !errors.Is(err, context.DeadlineExceeded) {
			told = err
		}
		if !fault.Sleep(ctx, 200*time.Millisecond) {
			return fmt.Errorf(
				"open kafka: no answer from %s within %v (is it running? KAFKA_BROKERS says "+
					"where it is): %w",
				strings.Join(c.cfg.Brokers, ","),
				c.cfg.OpenTimeout,
				wire.Classify(told),
			)
		}
	}
}

// Client returns kafka-go's client on the shared pool, for whatever this package does not offer.
func (c *Conn) Client() *kafka.Client { return c.client }

// Config returns the configuration that the connection was opened with.
func (c *Conn) Config() Config { return c.cfg }

// Close closes the pool. Publishers and subscribers are to be closed before.
func (c *Conn) Close() error {
	c.cancel()
	c.transport.CloseIdleConnections()
	return nil
}

// roundTrip sends req with a deadline: a dead peer must not hang an exchange.
func (c *Conn) roundTrip(
	ctx context.Context,
	timeout time.Duration,
	req protocol.Message,
) (protocol.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return c.transport.RoundTrip(ctx, c.addr, req)
}

// leaders returns the leader of each partition of the topic, -1 where there is none. With fresh the
// brokers are asked, else only when what is known is older than the metadata TTL.
func (c *Conn) leaders(ctx context.Context, topic string, fresh bool) ([]int32, error) {
	c.mu.Lock()
	known, ok := c.layouts[topic]
	c.mu.Unlock()
	if ok && !fresh && time.Since(known.asked) < c.cfg.MetadataTTL {
		return known.leaders, nil
	}
	asked := time.Now()
	m, err := c.ask(
		ctx, c.cfg.RequestTimeout, &metadata.Request{TopicNames: []string{c.Full(topic)}},
	)
	if err != nil {
		return nil, fmt.Errorf("look up topic %s: %w", topic, wire.Classify(err))
	}
	res := m.(*metadata.Response)
	if len(res.Topics) != 1 {
		return nil, fmt.Errorf("look up topic %s: %w", topic, wire.Classify(protocol.ErrNoTopic))
	}
	if code := res.Topics[0].ErrorCode; code != 0 {
		return nil, fmt.Errorf("look up topic %s: %w", topic, wire.Classify(wire.Code(code)))
	}
	parts := res.Topics[0].Partitions
	l := topicLayout{leaders: make([]int32, len(parts)), asked: asked}
	for i := range l.leaders {
		l.leaders[i] = -1
	}
	for _, p := range parts {
		if i := int(p.PartitionIndex); i >= 0 && i < len(l.leaders) {
			l.leaders[i] = p.LeaderID // -1 when there is none
		}
	}
	c.mu.Lock()
	c.layouts[topic] = l
	c.mu.Unlock()
	return l.leaders, nil
}

// skip tells that a reader without a group goes on behind a batch.
func (c *Conn) skip(u *record.Undecodable) {
	if c.cfg.Skipped != nil {
		c.cfg.Skipped(u)
	}
}

// knownLeader returns the partition's leader as far as it is known, else -1.
func (c *Conn) knownLeader(tp record.TopicPartition) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.layouts[tp.Topic].leaders
	if tp.Partition >= len(l) {
		return -1
	}
	return l[tp.Partition]
}

// Forget drops what is known of a topic's leaders.
func (c *Conn) Forget(topic string) {
	c.mu.Lock()
	delete(c.layouts, topic)
	c.mu.Unlock()
}

// Partitions returns the number of partitions of a topic. A topic that does not exist is a
// transient error.
func (c *Conn) Partitions(ctx context.Context, topic string) (int, error) {
	l, err := c.leaders(ctx, topic, true)
	return len(l), err
}

// Exists reports whether the topic exists.
func (c *Conn) Exists(ctx context.Context, topic string) (bool, error) {
	_, err := c.leaders(ctx, topic, true)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return false, nil
	}
	return err == nil, err
}

// counts returns how many partitions the topics have, 0 for one that does not exist; those that
// could not be asked for are left out.
func (c *Conn) counts(ctx context.Context, topics []string) map[string]int {
	out := make(map[string]int, len(topics))
	for _, topic := range topics {
		if n, err := c.Partitions(ctx, topic); err == nil ||
			errors.Is(err, kafka.UnknownTopicOrPartition) {
			out[topic] = n
		}
	}
	return out
}

// Full returns the name of a topic on the broker.
func (c *Conn) Full(topic string) string { return c.names.Topic(topic) }

// FullGroup returns the name of a group on the broker.
func (c *Conn) FullGroup(group string) string { return c.names.Group(group) }

// Logical returns the logical name of a topic on the broker.
func (c *Conn) Logical(topic string) string { return c.names.LogicalTopic(topic) }
