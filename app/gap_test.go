package app_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

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
	likeAFilm(t, in)
	before := listsOf(t, in)
	require.Len(t, before, likers)
	stop()
	loseChanges(t, dir)

	in, stop = apptest.StartEmbedded(t, dir, nil)
	in.AwaitIdle(t, time.Minute)
	everybodyHasANewList(t, in, before)
	stop()
}

// The broker has deleted what recommend had not read, as retention does.
func TestRealRecommendGoesOnAfterItsInputHasExpired(t *testing.T) {
	t.Parallel()
	in := apptest.StartReal(t, nil)
	likeAFilm(t, in)
	before := listsOf(t, in)
	require.Len(t, before, likers)
	cfg := in.Config()
	in.Stop()

	k, err := app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	bounds, err := k.Conn().Offsets(t.Context(), schemas.TopicProfileChanges)
	require.NoError(t, err)
	deleted := make(kadm.Offsets)
	unread := make(map[record.TopicPartition]int64)
	for tp, b := range bounds {
		require.Positive(t, b.HighWatermark, "every partition has changes")
		unread[tp] = 0
		deleted.Add(kadm.Offset{
			Topic: k.Conn().Full(tp.Topic), Partition: int32(tp.Partition), At: b.HighWatermark,
		})
	}
	require.NoError(t, admin.ResetOffsets(t.Context(), k.Conn(), schemas.GroupRecommend, unread))
	require.NoError(t, k.Close())
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Kafka.Brokers...))
	require.NoError(t, err)
	defer client.Close()
	gone, err := kadm.NewClient(client).DeleteRecords(t.Context(), deleted)
	require.NoError(t, err)
	require.NoError(t, gone.Error())

	in = apptest.Start(t, cfg, false)
	in.AwaitIdle(t, time.Minute)
	everybodyHasANewList(t, in, before)
	// What comes now is newer than the lists of the gap.
	made := listsOf(t, in)
	likeAFilm(t, in)
	everybodyHasANewList(t, in, made)
}

const likers = 30

// likeAFilm has every user like a film, and waits until all have lists.
func likeAFilm(t *testing.T, in *apptest.Installation) {
	t.Helper()
	for n := range likers {
		event := schemas.Interaction{
			UserID: fmt.Sprint("user-", n), ItemID: "film-1", Action: schemas.Like,
		}
		code, body := in.Call(t, http.MethodPost, "/v1/events", event)
		require.Equal(t, http.StatusAccepted, code, string(body))
	}
	in.AwaitIdle(t, time.Minute)
}

// everybodyHasANewList checks that each user has got more lists, and that no partition waits for an
// operator.
func everybodyHasANewList(t *testing.T, in *apptest.Installation, before map[string]int) {
	t.Helper()
	after := listsOf(t, in)
	for n := range likers {
		user := fmt.Sprint("user-", n)
		require.Greater(t, after[user], before[user], user)
	}
	require.NoError(t, in.Degraded())
}
