package processors_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// memoryLog is a log of one partition per topic; messages for a topic in refuse are refused.
type memoryLog struct {
	records map[string][]record.Record
	refuse  map[string]bool
	// clock is how long the log has been running.
	clock time.Duration
}

func newMemoryLog() *memoryLog {
	return &memoryLog{records: make(map[string][]record.Record), refuse: make(map[string]bool)}
}

func (l *memoryLog) Emit(_ context.Context, batch []record.Record) error {
	for _, m := range batch {
		if l.refuse[m.Topic] {
			return fault.Transientf("the broker is away")
		}
		// The log takes an event when it happens, but not before it runs.
		took := time.Unix(1_700_000_000, 0).UTC().Add(l.clock)
		at, err := time.Parse(time.RFC3339Nano, m.Header(schemas.HeaderTime))
		if err == nil && at.After(took) {
			took = at
		}
		l.records[m.Topic] = append(
			l.records[m.Topic],
			record.Record{
				Topic: m.Topic, Offset: int64(len(l.records[m.Topic])),
				Time: took, Key: m.Key, Value: m.Value, Headers: m.Headers,
			},
		)
	}
	return nil
}

func (l *memoryLog) Read(
	_ context.Context,
	topic string,
	_ int,
	from, to int64,
	f func(*record.Record) error,
) error {
	for i := range l.records[topic] {
		if r := &l.records[topic][i]; r.Offset >= from && (to < 0 || r.Offset < to) {
			if err := f(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *memoryLog) OffsetAt(
	_ context.Context, topic string, _ int, at time.Time,
) (int64, error) {
	for i := range l.records[topic] {
		if r := &l.records[topic][i]; !r.Time.Before(at) {
			return r.Offset, nil
		}
	}
	return int64(len(l.records[topic])), nil
}

// batch is the records of a topic from an offset on.
func (l *memoryLog) batch(topic string, first int64) *record.Batch {
	records := l.records[topic][first:]
	return &record.Batch{
		Range: record.Range{
			LogID: "l", Topic: topic, First: first, Last: first + int64(len(records)) - 1,
		},
		Records: records,
	}
}

// embedding is an embed on an embedded store and a log in memory.
type embedding struct {
	*processors.Embed
	log      *memoryLog
	store    *sqlite.Store
	erasures *processors.Erasures
}

func embedOn(t *testing.T, log *memoryLog, store *sqlite.Store) *embedding {
	t.Helper()
	erasures := processors.NewErasures()
	cfg := processors.DefaultEmbedConfig(1)
	cfg.UserPartitions = 2
	e := processors.NewEmbed(
		store, processors.Streams{Log: log, Emit: log}, processors.NewItemFactors(model.Default()),
		erasures, cfg,
	)
	require.NoError(
		t,
		e.Assign(
			t.Context(),
			[]record.Assignment{
				{
					TopicPartition: record.TopicPartition{Topic: schemas.TopicInteractions},
					Committed:      -1,
				},
			},
		),
	)
	return &embedding{e, log, store, erasures}
}

// emptyStore is the file of a store with its tables: to make them takes longer than most tests.
var emptyStore = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "s.db")
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: path})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.Migrate(context.Background()), s.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	return openStoreAt(t, filepath.Join(t.TempDir(), "s.db"))
}

func openStoreAt(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	empty, err := emptyStore()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, empty, 0o600))
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// events returns how many events the stored state of a user has absorbed, or -1 without one.
func (e *embedding) events(t *testing.T, id string) int {
	t.Helper()
	found, err := e.store.GetUsers(t.Context(), []string{id})
	require.NoError(t, err)
	if len(found) == 0 {
		return -1
	}
	var u model.User
	require.NoError(t, u.Decode(found[0].State))
	return int(u.Events)
}

