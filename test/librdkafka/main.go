// Command librdkafka writes lines of its standard input to Kafka with confluent-kafka-go, which is
// librdkafka, as other people's programs do. It has nothing of ours. Each line is a JSON object:
//
//	{"topic": "interactions", "key": "u42", "value": "…"}
//
// A line without a key, or with null, is a record without a key. For each line it prints one when
// Kafka has acknowledged it or refused it for good, in any order. n counts the lines from 0:
//
//	{"n": 0, "partition": 3, "offset": 17}
//	{"n": 1, "error": "…"}
//
// It ends when its input has ended and every line was answered.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

type line struct {
	Topic string  `json:"topic"`
	Key   *string `json:"key"`
	Value string  `json:"value"`
}

type answer struct {
	N         int    `json:"n"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Error     string `json:"error,omitempty"`
}

func main() {
	brokers := flag.String("brokers", "127.0.0.1:9092", "addresses of brokers")
	settings := kafka.ConfigMap{"acks": "all"}
	set := func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want name=value")
		}
		return settings.SetKey(name, value)
	}
	flag.Func("set", "a setting of librdkafka, such as partitioner=murmur2_random", set)
	flag.Parse()
	settings["bootstrap.servers"] = *brokers
	if err := run(settings, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "librdkafka:", err)
		os.Exit(1)
	}
}

func run(settings kafka.ConfigMap, in io.Reader, out io.Writer) error {
	p, err := kafka.NewProducer(&settings)
	if err != nil {
		return err
	}
	defer p.Close()
	written := make(chan error, 1)
	lines := make(chan int, 1) // how many there were, once the input has ended
	go func() { written <- answers(p.Events(), lines, out) }()

	input := bufio.NewScanner(in)
	input.Buffer(nil, 1<<20)
	n := 0
	for ; input.Scan(); n++ {
		var l line
		if err := json.Unmarshal(input.Bytes(), &l); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		m := &kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &l.Topic, Partition: kafka.PartitionAny},
			Value:          []byte(l.Value), Opaque: n,
		}
		if l.Key != nil {
			m.Key = []byte(*l.Key)
		}
		if err := produce(p, m); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := input.Err(); err != nil {
		return err
	}
	lines <- n
	return <-written
}

// produce hands a message over, and waits while the queue of librdkafka is full.
func produce(p *kafka.Producer, m *kafka.Message) error {
	for {
		err := p.Produce(m, nil)
		if e, ok := err.(kafka.Error); !ok || e.Code() != kafka.ErrQueueFull {
			return err
		}
		p.Flush(100)
	}
}

// answers prints what became of each line, until all were answered.
func answers(events <-chan kafka.Event, lines <-chan int, out io.Writer) error {
	to := json.NewEncoder(out)
	for done, all := 0, -1; all < 0 || done < all; {
		select {
		case all = <-lines:
		case e := <-events:
			switch e := e.(type) {
			case *kafka.Message:
				a := answer{
					N: e.Opaque.(int), Partition: e.TopicPartition.Partition,
					Offset: int64(e.TopicPartition.Offset),
				}
				if err := e.TopicPartition.Error; err != nil {
					a.Error = err.Error()
				}
				if err := to.Encode(a); err != nil {
					return err
				}
				done++
			case kafka.Error: // librdkafka goes on by itself, unless it is fatal
				fmt.Fprintln(os.Stderr, "librdkafka:", e)
				if e.IsFatal() {
					return e
				}
			}
		}
	}
	return nil
}
