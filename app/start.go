package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
)

// How long a start waits for engines that are not there yet, and how it knocks.
const (
	startKnock   = 250 * time.Millisecond
	slowestKnock = 5 * time.Second
)

// untilThere calls start until it succeeds, fails for a reason that waiting does not mend, or the
// limit has passed: engines and instances are often started together, and an instance that is
// restarted while an engine is away should be there when the engine is.
func untilThere[T any](
	ctx context.Context,
	log *slog.Logger,
	limit time.Duration,
	start func(context.Context) (T, error),
) (T, error) {
	deadline := time.Now().Add(limit)
	b := fault.Backoff{First: startKnock, Max: slowestKnock}
	for attempt := 1; ; attempt++ {
		x, err := start(ctx)
		wait := b.Next()
		if err == nil || fault.ClassOf(err) != fault.Transient ||
			time.Now().Add(wait).After(deadline) {
			return x, err
		}
		if attempt == 1 {
			log.Warn("waiting for what is needed to start", "for", limit, "error", err)
		}
		if !fault.Sleep(ctx, wait) {
			return x, err
		}
	}
}
