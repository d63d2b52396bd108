// Package guard runs handlers on the batches of stream and decides what follows from a failure: try
// again, wait, a retry topic, or the dead letters.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Handler processes one batch. It returns nil when every effect is durable, a *fault.Rejected when
// the effects of every record but the listed ones are, or another error, by whose class the guard
// decides. A handler must be ready to see the same batch again.
type Handler func(ctx context.Context, b *record.Batch) error

// Emitter writes records and returns when all replicas have them. *stream.Publisher is one.
type Emitter interface {
	Emit(ctx context.Context, records []record.Record) error
}

// RouterConfig configures a Router. Take DefaultRouterConfig and change what differs.
type RouterConfig struct {
	// CloseTimeout bounds how long Close lets handlers finish what they have begun. Default 10 s.
	CloseTimeout time.Duration
	// Names are those of the connection: dead letters carry the names on the broker.
	Names record.Names
	// Log is where the router and the guard log; nil is slog.Default().
	Log *slog.Logger
}

// DefaultRouterConfig returns the defaults.
func DefaultRouterConfig() RouterConfig { return RouterConfig{CloseTimeout: 10 * time.Second} }

// Validate returns an error that says what to change, or nil.
func (c RouterConfig) Validate() error {
	if c.CloseTimeout <= 0 {
		return fmt.Errorf("router: CloseTimeout is %s: want a positive duration", c.CloseTimeout)
	}
	return nil
}

// Breaker is when a handler's engine counts as down, so that its partitions wait together instead
// of each knocking on its own.
type Breaker struct {
	// Failures in a row open it. Default 5.
	Failures uint
	// Delay is how long it stays open before one batch is tried. Default 5 s.
	Delay time.Duration
}

// Retry lets failing records step aside into delayed topics while the others flow. Only for
// handlers whose effects are free of order.
type Retry struct {
	// Delays are the waits before each further visit, growing. After the last the record becomes a
	// dead letter. The topics are RetryTopic(group, delay).
	Delays []time.Duration
	// Subscriber reads the retry topics, in a group of its own: RetryGroup(group). The router
	// closes it.
	Subscriber message.Subscriber
}

// Options say what a handler reads, what it does, and what happens when it fails.
type Options struct {
	// Name is the handler's, unique in the router. Required.
	Name string
	// Group is the consumer group of the subscriber; it names the poison, replay and retry topics.
	// Required.
	Group string
	// Topics are subscribed together, in one member. Required.
	Topics []string
	// Subscriber delivers the batches. It belongs to this handler alone, and the router closes it.
	// Required.
	Subscriber message.Subscriber
	// Handler does the work. Required.
	Handler Handler
	// Lost is called for a range whose records were deleted before they were read (Batch.Lost). It
	// has no Timeout, since it may take as long as many batches, and should return when the batch
	// is Draining. A transient failure is waited out like one of a batch. When it fails for good
	// the group goes on all the same. nil: there is nothing to do.
	Lost Handler
	// Emitter writes dead letters and records that step aside. Required.
	Emitter Emitter

	// MaxAttempts is how often a failure of unknown class is tried before the offending record is
	// made a dead letter. Default 5.
	MaxAttempts int
	// Timeout bounds one call of the handler; reaching it is a transient failure. Keep it below the
	// session timeout. Zero is none.
	Timeout time.Duration
	// Backoff is how long a failed batch waits. Default 100 ms to 30 s.
	Backoff fault.Backoff
	Breaker Breaker
	// Splittable says that any part of a batch may be handed to the handler as a batch of its own,
	// which is how the guard finds the offending record when the handler does not name it. Not for
	// handlers that depend on a batch's bounds. Without it, a whole batch that fails for no named
	// reason becomes dead letters after MaxAttempts, even if the failure is permanent.
	Splittable bool
	// Retry is nil for handlers that depend on order: they try again in place.
	Retry *Retry
	Hooks Hooks
}

func (o Options) filled() Options {
	if o.MaxAttempts == 0 {
		o.MaxAttempts = 5
	}
	if o.Backoff.First == 0 {
		o.Backoff.First = 100 * time.Millisecond
	}
	if o.Backoff.Max == 0 {
		o.Backoff.Max = 30 * time.Second
	}
	if o.Breaker.Failures == 0 {
		o.Breaker.Failures = 5
	}
	if o.Breaker.Delay == 0 {
		o.Breaker.Delay = 5 * time.Second
	}
	o.Hooks = o.Hooks.filled()
	return o
}

