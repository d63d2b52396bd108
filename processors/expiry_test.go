package processors_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestExpiry(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	put := func(id string, offset int64, changed time.Time) {
		require.NoError(t, store.PutUsers(t.Context(), sinks.Source{
			Topic: schemas.TopicInteractions,
		},
			[]sinks.User{
				{
					ID: id, Vector: []float32{1, 1},
					Positions: map[string]sinks.Position{
						schemas.TopicInteractions: sinks.PositionOf(sinks.FirstEpoch, offset),
					},
					ChangedAt: changed,
				},
			}))
	}
	put("gone", 1, at.Add(-25*time.Hour))
	put("here", 2, at.Add(-23*time.Hour))

	log := newMemoryLog()
	list := func(user string, expires time.Time) {
		x := schemas.Recommendation{UserID: user, RecommendationID: user, ExpiresAt: expires}
		require.NoError(
			t,
			log.Emit(t.Context(), []record.Record{x.Message(schemas.TopicRecommendationsCurrent)}),
		)
	}
	list("old", at.Add(-time.Minute))
	list("renewed", at.Add(-time.Minute))
	list("fresh", at.Add(time.Minute))
	list("renewed", at.Add(time.Hour))

	job := processors.NewExpiryJob(
		store, processors.Streams{Log: log, Emit: log}, 1, 24*time.Hour,
		func() time.Time { return at },
	)
	for range 2 { // the second run finds nothing left to do
		require.NoError(t, job.Run(t.Context()))
		left, err := store.CountUsers(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, left)
		latest := make(map[string]bool)
		for _, r := range log.records[schemas.TopicRecommendationsCurrent] {
			latest[string(r.Key)] = len(r.Value) > 0
		}
		require.Equal(t, map[string]bool{"old": false, "renewed": true, "fresh": true}, latest)
		require.Len(t, log.records[schemas.TopicRecommendationsCurrent], 5)
	}
}
