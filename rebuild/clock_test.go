package rebuild

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// timesOf returns the times of every interaction, as text.
func timesOf(t *testing.T, in *apptest.Installation) []string {
	t.Helper()
	rows, err := in.Rows.QueryContext(t.Context(), "SELECT user_id || ' ' || occurred_at || ' ' "+
		"|| ifnull(client_time, '-') || ' ' || recorded_at || ' ' || log_topic "+
		"FROM interactions ORDER BY log_topic, user_id")
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var row string
		require.NoError(t, rows.Scan(&row))
		out = append(out, row)
	}
	require.NoError(t, rows.Err())
	return out
}

// A rebuild must give the rows that stand there, whatever the clocks of the clients said, and also
// for a dead letter that was replayed: its replay topic has a time of its own.
func TestWrongClocksGiveTheSameRowsAgain(t *testing.T) {
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, nil)
	cfg := in.Config()
	cfg.DataDir = dir
	far := time.Date(2104, 2, 1, 0, 0, 0, 0, time.UTC)
	first := time.Now().UTC().AddDate(0, 0, -3).Truncate(time.Second)
	var batch []record.Record
	for i, ahead := range []time.Duration{time.Minute, 24 * time.Hour} {
		r := schemas.Interaction{
			UserID: fmt.Sprintf("u%d", i), ItemID: "i", Action: schemas.Like,
			OccurredAt: time.Now().Add(ahead),
		}.Message()
		batch = append(batch, r)
	}
	for _, group := range []string{schemas.GroupAnalytics, schemas.GroupEmbed} {
		r := schemas.Interaction{
			UserID: "replayed", ItemID: "i", Action: schemas.Like, OccurredAt: far,
		}.Message()
		h := deadletter.Headers{
			Group: group, Time: first,
			Origin: record.Position{TopicPartition: record.TopicPartition{
				Topic: schemas.TopicInteractions,
			}, Offset: 1000},
		}
		r.Topic, r.Headers = record.ReplayTopic(group), h.On(r.Headers)
		batch = append(batch, r)
	}
	require.NoError(t, in.Kafka().Emit(t.Context(), batch))
	in.AwaitIdle(t, time.Minute)
	rows := timesOf(t, in)
	require.Len(t, rows, 3)
	at := first.Format(time.DateTime)
	require.Equal(
		t, "replayed "+at+".000000 2104-02-01 00:00:00.000000 "+at+".000 analytics.replay", rows[0],
		"the times of the first record",
	)
	users := func(in *apptest.Installation) map[string]string {
		points, err := in.Engines().Users.GetUsers(t.Context(), []string{"u0", "u1", "replayed"})
		require.NoError(t, err)
		out := make(map[string]string)
		for _, p := range points {
			out[p.ID] = p.LastEventAt.String() + " " + p.ChangedAt.String()
		}
		return out
	}
	before := users(in)
	require.True(t, strings.HasPrefix(before["replayed"], first.Format(time.DateOnly)), before)
	stop()

	require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
	in, _ = apptest.StartEmbedded(t, dir, nil)
	require.Equal(t, rows, timesOf(t, in))
	require.Equal(t, before, users(in))
}

// The tolerance decides about rows, so no process may start with another one than the log's.
func TestAnotherClockSkewAsksForARebuild(t *testing.T) {
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, nil)
	require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{schemas.Interaction{
		UserID: "u", ItemID: "i", Action: schemas.Like, OccurredAt: time.Now().Add(time.Hour),
	}.Message()}))
	in.AwaitIdle(t, time.Minute)
	require.NotContains(t, timesOf(t, in)[0], " - ", "an hour is too far ahead")
	changed := in.Config()
	changed.DataDir, changed.Stream.MaxClockSkew = dir, 2*time.Hour
	require.ErrorContains(t, in.Kafka().EstablishSkew(t.Context(), changed), "--store embedded")
	require.ErrorContains(
		t, in.Kafka().ChangeSkew(t.Context(), changed, in.Engines()), "is running",
	)
	stop()

	require.NoError(t, rebuilt(t.Context(), t, changed, "embedded"))
	in, _ = apptest.StartEmbedded(t, dir, func(c *config.Config) {
		c.Stream.MaxClockSkew = changed.Stream.MaxClockSkew
	})
	require.Contains(t, timesOf(t, in)[0], " - ", "an hour is within the new tolerance")
}

func TestRealAnotherClockSkewAsksForARebuild(t *testing.T) {
	in := apptest.StartReal(t, nil)
	require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{
		schemas.Interaction{UserID: "u", ItemID: "i", Action: schemas.Like}.Message(),
		schemas.Friendship{UserID: "u", FriendID: "f"}.Message(),
		schemas.Item{ItemID: "i", Title: "t"}.Message(),
	}))
	in.AwaitIdle(t, time.Minute)
	cfg := in.Config()
	in.Stop()
	cfg.Stream.MaxClockSkew = 2 * time.Hour
	_, err := app.Open(t.Context(), cfg, app.Options{Log: apptest.Quiet(t)})
	require.ErrorContains(t, err, "migrate --change-clock-skew")

	k, err := app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	e, err := app.OpenReal(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	require.NoError(t, k.ChangeSkew(t.Context(), cfg, e))
	for _, store := range []string{"qdrant", "neo4j", "clickhouse"} {
		refused(t, cfg, store)
		require.NoError(t, rebuilt(t.Context(), t, cfg, store))
	}
	restart(t, cfg)
}
