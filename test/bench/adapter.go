package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// adapterTask is what one child of the adapter section does.
type adapterTask struct {
	Variant string
	Brokers []string
	Topic   string
	Group   string
	Events  int
}

// adapterResult is what it measured between the first and the last event.
type adapterResult struct {
	Events  int
	Seconds float64
	CPU     float64
	Allocs  float64 // objects
	Bytes   float64
}

func (r adapterResult) perMillion() float64 { return r.CPU / float64(r.Events) * 1e6 }

const adapterPartitions = 8

type variant struct {
	name, label string
	produce     bool
}

// variants in the order of the table. The official adapter is what the others are compared with.
var variants = []variant{
	{"official", "watermill-kafka v3.0.6 in Watermill's Router", false},
	{"slipstream", "Slipstream's Subscriber in its Router, micro-batches", false},
	{"slipstream-ranges", "the same, with batch intents", false},
	{"slipstream-one", "Slipstream's Subscriber in Watermill's Router, batch size one", false},
	{"kafka-go", "kafka-go Reader, no router", false},
	{"franz-go", "franz-go, no router", false},
	{"produce-official", "watermill-kafka v3.0.6 Publisher, 1,000 a call", true},
	{"produce-slipstream", "Slipstream's Publisher, 1,000 a call", true},
	{"produce-kafka-go", "kafka-go Writer, 1,000 a call", true},
	{"produce-franz-go", "franz-go, 1,000 a call", true},
}

// adapter consumes the same topic with each variant, and produces the same events.
func (b *bench) adapter(ctx context.Context) (*section, error) {
	brokers := b.engines.brokers
	engine := "Kafka"
	if len(brokers) == 0 {
		cfg := embedded.DefaultConfig(filepath.Join(b.dir, "kafka"))
		cfg.Addr = "127.0.0.1:0"
		broker, err := embedded.Start(ctx, cfg)
		if err != nil {
			return nil, err
		}
		defer broker.Close()
		brokers, engine = []string{broker.Addr()}, "the embedded broker"
	}
	topic := fmt.Sprintf("bench%d.adapter", os.Getpid())
	size, err := b.fill(ctx, brokers, topic)
	if err != nil {
		return nil, err
	}
	results := make(map[string][]adapterResult)
	for run := range b.o.repeat {
		for _, v := range variants {
			task := adapterTask{
				Variant: v.name, Brokers: brokers, Topic: topic,
				Group: fmt.Sprintf("%s.%s.%d", topic, v.name, run), Events: b.o.adapterEvents,
			}
			if v.produce {
				task.Topic = topic + ".produce"
			}
			var r adapterResult
			if err := inChild(ctx, "adapter", task, &r); err != nil {
				return nil, err
			}
			if !v.produce && r.Events != task.Events || r.Events == 0 {
				return nil, fmt.Errorf("%s handled %d events of %d", v.name, r.Events, task.Events)
			}
			b.say(
				"  %-20s %9.0f events/s  %6.2f CPU s per 1M  %5.1f allocations per event", v.name,
				float64(r.Events)/r.Seconds, r.perMillion(), r.Allocs/float64(r.Events),
			)
			results[v.name] = append(results[v.name], r)
		}
	}
	s := &section{Title: "Adapter: what a record costs between the log and a handler"}
	s.Notes = append(s.Notes, fmt.Sprintf("%d events of %d bytes in %d partitions of %s, "+
		"handler empty, every variant in a process of its own; median of %d runs (range of the "+
		"runs in brackets). CPU seconds are those of that process, the broker's are not in them. "+
		"The official Publisher sends one message after the other; its run is cut off after %v.",
		b.o.adapterEvents, size, adapterPartitions, engine, b.o.repeat, produceLimit))
	s.Tables = []table{
		adapterTable("Consume", false, results),
		adapterTable("Produce, acknowledged by all replicas", true, results),
	}
	c := chart{Title: "CPU seconds per million events consumed", Unit: "CPU s"}
	for _, v := range variants {
		if !v.produce {
			c.add(v.label, median(results[v.name], adapterResult.perMillion))
		}
	}
	s.Charts = append(s.Charts, c)
	return s, nil
}

