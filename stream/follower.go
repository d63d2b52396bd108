package stream

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Follower reads all partitions of a topic from their first offset, without a group: for state that
// every instance holds in full, such as a compacted topic. It reads committed records only: what
// stands behind the first record of an open transaction comes when the transaction has ended, and
// what was aborted never comes. A partition that cannot be read for the
// moment, or whose broker is away, holds back none of the others.
type Follower struct {
	conn    *Conn
	topic   string
	log     *slog.Logger
	fn      func(*record.Record) error
	slowest time.Duration // the longest pause after a failure

	caughtUp chan struct{}
	ended    chan struct{}
	err      error // what Run returned; read it after ended

	mu         sync.Mutex // guards what Progress reads; only Run's goroutine writes it
	layout     retrying
	partitions []*followed
}

// followed is what a follower knows of one partition.
type followed struct {
	tp     record.TopicPartition
	leader int32 // -1 is none
	asked  bool  // a request for it is under way
	known  bool  // whether next is valid; else the ends of the log are to be looked up
	first  int64
	next   int64
	target int64 // the end of the log when it was first looked up; -1 before
	gap    wire.EndGap
	clock  record.Clock
	retry  retrying
}

// NewFollower returns a Follower that calls fn for each record, one at a time, in order within a
// partition. The record is fn's to keep. An error of fn ends Run.
func NewFollower(
	conn *Conn,
	topic string,
	log *slog.Logger,
	fn func(*record.Record) error,
) *Follower {
	return &Follower{
		conn: conn, topic: topic, log: log, fn: fn, slowest: slowestRetry,
		caughtUp: make(chan struct{}), ended: make(chan struct{}),
	}
}

// WaitCaughtUp returns nil when every record that was there at the start of Run has been handed to
// fn. Records of a transaction that was open then may come later. It waits for a partition that
// cannot be read. When Run fails it returns the error of Run at once. It returns a canceled error
// when Run is stopped before it has caught up, or when ctx is canceled, and a transient one when
// the deadline of ctx passes. Safe for concurrent use.
func (f *Follower) WaitCaughtUp(ctx context.Context) error {
	select {
	case <-f.caughtUp:
	case <-f.ended:
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w", f.topic, wire.Classify(ctx.Err()))
	}
	select {
	case <-f.ended:
		if f.err != nil {
			return f.err
		}
	default:
	}
	select {
	case <-f.caughtUp:
		return nil
	default:
		err := fault.As(fault.Canceled, context.Canceled)
		return fmt.Errorf("wait for the end of %s: the follower was stopped: %w", f.topic, err)
	}
}

// Progress tells how far a follower is with what was on its topic when it started.
type Progress struct {
	Topic string
	// Read and Total count offsets: of Total from the first to the end of the log at the start,
	// Read have been read. Partitions that have not been reached yet count as empty.
	Read, Total int64
	// Failing are the partitions that cannot be read at the moment, in order.
	Failing []int
	// Err is one of the failures, nil if there is none.
	Err error
	// CaughtUp tells whether all of Total has been read, and all partitions have been reached.
	CaughtUp bool
}

// Progress returns how far the follower is. Safe for concurrent use.
func (f *Follower) Progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := Progress{Topic: f.topic, Err: f.layout.err}
	for _, x := range f.partitions {
		if x.target >= 0 {
			p.Total += x.target - x.first
			p.Read += max(0, min(x.next, x.target)-x.first)
		}
		if x.retry.err != nil {
			p.Failing, p.Err = append(p.Failing, x.tp.Partition), x.retry.err
		}
	}
	select {
	case <-f.caughtUp:
		p.CaughtUp = true
	default:
	}
	return p
}

// Run follows the topic until ctx ends, and then returns nil. It waits out everything but an error
// of fn, which it returns. Run may be called once.
func (f *Follower) Run(ctx context.Context) error {
	if err := f.follow(ctx); err != nil {
		f.err = fmt.Errorf("follow %s: %w", f.topic, err)
	}
	close(f.ended)
	return f.err
}

// retrying is the back-off of something that is tried again after failures. The zero value has not
// failed.
type retrying struct {
	failures int
	until    time.Time // no attempt before
	err      error     // the last failure; nil after a success
	logged   bool      // whether it has been logged
}

// failed notes a failure and returns true once, when it has lasted long enough to be logged.
func (b *retrying) failed(now time.Time, err error, slowest time.Duration) (warn bool) {
	b.failures++
	wait := fault.Backoff{First: 20 * time.Millisecond, Max: slowest}
	b.until, b.err = now.Add(wait.After(b.failures)), err
	warn = wait.Lasts(b.failures) && !b.logged
	b.logged = b.logged || warn
	return warn
}

// succeeded forgets the failures and returns whether they have been logged.
func (b *retrying) succeeded() (logged bool) {
	logged = b.logged
	*b = retrying{}
	return logged
}
