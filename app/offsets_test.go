package app_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// atRest connects to the log of a folder while no process uses it.
func atRest(t *testing.T, dir string, f func(k *app.Kafka)) {
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
	f(k)
}

// committed returns the committed offsets of a group by topic and partition.
func committed(t *testing.T, k *app.Kafka, group string) map[string]int64 {
	t.Helper()
	lags, err := admin.Lag(
		t.Context(), k.Conn(), map[string][]string{group: k.GroupTopics()[group]},
	)
	require.NoError(t, err)
	out := make(map[string]int64)
	for _, l := range lags {
		out[l.String()] = max(l.Committed, 0)
	}
	return out
}

func TestGroupsGoBackToTheOffsetsOfABackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	work := func() {
		in, stop := apptest.StartEmbedded(t, dir, nil)
		for range 3 {
			code, body := in.Call(t, http.MethodPost, "/v1/events", schemas.Interaction{
				UserID: "ann", ItemID: "film-1", Action: schemas.Like,
			})
			require.Equal(t, http.StatusAccepted, code, string(body))
		}
		in.AwaitIdle(t, 30*time.Second)
		_, err := in.Kafka().Offsets(t.Context())
		require.ErrorContains(t, err, "analytics is running")
		_, err = in.Kafka().RestoreOffsets(t.Context(), app.Offsets{}, "clickhouse")
		require.ErrorContains(t, err, "analytics is running")
		stop()
	}
	work()
	var saved app.Offsets
	atRest(t, dir, func(k *app.Kafka) {
		var err error
		saved, err = k.Offsets(t.Context())
		require.NoError(t, err)
		require.Equal(t, committed(t, k, schemas.GroupAnalytics),
			saved.Groups[schemas.GroupAnalytics])
		require.Contains(t, saved.Groups, record.RetryGroup(schemas.GroupGraph))
		require.NotContains(t, saved.Groups, schemas.GroupEmbed)
	})
	work()
	atRest(t, dir, func(k *app.Kafka) {
		refused := func(o app.Offsets, store, why string) {
			t.Helper()
			_, err := k.RestoreOffsets(t.Context(), o, store)
			require.ErrorContains(t, err, why)
			require.Equal(t, fault.Permanent, fault.ClassOf(err))
		}
		refused(saved, "qdrant", "slipstream rebuild --store qdrant")
		other := saved
		other.LogID = "another"
		refused(other, "clickhouse", "the offsets are of the log another")
		other = saved
		other.Epoch++
		refused(other, "clickhouse", "in epoch")
		newer, err := k.Offsets(t.Context())
		require.NoError(t, err)
		before := committed(t, k, schemas.GroupEmbed)

		n, err := k.RestoreOffsets(t.Context(), saved, "clickhouse")
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, int64(3))
		require.Equal(t, saved.Groups[schemas.GroupAnalytics],
			committed(t, k, schemas.GroupAnalytics))
		require.Equal(t, newer.Groups[schemas.GroupGraph], committed(t, k, schemas.GroupGraph))
		require.Equal(t, before, committed(t, k, schemas.GroupEmbed))
		refused(newer, "clickhouse", "these offsets are newer than the log")
	})
}
