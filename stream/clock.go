package stream

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// logClock gives the records that a reader gets of one partition the log times that every reader
// gives them: no earlier than those of the records before (see record.Clock).
type logClock struct {
	record.Clock
	// known is false while the records before the first one read have not been looked at.
	known bool
}

// clockFrom returns the clock of a reader that begins at an offset of a log.
func clockFrom(offset, first int64) logClock { return logClock{known: offset <= first} }

// maxLookBack bounds how many offsets are read to find the latest log time before a record. It is
// more than a partition takes in while a broker's clock is behind by some seconds. In a partition
// that once kept the times of producers, one of which was in the future, that much is read whenever
// a reader begins in the middle.
const maxLookBack = 20_000

// clockAt returns the clock of a reading that begins at an offset. Where the last one has ended
// there, as when a partition is read piece by piece, it goes on with that one's.
func (c *Conn) clockAt(tp record.TopicPartition, offset int64) logClock {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.clocks[tp]; ok && at.offset == offset {
		return at.clock
	}
	return logClock{}
}

// noteClock notes the clock where a reading has ended.
func (c *Conn) noteClock(tp record.TopicPartition, offset int64, clock logClock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clocks[tp] = clockOf{offset, clock}
}

// clockOf is the clock of a partition before an offset.
type clockOf struct {
	offset int64
	clock  logClock
}

// date gives the next records of a partition what all readers agree on: the log times, and the
// bound of the times of their events. It returns the clock behind them. After an error, which is
// classified, the records are as they were.
func (c *Conn) date(
	ctx context.Context, tp record.TopicPartition, clock logClock, records []record.Record,
) (logClock, error) {
	c.bound(records)
	for i := range records {
		if clock.known {
			break
		}
		if r := &records[i]; r.Appended && !r.Time.IsZero() {
			latest, err := c.latestBefore(ctx, tp, r)
			if err != nil {
				return clock, err
			}
			clock = logClock{Clock: record.ClockAt(latest), known: true}
		}
	}
	clock.Raise(records)
	return clock, nil
}

// bound gives the records the bounds of their times and of those of their events.
func (c *Conn) bound(records []record.Record) {
	c.mu.Lock()
	until := c.producerTimes
	c.mu.Unlock()
	for i := range records {
		r := &records[i]
		r.MaxAhead = c.cfg.MaxAhead
		by, ok := until[r.Topic]
		switch {
		case !ok || r.Appended:
		case r.Time.IsZero():
			r.TakenBy = by
		case r.Time.After(by):
			r.Shift, r.Time = by.Sub(r.Time), by
		}
	}
}

// SetProducerTimes says, for topics that have the broker's time by now, until when they had those
// of their producers. A record with a later time than that of its producer has a wrong one, and
// counts as of then. Set it before reading: it concerns what is fetched from then on. until belongs
// to the Conn. Safe for concurrent use.
func (c *Conn) SetProducerTimes(until map[string]time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.producerTimes = until
}

// latestBefore returns the latest log time of the records before r, zero where none of them is
// later than r. Usually that takes one small request: the broker knows the first record that is
// later, and that stands behind r.
func (c *Conn) latestBefore(
	ctx context.Context, tp record.TopicPartition, r *record.Record,
) (latest time.Time, err error) {
	from, err := c.firstSince(ctx, tp, r.Time.Add(time.Millisecond))
	if errors.Is(err, kafka.InvalidMessage) || errors.Is(err, kafka.Unknown) {
		// The broker looks into the batch in question, which need not be readable.
		from, err = max(0, r.Offset-maxLookBack), nil
	}
	if err != nil || from < 0 || from >= r.Offset {
		return latest, err
	}
	_, _, err = c.read(
		ctx, tp, max(from, r.Offset-maxLookBack), r.Offset, logClock{known: true},
		visitor{
			record: func(before *record.Record) error {
				if before.Appended && before.Time.After(latest) {
					latest = before.Time
				}
				return nil
			},
			// The reader does not skip these: it begins behind them, or counts them itself.
			unreadable: func(*record.Undecodable) {},
		},
	)
	return latest, err
}
