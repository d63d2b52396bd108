package guard

import (
	"context"
	"errors"

	"github.com/slipstream-rec/slipstream/fault"
)

type verdict int

const (
	done    verdict = iota
	leave           // nobody is failing: leave it uncommitted
	hold            // the engine is failing: wait, charge nothing
	blocked         // the engine is well, and this partition waits (fault.Wait): charge nothing
	charge          // unclear: one attempt less
	settle          // decided: the link outside moves records
)

// judge says what follows from a failure's class: docs/adr/0003.
func (g *guard) judge(ctx context.Context, d *delivery, err error) verdict {
	if err == nil {
		return done
	}
	// While stopping, a failure says nothing: the batch will be seen again.
	if ctx.Err() != nil || g.stopping() {
		return leave
	}
	if rejected, ok := rejectedOf(err); ok {
		return g.judgeRejected(ctx, d, rejected)
	}
	switch fault.ClassOf(err) {
	case fault.Canceled:
		return leaveUnlessOurs(ctx, d)
	case fault.Transient:
		if fault.Waits(err) {
			return blocked
		}
		return hold
	case fault.Permanent:
		if len(d.batch.Records) > 1 && !g.o.Splittable {
			// of all these records, hardly all are offending: be slow to make them dead letters
			return charge
		}
		return settle
	case fault.Unknown:
	}
	return charge
}

// leaveUnlessOurs judges a failure that says that we are stopping, although nothing else says so.
// When the lease is over that is the reason. When the batch is surely ours, something inside the
// handler was canceled for reasons of its own: giving the batch back would bring it back at once,
// without a word.
func leaveUnlessOurs(ctx context.Context, d *delivery) verdict {
	select {
	case <-d.batch.Draining():
		return leave
	default:
	}
	if d.batch.CheckLease(ctx) != nil {
		return leave
	}
	return hold
}

func (g *guard) judgeRejected(ctx context.Context, d *delivery, rejected *fault.Rejected) verdict {
	var transient, unknown int
	for _, r := range rejected.Records {
		switch fault.ClassOf(r.Err) {
		case fault.Canceled:
			return leaveUnlessOurs(ctx, d)
		case fault.Transient:
			transient++
		case fault.Unknown:
			unknown++
		case fault.Permanent: // needs no second look
		}
	}
	if g.o.Retry != nil {
		// Records may step aside, unless it is all of them: then it is the engine.
		if transient > 0 && transient == len(d.batch.Records) ||
			transient > 0 && !g.breaker.IsClosed() {
			return hold
		}
		return settle
	}
	switch {
	case transient > 0:
		return hold
	case unknown > 0:
		return charge
	}
	return settle
}

func rejectedOf(err error) (*fault.Rejected, bool) {
	var rejected *fault.Rejected
	if errors.As(err, &rejected) && len(rejected.Records) > 0 {
		return rejected, true
	}
	return nil, false
}

// classOfBatch is the class that stands in logs and metrics for a whole batch.
func classOfBatch(err error) fault.Class {
	if rejected, ok := rejectedOf(err); ok {
		class := fault.Permanent
		for _, r := range rejected.Records {
			switch c := fault.ClassOf(r.Err); c {
			case fault.Transient:
				return c
			case fault.Unknown:
				class = c
			case fault.Permanent, fault.Canceled:
			}
		}
		return class
	}
	return fault.ClassOf(err)
}
