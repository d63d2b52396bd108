package app_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// testdata/renamed.tar.gz is the data folder of a slipstream dev of the last version that had the
// groups befriend and aggregate and the topics item-updates and profiles (2 partitions, model of
// 16 dimensions). It was killed while it worked. There are:
//   - 12 items, 109 events e0 to e108 of 5 users, 5 friendships;
//   - 4 events and 4 friendships, refused-0 to refused-3, that a mistaken handler of aggregate and
//     of
//     befriend had refused: dead letters that can be replayed. refused-0 was replayed in both,
//     refused-1 in aggregate right before the end;
//   - an event and a friendship that are not JSON: dead letters of embed, aggregate and befriend;
//   - uncertain intents of aggregate: 27-61 and 18-40 of interactions, 1-1 of aggregate.replay, 6-6
//     of
//     aggregate.poison and two of recommendations; of embed, two of interactions.
const (
	fixtureEvents   = 109
	fixtureReplayed = 2
)

// renamedInstallation is an installation that was upgraded and has the old names.
type renamedInstallation struct {
	*apptest.Installation
}

func startRenamed(t *testing.T, dir string) (renamedInstallation, func()) {
	in, stop := apptest.StartEmbedded(t, dir, func(c *config.Config) {
		c.Topics.Partitions, c.Model.Dim = 2, 16
	})
	in.AwaitIdle(t, time.Minute)
	return renamedInstallation{in}, stop
}

// requireRows asserts that so many events are counted, each once, and under the names that the
// topics have on the broker.
func (in renamedInstallation) requireRows(t *testing.T, want int64) {
	t.Helper()
	got, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: want, ItemHours: want, UserDays: want}, got)
	var ids int64
	err = in.Rows.QueryRow("SELECT count(DISTINCT event_id) FROM interactions").Scan(&ids)
	require.NoError(t, err)
	require.Equal(t, want, ids)
	var news int64
	err = in.Rows.QueryRow(`SELECT count(*) FROM interactions
		WHERE log_topic NOT IN ('interactions', 'aggregate.replay')`).Scan(&news)
	require.NoError(t, err)
	require.Zero(t, news)
}

// letters returns the dead letters of a group by key.
func (in renamedInstallation) letters(t *testing.T, group string) map[string]deadletter.Letter {
	t.Helper()
	found, err := in.Kafka().DeadLetters().List(t.Context(), deadletter.Filter{Group: group})
	require.NoError(t, err)
	out := make(map[string]deadletter.Letter, len(found))
	for _, l := range found {
		require.Equal(t, group, l.Group)
		require.NotContains(t, out, string(l.Key), "one dead letter for each record")
		out[string(l.Key)] = l
	}
	return out
}

func (in renamedInstallation) replay(t *testing.T, ids ...string) {
	t.Helper()
	n, err := in.Kafka().DeadLetters().
		Replay(t.Context(), deadletter.Filter{IDs: ids}, deadletter.ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, len(ids), n)
	in.AwaitIdle(t, 30*time.Second)
}

func TestUpgradeOfRenamedTopicsAndGroups(t *testing.T) {
	t.Parallel()
	dir := apptest.Unpack(t, "testdata/renamed.tar.gz")
	in, stop := startRenamed(t, dir)
	require.NoError(t, in.Degraded())
	want := int64(fixtureEvents + fixtureReplayed)
	in.requireRows(t, want)
	requireNoNewNames(t, in)
	requireMovedGroups(t, in)

	analytics, graph := in.letters(t, schemas.GroupAnalytics), in.letters(t, schemas.GroupGraph)
	requireOldLetters(t, in, analytics, "aggregate", "refused-2", "refused-3", "bad")
	requireOldLetters(
		t, in, graph, "befriend", "ann|refused-1", "ann|refused-2", "ann|refused-3", "bad",
	)

	// What was replayed before the upgrade is replayed again, and counts once still.
	in.replay(t, analytics["refused-0"].ID, analytics["refused-1"].ID)
	in.requireRows(t, want)
	// What was open counts once, however often it is replayed.
	for range 2 {
		in.replay(t, analytics["refused-2"].ID, graph["ann|refused-2"].ID)
		want = fixtureEvents + fixtureReplayed + 1
		in.requireRows(t, want)
	}
	require.Equal(t, deadletter.Replayed, in.letters(t, schemas.GroupAnalytics)["refused-2"].State)
	edges := make(map[sinks.Edge]int)
	require.NoError(
		t,
		in.Engines().Graph.(sinktest.EdgeLister).EachEdge(
			t.Context(),
			func(e sinks.Edge) error { edges[sinks.Edge{A: e.A, B: e.B}]++; return nil },
		),
	)
	require.Len(t, edges, 5+2, "five of befriend, two that were replayed")
	// What fails again is the same dead letter.
	in.replay(t, graph["bad"].ID, analytics["bad"].ID)
	require.Equal(t, deadletter.Open, in.letters(t, schemas.GroupGraph)["bad"].State)
	require.Equal(t, graph["bad"].ID, in.letters(t, schemas.GroupGraph)["bad"].ID)
	require.Equal(t, analytics["bad"].ID, in.letters(t, schemas.GroupAnalytics)["bad"].ID)

	statusAndTrace(t, in, graph["ann|refused-3"].ID)

	// New work, and a start that finds everything done.
	code, body := in.Call(t, http.MethodPost, "/v1/events",
		`{"event_id":"new","source":"test","user_id":"ann","item_id":"film-1","action":"like"}`)
	require.Equal(t, http.StatusAccepted, code, string(body))
	in.AwaitIdle(t, 30*time.Second)
	in.requireRows(t, want+1)
	stop()
	in, stop = startRenamed(t, dir)
	defer stop()
	in.requireRows(t, want+1)
	require.NoError(t, in.Degraded())
	requireMovedGroups(t, in)
	requireNoNewNames(t, in)
}

