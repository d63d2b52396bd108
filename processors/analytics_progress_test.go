package processors_test

import (
	"context"
	"fmt"
	"slices"
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

// watchedRows notes what is written to the analytics store.
type watchedRows struct {
	*sqlite.Analytics
	effects *effects
	away    error
}

func (s *watchedRows) Insert(ctx context.Context, r record.Range, rows sinks.Rows) error {
	return s.effects.happen("insert", func() error { return s.Analytics.Insert(ctx, r, rows) })
}

func (s *watchedRows) EraseUsers(ctx context.Context, erased []sinks.Erasure) error {
	if len(erased) == 0 {
		return nil
	}
	return s.effects.happen("erase", func() error { return s.Analytics.EraseUsers(ctx, erased) })
}

func (s *watchedRows) SetProgress(ctx context.Context, p []sinks.Progress) error {
	if len(p) == 0 {
		return nil
	}
	return s.effects.happen("progress", func() error { return s.Analytics.SetProgress(ctx, p) })
}

func (s *watchedRows) GetProgress(ctx context.Context) ([]sinks.Progress, error) {
	if s.away != nil {
		return nil, s.away
	}
	return s.Analytics.GetProgress(ctx)
}

func analyticsOn(t *testing.T) (*processors.Analytics, *watchedRows, *watched) {
	t.Helper()
	w := watch(t)
	store := &watchedRows{Analytics: w.store.Analytics(), effects: w.effects}
	p := processors.NewAnalytics(store, w.log, processors.NewErasures(), nil, 3)
	require.NoError(t, p.Assign(t.Context(), assigned(0, schemas.TopicInteractions)))
	return p, store, w
}

func TestRowsAreInsertedOnceWhereverTheBatchBrokeOff(t *testing.T) {
	t.Parallel()
	for step, name := range []string{"insert", "erase"} {
		for _, landed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, landed %v", name, landed), func(t *testing.T) {
				t.Parallel()
				p, store, w := analyticsOn(t)
				first := w.add(t, like("ann", 1, noon), like("ann", 2, noon.Add(time.Hour)),
					erasedAt(schemas.TopicInteractions, "ann", noon), like("bob", 1, noon))
				b := w.log.batch(schemas.TopicInteractions, first)
				w.failAt, w.landed = step+1, landed
				require.Equal(t, fault.Transient, fault.ClassOf(p.Handle(t.Context(), b)))
				require.NoError(t, p.WriteProgress(t.Context()))
				require.NotContains(t, w.done, "progress", "the range is not complete")
				b.Repeat = true
				require.NoError(t, p.Handle(t.Context(), b))
				require.NoError(t, p.WriteProgress(t.Context()))
				n, err := store.CountInteractions(t.Context())
				require.NoError(t, err)
				require.EqualValues(t, 2, n.Rows, "what ann did before is gone")
				progress, err := store.GetProgress(t.Context())
				require.NoError(t, err)
				require.EqualValues(t, 3, progress[0].Offset)
				require.Equal(t, noon.Add(time.Hour), progress[0].OccurredAt.UTC())
				require.Equal(t, b.Records[3].Time, progress[0].RecordedAt.UTC())
			})
		}
	}
}

func TestProgressThatWasNotWrittenIsWrittenNextTime(t *testing.T) {
	t.Parallel()
	p, store, w := analyticsOn(t)
	first := w.add(t, like("ann", 1, noon))
	require.NoError(t, p.Handle(t.Context(), w.log.batch(schemas.TopicInteractions, first)))
	w.done, w.failAt = nil, 1
	require.Error(t, p.WriteProgress(t.Context()))
	p.Revoke([]record.TopicPartition{{Topic: schemas.TopicInteractions}})
	require.NoError(t, p.WriteProgress(t.Context()), "also after the partition has gone")
	require.NoError(t, p.WriteProgress(t.Context()))
	require.Equal(t, []string{"progress"}, w.done, "nothing has moved since")
	store.away = fault.Transientf("refused")
	require.ErrorIs(t, p.Assign(t.Context(), assigned(0, schemas.TopicInteractions)), store.away)
	store.away = nil

	log := &askedLog{memoryLog: w.log}
	next := processors.NewAnalytics(store, log, processors.NewErasures(), nil, 3)
	replay := record.ReplayTopic(schemas.GroupAnalytics)
	require.NoError(t, next.Assign(t.Context(), append(
		assigned(7, schemas.TopicInteractions, schemas.TopicItems), assigned(1, replay)...)))
	require.Equal(t, []string{
		"interactions/0 from 4 to 7", "analytics.replay/0 from 0 to 1",
	}, log.asked, "only interactions are counted once within a window")
	log.fails = fault.Transientf("no leader")
	require.ErrorIs(t, next.Assign(t.Context(), assigned(7, schemas.TopicInteractions)), log.fails)
}

// One insert decides whether a group may go on: at the offset after it, and not at it.
func TestAGroupWithoutAPositionGoesOnBehindTheStoreOnly(t *testing.T) {
	t.Parallel()
	p, _, w := analyticsOn(t)
	first := w.add(t, like("ann", 1, noon), like("ann", 2, noon))
	require.NoError(t, p.Handle(t.Context(), w.log.batch(schemas.TopicInteractions, first)))
	require.NoError(t, p.WriteProgress(t.Context()))
	err := p.Assign(t.Context(), assigned(1, schemas.TopicInteractions))
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	require.ErrorContains(t, err, "interactions/0 up to offset 1")
	require.NoError(t, p.Assign(t.Context(), assigned(2, schemas.TopicInteractions)))
	other := assigned(0, schemas.TopicInteractions)
	other[0].Partition = 1
	require.NoError(t, p.Assign(t.Context(), other))
}

