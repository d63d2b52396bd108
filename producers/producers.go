// Package producers holds the ways in: the HTTP gateway for events, the replay of public data sets,
// and the simulator. Applications written in Go use package client beside it.
//
// All of them hand batches of records to an Emitter and go on when the log has them.
package producers

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Emitter writes records to the log. It is safe for concurrent use.
type Emitter interface {
	// Emit returns nil after all in-sync replicas have every message. An error in the chain with
	// the method Rejections() []fault.Rejection, such as *EmitError, names the messages that
	// failed, each with its class, and the others are on the log; without one nothing is known of
	// any message. Messages with the same key stay in order. The messages must not be changed
	// during the call.
	Emit(ctx context.Context, batch []record.Record) error
}

// EmitError says that some messages of a batch are not on the log. A message that failed by a
// timeout may be there all the same: consumers drop the repeat.
type EmitError struct {
	// Failed lists the messages by their index in the batch, in order; each error has a fault
	// class.
	Failed []fault.Rejection
	// Total is the size of the batch.
	Total int
}

func (e *EmitError) Error() string {
	if len(e.Failed) == 0 {
		return "no messages failed"
	}
	return fmt.Sprintf(
		"%d of %d messages not acknowledged, the first (index %d): %v", len(e.Failed), e.Total,
		e.Failed[0].Index, e.Failed[0].Err,
	)
}

// Rejections returns Failed.
func (e *EmitError) Rejections() []fault.Rejection { return e.Failed }

// Rejections returns which messages of a batch of n failed, when an emitter returned err: all of
// them with err itself unless the error names them.
func Rejections(err error, n int) []fault.Rejection {
	if err == nil {
		return nil
	}
	var partly interface{ Rejections() []fault.Rejection }
	if errors.As(err, &partly) {
		return partly.Rejections()
	}
	all := make([]fault.Rejection, n)
	for i := range all {
		all[i] = fault.Rejection{Index: i, Err: err}
	}
	return all
}

// Unwrap returns the errors of the messages, so that a class can be found.
func (e *EmitError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i := range e.Failed {
		errs[i] = e.Failed[i].Err
	}
	return errs
}
