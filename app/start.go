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

// untilThere calls start until it succeeds, fails for a reason that waiting does not mend, or the limit has passed: engines and instances are often started
// together, and an instance that is restarted while an engine is away should be there when the engine is.
func untilThere[T any](ctx context.Context, log *slog.Logger, limit time.Duration, start func(context.Context) (T, error)) (T, error) {
	deadline := time.Now().Add(limit)
	for pause := startKnock; ; pause = min(2*pause, slowestKnock) {
		x, err := start(ctx)
		if err == nil || fault.ClassOf(err) != fault.Transient || ctx.Err() != nil || time.Now().Add(pause).After(deadline) {
			return x, err
		}
		if pause == startKnock {
			log.Warn("waiting for what is needed to start", "for", limit, "error", err)
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return x, err
		case <-t.C:
		}
	}
}
