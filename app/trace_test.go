package app_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestTraceFollowsMisplacedEvents(t *testing.T) {
	t.Parallel()
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	traceMisplaced(t, in)
}

func TestRealTraceFollowsMisplacedEvents(t *testing.T) {
	traceMisplaced(t, apptest.StartReal(t, nil))
}

// traced is what "slipstream trace --json" says of an event.
type traced struct {
	Partition int           `json:"partition"`
	Offset    int64         `json:"offset"`
	BelongsIn *int          `json:"belongs_in"`
	Groups    []tracedGroup `json:"groups"`
}

type tracedGroup struct {
	Group      string         `json:"group"`
	State      string         `json:"state"`
	DeadLetter string         `json:"dead_letter"`
	Reason     string         `json:"reason"`
	Forwarded  *tracedForward `json:"forwarded"`
}

type tracedForward struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	Position  int64  `json:"position"`
}

// tracesOf traces an event that stands on the log so many times.
func tracesOf(t *testing.T, k *app.Kafka, id string, want int) (out []traced) {
	t.Helper()
	found, err := k.Trace(t.Context(), id, time.Time{})
	require.NoError(t, err)
	require.Len(t, found, want)
	text, err := json.Marshal(found)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}

// by returns what is said of one group.
func (x *traced) by(t *testing.T, group string) tracedGroup {
	t.Helper()
	i := slices.IndexFunc(x.Groups, func(g tracedGroup) bool { return g.Group == group })
	require.GreaterOrEqual(t, i, 0, group)
	return x.Groups[i]
}

// misplacedIn returns the partition of a key and another one.
func misplacedIn(in *apptest.Installation, key string) (belongs, stands int) {
	n := in.Config().Topics.Partitions
	belongs = record.PartitionOf([]byte(key), n)
	return belongs, (belongs + 1) % n
}

// traceMisplaced traces events that were learned, that wait, and that are dead letters where they
// were forwarded to.
func traceMisplaced(t *testing.T, in *apptest.Installation) {
	belongs, stands := misplacedIn(in, "ann")
	like := func(id string, partition int) record.Record {
		m := schemas.Interaction{
			EventID: id, Source: "foreign", UserID: "ann", ItemID: "film-" + id,
			Action: schemas.Like,
		}.Message()
		m.Partition = partition
		return m
	}
	trace := func(id string, want int) []traced {
		t.Helper()
		return tracesOf(t, in.Kafka(), id, want)
	}
	require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{
		like("placed", belongs), like("first", stands), like("second", stands),
		like("second", stands),
	}))
	partitions := in.Config().Topics.Partitions
	for p := range partitions {
		require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{{
			Topic: schemas.TopicItems, Partition: p, Key: []byte("sku-1"),
			Value: []byte(`{"item_id":"film-1","title":"One","event_id":"item"}`),
		}}))
	}
	in.AwaitIdle(t, time.Minute)

	x := trace("placed", 1)[0]
	require.Nil(t, x.BelongsIn)
	require.Nil(t, x.by(t, schemas.GroupEmbed).Forwarded)
	topic := record.MisplacedTopic(schemas.GroupEmbed)
	second := trace("second", 2)
	for _, x := range []traced{trace("first", 1)[0], second[0]} {
		require.Equal(t, stands, x.Partition)
		require.NotNil(t, x.BelongsIn)
		require.Equal(t, belongs, *x.BelongsIn)
		g := x.by(t, schemas.GroupEmbed)
		require.Equal(t, "done", g.State)
		require.NotNil(t, g.Forwarded)
		require.Equal(t, tracedForward{
			Topic: topic, Partition: belongs, Offset: g.Forwarded.Offset, Position: 2,
		}, *g.Forwarded)
		require.Less(t, g.Forwarded.Offset, int64(2))
		require.Nil(t, x.by(t, schemas.GroupAnalytics).Forwarded)
	}
	require.Nil(t, second[1].by(t, schemas.GroupEmbed).Forwarded, "it came twice")
	forwarded := 0
	for _, x := range trace("item", partitions) {
		if g := x.by(t, schemas.GroupCatalog); x.BelongsIn != nil {
			forwarded++
			require.NotNil(t, g.Forwarded)
			require.Equal(t, record.MisplacedTopic(schemas.GroupCatalog), g.Forwarded.Topic)
			require.Equal(t, *x.BelongsIn, g.Forwarded.Partition)
		}
	}
	require.Equal(t, partitions-1, forwarded)

	// One that fails where it was forwarded to, since it is misplaced there too.
	var origin record.Record
	require.NoError(t, in.Kafka().Read(t.Context(), schemas.TopicInteractions, stands,
		second[1].Offset, second[1].Offset+1,
		func(r *record.Record) error { origin = *r; return nil }))
	require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{record.Forwarded(
		&origin, record.TopicPartition{Topic: topic, Partition: stands}, []byte("ann"),
	)}))
	in.AwaitIdle(t, time.Minute)
	g := trace("second", 2)[1].by(t, schemas.GroupEmbed)
	require.Equal(t, "dead letter (open)", g.State)
	require.Contains(t, g.Reason, "belongs in")
	require.Equal(t, 3, learnedBy(t, in, "ann"))
	letters, err := in.Kafka().DeadLetters().List(t.Context(), deadletter.Filter{Topic: topic})
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, g.DeadLetter, letters[0].ID)
	for range 2 { // replaying it twice counts once
		n, err := in.Kafka().DeadLetters().Replay(
			t.Context(), deadletter.Filter{IDs: []string{g.DeadLetter}},
			deadletter.ReplayOptions{})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		in.AwaitIdle(t, time.Minute)
		require.Equal(t, 4, learnedBy(t, in, "ann"))
	}
	g = trace("second", 2)[1].by(t, schemas.GroupEmbed)
	require.Equal(t, "dead letter (replayed)", g.State)
	require.NotNil(t, g.Forwarded)

	// The replay went to the partition of its origin, too, and was forwarded from there once.
	requireMisplacedInStatus(t, in, 4)
	in.Stop()
	traceWaiting(t, in, like("late", stands))
}

