package rebuild

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// The dead letters of each group, by what becomes of them.
const (
	replayedBefore = iota // replayed before the rebuild
	replayedAfter
	dropped
	failedAgain // replayed, failed again, then dropped
	cases
)

// The events of learned are dead letters of embed, those of counted of analytics. They are in
// different partitions, so that each group is past its own only.
const learned, counted = "ann", "bob"

// past writes records that a version before could not process to the log of an installation that is
// stopped: the groups are behind them, and they are dead letters. Today's version can process them.
type past struct {
	t *testing.T
	k *app.Kafka
}

// skip writes a record that a group is past.
func (p past) skip(r record.Record, group string) record.Position {
	t := p.t
	t.Helper()
	tp := record.TopicPartition{Topic: r.Topic}
	n, err := p.k.Conn().Partitions(t.Context(), r.Topic)
	require.NoError(t, err)
	tp.Partition = record.PartitionOf(r.Key, n)
	at, err := p.k.Conn().Offsets(t.Context(), r.Topic)
	require.NoError(t, err)
	r.Partition = tp.Partition
	require.NoError(t, p.k.Emit(t.Context(), []record.Record{r}))
	end := at[tp].HighWatermark
	require.NoError(t, admin.ResetOffsets(
		t.Context(), p.k.Conn(), group, map[record.TopicPartition]int64{tp: end + 1},
	))
	return record.Position{TopicPartition: tp, Offset: end}
}

// letter makes r a dead letter of the group and returns its id.
func (p past) letter(r record.Record, group string, at record.Position, attempts int) string {
	names := p.k.Conn().Names()
	h := deadletter.Headers{
		Group: names.LetterGroup(group), Handler: group, Subscriber: names.LetterGroup(group),
		Origin: at, Time: time.Now(), Class: fault.Permanent, Reason: "a mistaken handler",
		Attempts: attempts, FirstFailure: time.Now(), LastFailure: time.Now(),
	}
	h.Origin.Topic = names.Topic(at.Topic)
	r.Topic, r.Partition = record.PoisonTopic(group), record.AnyPartition
	r.Headers = h.On(r.Headers)
	require.NoError(p.t, p.k.Emit(p.t.Context(), []record.Record{r}))
	return h.ID()
}

// fail makes r a dead letter of the group. With again, it was replayed and failed again.
func (p past) fail(r record.Record, group string, again bool) string {
	at := p.skip(r, group)
	id := p.letter(r, group, at, 1)
	if !again {
		return id
	}
	letter, err := p.k.DeadLetters().Get(p.t.Context(), id)
	require.NoError(p.t, err)
	end, err := p.k.Conn().Offsets(p.t.Context(), record.ReplayTopic(group))
	require.NoError(p.t, err)
	n, err := p.k.DeadLetters().Replay(
		p.t.Context(), deadletter.Filter{IDs: []string{id}}, deadletter.ReplayOptions{},
	)
	require.NoError(p.t, err)
	require.Equal(p.t, 1, n)
	tp := record.TopicPartition{Topic: record.ReplayTopic(group)}
	tp.Partition = record.PartitionOf(letter.Key, len(end))
	require.NoError(p.t, admin.ResetOffsets(
		p.t.Context(), p.k.Conn(), group,
		map[record.TopicPartition]int64{tp: end[tp].HighWatermark + 1},
	))
	require.Equal(p.t, id, p.letter(r, group, at, 2))
	return id
}

// structured writes a record as a CloudEvent in structured mode, which versions before could not
// read.
func structured(t *testing.T, r record.Record) record.Record {
	t.Helper()
	env, err := schemas.EnvelopeOf(&record.Record{Headers: r.Headers}, "")
	require.NoError(t, err)
	r.Value, err = schemas.FormatCloudEvent(env, r.Value)
	require.NoError(t, err)
	r.Headers = []record.Header{{
		Key: schemas.HeaderContentType, Value: []byte(schemas.ContentTypeCloudEvent),
	}}
	return r
}

