// Package client sends events to Slipstream from applications written in Go: over HTTP, or through
// any Watermill publisher straight to Kafka.
//
//	api := client.HTTP("http://127.0.0.1:8080", client.HTTPOptions{})
//	c, err := client.New(api, client.Config{Source: "shop"})
//	…
//	err = c.Send(ctx, &schemas.Interaction{UserID: "u42", ItemID: "m7", Action: schemas.Click})
//	…
//	err = c.Close(ctx)
//
// Send returns nil only after all in-sync replicas of the log have the event (acks=all). Events of
// many goroutines share requests. Every event has an id, a UUIDv7 unless the application gives one;
// sending an event again with the same id and source is safe: it counts once. That is also what the
// client relies on when it tries again after a timeout. Items and users are states: the one that
// the log took last counts. So an Item or User that was given up is sent again only while there is
// no newer one.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Config says how events are gathered and how long to insist. The zero value of everything but
// Source is the default.
type Config struct {
	// Source names the application. With its id it identifies an event, so it must not change
	// between tries. Required.
	Source string
	// BatchEvents and BatchBytes bound one request. Default 500 and 1 MiB.
	BatchEvents, BatchBytes int
	// Linger is how long an event waits for company while no request is under way. Default 2 ms.
	Linger time.Duration
	// Buffer is how many events may wait; beyond, Send and Enqueue block. Default 10,000.
	Buffer int
	// RetryFor is how long an event is tried again while the server is failing, busy (429) or
	// unavailable (503). Default 30 s.
	RetryFor time.Duration
	// MinBackoff and MaxBackoff bound the pause between tries, which doubles; a Retry-After of the
	// other side that is longer wins. Default 100 ms and 5 s.
	MinBackoff, MaxBackoff time.Duration
}

func (c *Config) defaults() error {
	if c.Source == "" {
		return errors.New("client: Source is empty: name the application")
	}
	for _, n := range []struct {
		v *int
		d int
	}{{&c.BatchEvents, 500}, {&c.BatchBytes, 1 << 20}, {&c.Buffer, 10_000}} {
		if *n.v < 0 {
			return fmt.Errorf(
				"client: BatchEvents, BatchBytes and Buffer must not be negative, one is %d", *n.v,
			)
		}
		if *n.v == 0 {
			*n.v = n.d
		}
	}
	for _, n := range []struct{ v, d *time.Duration }{
		{&c.Linger, ptr(2 * time.Millisecond)},
		{&c.RetryFor, ptr(30 * time.Second)},
		{&c.MinBackoff, ptr(100 * time.Millisecond)},
		{&c.MaxBackoff, ptr(5 * time.Second)},
	} {
		if *n.v < 0 {
			return fmt.Errorf("client: times must not be negative, one is %s", *n.v)
		}
		if *n.v == 0 {
			*n.v = *n.d
		}
	}
	return nil
}

func ptr[T any](v T) *T { return &v }

// Transport carries a batch to Slipstream. HTTP and Publisher make one.
type Transport interface {
	// Send returns nil when the log has every message, else a *SendError that names those it has
	// not. It is not called concurrently.
	Send(ctx context.Context, batch []record.Record) error
}

// Failure is one event that was not taken.
type Failure struct {
	// Index is the event's place in the call, from 0.
	Index int
	// ID is the event's id: send it again with this one.
	ID string
	// Err says why.
	Err error
	// Temporary tells that the event is healthy: it was given up after Config.RetryFor, and can be
	// sent again later.
	Temporary bool
}

// SendError names the events of a call that were not taken. The others were.
type SendError struct {
	Failed []Failure
	// Total is the number of events in the call.
	Total int
	// RetryAfter is how long the other side asks to wait; for transports.
	RetryAfter time.Duration
}

func (e *SendError) Error() string {
	if len(e.Failed) == 0 {
		return "no events failed"
	}
	return fmt.Sprintf(
		"%d of %d events not taken, the first (index %d): %v", len(e.Failed), e.Total,
		e.Failed[0].Index, e.Failed[0].Err,
	)
}

// Unwrap returns the errors of the events.
func (e *SendError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i := range e.Failed {
		errs[i] = e.Failed[i].Err
	}
	return errs
}

