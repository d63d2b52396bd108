package guard

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// guard is what stands between Watermill's router and one handler.
type guard struct {
	o       Options
	log     *slog.Logger
	breaker circuitbreaker.CircuitBreaker[any]
	// visits tells the visit of a record by the topic it came from: what follows RetryTopic(group,
	// Delays[i]) is Delays[i+1].
	visits      map[string]int
	replay      string // the group's replay topic
	deadLetters string // and its poison topic
	closing     <-chan struct{}
	// names are those that dead letters carry in their headers.
	names record.Names
}

func newGuard(o Options, names record.Names, log *slog.Logger, closing <-chan struct{}) *guard {
	g := &guard{
		o: o, log: log, visits: map[string]int{}, replay: record.ReplayTopic(o.Group),
		deadLetters: record.PoisonTopic(o.Group), closing: closing, names: names,
	}
	for i, topic := range o.retryTopics() {
		g.visits[topic] = i + 1
	}
	g.breaker = circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(o.Breaker.Failures).
		// half-open, one batch is tried, not as many as there may be failures
		WithSuccessThreshold(1).
		WithDelay(o.Breaker.Delay).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			// It goes back and forth while an engine is away; the hook knows how long.
			log.Debug("circuit breaker", "from", e.OldState.String(), "to", e.NewState.String())
			o.Hooks.Breaker(o.Name, e.NewState.String())
		}).
		Build()
	return g
}

// link is one middleware of the chain, with the name that the test of the order knows it by.
type link struct {
	name string
	wrap message.HandlerMiddleware
}

// links returns the chain, outermost first. The order is the point: an unknown failure, or a panic
// turned into one, is tried again before it is moved, and what moves records sees every end of
// trying.
func (g *guard) links() []link {
	return []link{
		{"telemetry", g.telemetry},
		{"poison", g.poison},
		{"retry", g.retry},
		{"recover", middleware.Recoverer},
		{"handler", g.handler},
	}
}

func (g *guard) chain() []message.HandlerMiddleware {
	var out []message.HandlerMiddleware
	for _, l := range g.links() {
		out = append(out, l.wrap)
	}
	return out
}

// delivery is one message on its way through the chain. It belongs to one goroutine.
type delivery struct {
	// what the handler is to be called with: the message's batch, or a part of it
	batch *record.Batch
	// max is how many charged attempts the part in hand has; attempts how many it has had, before
	// how many the whole had before it was split.
	max, attempts, before int
	first, last           time.Time // failures of what is in hand, or of the whole it is a part of
	warned                time.Time
	charged               int // attempts over all parts
	moved                 int // records moved
}

type deliveryKey struct{}

func deliveryOf(msg *message.Message) *delivery {
	return msg.Context().Value(deliveryKey{}).(*delivery)
}

// failed notes the time of a failure.
func (d *delivery) failed() {
	d.last = time.Now()
	if d.first.IsZero() {
		d.first = d.last
	}
}

// errLeft is what the router gets for a batch that is left alone: it refuses the message and logs
// nothing.
var errLeft = fault.As(
	fault.Canceled,
	fmt.Errorf("left for the next owner of the partition: %w", context.Canceled),
)

// telemetry is the outermost link: it makes the delivery, and tells the hooks how it went.
func (g *guard) telemetry(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		b := batchOf(msg)
		if b == nil {
			b = foreignBatch(g.o.Group, msg)
		}
		d := &delivery{batch: b, max: g.o.MaxAttempts}
		e := BatchDone{
			Handler: g.o.Name, Group: g.o.Group, TopicPartition: b.TopicPartition(),
			Records: len(b.Records), Outcome: OutcomeDone,
		}
		e.Lag = max(b.End-b.Last-1, 0)
		if n := len(b.Records); n > 0 {
			e.Newest = b.Records[n-1].Time
		}
		ctx := g.o.Hooks.Started(msg.Context(), g.o.Name, b)
		msg.SetContext(context.WithValue(ctx, deliveryKey{}, d))
		start := time.Now()
		_, err := next(msg)
		e.Duration, e.Attempts = time.Since(start), d.charged
		switch {
		case err != nil:
			e.Outcome = OutcomeLeft
		case d.moved > 0:
			e.Outcome = OutcomeMoved
		}
		g.o.Hooks.Done(ctx, e)
		return nil, err
	}
}

// foreignBatch makes a batch of a message that does not come from our Subscriber, so that the guard
// works behind every Watermill subscriber.
func foreignBatch(group string, msg *message.Message) *record.Batch {
	r := record.Record{
		Topic: message.SubscribeTopicFromCtx(msg.Context()), Partition: record.AnyPartition,
		Value: msg.Payload, Time: time.Now(),
	}
	for k, v := range msg.Metadata {
		r.Headers = append(r.Headers, record.Header{Key: k, Value: []byte(v)})
	}
	return &record.Batch{
		Group: group, Range: record.Range{Topic: r.Topic, Partition: r.Partition},
		Records: []record.Record{r}, End: 1,
	}
}

