package producers

import (
	"context"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// EmitAll emits until the log has every message. It gives up when ctx ends, and on messages that
// are refused for good.
func EmitAll(ctx context.Context, emitter Emitter, batch []record.Record) error {
	b := fault.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		err := emitter.Emit(ctx, batch)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed := Rejections(err, len(batch))
		again := make([]record.Record, 0, len(failed))
		for _, f := range failed {
			if class := fault.ClassOf(f.Err); class == fault.Permanent || class == fault.Canceled {
				return fmt.Errorf(
					"message with key %q for %s is refused: %w", batch[f.Index].Key,
					batch[f.Index].Topic, f.Err,
				)
			}
			again = append(again, batch[f.Index])
		}
		batch = again
		if !b.Wait(ctx) {
			return ctx.Err()
		}
	}
}

// Wait returns after d, or with the context's error when ctx ends first.
func Wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
