package guard

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// A broker that cannot write, because its disk is full, answers with code -1. The handler waits it
// out: no attempt is charged, and no event becomes a dead letter.
func TestAFullDiskOfTheBrokerIsNobodysFault(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	in, results, cfg, p := e.Topic(t, 1), e.Topic(t, 1), e.Group(t), e.Publisher(t)
	e.groupTopics(t, cfg.Group)
	streamtest.Emit(t, p, in, 0, 0, 3)
	full := e.Fake.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: results, Err: kerr.UnknownServerError, Count: 4,
	})
	done := make(chan BatchDone, 8)
	e.runRouter(t, Options{
		Name: "work", Group: cfg.Group, Topics: []string{in}, Emitter: p, MaxAttempts: 2,
		Subscriber: e.newSubscriber(t, cfg),
		Backoff:    fault.Backoff{First: 1, Max: 1},
		Handler: func(ctx context.Context, b *record.Batch) error {
			out := make([]record.Record, len(b.Records))
			for i := range b.Records {
				out[i] = record.Record{Topic: results, Value: b.Records[i].Value}
			}
			if err := p.Emit(ctx, out); err != nil {
				return fmt.Errorf("emit results: %w", err)
			}
			return nil
		},
		Hooks: Hooks{Done: func(_ context.Context, d BatchDone) { done <- d }},
	})
	for n := 0; n < 3; {
		d := <-done
		require.Equal(t, OutcomeDone, d.Outcome)
		require.Zero(t, d.Attempts, "no attempt is charged")
		n += d.Records
	}
	require.Equal(t, 4, full.Hits())
	require.Len(t, e.readAll(t, results), 3)
	require.Empty(t, e.readAll(t, record.PoisonTopic(cfg.Group)))
}
