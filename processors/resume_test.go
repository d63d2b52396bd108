package processors_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// stopping refuses every call but the first of each two.
type stopping struct {
	*memoryLog
	calls int
}

func (s *stopping) Emit(ctx context.Context, batch []record.Record) error {
	if s.calls++; s.calls%2 == 0 {
		return fault.Transientf("the time is up")
	}
	return s.memoryLog.Emit(ctx, batch)
}

// A batch that never gets as far as its end in one attempt must not begin from its first list each
// time, or it would never end.
func TestABatchOfListsThatIsTriedAgainGoesOn(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newMemoryLog()
	emit := &stopping{memoryLog: log}
	erasures := processors.NewErasures()
	r := recommend.New(
		recommend.Stores{Users: store, Items: store, Graph: store}, erasures,
		recommend.DefaultConfig(), func() time.Time { return noon },
	)
	p := processors.NewRecommend(
		r, store, processors.Streams{Log: log, Emit: emit}, erasures,
		processors.RecommendConfig{Epoch: sinks.FirstEpoch},
	)
	const users = 230
	var due []record.Record
	for n := range users {
		due = append(
			due,
			(&schemas.ProfileChanged{
				UserID: fmt.Sprintf("user-%d", n), Topic: schemas.TopicInteractions,
				Offset: int64(n), EventID: fmt.Sprint(n), OccurredAt: noon, AcceptedAt: noon,
			}).Message(),
		)
	}
	require.NoError(t, log.Emit(t.Context(), due))
	b := log.batch(schemas.TopicProfileChanges, 0)

	attempts := 0
	for err := fault.Transientf("not yet"); err != nil; attempts++ {
		require.Less(t, attempts, 20, "the batch never ends")
		if err = p.Handle(t.Context(), b); err != nil {
			require.Equal(t, fault.Transient, fault.ClassOf(err))
		}
	}
	require.Greater(t, attempts, 2)
	lists := make(map[string]int)
	for _, rec := range log.records[schemas.TopicRecommendations] {
		lists[string(rec.Key)]++
	}
	require.Len(t, lists, users)
	for user, n := range lists {
		require.Equal(t, 1, n, user)
	}

	emit.calls = 0
	require.NoError(t, p.Handle(t.Context(), log.batch(schemas.TopicProfileChanges, users-30)))
	require.Len(
		t, log.records[schemas.TopicRecommendations], users+30, "another batch is answered in full",
	)
}