// fill makes the dead letters of each case, of every group that fills a store. The first index of
// the result is the case.
func (p past) fill() (ids [cases][]string) {
	n, err := p.k.Conn().Partitions(p.t.Context(), schemas.TopicInteractions)
	require.NoError(p.t, err)
	require.NotEqual(
		p.t, record.PartitionOf([]byte(learned), n), record.PartitionOf([]byte(counted), n),
	)
	for n := range cases {
		event := func(group, user string) record.Record {
			return schemas.Interaction{
				EventID: fmt.Sprintf("%s-%d", group, n), Source: "letters", UserID: user,
				ItemID: fmt.Sprintf("film-%d", 20+n), Action: schemas.Like,
				OccurredAt: time.Now().UTC(),
			}.Message()
		}
		friends := schemas.Friendship{
			EventID: fmt.Sprintf("edge-%d", n), Source: "letters", UserID: "ann",
			FriendID: fmt.Sprintf("friend-%d", n), OccurredAt: time.Now().UTC(),
		}
		item := schemas.Item{
			EventID: fmt.Sprintf("item-%d", n), Source: "letters", ItemID: fmt.Sprintf("new-%d", n),
			Title: fmt.Sprintf("New %d", n), OccurredAt: time.Now().UTC(),
		}
		fail := func(r record.Record, group string) string {
			return p.fail(structured(p.t, r), group, n == failedAgain)
		}
		ids[n] = []string{
			fail(event(schemas.GroupEmbed, learned), schemas.GroupEmbed),
			fail(event(schemas.GroupAnalytics, counted), schemas.GroupAnalytics),
			fail(friends.Message(), schemas.GroupGraph),
			fail(item.Message(), schemas.GroupCatalog),
		}
	}
	_, err = p.k.DeadLetters().Drop(
		p.t.Context(), deadletter.Filter{IDs: slices.Concat(ids[dropped], ids[failedAgain])},
		"not wanted",
	)
	require.NoError(p.t, err)
	return ids
}

func replayLetters(t *testing.T, in *apptest.Installation, ids []string) {
	t.Helper()
	n, err := in.Kafka().DeadLetters().Replay(
		t.Context(), deadletter.Filter{IDs: ids}, deadletter.ReplayOptions{},
	)
	require.NoError(t, err)
	require.Equal(t, len(ids), n)
	in.AwaitIdle(t, time.Minute)
}

// requireEffects asserts that the dead letters of these cases had their effects in every store,
// once, and that the others had none.
func requireEffects(t *testing.T, in *apptest.Installation, want ...int) {
	t.Helper()
	p := pictureOf(t, in)
	taken := make(map[model.Key]int)
	for _, x := range p.Users[learned].History {
		taken[x.Key]++
	}
	rows := make(map[string]int)
	db := in.Rows
	if db == nil {
		db = apptest.OpenRows(t, in.Config())
	}
	for _, id := range lines(t, db, "SELECT event_id FROM interactions WHERE source = 'letters'") {
		rows[id]++
	}
	edges := make(map[string]int)
	for _, e := range p.Edges {
		edges[cmp.Or(map[string]string{"ann": e.B}[e.A], e.A)]++
	}
	got, wanted := make(map[string]int), make(map[string]int)
	for n := range cases {
		title := ""
		items, err := in.Engines().Items.(interface {
			GetItems(ctx context.Context, ids []string) ([]sinks.Item, error)
		}).GetItems(t.Context(), []string{fmt.Sprintf("new-%d", n)})
		require.NoError(t, err)
		for i := range items {
			title += items[i].Content.Title
		}
		once := 0
		if slices.Contains(want, n) {
			once = 1
		}
		got[fmt.Sprint("embed ", n)] = taken[model.KeyOf(fmt.Sprintf("film-%d", 20+n))]
		got[fmt.Sprint("analytics ", n)] = rows[fmt.Sprintf("analytics-%d", n)]
		got[fmt.Sprint("graph ", n)] = edges[fmt.Sprintf("friend-%d", n)]
		got[fmt.Sprint("catalog ", n)] = len(title) / len("New 1")
		for _, group := range []string{"embed", "analytics", "graph", "catalog"} {
			wanted[fmt.Sprint(group, " ", n)] = once
		}
	}
	require.Equal(t, wanted, got)
	// What is a dead letter of one group had its effects in the other.
	require.Len(t, rows, cases+len(want))
	require.Len(t, p.Users[counted].History, cases)
	counts, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, counts.Rows, counts.ItemHours)
	require.Equal(t, counts.Rows, counts.UserDays)
}

func TestRebuildEmbeddedLeavesDeadLettersOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, nil)
	cfg := in.Config()
	cfg.DataDir = dir
	in.World(t, 200)
	in.AwaitIdle(t, time.Minute)
	stop()

	bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	defer broker.Close()
	cfg.Kafka.Brokers = []string{broker.Addr()}
	ids := fillPast(t, cfg)
	require.NoError(t, broker.Close())

	rebuildLetters(t, ids, func() (*apptest.Installation, func()) {
		return apptest.StartEmbedded(t, dir, nil)
	}, func() {
		require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
	})
}

func TestRealRebuildLeavesDeadLettersOut(t *testing.T) {
	in := apptest.StartReal(t, nil)
	cfg := in.Config()
	in.World(t, 200)
	in.AwaitIdle(t, 90*time.Second)
	in.Stop()
	ids := fillPast(t, cfg)
	rebuildLetters(t, ids, func() (*apptest.Installation, func()) {
		in := restart(t, cfg)
		return in, in.Stop
	}, func() {
		for _, store := range []string{"qdrant", "neo4j", "clickhouse"} {
			require.NoError(t, rebuilt(t.Context(), t, cfg, store))
		}
	})
}

