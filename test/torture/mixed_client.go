//go:build linux

package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// foreignClient is a running test/librdkafka: a producer that is not ours.
type foreignClient struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	lines *json.Encoder
	read  chan error // how reading its answers ended

	mu      sync.Mutex
	sent    int
	answers []delivery
}

// foreignRecord is a record for it to write. A nil key is none.
type foreignRecord struct {
	Topic string  `json:"topic"`
	Key   *string `json:"key"`
	Value string  `json:"value"`
}

// delivery is what became of the record that was written as the n-th, from 0.
type delivery struct {
	N         int    `json:"n"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	Error     string `json:"error"`
}

// startClient starts the program. settings are those of librdkafka, name=value. It ends with ctx.
func startClient(
	ctx context.Context, program, brokers string, logs io.Writer, settings ...string,
) (*foreignClient, error) {
	args := []string{"-brokers", brokers}
	for _, s := range settings {
		args = append(args, "-set", s)
	}
	c := &foreignClient{cmd: exec.CommandContext(ctx, program, args...), read: make(chan error, 1)}
	c.cmd.Stderr = logs
	var err error
	if c.input, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.lines = json.NewEncoder(c.input)
	go func() { c.read <- c.collect(output) }()
	return c, nil
}

func (c *foreignClient) collect(output io.Reader) error {
	s := bufio.NewScanner(output)
	for s.Scan() {
		var d delivery
		if err := json.Unmarshal(s.Bytes(), &d); err != nil {
			return fmt.Errorf("what the client printed: %w", err)
		}
		c.mu.Lock()
		c.answers = append(c.answers, d)
		c.mu.Unlock()
	}
	return s.Err()
}

// write hands records over. It does not wait for Kafka.
func (c *foreignClient) write(records ...foreignRecord) error {
	for _, r := range records {
		if err := c.lines.Encode(r); err != nil {
			return fmt.Errorf("write to the client: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent += len(records)
	return nil
}

// await waits until at most n records are unanswered.
func (c *foreignClient) await(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		open := c.sent - len(c.answers)
		c.mu.Unlock()
		if open <= n {
			return nil
		}
		if !wait(ctx, 10*time.Millisecond) {
			return fmt.Errorf("the client waits for %d answers: %w", open, ctx.Err())
		}
	}
}

// finish ends the input, waits for the end of the program, and returns what became of each record.
func (c *foreignClient) finish() ([]delivery, error) {
	if err := c.input.Close(); err != nil {
		return nil, err
	}
	if err := <-c.read; err != nil {
		return nil, err
	}
	if err := c.cmd.Wait(); err != nil {
		return nil, fmt.Errorf("the client: %w", err)
	}
	out := make([]delivery, c.sent)
	for _, d := range c.answers {
		if d.Error != "" {
			return nil, fmt.Errorf("the client's record %d: %s", d.N, d.Error)
		}
		out[d.N] = d
	}
	if len(c.answers) != c.sent {
		return nil, fmt.Errorf("the client answered %d of %d records", len(c.answers), c.sent)
	}
	return out, nil
}

// PartitionsOf has the client write a record with each key to a topic, and returns the partitions
// that it chose.
func PartitionsOf(
	ctx context.Context, program, brokers, topic string, keys []string, settings ...string,
) ([]int, error) {
	c, err := startClient(ctx, program, brokers, io.Discard, settings...)
	if err != nil {
		return nil, err
	}
	for i := range keys {
		if err := c.write(foreignRecord{Topic: topic, Key: &keys[i], Value: "v"}); err != nil {
			return nil, err
		}
	}
	answers, err := c.finish()
	out := make([]int, len(answers))
	for i, a := range answers {
		out[i] = a.Partition
	}
	return out, err
}
