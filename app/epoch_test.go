package app_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

func TestStreamAndStoresAgreeAboutEpochs(t *testing.T) {
	t.Parallel()
	require.Equal(t, admin.FirstEpoch, sinks.FirstEpoch)
	require.Equal(t, admin.LastEpoch, sinks.LastEpoch)
}

// raiseEpoch raises the epoch of a log while no process uses it.
func raiseEpoch(t *testing.T, dir string) {
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
	epoch, err := k.RaiseEpoch(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.FirstEpoch+1, epoch)
}

// The epoch of the log is in every position that a process writes, and no process keeps an old one.
func TestPositionsCarryTheEpochOfTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round, epoch := range []int{sinks.FirstEpoch, sinks.FirstEpoch + 1} {
		in, stop := apptest.StartEmbedded(t, dir, nil)
		event := schemas.Interaction{UserID: "ann", ItemID: "film-1", Action: schemas.Like}
		code, body := in.Call(t, http.MethodPost, "/v1/events", event)
		require.Equal(t, http.StatusAccepted, code, string(body))
		in.AwaitIdle(t, 30*time.Second)
		points, err := in.Engines().Users.GetUsers(t.Context(), []string{"ann"})
		require.NoError(t, err)
		require.Len(t, points, 1)
		want := sinks.PositionOf(epoch, int64(round))
		require.Equal(t, want, points[0].Positions[schemas.TopicInteractions])
		_, err = in.Kafka().RaiseEpoch(t.Context())
		require.ErrorContains(t, err, "embed is running")
		stop()
		if round == 0 {
			raiseEpoch(t, dir)
		}
	}
}
