package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// batchLease is the ownership of a batch's partition, as its generation has it.
type batchLease struct {
	p *partition

	mu     sync.Mutex
	intent record.Intent
	batch  *record.Batch // the one that is out now
}

// Check implements record.Lease.
func (c *batchLease) Check(ctx context.Context) error {
	if err := c.p.g.lease.check(ctx); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return fmt.Errorf("%s, offsets %d to %d: %w", c.p.tp, c.intent.First, c.intent.Last, err)
	}
	return nil
}

// Draining implements record.Lease.
func (c *batchLease) Draining() <-chan struct{} { return c.p.g.live.Done() }

// Note implements record.Lease. The note of a lost range is committed with the offset before it, so
// that the work on it can go on after a restart.
func (c *batchLease) Note(text string) {
	if c.p.g.cfg.Intents {
		return
	}
	c.mu.Lock()
	lost, first := c.batch.Lost, c.intent.First
	c.mu.Unlock()
	c.p.setNote(text)
	if lost {
		c.p.g.commits.put(c.p.tp, first, text, nil)
	}
}

// Exclude implements record.Lease.
func (c *batchLease) Exclude(ctx context.Context, offsets ...int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := without(c.intent, offsets)
	if err != nil {
		return err
	}
	if c.p.g.cfg.Intents {
		if err := c.p.g.commits.write(ctx, c.p.tp, r.First, r.String()); err != nil {
			return fmt.Errorf(
				"exclude %d records from %s, offsets %d to %d: %w", len(offsets), c.p.tp, r.First,
				r.Last, err,
			)
		}
	}
	c.intent = r
	c.batch.Records = withoutExcluded(c.batch.Records, r)
	return nil
}

// withoutExcluded copies: the handler may hold the old slice.
func withoutExcluded(records []record.Record, r record.Intent) []record.Record {
	return slices.DeleteFunc(
		slices.Clone(records), func(rec record.Record) bool { return r.Excludes(rec.Offset) },
	)
}

// again returns the batch for another delivery.
func (c *batchLease) again() *record.Batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := *c.batch
	next.Repeat = true
	c.batch = &next
	return &next
}

// deliver hands out the batch until it is acknowledged. It returns false when the generation ended
// before that.
func (p *partition) deliver(b *record.Batch) bool {
	g, control := p.g, b.Lease.(*batchLease)
	wait := fault.Backoff{First: g.cfg.RedeliverMin, Max: g.cfg.RedeliverMax}
	for attempt := 1; ; attempt++ {
		msg, cancel := p.message(b)
		select {
		case g.out <- msg:
		case <-g.live.Done():
			cancel()
			return false
		}
		if g.cfg.Hooks.Emitted != nil {
			g.cfg.Hooks.Emitted(b, attempt)
		}
		start := time.Now()
		acked := p.awaitAnswer(msg, cancel)
		cancel()
		if g.cfg.Hooks.Settled != nil {
			g.cfg.Hooks.Settled(b, acked, time.Since(start))
		}
		if acked {
			return true
		}
		if !wait.Wait(g.live) {
			return false
		}
		b = control.again()
	}
}

// awaitAnswer waits for Ack or Nack. When the generation's time is over the message's context ends,
// and the handler gets a moment to return: an Ack in it still counts, unless the member is fenced.
func (p *partition) awaitAnswer(msg *message.Message, cancel context.CancelFunc) (acked bool) {
	g := p.g
	select {
	case <-msg.Acked():
		return true
	case <-msg.Nacked():
		return false
	case <-g.ctx.Done():
	}
	cancel()
	grace := time.NewTimer(g.cfg.DrainTimeout / 2)
	defer grace.Stop()
	select {
	case <-msg.Acked():
		return !errors.Is(context.Cause(g.ctx), errFenced)
	case <-msg.Nacked():
	case <-grace.C:
		g.log.Warn(
			"a handler did not return when its context ended; its lease is revoked", "topic",
			p.tp.Topic, "partition", p.tp.Partition,
		)
	}
	return false
}

// message wraps the batch. Its context ends when it is settled or the generation is over.
func (p *partition) message(b *record.Batch) (*message.Message, context.CancelFunc) {
	var msg *message.Message
	if p.g.cfg.MaxRecords == 1 && len(b.Records) == 1 {
		msg = recordMessage(&b.Records[0])
	} else {
		msg = message.NewMessage(
			fmt.Sprintf("%s/%d/%d-%d", b.Topic, b.Partition, b.First, b.Last), nil,
		)
	}
	msg.Metadata[MetadataTopic] = b.Topic
	msg.Metadata[MetadataPartition] = strconv.Itoa(b.Partition)
	msg.Metadata[MetadataFirst] = strconv.FormatInt(b.First, 10)
	msg.Metadata[MetadataLast] = strconv.FormatInt(b.Last, 10)
	ctx, cancel := context.WithCancel(context.WithValue(p.g.ctx, batchKey{}, b))
	msg.SetContext(ctx)
	return msg, cancel
}

// recordMessage is a record as a plain Watermill message.
func recordMessage(r *record.Record) *message.Message {
	msg := message.NewMessage("", r.Value)
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == HeaderUUID {
			msg.UUID = string(h.Value)
		} else {
			msg.Metadata[h.Key] = string(h.Value)
		}
	}
	if msg.UUID == "" {
		msg.UUID = fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)
	}
	if r.Key != nil {
		msg.Metadata[MetadataKey] = string(r.Key)
	}
	msg.Metadata[MetadataTime] = r.Time.UTC().Format(time.RFC3339Nano)
	return msg
}
