package fault

import (
	"context"
	"errors"
)

// IgnoreCanceled returns nil when err consists of cancellations only, else err as it is: errors.Is
// finds a cancellation in joined errors too, and would hide what stands beside it.
func IgnoreCanceled(err error) error {
	if err == nil || onlyCanceled(err) {
		return nil
	}
	return err
}

// onlyCanceled tells whether every cause of err is context.Canceled.
func onlyCanceled(err error) bool {
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return onlyCanceled(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if !onlyCanceled(inner) {
				return false
			}
		}
		return len(e.Unwrap()) > 0
	}
	return errors.Is(err, context.Canceled)
}