// handler is the innermost link: it calls the handler with what is in hand.
func (g *guard) handler(message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		ctx := msg.Context()
		if b := deliveryOf(msg).batch; b.Lost {
			return nil, g.o.Lost(ctx, b)
		}
		if g.o.Timeout == 0 {
			return nil, g.o.Handler(ctx, deliveryOf(msg).batch)
		}
		ctx, cancel := context.WithTimeout(ctx, g.o.Timeout)
		defer cancel()
		err := g.o.Handler(ctx, deliveryOf(msg).batch)
		if err != nil && ctx.Err() != nil && classOfBatch(err) == fault.Unknown {
			// Whatever a driver calls it: the time was over.
			err = &fault.Error{
				Class: fault.Transient,
				Err:   fmt.Errorf("no answer within %s: %w", g.o.Timeout, err),
			}
		}
		return nil, err
	}
}

// retry calls next until it succeeds, until trying is over, or until we are to stop.
func (g *guard) retry(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		ctx, d := msg.Context(), deliveryOf(msg)
		wait := fault.Backoff{First: g.o.Backoff.First, Max: g.o.Backoff.Max}
		d.attempts = 0
		for {
			if !g.admitted(ctx, d) {
				return nil, errLeft
			}
			_, err := next(msg)
			verdict := g.judge(ctx, d, err)
			g.tellBreaker(verdict)
			switch verdict {
			case done:
				return nil, nil
			case leave:
				return nil, errLeft
			case charge:
				d.failed()
				d.attempts++
				d.charged++
				if d.attempts >= d.max {
					return nil, err
				}
			case hold, blocked:
				d.failed()
			case settle:
				d.failed()
				d.attempts++
				d.charged++
				return nil, err
			}
			pauseFor := wait.Next()
			g.tellRetry(ctx, d, err, pauseFor)
			if !g.pause(ctx, d.batch, pauseFor) {
				return nil, errLeft
			}
		}
	}
}

// tellRetry tells of a failure. The log has a batch's first one that was charged to its records,
// and then one a minute. What an engine is to blame for concerns many batches: the hook is told.
func (g *guard) tellRetry(ctx context.Context, d *delivery, err error, wait time.Duration) {
	level := slog.LevelDebug
	class := classOfBatch(err)
	now := time.Now()
	if class != fault.Transient && (d.warned.IsZero() || now.Sub(d.warned) >= time.Minute) {
		level, d.warned = slog.LevelWarn, now
	}
	g.log.Log(
		ctx, level, "batch failed, trying again", "topic", d.batch.Topic, "partition",
		d.batch.Partition, "first", d.batch.First, "class", class.String(), "attempt", d.attempts,
		"wait", wait, "err", deadletter.Clip(err.Error(), maxLoggedReason),
	)
	g.o.Hooks.Retrying(
		ctx,
		Retrying{
			Handler: g.o.Name, Group: g.o.Group, TopicPartition: d.batch.TopicPartition(),
			Class: class, Attempt: d.attempts, Wait: wait, Err: err,
		},
	)
}

// admitted waits while the circuit breaker is open, and returns false when we are to stop.
func (g *guard) admitted(ctx context.Context, d *delivery) bool {
	for !g.breaker.TryAcquirePermit() {
		// In the half-open state another batch is being tried, and there is no delay to wait for.
		if !g.pause(ctx, d.batch, max(g.breaker.RemainingDelay(), g.o.Backoff.First)) {
			return false
		}
	}
	if ctx.Err() != nil || g.stopping() {
		g.tellBreaker(leave)
		return false
	}
	return true
}

func (g *guard) tellBreaker(v verdict) {
	switch v {
	case hold:
		g.breaker.RecordFailure()
	case leave:
		// Nothing was learned; but a half-open breaker has given its only permit, and gets it back
		// this way alone.
		if g.breaker.IsHalfOpen() {
			g.breaker.RecordFailure()
		}
	default: // the engine has answered
		g.breaker.RecordSuccess()
	}
}

func (g *guard) stopping() bool {
	select {
	case <-g.closing:
		return true
	default:
		return false
	}
}

// pause waits, and returns false when we are to stop, or to hand the batch's partition over, before
// the time is over.
func (g *guard) pause(ctx context.Context, b *record.Batch, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-b.Draining():
		return false
	case <-g.closing:
		return false
	}
}