func adapterTable(title string, produce bool, results map[string][]adapterResult) table {
	t := table{
		Title: title,
		Columns: []string{
			"variant", "events/s", "against the official", "CPU s per 1M events",
			"allocations per event", "bytes allocated per event",
		},
	}
	base := "official"
	if produce {
		base = "produce-official"
	}
	rate := func(r adapterResult) float64 { return float64(r.Events) / r.Seconds }
	for _, v := range variants {
		if v.produce != produce {
			continue
		}
		rs := results[v.name]
		t.add(
			v.label,
			spread(rs, rate, 0),
			times(median(rs, rate)/median(results[base], rate)),
			spread(
				rs, adapterResult.perMillion, 2,
			),
			number(
				median(rs, func(r adapterResult) float64 { return r.Allocs / float64(r.Events) }),
				2,
			),
			number(
				median(rs, func(r adapterResult) float64 { return r.Bytes / float64(r.Events) }), 0,
			),
		)
	}
	return t
}

// fill makes the topics and the events, and returns the mean size of an event's value.
func (b *bench) fill(ctx context.Context, brokers []string, topic string) (int, error) {
	conn, err := stream.Open(ctx, stream.DefaultConfig(brokers...))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	specs := []admin.TopicSpec{
		{Name: topic, Partitions: adapterPartitions, RetentionMs: -1, RetentionBytes: -1},
		{
			Name: topic + ".produce", Partitions: adapterPartitions, RetentionMs: -1,
			RetentionBytes: -1,
		},
	}
	if err := admin.EnsureTopics(ctx, conn, specs); err != nil {
		return 0, err
	}
	b.later(func(ctx context.Context) {
		if conn, err := stream.Open(ctx, stream.DefaultConfig(brokers...)); err == nil {
			_ = admin.DeleteTopics(ctx, conn, specs[0].Name, specs[1].Name)
			_ = conn.Close()
		}
	})
	pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
	if err != nil {
		return 0, err
	}
	defer pub.Close()
	w, size := newWorld(1, baseUsers, baseItems), 0
	p := &producer{pub: pub}
	err = p.emit(ctx, b.o.adapterEvents, func(int) record.Record {
		m := w.interaction()
		m.Topic = topic
		size += len(m.Value)
		return m
	})
	return size / b.o.adapterEvents, err
}

// meter counts events and measures from the first on.
type meter struct {
	want   int
	seen   int
	start  time.Time
	cpu    float64
	memory runtime.MemStats
	done   chan struct{}
}

func newMeter(want int) *meter { return &meter{want: want, done: make(chan struct{})} }

// begin is called before anything is read: joining the group is not measured by the clock, but its
// CPU time is.
func (m *meter) begin() {
	m.cpu = ownCPU()
	runtime.ReadMemStats(&m.memory)
}

// add counts n events, from one goroutine at a time.
func (m *meter) add(n int) {
	if m.seen == 0 {
		m.start = time.Now()
	}
	if m.seen < m.want && m.seen+n >= m.want {
		defer close(m.done)
	}
	m.seen += n
}

func (m *meter) result() adapterResult {
	r := adapterResult{
		Events: m.seen, Seconds: time.Since(m.start).Seconds(), CPU: ownCPU() - m.cpu,
	}
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	r.Allocs, r.Bytes = float64(after.Mallocs-m.memory.Mallocs), float64(
		after.TotalAlloc-m.memory.TotalAlloc,
	)
	return r
}

// adapterChild runs one variant.
func adapterChild(ctx context.Context, in *json.Decoder) (any, error) {
	var task adapterTask
	if err := in.Decode(&task); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if kind, ok := strings.CutPrefix(task.Variant, "produce-"); ok {
		return produce(ctx, task, kind)
	}
	switch task.Variant {
	case "slipstream", "slipstream-ranges":
		return consumeBatches(ctx, task, task.Variant == "slipstream-ranges")
	case "slipstream-one":
		return consumeOne(ctx, task)
	case "official":
		return consumeOfficial(ctx, task)
	case "kafka-go":
		return consumeKafkaGo(ctx, task)
	case "franz-go":
		return consumeFranz(ctx, task)
	}
	return nil, fmt.Errorf("unknown variant %q", task.Variant)
}

// officialMarshaler is Watermill's own, with the key of the record as the key.
func officialMarshaler() kafka.MarshalerUnmarshaler {
	return kafka.NewWithPartitioningMarshaler(
		func(_ string, m *message.Message) (string, error) { return m.Metadata.Get("key"), nil },
	)
}