// learnedBy returns how many events a user's point has absorbed.
func learnedBy(t *testing.T, in *apptest.Installation, user string) int {
	t.Helper()
	points, err := in.Engines().Users.GetUsers(t.Context(), []string{user})
	require.NoError(t, err)
	require.Len(t, points, 1)
	var m model.User
	require.NoError(t, m.Decode(points[0].State))
	return int(m.Events)
}

// requireMisplacedInStatus asserts that the status shows embed.misplaced with so many records.
func requireMisplacedInStatus(t *testing.T, in *apptest.Installation, records int64) {
	t.Helper()
	status, err := in.Kafka().Look(t.Context(), time.Millisecond)
	require.NoError(t, err)
	found := make(map[string]int64)
	for _, x := range status.Topics {
		found[x.Topic] = x.Records
	}
	require.Contains(t, found, record.MisplacedTopic(schemas.GroupCatalog))
	require.Equal(t, records, found[record.MisplacedTopic(schemas.GroupEmbed)])
}

// traceWaiting forwards an event whose owner is not there.
func traceWaiting(t *testing.T, in *apptest.Installation, late record.Record) {
	t.Helper()
	k, err := app.OpenKafka(t.Context(), in.Config())
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	state := func() tracedGroup {
		t.Helper()
		return tracesOf(t, k, late.Header(schemas.HeaderID), 1)[0].by(t, schemas.GroupEmbed)
	}
	require.NoError(t, k.Emit(t.Context(), []record.Record{late}))
	require.Equal(t, "waiting", state().State)
	require.Nil(t, state().Forwarded)
	at := record.TopicPartition{Topic: late.Topic, Partition: late.Partition}
	var stood record.Record
	require.NoError(t, k.Read(t.Context(), at.Topic, at.Partition, 0, -1,
		func(r *record.Record) error { stood = *r; return nil }))
	require.NoError(t, admin.ResetOffsets(t.Context(), k.Conn(), schemas.GroupEmbed,
		map[record.TopicPartition]int64{at: stood.Offset + 1}))
	require.Equal(t, "done", state().State, "it was not forwarded")
	belongs := record.PartitionOf(late.Key, in.Config().Topics.Partitions)
	topic := record.MisplacedTopic(schemas.GroupEmbed)
	require.NoError(t, k.Emit(t.Context(), []record.Record{record.Forwarded(
		&stood, record.TopicPartition{Topic: topic, Partition: belongs}, late.Key,
	)}))
	g := state()
	require.Equal(t, "waiting", g.State)
	require.NotNil(t, g.Forwarded)
	require.Equal(t, belongs, g.Forwarded.Partition)
	require.Equal(t, g.Forwarded.Offset, g.Forwarded.Position)
}
