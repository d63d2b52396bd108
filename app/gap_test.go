package app_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// listsOf counts the lists of each user on recommendations.
func listsOf(t *testing.T, in *apptest.Installation) map[string]int {
	t.Helper()
	out := make(map[string]int)
	for p := range in.Config().Topics.Partitions {
		require.NoError(t, in.Kafka().Read(t.Context(), schemas.TopicRecommendations, p, 0, -1,
			func(r *record.Record) error { out[string(r.Key)]++; return nil }))
	}
	return out
}

// loseChanges deletes all profile changes but the last of each partition, as if recommend had not
// run for longer than they are kept.
func loseChanges(t *testing.T, dir string) {
	t.Helper()
	bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	defer func() { require.NoError(t, broker.Close()) }()
	cfg := apptest.Config()
	cfg.Kafka.Brokers = []string{broker.Addr()}
	k, err := app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	bounds, err := k.Conn().Offsets(t.Context(), schemas.TopicProfileChanges)
	require.NoError(t, err)
	to := make(map[record.TopicPartition]int64)
	for tp, b := range bounds {
		to[tp] = 0
		require.NoError(t, broker.Forget(tp.Topic, tp.Partition, b.HighWatermark-1))
	}
	require.NoError(t, admin.ResetOffsets(t.Context(), k.Conn(), schemas.GroupRecommend, to))
}

func TestRecommendGoesOnAfterItsInputHasExpired(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, nil)
	const users = 30
	for n := range users {
		event := schemas.Interaction{
			UserID: fmt.Sprint("user-", n), ItemID: "film-1", Action: schemas.Like,
		}
		code, body := in.Call(t, http.MethodPost, "/v1/events", event)
		require.Equal(t, http.StatusAccepted, code, string(body))
	}
	in.AwaitIdle(t, time.Minute)
	before := listsOf(t, in)
	require.Len(t, before, users)
	stop()
	loseChanges(t, dir)

	in, stop = apptest.StartEmbedded(t, dir, nil)
	in.AwaitIdle(t, time.Minute)
	after := listsOf(t, in)
	for n := range users {
		user := fmt.Sprint("user-", n)
		require.Greater(t, after[user], before[user], user)
	}
	require.NoError(t, in.Degraded())
	stop()
}