// requireNoNewNames asserts that a topic stands under one name only.
func requireNoNewNames(t *testing.T, in renamedInstallation) {
	t.Helper()
	res, err := in.Kafka().Conn().Client().Metadata(t.Context(), &kafka.MetadataRequest{})
	require.NoError(t, err)
	have := make(map[string]bool)
	for _, topic := range res.Topics {
		have[topic.Name] = true
	}
	for old, now := range schemas.Renamed().Topics {
		require.True(t, have[old], old)
		require.False(t, have[now], now)
	}
	for old, now := range schemas.Renamed().Groups {
		for name := range have {
			require.False(t, strings.HasPrefix(name, now+"."), name)
		}
		require.True(t, have[record.PoisonTopic(old)], old)
	}
}

// requireMovedGroups asserts that nobody can go on under an old name.
func requireMovedGroups(t *testing.T, in renamedInstallation) {
	t.Helper()
	client := in.Kafka().Conn().Client()
	for _, old := range []string{"befriend", "befriend.retry", "aggregate"} {
		res, err := client.OffsetFetch(t.Context(), &kafka.OffsetFetchRequest{GroupID: old})
		require.NoError(t, err)
		require.NotEmpty(t, res.Topics, old)
		for topic, parts := range res.Topics {
			for _, p := range parts {
				require.True(
					t, strings.HasPrefix(p.Metadata, "moved to group "), "%s %s %d", old, topic,
					p.Partition,
				)
			}
		}
	}
	lags, err := admin.Lag(t.Context(), in.Kafka().Conn(), in.Kafka().GroupTopics())
	require.NoError(t, err)
	for _, l := range lags {
		require.Zero(t, l.Lag, "%s on %s", l.Group, l.TopicPartition)
	}
}

// requireOldLetters asserts which dead letters are open, and that they are known by their old ids.
func requireOldLetters(
	t *testing.T,
	in renamedInstallation,
	have map[string]deadletter.Letter,
	oldGroup string,
	open ...string,
) {
	t.Helper()
	got := make(map[string]bool)
	for key, l := range have {
		require.Equal(t, deadletter.ID(oldGroup, l.Origin), l.ID)
		if l.State == deadletter.Open {
			got[key] = true
		}
		shown, err := in.Kafka().DeadLetters().Get(t.Context(), l.ID)
		require.NoError(t, err)
		require.Equal(t, l.Value, shown.Value)
	}
	want := make(map[string]bool)
	for _, key := range open {
		want[key] = true
	}
	require.Equal(t, want, maps.Clone(got))
}

// statusAndTrace asks what operators ask. letter is an open dead letter of graph.
func statusAndTrace(t *testing.T, in renamedInstallation, letter string) {
	t.Helper()
	status, err := in.Kafka().Look(t.Context(), 100*time.Millisecond)
	require.NoError(t, err)
	open := make(map[string]int)
	for _, g := range status.Groups {
		require.Zero(t, g.Lag, g.Group)
		open[g.Group] = g.DeadLetters
	}
	require.Equal(t, 2, open[schemas.GroupAnalytics], "refused-3 and bad")
	require.Equal(t, 3, open[schemas.GroupGraph], "refused-1, refused-3 and bad")
	records := make(map[string]int64)
	for _, topic := range status.Topics {
		records[topic.Topic] = topic.Records
	}
	require.Positive(t, records[schemas.TopicItemGradients])
	require.Positive(t, records[schemas.TopicProfileChanges])
	for _, topic := range schemas.Topics(schemas.DefaultTopicsConfig()) {
		require.Contains(t, records, topic.Name)
	}

	traced, err := in.Kafka().Trace(t.Context(), "edge-3", time.Time{})
	require.NoError(t, err)
	require.Len(t, traced, 1)
	require.Len(t, traced[0].Groups, 1)
	require.Equal(t, schemas.GroupGraph, traced[0].Groups[0].Group)
	require.Equal(t, letter, traced[0].Groups[0].DeadLetter)
	traced, err = in.Kafka().Trace(t.Context(), "e17", time.Time{})
	require.NoError(t, err)
	require.Len(t, traced, 1)
	for _, g := range traced[0].Groups {
		require.Equal(t, "done", g.State, g.Group)
	}
	code, body := in.Call(t, http.MethodGet, "/v1/poison/"+letter, nil)
	require.Equal(t, http.StatusOK, code, string(body))
}
