package processors_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// insertRecorder keeps what reaches the store.
type insertRecorder struct {
	*sqlite.Analytics
	inserts []sinks.Rows
	erased  []sinks.Erasure
}

func (s *insertRecorder) Insert(ctx context.Context, r record.Range, rows sinks.Rows) error {
	s.inserts = append(s.inserts, rows)
	return s.Analytics.Insert(ctx, r, rows)
}

func (s *insertRecorder) EraseUsers(ctx context.Context, users []sinks.Erasure) error {
	s.erased = append(s.erased, users...)
	return s.Analytics.EraseUsers(ctx, users)
}

// analyticsTest is the processor on an embedded store and a log in memory.
type analyticsTest struct {
	*processors.Analytics
	log      *memoryLog
	store    *insertRecorder
	erasures *processors.Erasures
}

func openAnalytics(t *testing.T) *analyticsTest {
	t.Helper()
	a := &analyticsTest{
		log: newMemoryLog(), store: &insertRecorder{Analytics: openStore(t).Analytics()},
		erasures: processors.NewErasures(),
	}
	a.Analytics = processors.NewAnalytics(a.store, a.log, a.erasures, nil, 100)
	return a
}

// handle emits the messages and handles them as one batch.
func (a *analyticsTest) handle(t *testing.T, messages ...record.Record) error {
	t.Helper()
	topic := messages[0].Topic
	first := int64(len(a.log.records[topic]))
	require.NoError(t, a.log.Emit(t.Context(), messages))
	return a.Handle(t.Context(), a.log.batch(topic, first))
}

func TestRowsThatTheStoreRefusesAreNamedByTheirRecords(t *testing.T) {
	t.Parallel()
	a := openAnalytics(t)
	unreadable := like("ann", 1, noon)
	unreadable.Value = []byte("{")
	require.NoError(t, a.log.Emit(t.Context(), []record.Record{
		like("ann", 1, noon), unreadable, like("ann", 1, noon), like("ann", 3, noon),
	}))
	// The second record makes no row, and the third repeats the first: the fourth is row 1.
	a.log.records[schemas.TopicInteractions][3].Time = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	err := a.Handle(t.Context(), a.log.batch(schemas.TopicInteractions, 0))
	var rejected *fault.Rejected
	require.ErrorAs(t, err, &rejected)
	require.True(t, rejected.Undone, "nothing has landed")
	require.Len(t, rejected.Records, 1)
	require.Equal(t, 3, rejected.Records[0].Index)
	require.ErrorContains(t, rejected.Records[0].Err, "recorded_at")

	again := a.log.batch(schemas.TopicInteractions, 0)
	again.Records = again.Records[:3]
	require.ErrorAs(t, a.Handle(t.Context(), again), &rejected)
	require.False(t, rejected.Undone, "the others have landed")
	require.Len(t, rejected.Records, 1)
	require.Equal(t, 1, rejected.Records[0].Index)
	n, err := a.store.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: 1, ItemHours: 1, UserDays: 1}, n)
}

