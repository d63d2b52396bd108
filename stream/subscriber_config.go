package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Errors that stop one partition while the others go on. They reach
// SubscriberHooks.PartitionStopped, wrapped with what to do.
var (
	// ErrOffsetBeyondEnd: the group's position is past the end of the partition. The log is not the
	// one that was consumed.
	ErrOffsetBeyondEnd = errors.New("the committed offset is beyond the end of the partition")
	// ErrOffsetExpired: the group's position is before the first offset that the partition still
	// has. Records were deleted unread.
	ErrOffsetExpired = errors.New("the committed offset is before the first one of the partition")
	// ErrOffsetMissing is for Assigned hooks: there is no committed offset although the store
	// already holds the group's effects.
	ErrOffsetMissing = errors.New("no committed offset although the store is not empty")
)

// PartitionErrors may be returned by an Assigned hook: the listed partitions stop, the others go
// on.
type PartitionErrors map[record.TopicPartition]error

func (e PartitionErrors) Error() string {
	for tp, err := range e {
		return fmt.Sprintf("%d partitions cannot be worked on, one of them %s: %v", len(e), tp, err)
	}
	return "no partition errors"
}

// OffsetPolicy says what follows when a committed offset does not fit the log.
type OffsetPolicy int

const (
	// StopPartition stops the partition with ErrOffsetBeyondEnd or ErrOffsetExpired: nothing is
	// guessed.
	StopPartition OffsetPolicy = iota
	// GoToFirst starts again at the partition's first offset, with a warning. The embedded broker
	// needs it: it may forget offsets.
	GoToFirst
)

// StartOffset says where a group without a committed offset begins.
type StartOffset int

const (
	// FromFirst begins with the oldest record.
	FromFirst StartOffset = iota
	// FromLast begins with the next record to be written.
	FromLast
)

// SubscriberHooks are told what happens; nil ones are skipped. They are called from the
// subscription's goroutines and must not block.
type SubscriberHooks struct {
	// Emitted: a batch was handed out, for the attempt-th time (from 1).
	Emitted func(b *record.Batch, attempt int)
	// Settled: a batch was acknowledged (or refused) after d.
	Settled func(b *record.Batch, acked bool, d time.Duration)
	// Fetched: one exchange has brought records of the group's topics.
	Fetched func(topics []string, records, bytes int, d time.Duration)
	// Committed: one commit of so many partitions took d; err is nil when all were accepted.
	Committed func(partitions int, d time.Duration, err error)
	// Generation: the member has joined, with so many partitions; or left (0).
	Generation func(id int, partitions int)
	// RecordsLost: the records of the offsets from first to last were deleted before they were
	// read, of a topic that Expires names. The group goes on behind them.
	RecordsLost func(tp record.TopicPartition, first, last int64)
	// PartitionStopped: the partition is not worked on until PartitionResumed or the group's next
	// generation; err says why and what to do.
	PartitionStopped func(tp record.TopicPartition, err error)
	// PartitionResumed: a partition that had stopped because the log is damaged can be read again.
	PartitionResumed func(tp record.TopicPartition)
	// Waiting: the partition has been read up to offset at, where a transaction is open. The log
	// ends at high. It is called after every fetch until the transaction has ended.
	Waiting func(tp record.TopicPartition, at, high int64)
	// Error: something failed and is tried again. Without it, the log is told.
	Error func(err error)
}