// Validate returns an error that says what to change, or nil.
func (o Options) Validate() error {
	errs := []error{o.validatePolicy()}
	if len(o.Topics) == 0 {
		errs = append(errs, errors.New("no Topics"))
	}
	if o.Subscriber == nil {
		errs = append(errs, errors.New("no Subscriber"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("handler %q: %w", o.Name, err)
	}
	return nil
}

// validatePolicy checks what the guard needs.
func (o *Options) validatePolicy() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Name == "" {
		wrong("Name is empty")
	}
	if o.Group == "" {
		wrong("Group is empty: it names the poison topic")
	}
	if o.Handler == nil {
		wrong("no Handler")
	}
	if o.Emitter == nil {
		wrong("no Emitter: dead letters would have nowhere to go")
	}
	if o.MaxAttempts < 0 {
		wrong("MaxAttempts is %d: want at least 1", o.MaxAttempts)
	}
	if o.Timeout < 0 {
		wrong("Timeout is %s: want 0 for none, or a positive duration", o.Timeout)
	}
	if o.Backoff.First < 0 || o.Backoff.Max < 0 ||
		(o.Backoff.Max > 0 && o.Backoff.Max < o.Backoff.First) {
		wrong("Backoff from %s to %s: want 0 < First <= Max", o.Backoff.First, o.Backoff.Max)
	}
	if r := o.Retry; r != nil {
		if r.Subscriber == nil {
			wrong("Retry has no Subscriber: records that stepped aside would never come back")
		}
		if len(r.Delays) == 0 || r.Delays[0] <= 0 || !slices.IsSorted(r.Delays) ||
			len(slices.Compact(slices.Clone(r.Delays))) != len(r.Delays) {
			wrong("Retry.Delays are %v: want growing positive durations", r.Delays)
		}
	}
	return errors.Join(errs...)
}

// Router runs handlers on Watermill's router, each behind the guard: the chain telemetry, poison,
// retry, recover, in this order from the outside. It is where failures have their consequences, by
// their class:
//
//   - permanent: that record becomes a dead letter at once, its neighbours go on
//   - transient: the partition waits, with growing back-off and a circuit breaker; nothing is
//     charged, nothing becomes a dead letter
//   - unknown, also a panic: tried MaxAttempts times, then the offending record becomes a dead
//     letter
//   - canceled: left uncommitted for whoever comes next
//
// A batch is acknowledged after every record of it has had its effects or is safe in another topic.
type Router struct {
	cfg     RouterConfig
	log     *slog.Logger
	inner   *message.Router
	closing chan struct{}

	mu          sync.Mutex
	subscribers []*detached
	closeOnce   sync.Once
	closeErr    error
}

// NewRouter returns a router without handlers.
func NewRouter(cfg RouterConfig) (*Router, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	inner, err := message.NewRouter(
		message.RouterConfig{CloseTimeout: cfg.CloseTimeout}, quietLogger(log),
	)
	if err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	return &Router{cfg: cfg, log: log, inner: inner, closing: make(chan struct{})}, nil
}

// quietLogger keeps Watermill's errors and turns its chatter into debug lines.
func quietLogger(log *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(
		log, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug},
	)
}

// Handle adds a handler. Call it before Run.
func (r *Router) Handle(o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	o = o.filled()
	g := newGuard(o, r.cfg.Names, r.log.With("handler", o.Name, "group", o.Group), r.closing)
	r.add(o.Name, o.Topics, o.Subscriber, g.chain())
	if o.Retry != nil {
		r.add(o.Name+".retry", o.retryTopics(), o.Retry.Subscriber, g.retryChain())
	}
	return nil
}

func (r *Router) add(
	name string,
	topics []string,
	sub message.Subscriber,
	chain []message.HandlerMiddleware,
) {
	d := detach(sub)
	r.mu.Lock()
	r.subscribers = append(r.subscribers, d)
	r.mu.Unlock()
	// The handler itself is the chain's innermost link: the guard calls it with the batch it has in
	// hand, which may be a part of the message's.
	h := r.inner.AddConsumerHandler(
		name, strings.Join(topics, ","), d, func(*message.Message) error { return nil },
	)
	h.AddMiddleware(chain...)
}

// Run runs all handlers until ctx ends or Close is called, and returns after they have finished.
func (r *Router) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		if err := r.Close(); err != nil {
			r.log.Error("close the router", "err", err)
		}
	})
	defer stop()
	err := r.inner.Run(context.WithoutCancel(ctx))
	return errors.Join(err, r.Close())
}

// Running is closed when all handlers have subscribed.
func (r *Router) Running() <-chan struct{} { return r.inner.Running() }

// Close stops taking batches, gives handlers CloseTimeout to finish what they have begun, cancels
// what is left, and closes the subscribers. Handlers that wait out a failure stop waiting at once,
// and nothing is charged to their records. Closing again returns the same.
func (r *Router) Close() error {
	r.closeOnce.Do(func() {
		close(r.closing)
		r.mu.Lock()
		subs := slices.Clone(r.subscribers)
		r.mu.Unlock()
		overdue := time.AfterFunc(r.cfg.CloseTimeout, func() {
			for _, s := range subs {
				s.cancelAll()
			}
		})
		defer overdue.Stop()
		errs := make([]error, len(subs)+1)
		var wg sync.WaitGroup
		for i, s := range subs {
			wg.Go(func() { errs[i] = s.Close() })
		}
		wg.Wait()
		errs[len(subs)] = r.inner.Close()
		r.closeErr = errors.Join(errs...)
	})
	return r.closeErr
}

// detached is a subscriber whose subscriptions end by Close only. Watermill's router cancels a
// subscription's context at the moment it begins to close, and work in flight would be cut off
// instead of finished.
type detached struct {
	inner message.Subscriber

	mu      sync.Mutex
	cancels []context.CancelFunc
	once    sync.Once
	err     error
}

func detach(s message.Subscriber) *detached { return &detached{inner: s} }

// Subscribe subscribes for as long as the subscriber is open.
func (d *detached) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.mu.Lock()
	d.cancels = append(d.cancels, cancel)
	d.mu.Unlock()
	return d.inner.Subscribe(ctx, topic)
}

// Close closes the inner subscriber once.
func (d *detached) Close() error {
	d.once.Do(func() {
		d.err = d.inner.Close()
		d.cancelAll()
	})
	return d.err
}

func (d *detached) cancelAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, cancel := range d.cancels {
		cancel()
	}
}