func deadLetter(m record.Record, group string, headers ...record.Header) record.Record {
	m.Topic = record.PoisonTopic(group)
	m.Headers = append(m.Headers, headers...)
	return m
}

func header(key, value string) record.Header {
	return record.Header{Key: key, Value: []byte(value)}
}

func TestRowsOfDeadLettersTellWhatBecameOfThem(t *testing.T) {
	t.Parallel()
	a := openAnalytics(t)
	failed := []record.Header{
		header(record.HeaderID, "embed/interactions/3/17"), header(record.HeaderGroup, "embed"),
		header(record.HeaderTopic, "interactions"), header(record.HeaderPartition, "3"),
		header(record.HeaderOffset, "17"), header(record.HeaderClass, "permanent"),
		header(record.HeaderReason, "odd"), header(record.HeaderAttempts, "2"),
		header(record.HeaderFirstFailure, noon.Format(time.RFC3339Nano)),
		header(record.HeaderLastFailure, noon.Add(time.Minute).Format(time.RFC3339Nano)),
	}
	ann := record.Record{Key: []byte("ann"), Value: make([]byte, 100<<10)}
	large := deadLetter(ann, "embed", failed...)
	resolved := deadLetter(ann, "embed", append(slices.Clone(failed),
		header(record.HeaderResolution, "dropped"),
		header(record.HeaderResolutionReason, "a test"))...)
	odd := deadLetter(like("bob", 1, noon), "embed", header(record.HeaderID, "x"),
		header(record.HeaderPartition, "many"), header(record.HeaderFirstFailure, "once"))
	none := deadLetter(like("bob", 1, noon), "embed")
	require.Equal(t, []int{3}, rejectedAt(t, a.handle(t, large, resolved, odd, none)))
	rows := a.store.inserts[0].(sinks.DeadLetterRows)
	require.Len(t, rows, 3)
	want := sinks.DeadLetterRow{
		ID: "embed/interactions/3/17", Group: "embed",
		Topic: "interactions", Partition: 3, Offset: 17,
		Class: "permanent", Reason: "odd", Attempts: 2, FirstFailedAt: noon,
		LastFailedAt: noon.Add(time.Minute), Key: "ann", Value: large.Value[:64<<10],
		PoisonOffset: 0, RecordedAt: rows[0].RecordedAt, State: "open",
	}
	require.Equal(t, want, rows[0])
	require.Equal(t, "dropped", rows[1].State)
	require.Equal(t, "a test", rows[1].Note)
	require.EqualValues(t, 1, rows[1].PoisonOffset)
	require.Zero(t, rows[2].Partition)
	require.True(t, rows[2].FirstFailedAt.IsZero())
}

// A text column of SQLite that holds other bytes than UTF-8 cannot be read by most clients.
func TestKeysOfDeadLettersAreReadable(t *testing.T) {
	t.Parallel()
	a := openAnalytics(t)
	failed := record.Record{Key: []byte("M\xfcller"), Value: []byte("{")}
	require.NoError(t, a.handle(
		t, deadLetter(failed, "embed", header(record.HeaderID, "embed/interactions/3/17")),
	))
	rows := a.store.inserts[0].(sinks.DeadLetterRows)
	require.Equal(t, "0x4dfc6c6c6572", rows[0].Key, "as the API and the command show it")
}

// The log takes the dead letters long before noon, so an erasure at noon covers them.
func TestRowsOfDeadLettersDoNotNameErasedUsers(t *testing.T) {
	t.Parallel()
	id := header(record.HeaderID, "x")
	pair := friends("ann", "bob", 1, noon)
	broken := record.Record{Key: []byte("bob"), Value: []byte(`{"friend_id": "ann"}`)}
	for _, c := range []struct {
		name   string
		failed record.Record
		kept   bool
	}{
		{"by the key", record.Record{Key: []byte("ann"), Value: []byte("{")}, false},
		{"by the user", record.Record{Value: []byte(`{"user_id": "ann", "item_id": 3}`)}, false},
		{"by the friend", broken, false},
		{"by half of a pair", record.Record{Key: pair.Key, Value: []byte("{")}, false},
		{"in the data of a CloudEvent", record.Record{Value: []byte(
			`{"specversion":"1.0","id":"e","data":{"user_id":"ann"}}`,
		)}, false},
		{"but others", record.Record{
			Key: []byte("bob"), Value: []byte(`{"user_id": "bob"}`),
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := openAnalytics(t)
			a.erasures.Add(schemas.Erasure{UserKey: schemas.Key("ann"), ErasedAt: noon})
			require.NoError(t, a.handle(t, deadLetter(c.failed, "graph", id)))
			require.Equal(t, c.kept, a.store.inserts[0].Len() == 1)
		})
	}
}

func TestListsAndAttributesOfErasedUsersMakeNoRows(t *testing.T) {
	t.Parallel()
	a := openAnalytics(t)
	list := schemas.Recommendation{
		RecommendationID: "r", UserID: "ann", Strategy: "personal", GeneratedAt: noon,
		ExpiresAt: noon.Add(time.Hour),
	}
	user := schemas.User{EventID: "e", Source: "app", UserID: "ann", OccurredAt: noon}
	marker := erasedAt(schemas.TopicRecommendations, "ann", noon)
	later := list
	later.GeneratedAt = noon.Add(time.Second)
	require.NoError(t, a.handle(t, marker, list.Message(schemas.TopicRecommendations),
		later.Message(schemas.TopicRecommendations)))
	require.Equal(t, 1, a.store.inserts[0].Len())
	require.NoError(t, a.handle(t, user.Message()))
	require.Zero(t, a.store.inserts[1].Len())
	broken := marker
	broken.Value = []byte("{")
	require.Equal(t, []int{0}, rejectedAt(t, a.handle(t, broken)))
}
