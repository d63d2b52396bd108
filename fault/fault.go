// Package fault classifies failures, so that one place (package stream/guard) can decide what
// follows: a dead letter, a wait, bounded attempts, or leaving the batch to the next start.
//
// The class is given once, where it is known: in an engine's classify function, or in a decoder.
// Everyone above wraps with fmt.Errorf("…: %w", err) or reads with ClassOf.
package fault

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// Class says what fails: the event, the engine, or neither.
type Class int

// The classes. What follows from each is in docs/ARCHITECTURE.md.
const (
	// Unknown is the zero value: a panic, or a driver error that nobody has classified yet.
	Unknown Class = iota
	// Permanent: the event is invalid and will fail at every attempt.
	Permanent
	// Transient: the engine or the network is failing. The event is healthy.
	Transient
	// Canceled: nothing failed, the process is stopping.
	Canceled
)

// String returns the class in lower case, as it stands in headers, metrics and logs.
func (c Class) String() string {
	switch c {
	case Unknown:
		return "unknown"
	case Permanent:
		return "permanent"
	case Transient:
		return "transient"
	case Canceled:
		return "canceled"
	}
	return fmt.Sprintf("class(%d)", int(c))
}

// Error is an error whose class is known.
type Error struct {
	Class Class
	Err   error
	// waits is set by Wait.
	waits bool
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// As gives err the class c. A nil err stays nil; an error that has a class already keeps it.
func As(c Class, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	return &Error{Class: c, Err: err}
}

// Permanentf formats a permanent error.
func Permanentf(format string, args ...any) error {
	return &Error{Class: Permanent, Err: fmt.Errorf(format, args...)}
}

// Transientf formats a transient error.
func Transientf(format string, args ...any) error {
	return &Error{Class: Transient, Err: fmt.Errorf(format, args...)}
}

// Wait returns a transient error for a partition that must wait although its engines work. The
// partition is retried with back-off and no attempt is charged, as for every transient error. The
// circuit breaker, which other partitions share, does not count it. err must not be nil.
func Wait(err error) error { return &Error{Class: Transient, Err: err, waits: true} }

// Waits tells whether the outermost *Error in err's chain was made by Wait. It is false for nil.
func Waits(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.waits
}

// ClassOf returns the class of err: that of the outermost *Error in its chain, else Canceled when
// all its causes are context.Canceled, else Transient for context.DeadlineExceeded, else Unknown.
// ClassOf(nil) is Unknown; do not ask.
func ClassOf(err error) Class {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Class
	case err != nil && onlyCanceled(err):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Transient
	}
	return Unknown
}

// Rejection names one record of a batch that cannot be processed, and why.
type Rejection struct {
	// Index is the record's place in the batch that was handed to the handler, from 0.
	Index int
	Err   error
}

// Rejected is returned by a batch handler that has processed every record but the listed ones, so
// that one bad record does not fail the batch. With Undone set, no record was processed: a store
// that writes whole batches has found the offending rows, and the handler must be called again
// without the listed records.
type Rejected struct {
	Records []Rejection
	Undone  bool
}

func (r *Rejected) Error() string {
	if len(r.Records) == 0 {
		return "no records rejected"
	}
	var b strings.Builder
	fmt.Fprintf(
		&b, "%d records rejected, the first (index %d): %v", len(r.Records), r.Records[0].Index,
		r.Records[0].Err,
	)
	return b.String()
}

// Reject collects rejections; the zero value is ready for use. Not safe for concurrent use.
type Reject struct{ records []Rejection }

// Add lists the record at index.
func (r *Reject) Add(index int, err error) {
	r.records = append(r.records, Rejection{Index: index, Err: err})
}

// Err returns nil when nothing was added, else a *Rejected with the records in order of index, each
// index once.
func (r *Reject) Err() error {
	if len(r.records) == 0 {
		return nil
	}
	slices.SortStableFunc(r.records, func(a, b Rejection) int { return a.Index - b.Index })
	return &Rejected{
		Records: slices.CompactFunc(
			r.records, func(a, b Rejection) bool { return a.Index == b.Index },
		),
	}
}

// Catch calls f and turns a panic into an Unknown error with the stack. Use it around work on a
// single record, so that a panic names the offending record instead of its batch.
func Catch(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Class: Unknown, Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	return f()
}
