package rebuild

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/stream/guard"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// outageLimit is how long a store may be out of reach before the rebuild gives up.
const outageLimit = 5 * time.Minute

// replay returns a Replay that hands the log to the processor of a consumer group under the guard's
// failure policy, and reports to this rebuild.
func (r *rebuild) replay(group string, p processors.Processor) (*processors.Replay, error) {
	g, err := r.guarded(group, p)
	if err != nil {
		return nil, err
	}
	c := processors.DefaultReplayConfig()
	c.DeadLetter = r.pasts[group].Has
	c.Progress = func(n int64) {
		r.done.Add(n)
		r.Progress(min(r.done.Load(), r.total.Load()), r.total.Load())
	}
	return processors.NewReplay(g, r.kafka, r.logID, c), nil
}

// guarded is a processor under the guard. The processor leaves out what became a dead letter of the
// group. A record that is not known as one, since dead letters are kept for a limited time, and
// fails for a named reason is skipped as well. Any other failure ends the rebuild, since the
// record may have been healthy then and would be missing from the new store.
type guarded struct {
	guard   *guard.Guard
	limit   time.Duration
	skipped func(r *record.Record, reason string)
	// letters counts the dead letters that were left out.
	letters func(n int)
	// last is the latest failure that was waited out.
	last atomic.Pointer[error]
}

func (r *rebuild) guarded(group string, p processors.Processor) (*guarded, error) {
	declared, _ := processors.Declared(group)
	g := &guarded{limit: outageLimit, letters: func(n int) {
		r.skipped.Add(int64(n))
	}, skipped: func(rec *record.Record, reason string) {
		r.skipped.Add(1)
		r.Log.Debug(
			"skipped", "topic", rec.Header(record.HeaderTopic),
			"partition", rec.Header(record.HeaderPartition),
			"offset", rec.Header(record.HeaderOffset), "reason", reason,
		)
	}}
	c := r.cfg.Guard
	o := guard.Options{
		Name: group, Group: group, Handler: p.Handle, Emitter: g,
		MaxAttempts: c.MaxAttempts, Splittable: declared.Splittable,
		Backoff: fault.Backoff{First: c.MinBackoff, Max: c.MaxBackoff},
		Breaker: guard.Breaker{Failures: uint(c.BreakerFailures), Delay: c.BreakerDelay},
		Hooks: guard.Hooks{Retrying: func(_ context.Context, e guard.Retrying) {
			g.last.Store(&e.Err)
		}},
	}
	rc := guard.DefaultRouterConfig()
	rc.Log = r.Log
	var err error
	g.guard, err = guard.New(o, rc)
	return g, err
}

// errUnexplained ends a rebuild at a record that fails for no named reason.
type errUnexplained struct{ error }

type endKey struct{}

// Handle brings about the effects of b without its failing records. It gives up when the store has
// been out of reach for the limit.
func (g *guarded) Handle(ctx context.Context, b *record.Batch) error {
	batch, end := context.WithCancelCause(ctx)
	defer end(nil)
	timed, cancel := context.WithTimeout(batch, g.limit)
	defer cancel()
	letters := len(b.DeadLetters)
	err := g.guard.Handle(context.WithValue(timed, endKey{}, end), b)
	if err == nil {
		g.letters(letters)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	var unexplained errUnexplained
	if errors.As(context.Cause(batch), &unexplained) {
		return unexplained.error
	}
	if last := g.last.Load(); last != nil && timed.Err() != nil {
		return fmt.Errorf("nothing worked for %s: %w", g.limit, *last)
	}
	return err
}

// Emit takes in what the guard has given up on.
func (g *guarded) Emit(ctx context.Context, records []record.Record) error {
	for i := range records {
		x := &records[i]
		reason := x.Header(record.HeaderReason)
		if x.Header(record.HeaderClass) != fault.Permanent.String() ||
			x.Header(record.HeaderUnnamed) != "" {
			err := errUnexplained{fault.Permanentf(
				"%s/%s/%s: %s", x.Header(record.HeaderTopic), x.Header(record.HeaderPartition),
				x.Header(record.HeaderOffset), reason,
			)}
			if end, ok := ctx.Value(endKey{}).(context.CancelCauseFunc); ok {
				end(err)
			}
			return fault.As(fault.Canceled, err)
		}
		g.skipped(x, reason)
	}
	return nil
}

// replayWorkers is how many partitions are replayed at once.
const replayWorkers = 4

// byPartition replays the spans of each partition number, several at once. Those of one number
// share users and take turns.
func byPartition(
	ctx context.Context, spans []processors.Span, replay *processors.Replay,
) error {
	parts := make(map[int][]processors.Span)
	for _, s := range spans {
		parts[s.Partition] = append(parts[s.Partition], s)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(replayWorkers)
	for _, list := range parts {
		group.Go(func() error { return replay.Run(gctx, list) })
	}
	return group.Wait()
}
