package stream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// committer is the only one to commit in its generation, one request at a time: concurrent commits
// would overtake each other. What comes in while a request is under way goes out together in the
// next.
type committer struct {
	g *generation

	mu      sync.Mutex
	pending map[record.TopicPartition]*commitEntry
	urgent  bool
	closed  bool
	wake    chan struct{}
	stopped chan struct{}
}

type commitEntry struct {
	offset   int64
	metadata string
	waiters  []chan error
}

func newCommitter(g *generation) *committer {
	return &committer{
		g: g, pending: map[record.TopicPartition]*commitEntry{}, wake: make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
}

// set remembers a position and its note, to be committed within the commit interval.
func (c *committer) set(tp record.TopicPartition, offset int64, note string) {
	c.put(tp, offset, note, nil)
}

// write commits an offset with metadata and returns when the broker has it.
func (c *committer) write(
	ctx context.Context,
	tp record.TopicPartition,
	offset int64,
	metadata string,
) error {
	done := make(chan error, 1)
	c.put(tp, offset, metadata, done)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.stopped:
		return errGenerationEnded
	}
}

func (c *committer) put(
	tp record.TopicPartition,
	offset int64,
	metadata string,
	waiter chan error,
) {
	c.mu.Lock()
	e := c.pending[tp]
	if e == nil {
		e = &commitEntry{}
		c.pending[tp] = e
	}
	e.offset, e.metadata = offset, metadata
	if waiter != nil {
		e.waiters = append(e.waiters, waiter)
		c.urgent = true
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run commits until the generation's context ends or last is called.
func (c *committer) run() {
	defer close(c.stopped)
	interval := time.NewTimer(c.g.cfg.CommitInterval)
	defer interval.Stop()
	for {
		select {
		case <-c.g.ctx.Done():
			return
		case <-c.wake:
			if !c.isUrgent() {
				continue
			}
		case <-interval.C:
			interval.Reset(c.g.cfg.CommitInterval)
		}
		if c.isClosed() {
			return
		}
		c.flush(c.g.ctx)
	}
}

func (c *committer) isUrgent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.urgent || c.closed
}

func (c *committer) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// last stops run and commits what is left, as long as ctx allows.
func (c *committer) last(ctx context.Context) {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	select {
	case <-c.stopped:
		c.flush(ctx)
	case <-ctx.Done():
	}
}

// flush commits what is pending and tries again what is transient, until nothing is left or ctx
// ends.
func (c *committer) flush(ctx context.Context) {
	b := fault.Backoff{First: 10 * time.Millisecond, Max: time.Second}
	for {
		batch := c.takePending()
		if len(batch) == 0 {
			return
		}
		start := time.Now()
		left, err := c.send(ctx, batch)
		if h := c.g.cfg.Hooks.Committed; h != nil {
			h(len(batch), time.Since(start), err)
		}
		if len(left) == 0 {
			continue
		}
		c.putBack(left)
		if !b.Wait(ctx) {
			return
		}
		if b.AtMax() {
			c.g.failed(fmt.Errorf("commit %d positions: %w", len(left), err))
		}
	}
}

func (c *committer) takePending() map[record.TopicPartition]*commitEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch := c.pending
	c.pending = map[record.TopicPartition]*commitEntry{}
	c.urgent = false
	return batch
}

// putBack keeps what was not accepted, unless something newer has come in for the partition.
func (c *committer) putBack(left map[record.TopicPartition]*commitEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for tp, e := range left {
		if newer := c.pending[tp]; newer != nil {
			newer.waiters = append(newer.waiters, e.waiters...)
			continue
		}
		c.pending[tp] = e
	}
	c.urgent = true
}

// send performs one commit. It returns the entries to try again, and the last error.
func (c *committer) send(
	ctx context.Context,
	batch map[record.TopicPartition]*commitEntry,
) (left map[record.TopicPartition]*commitEntry, err error) {
	req := &offsetcommit.Request{
		GroupID: c.g.conn.FullGroup(c.g.cfg.Group), GenerationID: int32(c.g.id),
		MemberID: c.g.member, RetentionTimeMs: -1,
	}
	byTopic := map[string]int{}
	for tp, e := range batch {
		t, ok := byTopic[tp.Topic]
		if !ok {
			t = len(req.Topics)
			byTopic[tp.Topic] = t
			req.Topics = append(
				req.Topics, offsetcommit.RequestTopic{Name: c.g.conn.Full(tp.Topic)},
			)
		}
		req.Topics[t].Partitions = append(req.Topics[t].Partitions, offsetcommit.RequestPartition{
			PartitionIndex: int32(
				tp.Partition,
			), CommittedOffset: e.offset, CommittedMetadata: e.metadata, CommittedLeaderEpoch: -1,
		})
	}
	sent := time.Now()
	m, err := c.g.coordinator.ask(ctx, min(c.g.cfg.RequestTimeout, c.g.cfg.SessionTimeout/3), req)
	if err != nil {
		return c.resolve(batch, func(record.TopicPartition) error { return err }, sent)
	}
	outcome := make(map[record.TopicPartition]error, len(batch))
	for _, t := range m.(*offsetcommit.Response).Topics {
		for _, p := range t.Partitions {
			topic := c.g.conn.Logical(t.Name)
			tp := record.TopicPartition{Topic: topic, Partition: int(p.PartitionIndex)}
			outcome[tp] = c.g.coordinator.noted(p.ErrorCode)
		}
	}
	return c.resolve(batch, func(tp record.TopicPartition) error {
		err, ok := outcome[tp]
		if !ok {
			return fmt.Errorf("the broker's answer leaves out %s: %w", tp, kafka.NetworkException)
		}
		return err
	}, sent)
}

func (c *committer) resolve(
	batch map[record.TopicPartition]*commitEntry,
	outcome func(record.TopicPartition) error,
	sent time.Time,
) (map[record.TopicPartition]*commitEntry, error) {
	left := map[record.TopicPartition]*commitEntry{}
	var last error
	for tp, e := range batch {
		err := outcome(tp)
		switch {
		case err == nil:
			c.g.lease.renew(sent)
		case wire.Fenced(err):
			c.g.fence(err)
			last = err
		case !isPermanent(err):
			left[tp] = e
			last = err
			continue
		default:
			last = err
		}
		if err != nil {
			err = fmt.Errorf("commit offset %d of %s: %w", e.offset, tp, wire.Classify(err))
		}
		for _, w := range e.waiters {
			w <- err
		}
	}
	return left, last
}
