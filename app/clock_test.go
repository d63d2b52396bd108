package app_test

import (
	"fmt"
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
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestOneWrongClock(t *testing.T) {
	t.Parallel()
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	oneWrongClock(t, in)
}

func TestRealOneWrongClock(t *testing.T) {
	oneWrongClock(t, apptest.StartReal(t, nil))
}

// oneWrongClock sends events whose times are years ahead, by every way in. Everybody else must not
// notice.
func oneWrongClock(t *testing.T, in *apptest.Installation) {
	began := time.Now().UTC()
	far := time.Date(2104, 2, 1, 0, 0, 0, 0, time.UTC)
	post := func(path, body string) {
		t.Helper()
		code, answer := in.Call(t, http.MethodPost, path, body)
		require.Equal(t, http.StatusAccepted, code, string(answer))
	}
	for i := range 5 {
		post("/v1/events", fmt.Sprintf(
			`{"user_id":"user-%d","item_id":"film-1","action":"like"}`, i,
		))
	}
	post("/v1/events", `{"user_id":"ann","item_id":"film-2","action":"like",`+
		`"occurred_at":"2104-02-01T00:00:00Z"}`)
	raw := []record.Record{
		schemas.Interaction{
			UserID: "ben", ItemID: "film-2", Action: schemas.View, OccurredAt: far,
		}.Message(),
		schemas.Interaction{
			UserID: "cid", ItemID: "film-2", Action: schemas.View,
			OccurredAt: began.AddDate(1, 0, 0),
		}.Message(),
		schemas.Friendship{UserID: "ann", FriendID: "ben", OccurredAt: far}.Message(),
		schemas.User{UserID: "dan", Erased: true, OccurredAt: far}.Message(),
	}
	for i := range raw {
		raw[i].Time = raw[i].Time.UTC()
		if i > 0 {
			raw[i].Time = far // the producer's clock is the wrong one
		}
	}
	require.NoError(t, in.Kafka().Emit(t.Context(), raw))
	in.AwaitIdle(t, time.Minute)

	// What was removed later is removed, and who was erased then comes back.
	post("/v1/events", `{"kind":"friendship.removed.v1","user_id":"ann","friend_id":"ben"}`)
	post("/v1/events", `{"user_id":"dan","item_id":"film-1","action":"like"}`)
	in.AwaitIdle(t, time.Minute)
	friends, err := in.Engines().Graph.Friends(t.Context(), []string{"ann", "ben"}, 10)
	require.NoError(t, err)
	require.Empty(t, friends, "a friendship of 2104 cannot be removed")
	require.Equal(t, 1, in.RowsOf(t, "dan")["interactions"], "an erasure of 2104 goes on")
	points, err := in.Engines().Users.GetUsers(t.Context(), []string{"dan"})
	require.NoError(t, err)
	require.Len(t, points, 1)

	apptest.Eventually(t, time.Minute, func() error {
		for _, value := range in.Latest(t, schemas.TopicTrending) {
			list, err := schemas.DecodeTrending(&record.Record{Value: value})
			if err != nil {
				return err
			}
			if len(list.Items) > 0 && list.Items[0].ItemID == "film-1" {
				return nil
			}
		}
		return fmt.Errorf("film-1 is not the first of what is trending")
	})
	db := in.Rows
	if db == nil {
		db = apptest.OpenRows(t, in.Config())
	}
	var late int
	require.NoError(t, db.QueryRowContext(t.Context(),
		"SELECT count(*) FROM daily_activity WHERE day > '"+
			began.AddDate(0, 0, 1).Format(time.DateOnly)+"'").Scan(&late))
	require.Zero(t, late, "days of the future")
	var kept int
	require.NoError(t, db.QueryRowContext(t.Context(),
		"SELECT count(*) FROM interactions WHERE client_time IS NOT NULL").Scan(&kept))
	require.Equal(t, 3, kept, "what the clients said is kept")
}

var inTopics = []string{
	schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicItems, schemas.TopicUsers,
}

func TestRecordTimesThatSayNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	cfg := apptest.Config()
	cfg.Kafka.Brokers = []string{broker.Addr()}
	at := emitOddTimes(t, cfg, nil)
	require.NoError(t, broker.Close())
	in, _ := apptest.StartEmbedded(t, dir, nil)
	oddTimes(t, in, at)
}

func TestRealRecordTimesThatSayNothing(t *testing.T) {
	cfg := apptest.RealConfig(t, nil)
	// Brokers before version 4 took any time, and logs hold what they took.
	at := emitOddTimes(t, cfg, map[string]string{
		"message.timestamp.after.max.ms": strconv.FormatInt(math.MaxInt64, 10),
	})
	migrate(t, cfg)
	oddTimes(t, apptest.Start(t, cfg, false), at)
}

