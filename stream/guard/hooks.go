package guard

import (
	"context"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Outcome says how the work on a batch ended.
type Outcome string

// The outcomes.
const (
	// OutcomeDone: every record has had its effects.
	OutcomeDone Outcome = "done"
	// OutcomeMoved: some records went to the dead letters or into a retry topic, the
	// others have had their effects.
	OutcomeMoved Outcome = "moved"
	// OutcomeLeft: left uncommitted, because we are stopping or the partition belongs to another
	// member.
	OutcomeLeft Outcome = "left"
)

// BatchDone is told when the work on a batch has ended.
type BatchDone struct {
	Handler, Group string
	record.TopicPartition
	// Records is how many records the batch had when it came.
	Records int
	// Newest is the time of producing of the batch's last record; zero when it has none.
	Newest time.Time
	// Duration includes waiting for a broken engine.
	Duration time.Duration
	// Attempts is how often the handler failed in a way that was charged to the records.
	Attempts int
	Outcome  Outcome
	// Lag is how many offsets of the partition lie behind the batch.
	Lag int64
}

// Retrying is told before the guard waits. Transient failures are not logged: who takes the hook
// knows whether an engine is away that explains many of them.
type Retrying struct {
	Handler, Group string
	record.TopicPartition
	Class fault.Class
	// Attempt is the number of charged attempts so far; it does not grow during an outage.
	Attempt int
	Wait    time.Duration
	Err     error
}

// Moved is told for each record that has left its batch, after it is safe elsewhere.
type Moved struct {
	Handler, Group string
	// Topic is where it went: the poison topic or a retry topic.
	Topic string
	Class fault.Class
	// DeadLetter is true for the poison topic.
	DeadLetter bool
	ID         string
	Origin     record.Position
	// Attempts are the charged ones so far, over all visits.
	Attempts int
	Err      error
}

// Hooks tell what happens around handlers, for metrics and traces. Empty fields are allowed. They
// are called from the goroutines that process batches, several at once, and must not block.
type Hooks struct {
	// Started may return a context that carries a trace span; the handler and Done get it.
	Started  func(ctx context.Context, handler string, b *record.Batch) context.Context
	Done     func(ctx context.Context, e BatchDone)
	Retrying func(ctx context.Context, e Retrying)
	Moved    func(ctx context.Context, e Moved)
	// Breaker is told the new state of a handler's circuit breaker: closed, half-open, open.
	Breaker func(handler, state string)
}

// filled returns the hooks with every empty field doing nothing.
func (h Hooks) filled() Hooks {
	if h.Started == nil {
		h.Started = func(ctx context.Context, _ string, _ *record.Batch) context.Context {
			return ctx
		}
	}
	if h.Done == nil {
		h.Done = func(context.Context, BatchDone) {}
	}
	if h.Retrying == nil {
		h.Retrying = func(context.Context, Retrying) {}
	}
	if h.Moved == nil {
		h.Moved = func(context.Context, Moved) {}
	}
	if h.Breaker == nil {
		h.Breaker = func(string, string) {}
	}
	return h
}