func TestEachTopicHasItsKindOfRows(t *testing.T) {
	t.Parallel()
	a := openAnalytics(t)
	list := schemas.Recommendation{
		RecommendationID: "r1", UserID: "ann", Strategy: "personal", GeneratedAt: noon,
		ExpiresAt: noon.Add(time.Hour),
		Items:     []schemas.RecommendedItem{{ItemID: "i1", Rank: 1, Score: 1}},
	}
	letter := like("ann", 4, noon)
	letter.Topic = record.PoisonTopic(schemas.GroupEmbed)
	letter.Headers = append(letter.Headers,
		record.Header{Key: record.HeaderID, Value: []byte("embed/interactions/0/4")})
	for _, m := range []record.Record{
		like("ann", 1, noon),
		list.Message(schemas.TopicRecommendations),
		film("i1", "One"),
		schemas.User{EventID: "e", Source: "app", UserID: "ann", OccurredAt: noon}.Message(),
		letter,
	} {
		require.NoError(t, a.handle(t, m), m.Topic)
	}
	at := noon // the log takes an event when it happens
	require.Len(t, a.store.inserts, 5)
	interactions := a.store.inserts[0].(sinks.InteractionRows)
	require.Equal(t, "i1", interactions[0].ItemID)
	require.Equal(t, at, interactions[0].RecordedAt)
	require.Equal(t, "r1", a.store.inserts[1].(sinks.RecommendationRows)[0].RecommendationID)
	require.Equal(t, "One", a.store.inserts[2].(sinks.ItemRows)[0].Title)
	require.Equal(t, "ann", a.store.inserts[3].(sinks.UserRows)[0].UserID)
	require.Equal(t, "embed/interactions/0/4", a.store.inserts[4].(sinks.DeadLetterRows)[0].ID)

	require.ErrorContains(
		t, a.handle(t, record.Record{Topic: schemas.TopicFriendships}), "friendships",
	)
	require.Len(t, a.store.inserts, 5)
}

func TestAnErasureInLineTakesWhatCameBefore(t *testing.T) {
	t.Parallel()
	a := openAnalytics(t)
	bye := schemas.User{
		EventID: "bye", Source: "app", UserID: "ann", Erased: true, OccurredAt: noon,
	}.Message()
	marker := bye
	marker.Topic = schemas.TopicInteractions
	before, after := like("ann", 1, noon.Add(-time.Minute)), like("ann", 2, noon.Add(time.Minute))
	require.NoError(t, a.handle(t, before, marker, after, like("bob", 1, noon)))
	require.Equal(t, []sinks.Erasure{{UserID: "ann", At: noon}}, a.store.erased)
	n, err := a.store.CountInteractions(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, n.Rows)

	require.NoError(t, a.handle(t, like("ann", 3, noon.Add(-time.Second))))
	require.Empty(t, a.store.inserts[1], "the marker has told of the erasure")

	tombstone := record.Record{Topic: schemas.TopicUsers, Key: []byte("ann")}
	require.NoError(t, a.handle(t, bye, tombstone))
	require.Empty(t, a.store.inserts[2])
	require.Len(t, a.store.erased, 2)
}

func TestAStoreAheadOfItsGroupIsRefused(t *testing.T) {
	t.Parallel()
	a := openAnalytics(t)
	require.NoError(t, a.handle(t, like("ann", 1, noon), like("ann", 2, noon)))
	require.NoError(t, a.WriteProgress(t.Context()))
	progress, err := a.store.GetProgress(t.Context())
	require.NoError(t, err)
	require.Len(t, progress, 1)
	require.EqualValues(t, 1, progress[0].Offset)
	require.Equal(t, noon, progress[0].OccurredAt.UTC())

	part := record.Assignment{
		TopicPartition: record.TopicPartition{Topic: schemas.TopicInteractions}, Committed: -1,
	}
	require.Equal(
		t, fault.Permanent, fault.ClassOf(a.Assign(t.Context(), []record.Assignment{part})),
	)
	part.Committed = 0
	require.NoError(t, a.Assign(t.Context(), []record.Assignment{part}), "a range is repeated")
	part.Committed, part.Next = -1, 2
	require.NoError(t, a.Assign(t.Context(), []record.Assignment{part}))

	// The window of recent ids comes from the log.
	require.NoError(t, a.handle(t, like("ann", 2, noon)))
	require.Empty(t, a.store.inserts[1])
}

func TestWithoutALeaseNothingIsInserted(t *testing.T) {
	t.Parallel()
	a := openAnalytics(t)
	require.NoError(t, a.log.Emit(t.Context(), []record.Record{like("ann", 1, noon)}))
	b := a.log.batch(schemas.TopicInteractions, 0)
	over := errors.New("the lease is over")
	b.Lease = record.LeaseFunc(func(context.Context) error { return over })
	require.ErrorIs(t, a.Handle(t.Context(), b), over)
	require.Empty(t, a.store.inserts)
}

