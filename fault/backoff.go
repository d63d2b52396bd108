package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Backoff is how long to wait between attempts: First after the first failure, then twice as long
// each time, up to Max. Half of every wait is random, so that those who failed together do not come
// back together. The zero value does not wait. Not safe for concurrent use.
type Backoff struct {
	First, Max time.Duration

	failures int
}

// Next returns the wait after one more failure, between half of the nominal one and all of it.
func (b *Backoff) Next() time.Duration {
	b.failures++
	return b.After(b.failures)
}

// Reset starts again at First, after a success.
func (b *Backoff) Reset() { b.failures = 0 }

// AtMax reports whether the waits have stopped growing: the failure lasts.
func (b *Backoff) AtMax() bool { return b.Lasts(b.failures) }

// Lasts reports the same for callers that count themselves.
func (b Backoff) Lasts(failures int) bool { return failures > 0 && b.nominal(failures) >= b.Max }

// After returns the wait after so many failures in a row, from 1, for callers that count
// themselves.
func (b Backoff) After(failures int) time.Duration {
	d := b.nominal(failures)
	if d <= 1 {
		return d
	}
	return d - rand.N(d/2)
}

func (b Backoff) nominal(failures int) time.Duration {
	d := b.First
	for range failures - 1 {
		if d >= b.Max {
			break
		}
		d *= 2
	}
	return min(d, b.Max)
}

// Wait waits for Next and returns true, or false when ctx ends before that.
func (b *Backoff) Wait(ctx context.Context) bool { return Sleep(ctx, b.Next()) }

// Sleep waits for d and returns true, or false when ctx ends before that.
func Sleep(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Retry calls f until it succeeds or returns an error that is not transient, waiting in between.
// When ctx ends it returns an error of ctx's class that holds the last attempt's message.
func Retry(ctx context.Context, b Backoff, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && ClassOf(err) != Transient {
			return err
		}
		if ctx.Err() != nil || !b.Wait(ctx) {
			//nolint:errorlint // the class is that of the end
			return As(ClassOf(ctx.Err()), fmt.Errorf("%w; the last attempt: %v", ctx.Err(), err))
		}
	}
}
