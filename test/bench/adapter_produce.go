package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	official "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

const (
	produceLimit = 10 * time.Second
	produceBatch = 1000
)

// produce sends events in calls of a thousand, until all are acknowledged or the time is over.
// Making the events is not measured: the same thousand go again.
func produce(ctx context.Context, task adapterTask, kind string) (any, error) {
	w := newWorld(2, baseUsers, baseItems)
	events := make([]record.Record, produceBatch)
	for i := range events {
		events[i] = w.interaction()
	}
	send, err := sender(ctx, task, kind, events)
	if err != nil {
		return nil, err
	}
	if err := send(ctx); err != nil { // connections and metadata
		return nil, err
	}
	m := newMeter(task.Events)
	m.begin()
	m.start = time.Now()
	for m.seen < task.Events && time.Since(m.start) < produceLimit {
		if err := send(ctx); err != nil {
			return nil, err
		}
		m.seen += produceBatch
	}
	return m.result(), nil
}

func sender(
	ctx context.Context,
	task adapterTask,
	kind string,
	events []record.Record,
) (func(context.Context) error, error) {
	switch kind {
	case "slipstream":
		conn, err := stream.Open(ctx, stream.DefaultConfig(task.Brokers...))
		if err != nil {
			return nil, err
		}
		pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			records := make([]record.Record, len(events))
			for i := range events {
				records[i] = record.Record{
					Topic: task.Topic, Partition: record.AnyPartition, Key: events[i].Key,
					Value: events[i].Value,
				}
			}
			return pub.Emit(ctx, records)
		}, nil
	case "official":
		pub, err := official.NewPublisher(
			official.PublisherConfig{Brokers: task.Brokers, Marshaler: officialMarshaler()},
			watermill.NopLogger{},
		)
		if err != nil {
			return nil, err
		}
		return func(context.Context) error {
			messages := make([]*message.Message, len(events))
			for i := range events {
				messages[i] = message.NewMessage(watermill.NewUUID(), events[i].Value)
				messages[i].Metadata.Set("key", string(events[i].Key))
			}
			return pub.Publish(task.Topic, messages...)
		}, nil
	case "kafka-go":
		wr := &kafka.Writer{
			Addr: kafka.TCP(task.Brokers...), Topic: task.Topic, Balancer: kafka.Murmur2Balancer{},
			RequiredAcks: kafka.RequireAll, BatchTimeout: 2 * time.Millisecond,
			BatchSize: produceBatch, Compression: kafka.Lz4,
		}
		return func(ctx context.Context) error {
			messages := make([]kafka.Message, len(events))
			for i := range events {
				messages[i] = kafka.Message{Key: events[i].Key, Value: events[i].Value}
			}
			return wr.WriteMessages(ctx, messages...)
		}, nil
	case "franz-go":
		c, err := kgo.NewClient(
			kgo.SeedBrokers(task.Brokers...), kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			records := make([]*kgo.Record, len(events))
			for i := range events {
				records[i] = &kgo.Record{
					Topic: task.Topic, Key: events[i].Key, Value: events[i].Value,
				}
			}
			return c.ProduceSync(ctx, records...).FirstErr()
		}, nil
	}
	return nil, fmt.Errorf("unknown producer %q", kind)
}