// ErrClosed is returned for events that come after Close.
var ErrClosed = errors.New("client is closed")

// Client gathers events into batches and sends them, one batch at a time, so that events keep their
// order. Safe for concurrent use.
type Client struct {
	cfg       Config
	transport Transport
	queue     chan *pending
	closing   chan struct{}
	close     sync.Once
	stop      context.CancelFunc
	done      chan struct{}

	mu     sync.RWMutex // held for reading while something is put into queue
	closed bool
}

// pending is an event on its way.
type pending struct {
	ctx     context.Context
	message record.Record
	id      string
	result  func(Failure, bool)
}

// New starts a client; Close ends it.
func New(t Transport, cfg Config) (*Client, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Client{
		cfg: cfg, transport: t, queue: make(chan *pending, cfg.Buffer),
		closing: make(chan struct{}), done: make(chan struct{}), stop: stop,
	}
	go c.work(ctx)
	return c, nil
}

// Send sends the events and returns nil when the log has all of them. Ids, source and time that are
// missing are filled in, in the events themselves, so that the caller sees them. A *SendError names
// the events that were not taken; an event that is not valid is named at once, without being sent.
// When ctx ends first its error is returned, and events that are under way may still arrive: send
// them again with their ids.
func (c *Client) Send(ctx context.Context, events ...schemas.Event) error {
	type outcome struct {
		failure Failure
		failed  bool
	}
	outcomes := make(chan outcome, len(events))
	for i, e := range events {
		err := c.put(ctx, e, func(f Failure, failed bool) {
			f.Index = i
			outcomes <- outcome{f, failed}
		})
		if err != nil {
			return err
		}
	}
	failed := &SendError{Total: len(events)}
	for range events {
		select {
		case o := <-outcomes:
			if o.failed {
				failed.Failed = append(failed.Failed, o.failure)
			}
		case <-ctx.Done():
			return fmt.Errorf("send %d events: %w", len(events), ctx.Err())
		}
	}
	if len(failed.Failed) > 0 {
		return failed
	}
	return nil
}

// Enqueue hands over one event without waiting for the log; it blocks only while the buffer is
// full. done, unless nil, is called once with nil or with the reason; it must not block.
func (c *Client) Enqueue(
	ctx context.Context,
	event schemas.Event,
	done func(id string, err error),
) error {
	// The event outlives the call: its context only bounds the waiting for room.
	return c.putDetached(ctx, event, func(f Failure, failed bool) {
		if done == nil {
			return
		}
		if failed {
			done(f.ID, f.Err)
			return
		}
		done(f.ID, nil)
	})
}

func (c *Client) put(ctx context.Context, event schemas.Event, result func(Failure, bool)) error {
	return c.enqueue(ctx, ctx, event, result)
}

func (c *Client) putDetached(
	ctx context.Context,
	event schemas.Event,
	result func(Failure, bool),
) error {
	return c.enqueue(ctx, context.WithoutCancel(ctx), event, result)
}

func (c *Client) enqueue(
	ctx, life context.Context,
	event schemas.Event,
	result func(Failure, bool),
) error {
	id, source, at := event.Identity()
	if *id == "" {
		v7, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("make an id: %w", err)
		}
		*id = v7.String()
	}
	if *source == "" {
		*source = c.cfg.Source
	}
	if at.IsZero() {
		*at = time.Now().UTC()
	}
	if err := event.Validate(); err != nil {
		result(Failure{ID: *id, Err: fmt.Errorf("event is not valid: %w", err)}, true)
		return nil
	}
	p := &pending{ctx: life, message: event.Record(), id: *id, result: result}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return ErrClosed
	}
	select {
	case c.queue <- p:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for room in the buffer: %w", ctx.Err())
	case <-c.closing:
		return ErrClosed
	}
}

// Close sends what is waiting and returns when it is through. When ctx ends first what is left
// fails, and the error says so. Calling it again waits too.
func (c *Client) Close(ctx context.Context) error {
	c.close.Do(func() {
		close(c.closing) // whoever waits for room gives up
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		close(c.queue)
	})
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		c.stop()
		<-c.done
		return fmt.Errorf("close the client before everything was sent: %w", ctx.Err())
	}
}