// SubscriberConfig says how a group's topics are read. Take DefaultSubscriberConfig and change what
// you need.
type SubscriberConfig struct {
	// LogID identifies the log; it stands in the range of every batch.
	LogID string
	// Group is the consumer group. Required.
	Group string
	// MaxRecords bounds a batch. 1 makes a plain Watermill subscriber: one record a message, its
	// value the payload. Default 1000.
	MaxRecords int
	// MaxBytes bounds a batch by the size of keys, values and headers; one record may be larger.
	// Default 1 MiB.
	MaxBytes int
	// PartitionBytes bounds batches of single partitions in place of MaxBytes, where it is set and
	// returns more than 0. It is called for every batch and must be quick.
	PartitionBytes func(tp record.TopicPartition) int
	// Linger and LingerMin bound how long a batch that is not full waits for more after its first
	// record: as long as the batch before it took to handle, but not longer than Linger and not
	// shorter than LingerMin. So a batch waits for next to nothing while handling is quick, which
	// is freshness; the slower it gets, the more records share its cost; and of a backlog every
	// batch is full at once and none waits. Default 0: a batch is what there is.
	Linger, LingerMin time.Duration
	// TopicLinger fixes the wait for single topics instead: batches of theirs wait exactly so long,
	// or until they are full.
	TopicLinger map[string]time.Duration
	// Intents commits a batch intent before the batch is handed out, so that every repeat has the
	// same bounds and the same records.
	Intents bool
	// Now is the clock that intents take their time from. Default time.Now. It is called
	// concurrently.
	Now func() time.Time
	// Start is where a group without a committed offset begins. Default FromFirst.
	Start StartOffset
	// Expires tells of which topics the records are deleted by time, read or not. There an expired
	// offset stops nothing: the group goes on with what is left, after the lost range, which is
	// handed out as a batch without records (Batch.Lost). nil: of none.
	Expires func(topic string) bool
	// OffsetPolicy says what follows when a committed offset does not fit the log. Default
	// StopPartition.
	OffsetPolicy OffsetPolicy

	// SessionTimeout is how long the broker waits for a heartbeat before it gives the partitions to
	// others. Default 30 s.
	SessionTimeout time.Duration
	// HeartbeatInterval must be less than a third of it. Default 3 s.
	HeartbeatInterval time.Duration
	// RebalanceTimeout is how long the broker waits for members to join again. Default 30 s.
	RebalanceTimeout time.Duration
	// DrainTimeout is how long a batch in work may take when the generation ends before its context
	// is canceled. At most a third of the session timeout; default a fifth of it.
	DrainTimeout time.Duration
	// JoinBackoff is the pause after a failed attempt to join. Default 500 ms.
	JoinBackoff time.Duration
	// WatchInterval is how often the topics are looked at for new partitions. Default 5 s.
	WatchInterval time.Duration

	// CommitInterval is how often positions are committed without Intents. Default 300 ms.
	CommitInterval time.Duration
	// IdleClose is how long after its last batch a partition's range is closed when no other batch
	// follows. Default 500 ms.
	IdleClose time.Duration
	// RedeliverMin and RedeliverMax bound the pause, doubling, before a refused (Nacked) batch is
	// handed out again. Default 20 ms and 2 s.
	RedeliverMin, RedeliverMax time.Duration

	// FetchMaxWait is how long a broker may hold a fetch that finds nothing. Default 250 ms.
	FetchMaxWait time.Duration
	// FetchMinBytes is for how much a broker holds a fetch, up to FetchMaxWait. Default 1: it
	// answers as soon as there is anything. More saves requests where batches wait anyway.
	FetchMinBytes int
	// FetchMaxBytes caps a response: records pin it in memory until their batch is settled. Default
	// 4 MiB.
	FetchMaxBytes int
	// FetchPartitionBytes caps one partition's share of a response. Default 1 MiB.
	FetchPartitionBytes int
	// RequestTimeout bounds each exchange, beyond FetchMaxWait. Default 10 s.
	RequestTimeout time.Duration

	// InitPartitions, when positive, lets SubscribeInitialize make a missing topic with so many
	// partitions. For tests and tools.
	InitPartitions int

	// Assigned is called once per generation before any of its batches is handed out. A transient
	// or unknown error is tried again with a growing pause; PartitionErrors stop single partitions;
	// a permanent error stops them all. Its context ends with the generation.
	Assigned func(ctx context.Context, assignments []record.Assignment) error
	// Revoked is called after the last batch of a generation is settled or given up, before the
	// next Assigned.
	Revoked func(partitions []record.TopicPartition)
	// Hooks are told what happens.
	Hooks SubscriberHooks
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// DefaultSubscriberConfig returns the settings for batches of up to a thousand records.
func DefaultSubscriberConfig(group string) SubscriberConfig {
	return SubscriberConfig{
		Group:               group,
		MaxRecords:          1000,
		MaxBytes:            1 << 20,
		SessionTimeout:      30 * time.Second,
		HeartbeatInterval:   3 * time.Second,
		RebalanceTimeout:    30 * time.Second,
		DrainTimeout:        6 * time.Second,
		JoinBackoff:         500 * time.Millisecond,
		WatchInterval:       5 * time.Second,
		CommitInterval:      300 * time.Millisecond,
		IdleClose:           500 * time.Millisecond,
		RedeliverMin:        20 * time.Millisecond,
		RedeliverMax:        2 * time.Second,
		FetchMaxWait:        250 * time.Millisecond,
		FetchMinBytes:       1,
		FetchMaxBytes:       4 << 20,
		FetchPartitionBytes: 1 << 20,
		RequestTimeout:      10 * time.Second,
		Now:                 time.Now,
	}
}

// Validate returns an error that says what to change, or nil.
func (c SubscriberConfig) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Group != "", "no group")
	check(c.Now != nil, "Now must be a clock: begin with DefaultSubscriberConfig")
	check(c.MaxRecords >= 1, "MaxRecords must be at least 1, not %d", c.MaxRecords)
	check(c.MaxBytes >= 1, "MaxBytes must be at least 1, not %d", c.MaxBytes)
	check(
		c.LingerMin >= 0 && c.LingerMin <= c.Linger,
		"LingerMin and Linger must be 0 <= LingerMin <= Linger, not %v and %v", c.LingerMin,
		c.Linger,
	)
	for name, d := range map[string]time.Duration{
		"SessionTimeout": c.SessionTimeout, "HeartbeatInterval": c.HeartbeatInterval,
		"RebalanceTimeout": c.RebalanceTimeout,
		"DrainTimeout":     c.DrainTimeout, "JoinBackoff": c.JoinBackoff,
		"WatchInterval":  c.WatchInterval,
		"CommitInterval": c.CommitInterval, "IdleClose": c.IdleClose,
		"RedeliverMin": c.RedeliverMin, "RedeliverMax": c.RedeliverMax,
		"FetchMaxWait": c.FetchMaxWait, "RequestTimeout": c.RequestTimeout,
	} {
		check(d > 0, "%s must be positive, not %v", name, d)
	}
	check(
		c.HeartbeatInterval*3 < c.SessionTimeout,
		"HeartbeatInterval (%v) must be less than a third of SessionTimeout (%v)",
		c.HeartbeatInterval, c.SessionTimeout,
	)
	check(
		c.DrainTimeout*3 <= c.SessionTimeout,
		"DrainTimeout (%v) must be at most a third of SessionTimeout (%v)", c.DrainTimeout,
		c.SessionTimeout,
	)
	check(
		c.DrainTimeout*2 <= c.RebalanceTimeout,
		"DrainTimeout (%v) must be at most half of RebalanceTimeout (%v)", c.DrainTimeout,
		c.RebalanceTimeout,
	)
	check(
		c.FetchPartitionBytes >= 1024, "FetchPartitionBytes must be at least 1024, not %d",
		c.FetchPartitionBytes,
	)
	check(
		c.FetchMinBytes >= 1 && c.FetchMinBytes <= c.FetchMaxBytes,
		"FetchMinBytes must be 1 to FetchMaxBytes (%d), not %d", c.FetchMaxBytes, c.FetchMinBytes,
	)
	check(
		c.FetchMaxBytes >= c.FetchPartitionBytes,
		"FetchMaxBytes (%d) must be at least FetchPartitionBytes (%d)", c.FetchMaxBytes,
		c.FetchPartitionBytes,
	)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("subscriber configuration: %w", err)
	}
	return nil
}

// batchBytes is how large a batch of the partition may be.
func (c SubscriberConfig) batchBytes(tp record.TopicPartition) int {
	if c.PartitionBytes != nil {
		if n := c.PartitionBytes(tp); n > 0 {
			return n
		}
	}
	return c.MaxBytes
}

// linger is how long a batch of the topic waits to be filled when the one before it took worked to
// handle.
func (c SubscriberConfig) linger(topic string, worked time.Duration) time.Duration {
	if fixed, ok := c.TopicLinger[topic]; ok {
		return fixed
	}
	return min(max(worked, c.LingerMin), c.Linger)
}