// TestAMisplacedEventDoesNotOutliveAnErasure: an event stands in another partition than the marker,
// and the member that handles it does not know of the erasure yet.
func TestAMisplacedEventDoesNotOutliveAnErasure(t *testing.T) {
	t.Parallel()
	store, log := openStore(t).Analytics(), newMemoryLog()
	member := func() processors.Instance {
		return processors.AnalyticsDeclaration().New(processors.Deps{
			Analytics: store, Streams: processors.Streams{Log: log, Emit: log},
			Erasures: processors.NewErasures(), Settings: processors.Settings{RecentIDs: 100},
		})
	}
	rows := func() int64 {
		n, err := store.CountInteractions(t.Context())
		require.NoError(t, err)
		return n.Rows
	}
	recheck := func(x processors.Instance) {
		for _, task := range x.Tasks {
			require.NoError(t, task.Run(t.Context()))
		}
	}
	marked, late := member(), member()
	handle := func(x processors.Instance, m record.Record) {
		first := int64(len(log.records[m.Topic]))
		require.NoError(t, log.Emit(t.Context(), []record.Record{m}))
		require.NoError(t, x.Handle(t.Context(), log.batch(m.Topic, first)))
	}
	handle(marked, erasedAt(schemas.TopicInteractions, "ann", noon))
	handle(late, like("ann", 1, noon.Add(-time.Second)))
	require.EqualValues(t, 1, rows())
	recheck(marked)
	require.Zero(t, rows())

	handle(late, like("ann", 2, noon.Add(-time.Second)))
	successor := member()
	require.NoError(t, successor.Assign(t.Context(), []record.Assignment{{
		TopicPartition: record.TopicPartition{Topic: schemas.TopicInteractions},
		Committed:      3, Next: 3,
	}}))
	recheck(successor)
	require.Zero(t, rows(), "the successor has found the marker")
}

// TestAListThatAnswersWhatIsErasedIsNoRow: the list was on its way during the erasure, and was made
// and written after it.
func TestAListThatAnswersWhatIsErasedIsNoRow(t *testing.T) {
	t.Parallel()
	later := noon.Add(56 * time.Millisecond)
	list := func(id, user string, cause schemas.CausedBy) record.Record {
		return schemas.Recommendation{
			RecommendationID: id, UserID: user, Strategy: "personal", GeneratedAt: later,
			ExpiresAt: later.Add(time.Hour), CausedBy: cause,
		}.Message(schemas.TopicRecommendations)
	}
	event := func(occurred, recorded, accepted time.Time) schemas.CausedBy {
		return schemas.CausedBy{
			Trigger: "event", OccurredAt: occurred, RecordedAt: recorded, AcceptedAt: accepted,
		}
	}
	lists := []record.Record{
		list("before", "ann", event(noon, noon, noon)),
		list("a fast clock", "ann", event(later.Add(time.Minute), noon, later)),
		list("a slow clock", "ann", event(noon, later, later)),
		list("also an older event", "ann", event(later, later, noon)),
		list("since", "ann", event(later, later, later)),
		list("since, of a marker", "ann", event(later, later, time.Time{})),
		list("on request", "ann", schemas.CausedBy{Trigger: "request"}),
		list("of another", "bob", event(noon, noon, noon)),
	}
	stay := []string{"since", "since, of a marker", "on request", "of another"}

	a := openAnalytics(t)
	a.erasures.Add(schemas.Erasure{UserKey: schemas.Key("ann"), ErasedAt: noon})
	require.NoError(t, a.handle(t, lists...))
	var got []string
	for _, x := range a.store.inserts[0].(sinks.RecommendationRows) {
		got = append(got, x.RecommendationID)
	}
	require.Equal(t, stay, got)
}

