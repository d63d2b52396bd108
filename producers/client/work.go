package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// work sends batches until the queue is closed and empty.
func (c *Client) work(ctx context.Context) {
	defer close(c.done)
	defer c.stop()
	for {
		first, ok := <-c.queue
		if !ok {
			return
		}
		c.deliver(ctx, c.gather(first))
	}
}

// gather adds to first what is waiting, or comes within the linger, up to the bounds of a batch.
func (c *Client) gather(first *pending) []*pending {
	batch, size := []*pending{first}, len(first.message.Value)
	linger := time.NewTimer(c.cfg.Linger)
	defer linger.Stop()
	for len(batch) < c.cfg.BatchEvents && size < c.cfg.BatchBytes {
		select {
		case p, ok := <-c.queue:
			if !ok {
				return batch
			}
			batch, size = append(batch, p), size+len(p.message.Value)
		case <-linger.C:
			return batch
		case <-c.closing:
			// Nothing more is coming but what is in the queue already.
			select {
			case p, ok := <-c.queue:
				if !ok {
					return batch
				}
				batch, size = append(batch, p), size+len(p.message.Value)
			default:
				return batch
			}
		}
	}
	return batch
}

// deliver tries a batch until every event is taken, refused, or given up.
func (c *Client) deliver(ctx context.Context, batch []*pending) {
	started := time.Now()
	b := fault.Backoff{First: c.cfg.MinBackoff, Max: c.cfg.MaxBackoff}
	for {
		batch = drop(batch)
		if len(batch) == 0 {
			return
		}
		messages := make([]record.Record, len(batch))
		for i, p := range batch {
			messages[i] = p.message
		}
		failed := failures(c.transport.Send(ctx, messages), len(batch))
		over := time.Since(started) >= c.cfg.RetryFor || ctx.Err() != nil
		again := resolve(batch, failed, over)
		if len(again) == 0 {
			return
		}
		batch = again
		wait := max(failed.RetryAfter, b.Next())
		if left := c.cfg.RetryFor - time.Since(started); wait > left {
			wait = left // one last try at the end
		}
		fault.Sleep(ctx, wait)
	}
}

// drop takes out the events whose senders have gone before anything was sent.
func drop(batch []*pending) []*pending {
	kept := batch[:0:0]
	for _, p := range batch {
		if err := p.ctx.Err(); err != nil {
			p.result(Failure{ID: p.id, Err: err, Temporary: true}, true)
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

// resolve tells the senders the final results, and returns the events to try again.
func resolve(batch []*pending, failed *SendError, over bool) []*pending {
	byIndex := make(map[int]Failure, len(failed.Failed))
	for _, f := range failed.Failed {
		byIndex[f.Index] = f
	}
	var again []*pending
	for i, p := range batch {
		f, bad := byIndex[i]
		switch {
		case !bad:
			p.result(Failure{ID: p.id}, false)
		case f.Temporary && !over:
			again = append(again, p)
		default:
			f.ID = p.id
			if f.Temporary {
				f.Err = fmt.Errorf("given up: %w", f.Err)
			}
			p.result(f, true)
		}
	}
	return again
}

// failures reads the error of a transport. An unknown error is a temporary failure of every event.
func failures(err error, n int) *SendError {
	if err == nil {
		return &SendError{Total: n}
	}
	var e *SendError
	if errors.As(err, &e) {
		return e
	}
	return failAll(n, err, true)
}

// failAll returns an error in which every event of a batch failed with err.
func failAll(n int, err error, temporary bool) *SendError {
	e := &SendError{Total: n}
	for i := range n {
		e.Failed = append(e.Failed, Failure{Index: i, Err: err, Temporary: temporary})
	}
	return e
}
