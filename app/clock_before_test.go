package app_test

import (
	"math"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Before the topics had the broker's times, a producer's clock was years ahead. Its records count
// as of the change at the latest.
func TestRecordsOfTheFutureFromBeforeTheBrokersTimes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	cfg := apptest.Config()
	cfg.Kafka.Brokers = []string{broker.Addr()}
	emitFromTheFuture(t, cfg, nil)
	require.NoError(t, broker.Close())
	in, _ := apptest.StartEmbedded(t, dir, nil)
	fromTheFuture(t, in)
}

func TestRealRecordsOfTheFutureFromBeforeTheBrokersTimes(t *testing.T) {
	cfg := apptest.RealConfig(t, nil)
	emitFromTheFuture(t, cfg, map[string]string{
		"message.timestamp.after.max.ms": strconv.FormatInt(math.MaxInt64, 10),
	})
	migrate(t, cfg)
	fromTheFuture(t, apptest.Start(t, cfg, false))
}

// farItem is in another partition than its key chooses.
const farItem = "film-far"

// emitFromTheFuture writes records of 2104, and such that have no time, to topics of an older
// version.
func emitFromTheFuture(t *testing.T, cfg config.Config, topic map[string]string) {
	t.Helper()
	olderTopics(t, cfg, topic)
	far := time.Date(2104, 2, 1, 0, 0, 0, 0, time.UTC)
	n := cfg.Topics.Partitions
	var batch []record.Record
	for user, at := range map[string]time.Time{"ann": far, "ben": time.UnixMilli(0)} {
		item := schemas.Item{ItemID: farItem, Title: "Old", OccurredAt: far}.Message()
		item.Partition = (record.PartitionOf([]byte(farItem), n) + 1) % n
		for _, r := range []record.Record{
			schemas.Interaction{
				UserID: user, ItemID: "i", Action: schemas.Like, OccurredAt: far,
			}.Message(),
			schemas.Friendship{UserID: user, FriendID: "friend", OccurredAt: far}.Message(),
			schemas.User{
				UserID: user, Attributes: map[string]any{"mail": user}, OccurredAt: far,
			}.Message(),
			item,
		} {
			r.Time = at
			batch = append(batch, r)
		}
	}
	k, err := app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	require.NoError(t, k.Emit(t.Context(), batch))
}

func fromTheFuture(t *testing.T, in *apptest.Installation) {
	in.AwaitIdle(t, time.Minute)
	db := in.Rows
	if db == nil {
		db = apptest.OpenRows(t, in.Config())
	}
	tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	for _, of := range []string{
		"interactions WHERE occurred_at > '" + tomorrow + "'",
		"interactions WHERE user_id = 'ann' AND recorded_at > '" + tomorrow + "'",
		"daily_activity WHERE day > '" + tomorrow + "'",
	} {
		var late int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+of).Scan(&late))
		require.Zero(t, late, of)
	}
	require.Equal(t, 1, in.RowsOf(t, "ann")["interactions"])
	require.Equal(t, 1, in.RowsOf(t, "ben")["interactions"])

	require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{
		schemas.Item{ItemID: farItem, Title: "New"}.Message(),
		schemas.Friendship{UserID: "ben", FriendID: "friend", Removed: true}.Message(),
	}))
	code, body := in.Call(t, http.MethodDelete, "/v1/users/ann", nil)
	require.Equal(t, http.StatusAccepted, code, string(body))
	in.AwaitIdle(t, time.Minute)
	for table, rows := range in.RowsOf(t, "ann") {
		require.Zero(t, rows, table)
	}
	friends, err := in.Engines().Graph.Friends(t.Context(), []string{"ann", "ben"}, 10)
	require.NoError(t, err)
	require.Empty(t, friends)
	items, err := in.Engines().Items.GetItems(t.Context(), []string{farItem})
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.Equal(t, "New", items[0].Content.Title)
	var title string
	require.NoError(t, db.QueryRowContext(
		t.Context(), "SELECT title FROM items WHERE item_id = '"+farItem+"'",
	).Scan(&title))
	require.Equal(t, "New", title)
}
