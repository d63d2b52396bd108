package processors_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// letters are the positions of a topic that became dead letters of a group.
type letters map[string][]int64

func (l letters) LettersOf(
	_ context.Context, group string,
) (func(r *record.Record) bool, error) {
	return func(r *record.Record) bool {
		return slices.Contains(l[group+" "+r.Topic], r.Offset)
	}, nil
}

// A dead letter that failed when it was replayed can be replayed again, and counts once then, also
// after a restart that reads the window of recent ids from the log.
func TestDeadLetterThatFailedAgainIsReplayedOnceMore(t *testing.T) {
	t.Parallel()
	replay := func(attempts string) record.Record {
		m := like("ann", 1, noon)
		m.Topic = record.ReplayTopic(schemas.GroupAnalytics)
		m.Headers = append(m.Headers,
			record.Header{Key: record.HeaderID, Value: []byte("letter")},
			record.Header{Key: record.HeaderAttempts, Value: []byte(attempts)})
		return m
	}
	a := openAnalytics(t)
	topic := record.ReplayTopic(schemas.GroupAnalytics)
	// The first failed: a version before could not process it.
	require.NoError(t, a.log.Emit(t.Context(), []record.Record{replay("1")}))
	parts := []record.Assignment{
		{TopicPartition: record.TopicPartition{Topic: topic}, Next: 1, Committed: 1},
	}
	require.NoError(t, a.Assign(t.Context(), parts))
	require.NoError(t, a.handle(t, replay("2")))
	require.NoError(t, a.handle(t, replay("2")))
	n, err := a.store.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: 1, ItemHours: 1, UserDays: 1}, n)
}

// A user whose state is rebuilt from the log does not get what became a dead letter of embed,
// though it can be decoded today.
func TestRepairLeavesDeadLettersOut(t *testing.T) {
	t.Parallel()
	want := newScenario(t)
	want.begin(t)
	want.restart(t)
	want.goOn(t)
	want.end(t)

	s := newScenario(t)
	s.begin(t)
	// A version before could not process these: one was replayed, and failed again.
	refused := like("ann", 7, noon.Add(time.Minute))
	s.emit(t, refused)
	s.next[schemas.TopicInteractions]++
	s.emit(t, replayed(refused, "letter"))
	s.next[embedReplay]++
	s.letters = letters{
		"embed " + schemas.TopicInteractions: {s.next[schemas.TopicInteractions] - 1},
		"embed " + embedReplay:               {s.next[embedReplay] - 1},
	}
	spoil(t, s.store, "ann", corrupt)
	s.restart(t)
	s.goOn(t)
	require.NoError(t, s.handle(t, embedReplay))
	s.end(t)
	var got, ref model.User
	require.NoError(t, got.Decode(point(t, s.store, "ann").State))
	require.NoError(t, ref.Decode(point(t, want.store, "ann").State))
	require.Equal(t, ref.History, got.History)
	require.Equal(t, ref.Events, got.Events)
	require.Equal(t, want.counts(t), s.counts(t))
}

// An item that became a dead letter of catalog has no content after a restart either, until it is
// replayed.
func TestCatalogRestoresWhatItHandled(t *testing.T) {
	t.Parallel()
	log, store := newMemoryLog(), openStore(t)
	title := func(id, title string) record.Record {
		return schemas.Item{
			EventID: title, Source: "app", ItemID: id, Title: title, OccurredAt: noon,
		}.Message()
	}
	require.NoError(t, log.Emit(t.Context(), []record.Record{
		title("i1", "One"), title("i1", "Refused"), title("i2", "Refused"), title("i3", "Refused"),
	}))
	again := title("i3", "Replayed")
	again.Topic = record.ReplayTopic(schemas.GroupCatalog)
	again.Headers = append(
		again.Headers, record.Header{Key: record.HeaderOffset, Value: []byte("3")},
	)
	require.NoError(t, log.Emit(t.Context(), []record.Record{again}))
	replays := record.ReplayTopic(schemas.GroupCatalog)
	assigned := func(store *sqlite.Store) *processors.Catalog {
		c := processors.NewCatalog(
			store, processors.Streams{Log: log, Emit: log, Letters: letters{
				"catalog " + schemas.TopicItems: {1, 2, 3},
			}},
			processors.NewItemFactors(model.Default()), processors.DefaultCatalogConfig(1),
			func() time.Time { return noon },
		)
		require.NoError(t, c.Assign(t.Context(), []record.Assignment{{
			TopicPartition: record.TopicPartition{Topic: schemas.TopicItems}, Next: 4, Committed: 4,
		}}))
		return c
	}
	c := assigned(openStore(t))
	first := log.batch(schemas.TopicItems, 0)
	first.Records, first.Last = first.Records[:1], 0
	require.NoError(t, c.Handle(t.Context(), first))
	require.NoError(t, c.Handle(t.Context(), log.batch(replays, 0)))

	require.NoError(t, assigned(store).IndexAll(t.Context()))
	got := make(map[string]string)
	found, err := store.GetItems(t.Context(), []string{"i1", "i2", "i3"})
	require.NoError(t, err)
	for i := range found {
		got[found[i].Content.ItemID] = found[i].Content.Title
	}
	require.Equal(t, map[string]string{"i1": "One", "i3": "Replayed"}, got)
}

// The dead letters of catalog are items and gradients. Each is replayed as what it was.
func TestReplayedGradientsAreLearnedFrom(t *testing.T) {
	t.Parallel()
	replay := func(m record.Record, id string) record.Record {
		m = replayOf(m, id)
		m.Headers = append(
			m.Headers, record.Header{Key: record.HeaderOffset, Value: []byte("1")},
		)
		m.Topic = record.ReplayTopic(schemas.GroupCatalog)
		return m
	}
	c := watch(t).catalog(t)
	unreadable := gradients(t, model.Default(), likes("ann", 2))[0]
	unreadable.Value = unreadable.Value[:9]
	require.Equal(t, []int{1}, rejectedAt(t, c.deliver(t,
		replay(gradients(t, model.Default(), likes("ann", 1))[0], "gradients"),
		replay(unreadable, "unreadable"),
		replay(film("i1", "One"), "an item"),
	)))
	require.NoError(t, c.IndexAll(t.Context()))
	found := storedItems(t, c.store.Store)["i1"]
	require.InDelta(t, 1, found.Count, 0)
	require.Equal(t, "One", found.Content.Title)
}