func like(user string, n int, at time.Time) record.Record {
	return schemas.Interaction{
		EventID: fmt.Sprintf("%s-%d", user, n), Source: "app", UserID: user,
		ItemID: fmt.Sprintf("i%d", n), Action: schemas.Like, OccurredAt: at,
	}.Message()
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestListIsDueAlsoWhenTheDeliveryBrokeOffBehindTheStore(t *testing.T) {
	t.Parallel()
	log := newMemoryLog()
	e := embedOn(t, log, openStore(t))
	require.NoError(
		t, log.Emit(t.Context(), []record.Record{like("ann", 1, noon), like("ann", 2, noon)}),
	)
	b := log.batch(schemas.TopicInteractions, 0)

	log.refuse[schemas.TopicProfileChanges] = true
	require.Error(t, e.Handle(t.Context(), b))
	require.Equal(t, 2, e.events(t, "ann"), "the state is written before the list is due")

	log.refuse[schemas.TopicProfileChanges] = false
	b.Repeat = true
	// in place, and by a successor
	for _, owner := range []*embedding{e, embedOn(t, log, e.store)} {
		log.records[schemas.TopicProfileChanges] = nil
		require.NoError(t, owner.Handle(t.Context(), b))
		require.Len(t, log.records[schemas.TopicProfileChanges], 1)
		x, err := schemas.DecodeProfileChanged(&log.records[schemas.TopicProfileChanges][0])
		require.NoError(t, err)
		require.Equal(t, int64(1), x.Offset)
		require.Equal(t, 2, e.events(t, "ann"), "learned once")
	}
}

func TestErasureThatIsSpreadAgainTakesNothingNew(t *testing.T) {
	t.Parallel()
	log := newMemoryLog()
	e := embedOn(t, log, openStore(t))
	marker := schemas.User{
		EventID: "bye", Source: "app", UserID: "ann", Erased: true, OccurredAt: noon,
	}.Message()
	marker.Topic = schemas.TopicInteractions
	require.NoError(
		t,
		log.Emit(
			t.Context(),
			[]record.Record{
				like("ann", 1, noon.Add(-time.Second)), marker,
				like("ann", 2, noon.Add(time.Second)),
			},
		),
	)
	require.NoError(t, e.Handle(t.Context(), log.batch(schemas.TopicInteractions, 0)))
	require.Equal(t, 1, e.events(t, "ann"))

	// the second has to know the marker from the log
	for next, owner := range []*embedding{e, embedOn(t, log, e.store)} {
		if next == 1 {
			require.NoError(
				t,
				owner.Assign(
					t.Context(),
					[]record.Assignment{
						{
							TopicPartition: record.TopicPartition{Topic: schemas.TopicInteractions},
							Next:           int64(len(log.records[schemas.TopicInteractions])),
							Committed:      -1,
						},
					},
				),
			)
		}
		require.NoError(t, log.Emit(t.Context(), []record.Record{marker}))
		require.NoError(
			t,
			owner.Handle(
				t.Context(),
				log.batch(
					schemas.TopicInteractions, int64(len(log.records[schemas.TopicInteractions])-1),
				),
			),
		)
		require.Equal(t, 1, e.events(t, "ann"), "what was done after the erasure stays")
	}
}

func TestErasedUserWhomALateWriterBringsBackIsRemovedAgain(t *testing.T) {
	t.Parallel()
	log := newMemoryLog()
	e := embedOn(t, log, openStore(t))
	marker := schemas.User{
		EventID: "bye", Source: "app", UserID: "ann", Erased: true, OccurredAt: noon,
	}.Message()
	marker.Topic = schemas.TopicInteractions
	require.NoError(
		t,
		log.Emit(
			t.Context(),
			[]record.Record{like("ann", 1, noon.Add(-time.Second)), like("bob", 1, noon)},
		),
	)
	require.NoError(t, e.Handle(t.Context(), log.batch(schemas.TopicInteractions, 0)))
	before, err := e.store.GetUsers(t.Context(), []string{"ann"})
	require.NoError(t, err)
	require.NoError(t, log.Emit(t.Context(), []record.Record{marker}))
	require.NoError(t, e.Handle(t.Context(), log.batch(schemas.TopicInteractions, 2)))
	require.Equal(t, -1, e.events(t, "ann"))

	// the one who erased, and a successor
	for _, owner := range []*embedding{e, embedOn(t, log, e.store)} {
		require.NoError(
			t,
			owner.Assign(
				t.Context(),
				[]record.Assignment{
					{
						TopicPartition: record.TopicPartition{Topic: schemas.TopicInteractions},
						Next:           3, Committed: -1,
					},
				},
			),
		)
		require.NoError(
			t,
			e.store.PutUsers(t.Context(), sinks.Source{Topic: schemas.TopicInteractions}, before),
		)
		require.Equal(t, 1, e.events(t, "ann"), "the late write has landed")
		// A successor knows of the erasure from the compacted topic.
		owner.erasures.Add(schemas.Erasure{UserKey: schemas.Key("ann"), ErasedAt: noon})
		require.NoError(t, owner.RecheckErasures(t.Context()))
		require.Equal(t, -1, e.events(t, "ann"))
	}
	require.Equal(t, 1, e.events(t, "bob"))

	require.NoError(
		t, log.Emit(t.Context(), []record.Record{like("ann", 2, noon.Add(time.Second))}),
	)
	require.NoError(t, e.Handle(t.Context(), log.batch(schemas.TopicInteractions, 3)))
	require.NoError(t, e.RecheckErasures(t.Context()))
	require.Equal(t, 1, e.events(t, "ann"), "who comes back of their own will stays")
}

func TestFriendshipThatComesToWhoHasNotHeardOfTheErasureIsErasedAgain(t *testing.T) {
	t.Parallel()
	log, store := newMemoryLog(), openStore(t)
	marker := schemas.User{
		EventID: "bye", Source: "app", UserID: "ann", Erased: true, OccurredAt: noon,
	}.Message()
	marker.Topic = schemas.TopicFriendships
	graph := func() *processors.Graph {
		return processors.NewGraph(
			store, processors.Streams{Log: log, Emit: log}, processors.NewErasures(),
		)
	}
	knows, deaf, successor := graph(), graph(), graph()
	require.NoError(t, log.Emit(t.Context(), []record.Record{marker}))
	require.NoError(t, knows.Handle(t.Context(), log.batch(schemas.TopicFriendships, 0)))
	require.NoError(
		t,
		successor.Assign(
			t.Context(),
			[]record.Assignment{
				{
					TopicPartition: record.TopicPartition{Topic: schemas.TopicFriendships}, Next: 1,
					Committed: -1,
				},
			},
		),
	)
	for n, owner := range []*processors.Graph{knows, successor} {
		require.NoError(t, log.Emit(t.Context(), []record.Record{
			schemas.Friendship{
				EventID: fmt.Sprint("late", n), Source: "app", UserID: "ann", FriendID: "bob",
				OccurredAt: noon.Add(-time.Second),
			}.Message(),
			schemas.Friendship{
				EventID: fmt.Sprint("new", n), Source: "app", UserID: "ann", FriendID: "cleo",
				OccurredAt: noon.Add(time.Second),
			}.Message(),
		}))
		require.NoError(
			t, deaf.Handle(t.Context(), log.batch(schemas.TopicFriendships, int64(1+2*n))),
		)
		edges, err := store.CountEdges(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(2), edges)
		require.NoError(t, owner.RecheckErasures(t.Context()))
		edges, err = store.CountEdges(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(1), edges, "the one from after the erasure")
	}
}

func TestRowsWrittenLateByAFormerOwnerAreOutvoted(t *testing.T) {
	t.Parallel()
	log, store := newMemoryLog(), openStore(t)
	catalog := func() *processors.Catalog {
		return processors.NewCatalog(
			store, processors.Streams{Log: log, Emit: log},
			processors.NewItemFactors(model.Default()), processors.DefaultCatalogConfig(1),
			func() time.Time { return noon },
		)
	}
	parts := []record.Assignment{
		{TopicPartition: record.TopicPartition{Topic: schemas.TopicItems}, Committed: -1},
		{TopicPartition: record.TopicPartition{Topic: schemas.TopicItemGradients}, Committed: -1},
	}
	c := catalog()
	require.NoError(t, c.Assign(t.Context(), parts))
	item := schemas.Item{EventID: "1", Source: "app", ItemID: "i1", Title: "One", OccurredAt: noon}
	for n := range 2 {
		require.NoError(t, log.Emit(t.Context(), []record.Record{item.Message()}))
		require.NoError(t, c.Handle(t.Context(), log.batch(schemas.TopicItems, int64(n))))
	}
	version := func() uint64 {
		found, err := store.GetItems(t.Context(), []string{"i1"})
		require.NoError(t, err)
		require.Len(t, found, 1)
		return found[0].Version
	}
	newest := version()

	// What the former owner had in hand comes in behind the newest.
	stale := log.records[schemas.TopicItemVectors][0]
	stale.Offset = int64(len(log.records[schemas.TopicItemVectors]))
	log.records[schemas.TopicItemVectors] = append(log.records[schemas.TopicItemVectors], stale)

	c = catalog()
	require.NoError(t, c.Assign(t.Context(), parts))
	require.NoError(t, log.Emit(t.Context(), []record.Record{item.Message()}))
	require.NoError(t, c.Handle(t.Context(), log.batch(schemas.TopicItems, 2)))
	require.Equal(t, newest+1, version(), "the successor goes on from the newest version")
}
