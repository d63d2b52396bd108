package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
)

// The waits between attempts to start while an engine is not reachable.
const (
	minStartWait = 250 * time.Millisecond
	maxStartWait = 5 * time.Second
)

// retryStart calls start until it succeeds, fails with an error that is not transient, or the limit
// has passed. Engines and instances are often started together, and an instance that is restarted
// during an outage should come up when the outage ends.
func retryStart[T any](
	ctx context.Context,
	log *slog.Logger,
	limit time.Duration,
	start func(context.Context) (T, error),
) (T, error) {
	deadline := time.Now().Add(limit)
	b := fault.Backoff{First: minStartWait, Max: maxStartWait}
	for attempt := 1; ; attempt++ {
		x, err := start(ctx)
		wait := b.Next()
		if err == nil || fault.ClassOf(err) != fault.Transient ||
			time.Now().Add(wait).After(deadline) {
			return x, err
		}
		if attempt == 1 {
			log.Warn("waiting for an engine to start", "for", limit, "error", err)
		}
		if !fault.Sleep(ctx, wait) {
			return x, err
		}
	}
}