func fillPast(t *testing.T, cfg config.Config) [cases][]string {
	t.Helper()
	k, err := app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	defer k.Close()
	return past{t, k}.fill()
}

// rebuildLetters replays before and after rebuilds of every store.
func rebuildLetters(
	t *testing.T, ids [cases][]string, start func() (*apptest.Installation, func()), rebuild func(),
) {
	t.Helper()
	in, stop := start()
	in.AwaitIdle(t, time.Minute)
	requireEffects(t, in)
	replayLetters(t, in, ids[replayedBefore])
	requireEffects(t, in, replayedBefore)
	before := pictureOf(t, in)
	stop()

	rebuild()
	in, stop = start()
	in.AwaitIdle(t, time.Minute)
	requireEffects(t, in, replayedBefore)
	require.Equal(t, before, pictureOf(t, in))
	replayLetters(t, in, ids[replayedAfter])
	replayLetters(t, in, ids[replayedBefore]) // counts once
	requireEffects(t, in, replayedBefore, replayedAfter)
	before = pictureOf(t, in)
	stop()

	rebuild()
	in, stop = start()
	defer stop()
	in.AwaitIdle(t, time.Minute)
	requireEffects(t, in, replayedBefore, replayedAfter)
	require.Equal(t, before, pictureOf(t, in))
}

// The data folder of a version that had other names of groups (see package app): refused-0 to
// refused-3 are dead letters of the groups that analytics and graph were then.
func TestRebuildEmbeddedLeavesOldDeadLettersOut(t *testing.T) {
	t.Parallel()
	for name, rebuildFirst := range map[string]bool{
		"replay, then rebuild": false, "rebuild, then replay": true,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := apptest.Unpack(t, "../app/testdata/renamed.tar.gz")
			var cfg config.Config
			start := func() (*apptest.Installation, func()) {
				in, stop := apptest.StartEmbedded(t, dir, func(c *config.Config) {
					c.Topics.Partitions, c.Model.Dim = 2, 16
				})
				cfg = in.Config()
				cfg.DataDir = dir
				in.AwaitIdle(t, time.Minute)
				return in, stop
			}
			in, stop := start()
			for _, l := range openLetters(t, in) {
				if string(l.Key) == "refused-3" || string(l.Key) == "ann|refused-3" {
					_, err := in.Kafka().DeadLetters().Drop(
						t.Context(), deadletter.Filter{IDs: []string{l.ID}}, "not wanted",
					)
					require.NoError(t, err)
				}
			}
			var before picture
			again := func() {
				stop()
				require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
				in, stop = start()
				after := pictureOf(t, in)
				require.Equal(t, before.Rows["interactions"], after.Rows["interactions"])
				require.Equal(t, before.Sums["item_hours"], after.Sums["item_hours"])
				require.Equal(t, before.Sums["user_days"], after.Sums["user_days"])
				require.Equal(t, untimed(before.Edges), untimed(after.Edges))
				require.Equal(t, unlabeled(before.Users), unlabeled(after.Users))
			}
			before = pictureOf(t, in)
			if rebuildFirst {
				again()
			}
			var ids []string
			for _, l := range openLetters(t, in) {
				ids = append(ids, l.ID)
			}
			replayLetters(t, in, ids)
			before = pictureOf(t, in)
			counts, err := in.Engines().Analytics.CountInteractions(t.Context())
			require.NoError(t, err)
			const want = 109 + 3 // refused-0 to refused-2
			require.Equal(t, sinks.Counts{Rows: want, ItemHours: want, UserDays: want}, counts)
			require.Len(t, before.Edges, 5+3)
			again()
			stop()
		})
	}
}

func openLetters(t *testing.T, in *apptest.Installation) []deadletter.Letter {
	t.Helper()
	letters, err := in.Kafka().DeadLetters().List(
		t.Context(), deadletter.Filter{State: deadletter.Open},
	)
	require.NoError(t, err)
	require.NotEmpty(t, letters)
	return letters
}

// unlabeled leaves out what users did with the items of their histories: the older version did not
// keep it.
func unlabeled(users map[string]person) map[string]person {
	out := maps.Clone(users)
	for id, p := range out { //nolint:gocritic // a few
		p.History = slices.Clone(p.History)
		for i := range p.History {
			p.History[i].Label = 0
		}
		out[id] = p
	}
	return out
}

// untimed leaves out when edges were recorded: the older version did not keep it.
func untimed(edges []sinks.Edge) []sinks.Edge {
	out := slices.Clone(edges)
	for i := range out {
		out[i].RecordedAt = time.Time{}
	}
	return out
}
