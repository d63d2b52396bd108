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

// Follower follows all partitions of a topic from their first offset, without a group: for state that every instance holds in full, such as a
// compacted topic.
type Follower struct {
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

// NewFollower returns a Follower that calls fn for each record, one at a time, in order within a partition. An error of fn ends Run.
func NewFollower(conn *Conn, topic string, fn func(*Record) error) *Follower {
	return &Follower{conn: conn, topic: topic, fn: fn, log: slog.Default(), caughtUp: make(chan struct{}), next: map[int]int64{}, gaps: map[int]*endGap{}}
}

// WaitCaughtUp returns when every record that was there at the start of Run has been handed to fn.
func (f *Follower) WaitCaughtUp(ctx context.Context) error {
	select {
	case <-f.caughtUp:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w", f.topic, classify(ctx.Err()))
	}
}

// Run follows the topic until ctx ends, and then returns nil. Broker outages are waited out. Run may be called once.
func (f *Follower) Run(ctx context.Context) error {
	err := untilDone(ctx, func() error {
		ends, err := f.conn.Offsets(ctx, f.topic)
		if err != nil {
			return err
		}
		f.target = map[int]int64{}
		for tp, b := range ends {
			f.next[tp.Partition] = b.First
			if b.First < b.HighWatermark {
				f.target[tp.Partition] = b.HighWatermark
			}
		}
		return nil
	})
	if err == nil {
		if len(f.target) == 0 {
			close(f.caughtUp)
		}
		err = f.follow(ctx)
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end that was asked for
	}
	return fmt.Errorf("follow %s: %w", f.topic, err)
}

// errHandler marks an error of fn: the only kind that ends the following.
type errHandler struct{ err error }

func (e *errHandler) Error() string { return e.err.Error() }
func (e *errHandler) Unwrap() error { return e.err }

func (f *Follower) follow(ctx context.Context) error {
	wait := 20 * time.Millisecond
	for ctx.Err() == nil {
		err := f.round(ctx)
		var stop *errHandler
		switch {
		case errors.As(err, &stop):
			return stop.err
		case err == nil:
			wait = 20 * time.Millisecond
			continue
		}
		f.conn.forget(f.topic)
		if wait >= readBackoff && ctx.Err() == nil {
			f.log.Warn("following a topic: trying again", "topic", f.topic, "error", err)
		}
		if !pause(ctx, wait) {
			break
		}
		wait = min(2*wait, readBackoff)
	}
	return ctx.Err()
}

// round fetches once from every leader.
func (f *Follower) round(ctx context.Context) error {
	leaders, err := f.conn.leaders(ctx, f.topic, false)
	if err != nil {
		return err
	}
	byLeader := map[int32][]fetchAsk{}
	f.turn++ // a response is filled in order: the partitions take turns in being first
	for i := range leaders {
		i = (i + f.turn) % len(leaders)
		leader := leaders[i]
		if leader < 0 {
			return fmt.Errorf("partition %s/%d: %w", f.topic, i, classify(kafka.LeaderNotAvailable))
		}
		byLeader[leader] = append(byLeader[leader], fetchAsk{tp: TopicPartition{f.topic, i}, offset: f.next[i]})
	}
	errs := make(chan error, len(byLeader))
	for leader, asks := range byLeader {
		go func() { errs <- f.fetch(ctx, leader, asks) }()
	}
	var all []error
	for range byLeader {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func (f *Follower) fetch(ctx context.Context, leader int32, asks []fetchAsk) error {
	results, empty, err := f.conn.fetch(ctx, leader, asks)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range results {
		if err := f.take(ctx, &results[i], empty); err != nil {
			return err
		}
	}
	return nil
}

func (f *Follower) take(ctx context.Context, res *fetched, empty bool) error {
	at := f.next[res.tp.Partition]
	if err := kafkaCode(res.code); res.code != 0 {
		if !errors.Is(err, kafka.OffsetOutOfRange) {
			return fmt.Errorf("fetch %s: %w", res.tp, classify(err))
		}
		bounds, err := f.conn.bounds(ctx, map[string][]int{f.topic: {res.tp.Partition}})
		if err != nil {
			return err
		}
		first := bounds[res.tp].First
		f.log.Warn("starting again at the first offset", "topic", f.topic, "partition", res.tp.Partition, "at", at, "first", first)
		f.advance(res.tp.Partition, first)
		return nil
	}
	records, next, err := decodeBatches(res.tp, res.batches, at)
	if err != nil {
		return classify(err)
	}
	for i := range records {
		if err := f.fn(&records[i]); err != nil {
			return &errHandler{err: fmt.Errorf("offset %d of %s: %w", records[i].Offset, res.tp, err)}
		}
	}
	gap := f.gaps[res.tp.Partition]
	if gap == nil {
		gap = &endGap{}
		f.gaps[res.tp.Partition] = gap
	}
	f.advance(res.tp.Partition, gap.next(next, res.highWatermark, empty))
	return nil
}

func (f *Follower) advance(partition int, next int64) {
	f.next[partition] = next
	if target, open := f.target[partition]; open && next >= target {
		if delete(f.target, partition); len(f.target) == 0 {
			close(f.caughtUp)
		}
	}
}