// replayOf returns a message as the replay of a dead letter of analytics, with a prefix of the
// installation in its headers.
func replayOf(m record.Record, id string) record.Record {
	m.Headers = append(m.Headers,
		record.Header{Key: record.HeaderID, Value: []byte(id)},
		record.Header{Key: record.HeaderAttempts, Value: []byte("1")},
		record.Header{Key: record.HeaderTopic, Value: []byte("shop." + m.Topic)},
		record.Header{Key: record.HeaderTime, Value: []byte(noon.Format(time.RFC3339Nano))},
	)
	m.Topic = record.ReplayTopic(schemas.GroupAnalytics)
	return m
}

// A replayed dead letter is what it was in its own topic, also after a restart, and counts once.
func TestDeadLettersOfEachTopicCanBeReplayed(t *testing.T) {
	t.Parallel()
	list := schemas.Recommendation{
		RecommendationID: "r1", UserID: "ann", Strategy: "personal", GeneratedAt: noon,
		ExpiresAt: noon.Add(time.Hour),
		Items:     []schemas.RecommendedItem{{ItemID: "i1", Rank: 1, Score: 1}},
	}
	messages := []record.Record{
		replayOf(list.Message(schemas.TopicRecommendations), "a list"),
		replayOf(film("i1", "One"), "an item"),
		replayOf(like("ann", 1, noon), "an interaction"),
		replayOf(schemas.User{
			EventID: "e", Source: "app", UserID: "ann", OccurredAt: noon,
		}.Message(), "a user"),
	}
	a := openAnalytics(t)
	require.NoError(t, a.handle(t, messages...))
	require.NoError(t, a.handle(t, messages[1], messages[0], messages[3]), "again")
	require.NoError(t, a.Assign(t.Context(), []record.Assignment{{
		TopicPartition: record.TopicPartition{Topic: messages[0].Topic}, Next: 7, Committed: 7,
	}}))
	require.NoError(t, a.handle(t, messages...), "after a restart")
	got := make(map[string]int)
	for _, rows := range a.store.inserts {
		got[fmt.Sprintf("%T", rows)] += rows.Len()
	}
	require.Equal(t, map[string]int{
		"sinks.InteractionRows": 1, "sinks.RecommendationRows": 1, "sinks.ItemRows": 1,
		"sinks.UserRows": 1,
	}, got)
}

// A row that the store refuses is named by its record, also where a batch has rows of several
// kinds.
func TestReplayedRowsThatTheStoreRefusesAreNamed(t *testing.T) {
	t.Parallel()
	a := openAnalytics(t)
	late := replayOf(film("i1", "One"), "an item")
	late.Headers[len(late.Headers)-1].Value = []byte("no time")
	require.NoError(t, a.log.Emit(t.Context(), []record.Record{
		replayOf(like("ann", 1, noon), "an interaction"), replayOf(film("i2", "Two"), "another"),
		late,
	}))
	b := a.log.batch(late.Topic, 0)
	b.Records[2].Time = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	err := a.Handle(t.Context(), b)
	var rejected *fault.Rejected
	require.ErrorAs(t, err, &rejected)
	require.True(t, rejected.Undone)
	require.Len(t, rejected.Records, 1)
	require.Equal(t, 2, rejected.Records[0].Index)
	b.Records = b.Records[:2]
	require.NoError(t, a.Handle(t.Context(), b), "the rest of the batch, under its own bounds")
	n, err := a.store.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: 1, ItemHours: 1, UserDays: 1}, n)
}

// What is kept beside a dead letter for its replay is no state of it.
func TestCorrectionsMakeNoRows(t *testing.T) {
	t.Parallel()
	a := openAnalytics(t)
	note := record.Record{
		Topic: record.PoisonTopic(schemas.GroupEmbed), Key: []byte("ann"), Value: []byte("{}"),
		Headers: []record.Header{
			{Key: record.HeaderID, Value: []byte("letter")},
			{Key: record.HeaderResolution, Value: []byte("corrected")},
		},
	}
	require.NoError(t, a.handle(t, note))
	for _, rows := range a.store.inserts {
		require.Zero(t, rows.Len())
	}
}
