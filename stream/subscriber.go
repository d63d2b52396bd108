package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Subscriber reads topics as a member of a consumer group and hands out batches as Watermill
// messages. It implements Watermill's message.Subscriber. Every Subscribe is a member of its own.
//
// Of one partition one batch is out at a time, in order; Ack moves on, Nack brings the same batch
// again after a pause. A message's context ends when it is settled, or a little after the
// generation has ended (DrainTimeout); what is acknowledged later than that has no effect. Safe for
// concurrent use.
type Subscriber struct {
	conn *Conn
	cfg  SubscriberConfig
	log  *slog.Logger

	mu      sync.Mutex
	closed  bool
	closing chan struct{}
	running sync.WaitGroup
}

var (
	_ message.Subscriber           = (*Subscriber)(nil)
	_ message.SubscribeInitializer = (*Subscriber)(nil)
)

// NewSubscriber returns a subscriber on the connection. It does not join the group yet.
func NewSubscriber(conn *Conn, cfg SubscriberConfig) (*Subscriber, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.Default()
	}
	return &Subscriber{
		conn: conn, cfg: cfg, log: log.With("group", cfg.Group), closing: make(chan struct{}),
	}, nil
}

// lookBeforeJoining bounds how long Subscribe asks for the topics' partitions.
const lookBeforeJoining = 2 * time.Second

// Subscribe joins the group and returns the channel of its batches; see BatchOf. Several topics,
// separated by commas, are read by this one member, and partitions of the same number of topics
// with the same partition count always come together. Everyone in a group must name the same
// topics. The channel is closed when ctx ends or Close is called, after what is in work is settled
// or DrainTimeout has passed.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	topics := strings.Split(topic, ",")
	for i := range topics {
		if topics[i] = strings.TrimSpace(topics[i]); topics[i] == "" {
			return nil, fmt.Errorf("subscribe to %q: empty topic name", topic)
		}
	}
	look, cancel := context.WithTimeout(ctx, min(s.cfg.RequestTimeout, lookBeforeJoining))
	known := s.conn.counts(look, topics)
	cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fault.As(fault.Canceled, errors.New("subscriber is closed"))
	}
	sub := &subscription{
		Subscriber: s, topics: topics, out: make(chan *message.Message),
		values: context.WithoutCancel(ctx), known: known,
	}
	group, err := kafka.NewConsumerGroup(s.groupConfig(sub))
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", topic, err)
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		sub.run(ctx, group)
	}()
	return sub.out, nil
}

func (s *Subscriber) groupConfig(sub *subscription) kafka.ConsumerGroupConfig {
	c := s.cfg
	topics := make([]string, len(sub.topics))
	for i, t := range sub.topics {
		topics[i] = s.conn.Full(t)
	}
	return kafka.ConsumerGroupConfig{
		ID: s.conn.FullGroup(c.Group), Brokers: s.conn.cfg.Brokers,
		Dialer: sub.conns.dialer(s.conn.dialer), Topics: topics,
		GroupBalancers:    []kafka.GroupBalancer{copartitioned{}},
		HeartbeatInterval: c.HeartbeatInterval, SessionTimeout: c.SessionTimeout,
		RebalanceTimeout: c.RebalanceTimeout,
		JoinGroupBackoff: c.JoinBackoff, Timeout: min(c.RequestTimeout, c.SessionTimeout/3),
	}
}

// SubscribeInitialize makes the topics when SubscriberConfig.InitPartitions allows it, and does
// nothing otherwise.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	if s.cfg.InitPartitions <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.cfg.RequestTimeout)
	defer cancel()
	for _, name := range strings.Split(topic, ",") {
		name = s.conn.Full(strings.TrimSpace(name))
		res, err := s.conn.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{
			Topics: []kafka.TopicConfig{
				{Topic: name, NumPartitions: s.cfg.InitPartitions, ReplicationFactor: -1},
			},
		})
		if err == nil {
			err = res.Errors[name]
		}
		if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
			return fmt.Errorf("make topic %s: %w", name, wire.Classify(err))
		}
	}
	return nil
}

// Close ends all subscriptions: nothing new is handed out, what is in work may finish within
// DrainTimeout and is committed, the members leave their group. It returns when all of that is
// over. It may be called more than once.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

type batchKey struct{}

// BatchOf returns the batch that a message carries, or nil if it does not come from a Subscriber.
func BatchOf(m *message.Message) *record.Batch {
	b, _ := m.Context().Value(batchKey{}).(*record.Batch)
	return b
}
