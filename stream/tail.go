package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// Tail follows all partitions of a topic from their first offset, without a group: for state that every instance holds in full, such as a
// compacted topic.
type Tail struct {
	conn  *Conn
	topic string
	fn    func(*Record) error
	log   *slog.Logger

	caughtUp chan struct{}
	mu       sync.Mutex // held around fn
	turn     int
	next     map[int]int64
	gaps     map[int]*endGap
	target   map[int]int64 // the ends seen at the start, of partitions that have not got there
}

// NewTail returns a Tail that calls fn for each record, one at a time, in order within a partition. An error of fn ends Run.
func NewTail(conn *Conn, topic string, fn func(*Record) error) *Tail {
	return &Tail{conn: conn, topic: topic, fn: fn, log: slog.Default(), caughtUp: make(chan struct{}), next: map[int]int64{}, gaps: map[int]*endGap{}}
}

// WaitCaughtUp returns when every record that was there at the start of Run has been handed to fn.
func (t *Tail) WaitCaughtUp(ctx context.Context) error {
	select {
	case <-t.caughtUp:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w", t.topic, classify(ctx.Err()))
	}
}

// Run follows the topic until ctx ends, and then returns nil. Broker outages are waited out. Run may be called once.
func (t *Tail) Run(ctx context.Context) error {
	err := untilDone(ctx, func() error {
		ends, err := t.conn.Offsets(ctx, t.topic)
		if err != nil {
			return err
		}
		t.target = map[int]int64{}
		for tp, b := range ends {
			t.next[tp.Partition] = b.First
			if b.First < b.HighWatermark {
				t.target[tp.Partition] = b.HighWatermark
			}
		}
		return nil
	})
	if err == nil {
		if len(t.target) == 0 {
			close(t.caughtUp)
		}
		err = t.follow(ctx)
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end that was asked for
	}
	return fmt.Errorf("follow %s: %w", t.topic, err)
}

// errHandler marks an error of fn: the only kind that ends the following.
type errHandler struct{ err error }

func (e *errHandler) Error() string { return e.err.Error() }
func (e *errHandler) Unwrap() error { return e.err }

func (t *Tail) follow(ctx context.Context) error {
	wait := 20 * time.Millisecond
	for ctx.Err() == nil {
		err := t.round(ctx)
		var stop *errHandler
		switch {
		case errors.As(err, &stop):
			return stop.err
		case err == nil:
			wait = 20 * time.Millisecond
			continue
		}
		t.conn.forget(t.topic)
		if wait >= readBackoff && ctx.Err() == nil {
			t.log.Warn("following a topic: trying again", "topic", t.topic, "error", err)
		}
		if !pause(ctx, wait) {
			break
		}
		wait = min(2*wait, readBackoff)
	}
	return ctx.Err()
}

// round fetches once from every leader.
func (t *Tail) round(ctx context.Context) error {
	leaders, err := t.conn.leaders(ctx, t.topic, false)
	if err != nil {
		return err
	}
	byLeader := map[int32][]fetchAsk{}
	t.turn++ // a response is filled in order: the partitions take turns in being first
	for i := range leaders {
		i = (i + t.turn) % len(leaders)
		leader := leaders[i]
		if leader < 0 {
			return fmt.Errorf("partition %s/%d: %w", t.topic, i, classify(kafka.LeaderNotAvailable))
		}
		byLeader[leader] = append(byLeader[leader], fetchAsk{tp: TopicPartition{t.topic, i}, offset: t.next[i]})
	}
	errs := make(chan error, len(byLeader))
	for leader, asks := range byLeader {
		go func() { errs <- t.fetch(ctx, leader, asks) }()
	}
	var all []error
	for range byLeader {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func (t *Tail) fetch(ctx context.Context, leader int32, asks []fetchAsk) error {
	results, empty, err := t.conn.fetch(ctx, leader, asks)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range results {
		if err := t.take(ctx, &results[i], empty); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tail) take(ctx context.Context, res *fetched, empty bool) error {
	at := t.next[res.tp.Partition]
	if err := kafkaCode(res.code); res.code != 0 {
		if !errors.Is(err, kafka.OffsetOutOfRange) {
			return fmt.Errorf("fetch %s: %w", res.tp, classify(err))
		}
		bounds, err := t.conn.bounds(ctx, map[string][]int{t.topic: {res.tp.Partition}})
		if err != nil {
			return err
		}
		first := bounds[res.tp].First
		t.log.Warn("starting again at the first offset", "topic", t.topic, "partition", res.tp.Partition, "at", at, "first", first)
		t.advance(res.tp.Partition, first)
		return nil
	}
	records, next, err := decodeBatches(res.tp, res.batches, at)
	if err != nil {
		return classify(err)
	}
	for i := range records {
		if err := t.fn(&records[i]); err != nil {
			return &errHandler{err: fmt.Errorf("offset %d of %s: %w", records[i].Offset, res.tp, err)}
		}
	}
	gap := t.gaps[res.tp.Partition]
	if gap == nil {
		gap = &endGap{}
		t.gaps[res.tp.Partition] = gap
	}
	t.advance(res.tp.Partition, gap.next(next, res.highWatermark, empty))
	return nil
}

func (t *Tail) advance(partition int, next int64) {
	t.next[partition] = next
	if target, open := t.target[partition]; open && next >= target {
		if delete(t.target, partition); len(t.target) == 0 {
			close(t.caughtUp)
		}
	}
}
