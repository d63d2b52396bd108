package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	official "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/guard"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// consumeBatches is the product's own path: Subscriber, guard and Router.
func consumeBatches(ctx context.Context, task adapterTask, ranges bool) (any, error) {
	conn, err := stream.Open(ctx, stream.DefaultConfig(task.Brokers...))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
	if err != nil {
		return nil, err
	}
	defer pub.Close()
	cfg := stream.DefaultSubscriberConfig(task.Group)
	cfg.Intents = ranges
	sub, err := stream.NewSubscriber(conn, cfg)
	if err != nil {
		return nil, err
	}
	router, err := guard.NewRouter(guard.DefaultRouterConfig())
	if err != nil {
		return nil, err
	}
	m := newMeter(task.Events)
	var mu sync.Mutex
	if err := router.Handle(guard.Options{
		Name: "bench", Group: task.Group, Topics: []string{task.Topic}, Subscriber: sub,
		Emitter: pub,
		Handler: func(_ context.Context, b *record.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			m.add(len(b.Records))
			return nil
		},
	}); err != nil {
		return nil, err
	}
	m.begin()
	return measured(ctx, m, router.Run)
}

// measured runs the router until everything is counted.
func measured(ctx context.Context, m *meter, run func(context.Context) error) (any, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	select {
	case <-m.done:
	case err := <-ended:
		return nil, fmt.Errorf("ended after %d events: %w", m.seen, err)
	case <-ctx.Done():
		return nil, fmt.Errorf("%d events in time: %w", m.seen, ctx.Err())
	}
	return m.result(), nil // the process ends now, and with it the router
}

// consumeOne uses the Subscriber as a plain Watermill subscriber in Watermill's Router.
func consumeOne(ctx context.Context, task adapterTask) (any, error) {
	conn, err := stream.Open(ctx, stream.DefaultConfig(task.Brokers...))
	if err != nil {
		return nil, err
	}
	cfg := stream.DefaultSubscriberConfig(task.Group)
	cfg.MaxRecords = 1
	sub, err := stream.NewSubscriber(conn, cfg)
	if err != nil {
		return nil, err
	}
	return inWatermill(ctx, task, sub)
}

func consumeOfficial(ctx context.Context, task adapterTask) (any, error) {
	sc := official.DefaultSaramaSubscriberConfig()
	sc.Consumer.Offsets.Initial = sarama.OffsetOldest
	sub, err := official.NewSubscriber(official.SubscriberConfig{
		Brokers: task.Brokers, Unmarshaler: officialMarshaler(), ConsumerGroup: task.Group,
		OverwriteSaramaConfig: sc,
	}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	return inWatermill(ctx, task, sub)
}

func inWatermill(ctx context.Context, task adapterTask, sub message.Subscriber) (any, error) {
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	m := newMeter(task.Events)
	var mu sync.Mutex
	router.AddConsumerHandler("bench", task.Topic, sub, func(*message.Message) error {
		mu.Lock()
		defer mu.Unlock()
		m.add(1)
		return nil
	})
	m.begin()
	return measured(ctx, m, router.Run)
}

func consumeKafkaGo(ctx context.Context, task adapterTask) (any, error) {
	r := kafka.NewReader(
		kafka.ReaderConfig{
			Brokers: task.Brokers, GroupID: task.Group, Topic: task.Topic,
			StartOffset: kafka.FirstOffset, MinBytes: 1, MaxBytes: 4 << 20, CommitInterval: 300e6,
		},
	)
	m := newMeter(task.Events)
	m.begin()
	for m.seen < task.Events {
		msg, err := r.FetchMessage(ctx)
		if err != nil {
			return nil, err
		}
		m.add(1)
		if err := r.CommitMessages(ctx, msg); err != nil {
			return nil, err
		}
	}
	return m.result(), nil
}

func consumeFranz(ctx context.Context, task adapterTask) (any, error) {
	m := newMeter(task.Events)
	m.begin()
	c, err := kgo.NewClient(
		kgo.SeedBrokers(task.Brokers...), kgo.ConsumerGroup(task.Group),
		kgo.ConsumeTopics(task.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return nil, err
	}
	for m.seen < task.Events {
		fetches := c.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%d events in time: %w", m.seen, err)
		}
		fetches.EachRecord(func(*kgo.Record) { m.add(1) })
	}
	return m.result(), nil
}