// migrate is what the command does.
func migrate(t *testing.T, cfg config.Config) {
	t.Helper()
	k, err := app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	e, err := app.OpenReal(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	_, err = app.Migrate(t.Context(), cfg, k, e)
	require.NoError(t, err)
}

var oddNames = []string{"none", "zero", "seconds", "micros", "nanos"}

// emitOddTimes writes records whose times are none, to topics of an older version. Their events
// happened at the time that it returns.
func emitOddTimes(t *testing.T, cfg config.Config, topic map[string]string) time.Time {
	t.Helper()
	olderTopics(t, cfg, topic)
	now := time.Now().UTC()
	at := now.Add(-time.Hour).Truncate(time.Millisecond)
	var batch []record.Record
	for i, ms := range []int64{-1, 0, now.Unix(), now.UnixMicro(), now.UnixNano()} {
		name := oddNames[i]
		for _, r := range []record.Record{
			schemas.Interaction{
				UserID: "u-" + name, ItemID: "i-" + name, Action: schemas.Like, OccurredAt: at,
			}.Message(),
			schemas.Friendship{UserID: "u-" + name, FriendID: "friend", OccurredAt: at}.Message(),
			schemas.Item{ItemID: "i-" + name, Title: name, OccurredAt: at}.Message(),
			schemas.User{
				UserID: "u-" + name, Attributes: map[string]any{"name": name}, OccurredAt: at,
			}.Message(),
			// This one says nothing either.
			schemas.Interaction{UserID: "x-" + name, ItemID: "i", Action: schemas.Like}.Message(),
		} {
			r.Time = time.UnixMilli(ms)
			batch = append(batch, r)
		}
	}
	k, err := app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	require.NoError(t, k.Emit(t.Context(), batch))
	return at
}

// oddTimes checks that all stores took the events of emitOddTimes, and that an event that has no
// time itself became a dead letter of each processor.
func oddTimes(t *testing.T, in *apptest.Installation, at time.Time) {
	in.AwaitIdle(t, time.Minute)
	letters, err := in.Kafka().DeadLetters().List(t.Context(), deadletter.Filter{})
	require.NoError(t, err)
	count := make(map[string]int)
	for _, l := range letters {
		require.Contains(t, l.Reason, "occurred_at", l.Group)
		count[l.Group+" "+l.Origin.Topic]++
	}
	require.Equal(t, map[string]int{
		"embed interactions": len(oddNames), "analytics interactions": len(oddNames),
	}, count)
	db := in.Rows
	if db == nil {
		db = apptest.OpenRows(t, in.Config())
	}
	for _, name := range oddNames {
		user := "u-" + name
		rows := in.RowsOf(t, user)
		require.Equal(t, 1, rows["interactions"], name)
		require.Equal(t, 1, rows["users"], name)
		points, err := in.Engines().Users.GetUsers(t.Context(), []string{user})
		require.NoError(t, err)
		require.Len(t, points, 1, name)
		require.True(t, points[0].ChangedAt.Equal(at), "%s: %s", name, points[0].ChangedAt)
		friends, err := in.Engines().Graph.Friends(t.Context(), []string{user}, 10)
		require.NoError(t, err)
		require.Equal(t, []string{"friend"}, friends[user], name)
		items, err := in.Engines().Items.GetItems(t.Context(), []string{"i-" + name})
		require.NoError(t, err)
		require.Len(t, items, 1, name)
		require.Equal(t, name, items[0].Content.Title)
		var same int
		require.NoError(t, db.QueryRowContext(
			t.Context(), "SELECT count(*) FROM interactions WHERE user_id = '"+user+
				"' AND substr(CAST(recorded_at AS CHAR), 1, 19) = "+
				"substr(CAST(occurred_at AS CHAR), 1, 19)",
		).Scan(&same))
		require.Equal(t, 1, same, name)
	}
}

// olderTopics makes the topics as a version without LogAppendTime did.
func olderTopics(t *testing.T, cfg config.Config, topic map[string]string) {
	t.Helper()
	c := stream.DefaultConfig(cfg.Kafka.Brokers...)
	c.Prefix = cfg.Kafka.TopicPrefix
	conn, err := stream.Open(t.Context(), c)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	var specs []admin.TopicSpec
	for _, x := range processors.Topics(app.TopicsConfig(cfg)) {
		specs = append(specs, admin.TopicSpec{
			Name: x.Name, Partitions: x.Partitions, Config: topic,
		})
	}
	require.NoError(t, admin.EnsureTopics(t.Context(), conn, specs))
}

func TestRealRunRefusesTopicsThatKeepTheTimesOfProducers(t *testing.T) {
	cfg := apptest.RealConfig(t, nil)
	olderTopics(t, cfg, nil)
	_, err := app.Open(t.Context(), cfg, app.Options{Log: apptest.Quiet(t)})
	require.ErrorContains(t, err, "slipstream migrate")
	for _, topic := range inTopics {
		require.ErrorContains(t, err, cfg.Kafka.TopicPrefix+topic)
	}
	migrate(t, cfg)
	a, err := app.Open(t.Context(), cfg, app.Options{Log: apptest.Quiet(t)})
	require.NoError(t, err)
	require.NoError(t, a.Close())

	k, err := app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	ahead := schemas.Interaction{UserID: "u", ItemID: "i", Action: schemas.View}.Message()
	ahead.Time, ahead.Partition = time.Now().AddDate(0, 0, -40), 0
	require.NoError(t, k.Emit(t.Context(), []record.Record{ahead}))
	require.NoError(t, k.Read(t.Context(), schemas.TopicInteractions, 0, 0, -1,
		func(r *record.Record) error {
			require.Less(t, time.Since(r.Time).Abs(), time.Minute, "the broker's time")
			return nil
		}))
}
