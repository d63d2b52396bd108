package processors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// The states that cannot be decoded: of a version that is not known yet, and of none.
var (
	newer   = []byte("\xf0from the future")
	corrupt = []byte("\x02undefined")
)

var (
	embedReplay    = record.ReplayTopic(schemas.GroupEmbed)
	embedMisplaced = record.MisplacedTopic(schemas.GroupEmbed)
)

func point(t *testing.T, store *sqlite.Store, id string) sinks.User {
	t.Helper()
	found, err := store.GetUsers(t.Context(), []string{id})
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

// spoil replaces the stored state of a user, and nothing else that matters. It returns the former.
func spoil(t *testing.T, store *sqlite.Store, id string, state []byte) []byte {
	t.Helper()
	u := point(t, store, id)
	former := u.State
	u.State = state
	// The condition of the store is about one source: any other will do.
	u.Positions["damage"] = max(sinks.PositionOf(sinks.FirstEpoch, 0), u.Positions["damage"]) + 1
	require.NoError(t, store.PutUsers(t.Context(), sinks.Source{Topic: "damage"}, []sinks.User{u}))
	require.Equal(t, state, point(t, store, id).State)
	return former
}

func TestStateOfANewerVersionHoldsUpItsPartitionOnly(t *testing.T) {
	t.Parallel()
	log, store := newMemoryLog(), openStore(t)
	require.NoError(
		t,
		log.Emit(t.Context(), []record.Record{like("ann", 1, noon), like("bob", 1, noon)}),
	)
	require.NoError(
		t,
		embedOn(t, log, store).Handle(t.Context(), log.batch(schemas.TopicInteractions, 0)),
	)
	former := spoil(t, store, "ann", newer)
	gradients := len(log.records[schemas.TopicItemGradients])

	e := embedOn(t, log, store)
	require.NoError(
		t,
		log.Emit(t.Context(), []record.Record{like("bob", 2, noon), like("ann", 2, noon)}),
	)
	b := log.batch(schemas.TopicInteractions, 2)
	for range 3 {
		err := e.Handle(t.Context(), b)
		require.ErrorIs(t, err, model.ErrNewerFormat)
		require.ErrorContains(t, err, `state of user "ann" was written by a newer version`)
		require.Equal(t, fault.Transient, fault.ClassOf(err), "no event is to blame")
		require.True(t, fault.Waits(err), "the breaker is to stay closed for the other partitions")
	}
	require.Equal(t, newer, point(t, store, "ann").State)
	require.Len(t, log.records[schemas.TopicItemGradients], gradients)

	other := &record.Batch{
		Range: record.Range{
			LogID:     "l",
			Topic:     schemas.TopicInteractions,
			Partition: 1,
			First:     0,
			Last:      0,
		},
	}
	m := like("dan", 1, noon) // who belongs in partition 1 of 2
	other.Records = []record.Record{
		{Topic: m.Topic, Partition: 1, Key: m.Key, Value: m.Value, Headers: m.Headers},
	}
	require.NoError(t, e.Handle(t.Context(), other), "another partition goes on")
	require.Equal(t, 1, e.events(t, "dan"))

	spoil(t, store, "ann", former) // as good as the end of the upgrade
	require.NoError(t, e.Handle(t.Context(), b))
	require.Equal(t, 2, e.events(t, "ann"))
	require.Equal(t, 2, e.events(t, "bob"))
}

// scenario is a log of interactions with two users, and what else stands on a log: repetitions, a
// refusal, an unreadable record, an erasure and a dead letter that was replayed.
type scenario struct {
	*embedding
	next    map[string]int64
	letters letters

	once    sync.Once
	counted map[string]float64
	told    []string
}

func newScenario(t *testing.T) *scenario {
	t.Helper()
	return newScenarioOn(t, openStore(t))
}

func newScenarioOn(t *testing.T, store *sqlite.Store) *scenario {
	t.Helper()
	s := &scenario{next: make(map[string]int64)}
	log := newMemoryLog()
	for n := range 8 {
		item := schemas.Item{
			EventID:    fmt.Sprint(n),
			Source:     "app",
			ItemID:     fmt.Sprintf("i%d", n),
			Title:      fmt.Sprint("Film ", n),
			OccurredAt: noon,
		}
		require.NoError(t, log.Emit(t.Context(), []record.Record{item.Message()}))
	}
	s.restartOn(t, log, store)
	return s
}

// restartOn makes an owner of the partition, who has nothing in memory.
func (s *scenario) restartOn(t *testing.T, log *memoryLog, store *sqlite.Store) {
	t.Helper()
	cfg := processors.DefaultEmbedConfig(1)
	cfg.Corrupt = func(id string, err error) { s.told = append(s.told, "corrupt "+id) }
	cfg.Repaired = func(id string, events int) {
		s.told = append(s.told, fmt.Sprintf("repaired %s: %d", id, events))
	}
	erasures := processors.NewErasures()
	e := processors.NewEmbed(
		store,
		processors.Streams{Log: log, Emit: log, Letters: s.letters},
		processors.NewItemFactors(model.Default()),
		erasures,
		cfg,
	)
	require.NoError(t, e.Assign(t.Context(), s.assignments()))
	s.embedding = &embedding{e, log, store, erasures}
}

// assignments are the partitions of embed, where the scenario stands.
func (s *scenario) assignments() []record.Assignment {
	var parts []record.Assignment
	for _, topic := range []string{schemas.TopicInteractions, embedMisplaced, embedReplay} {
		tp := record.TopicPartition{Topic: topic}
		parts = append(
			parts, record.Assignment{TopicPartition: tp, Next: s.next[topic], Committed: -1},
		)
	}
	return parts
}

func (s *scenario) restart(t *testing.T) {
	t.Helper()
	s.restartOn(t, s.log, s.store)
}

func (s *scenario) emit(t *testing.T, batch ...record.Record) {
	t.Helper()
	s.log.clock += time.Second
	require.NoError(t, s.log.Emit(t.Context(), batch))
}

// handle hands over what has come on a topic.
func (s *scenario) handle(t *testing.T, topic string) error {
	t.Helper()
	if s.next[topic] == int64(len(s.log.records[topic])) {
		return nil
	}
	b := s.log.batch(topic, s.next[topic])
	err := s.Handle(t.Context(), b)
	var rejected *fault.Rejected
	if err == nil || errors.As(err, &rejected) {
		s.next[topic] = b.Last + 1
		return nil
	}
	return err
}

func replayed(m record.Record, id string) record.Record {
	m.Topic = embedReplay
	m.Headers = append(m.Headers, record.Header{Key: record.HeaderID, Value: []byte(id)})
	return m
}

// begin is what happens before the state is spoiled, goOn what happens after it.
func (s *scenario) begin(t *testing.T) {
	t.Helper()
	marker := schemas.User{
		EventID:    "bye",
		Source:     "app",
		UserID:     "ann",
		Erased:     true,
		OccurredAt: noon,
	}.Message()
	marker.Topic = schemas.TopicInteractions
	s.emit(
		t,
		like("ann", 0, noon.Add(-time.Hour)),
		marker,
		like("ann", 1, noon.Add(time.Second)),
		like("bob", 1, noon),
	)
	require.NoError(t, s.handle(t, schemas.TopicInteractions))
	dislike := like("ann", 3, noon.Add(time.Minute))
	dislike.Value = bytes.ReplaceAll(dislike.Value, []byte(`"like"`), []byte(`"dislike"`))
	s.emit(t, like("ann", 2, noon.Add(time.Minute)), like("ann", 2, noon.Add(time.Minute)), dislike,
		record.Record{Topic: schemas.TopicInteractions, Key: []byte("ann"), Value: []byte("{")})
	require.NoError(t, s.handle(t, schemas.TopicInteractions))
	s.emit(t, replayed(like("ann", 4, noon.Add(time.Minute)), "embed/interactions/0/7"))
	require.NoError(t, s.handle(t, embedReplay))
}

func (s *scenario) goOn(t *testing.T) {
	t.Helper()
	s.emit(t, like("bob", 2, noon), like("ann", 5, noon.Add(time.Hour)))
	require.NoError(t, s.handle(t, schemas.TopicInteractions))
}

func (s *scenario) end(t *testing.T) {
	t.Helper()
	s.emit(t, like("ann", 6, noon.Add(2*time.Hour)), like("bob", 3, noon))
	require.NoError(t, s.handle(t, schemas.TopicInteractions))
	require.NoError(t, s.handle(t, embedReplay))
}

// counts returns how often the owner of the items was told of each. Tests that run in parallel
// compare with one scenario, so it is counted once.
func (s *scenario) counts(t *testing.T) map[string]float64 {
	t.Helper()
	s.once.Do(func() { s.counted = s.count(t) })
	return s.counted
}

func (s *scenario) count(t *testing.T) map[string]float64 {
	t.Helper()
	c := processors.NewCatalog(
		s.store,
		processors.Streams{Log: s.log, Emit: s.log},
		processors.NewItemFactors(model.Default()),
		processors.DefaultCatalogConfig(1),
		func() time.Time { return noon },
	)
	require.NoError(
		t,
		c.Assign(
			t.Context(),
			[]record.Assignment{
				{TopicPartition: record.TopicPartition{Topic: schemas.TopicItems}, Committed: -1},
				{
					TopicPartition: record.TopicPartition{Topic: schemas.TopicItemGradients},
					Committed:      -1,
				},
			},
		),
	)
	ids := make([]string, 8)
	for n := range ids {
		ids[n] = fmt.Sprintf("i%d", n)
	}
	for _, topic := range []string{schemas.TopicItems, schemas.TopicItemGradients} {
		for n := range s.log.records[topic] {
			b := s.log.batch(topic, int64(n))
			b.Records, b.Last = b.Records[:1], b.First
			require.NoError(t, c.Handle(t.Context(), b))
		}
	}
	require.NoError(t, c.IndexAll(t.Context()))
	found, err := s.store.GetItems(t.Context(), ids)
	require.NoError(t, err)
	out := make(map[string]float64)
	for i := range found {
		out[found[i].Content.ItemID] = found[i].Count
	}
	return out
}

// requireSame compares with a scenario in which nothing was spoiled.
func (s *scenario) requireSame(t *testing.T, want *scenario) {
	t.Helper()
	for _, id := range []string{"ann", "bob"} {
		got, ref := point(t, s.store, id), point(t, want.store, id)
		var a, b model.User
		require.NoError(t, a.Decode(got.State), id)
		require.NoError(t, b.Decode(ref.State))
		require.Equal(t, b.History, a.History, id)
		require.Equal(t, b.AppendSeen(nil), a.AppendSeen(nil), id)
		require.Equal(t, b.Events, a.Events, id)
		require.Equal(t, ref.LastEventAt, got.LastEventAt, id)
		require.Equal(t, ref.ChangedAt, got.ChangedAt, id)
		require.Equal(
			t,
			ref.Positions[schemas.TopicInteractions],
			got.Positions[schemas.TopicInteractions],
			id,
		)
		require.Greater(t, model.Similarity(got.Vector, ref.Vector), float32(0.99), id)
	}
	require.Equal(t, want.counts(t), s.counts(t), "each event has taught the items once")
}

func undisturbed(t *testing.T) *scenario {
	t.Helper()
	s := newScenario(t)
	s.begin(t)
	s.restart(t)
	s.goOn(t)
	s.end(t)
	return s
}

func TestCorruptStateIsRebuiltWhileTheOthersGoOn(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	require.Empty(t, want.told)
	for name, spoiled := range map[string]func(t *testing.T, s *scenario){
		"by the owner": func(*testing.T, *scenario) {},
		"by a successor": func(t *testing.T, s *scenario) {
			t.Helper()
			s.restart(t)
		},
		"in a second attempt, since the broker was away": func(t *testing.T, s *scenario) {
			t.Helper()
			for _, topic := range []string{
				schemas.TopicItemGradients, schemas.TopicProfileChanges,
			} {
				s.log.refuse[topic] = true
				require.Error(t, s.handle(t, embedReplay))
				s.log.refuse[topic] = false
			}
		},
		"by a successor in a second attempt": func(t *testing.T, s *scenario) {
			t.Helper()
			s.log.refuse[schemas.TopicProfileChanges] = true
			require.Error(t, s.handle(t, embedReplay))
			s.log.refuse[schemas.TopicProfileChanges] = false
			s.restart(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t)
			s.begin(t)
			spoil(t, s.store, "ann", corrupt)
			s.restart(t)
			requests := s.next[embedReplay]
			s.goOn(t)
			require.Equal(t, 2, s.events(t, "bob"), "the others go on")
			require.Equal(t, corrupt, point(t, s.store, "ann").State)
			require.Len(t, s.log.records[embedReplay], int(requests)+1, "the request is on the log")
			require.Equal(t, []string{"corrupt ann"}, s.told)

			spoiled(t, s)
			s.log.records[schemas.TopicProfileChanges] = nil
			require.NoError(t, s.handle(t, embedReplay))
			require.Equal(t, 4, s.events(t, "ann"), "1, 2, 4 and 5: with what came meanwhile")
			require.Len(t, s.log.records[schemas.TopicProfileChanges], 1, "a list is due")
			require.Equal(
				t, sinks.PositionOf(sinks.FirstEpoch, requests),
				point(t, s.store, "ann").Positions[embedReplay],
			)
			s.end(t)
			s.requireSame(t, want)
			require.Contains(t, s.told, "repaired ann: 4")
		})
	}
}

// expiring is a context whose deadline is when done is closed.
type expiring struct {
	context.Context
	done chan struct{}
}

func (c *expiring) Done() <-chan struct{} { return c.done }

func (c *expiring) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// slowLog answers the first read of a topic only when its caller has lost patience.
type slowLog struct {
	*memoryLog
	topic   string
	reading func()
}

func (l *slowLog) Read(
	ctx context.Context,
	topic string,
	partition int,
	from, to int64,
	f func(*record.Record) error,
) error {
	if topic == l.topic && l.reading != nil {
		reading := l.reading
		l.reading = nil
		reading()
		<-ctx.Done()
		return ctx.Err()
	}
	return l.memoryLog.Read(ctx, topic, partition, from, to, f)
}

// While the history is read nobody waits for it, and what the user does meanwhile is not lost.
func TestLongHistoryDoesNotHoldUpInteractions(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	s := newScenario(t)
	s.begin(t)
	spoil(t, s.store, "ann", corrupt)
	s.restart(t)
	slow := &slowLog{memoryLog: s.log, topic: schemas.TopicInteractions}
	e := processors.NewEmbed(
		s.store,
		processors.Streams{Log: slow, Emit: s.log},
		processors.NewItemFactors(model.Default()),
		s.erasures,
		processors.DefaultEmbedConfig(1),
	)
	require.NoError(t, e.Assign(t.Context(), s.assignments()))
	s.Embed = e
	s.goOn(t)

	ctx := &expiring{Context: t.Context(), done: make(chan struct{})}
	slow.reading = func() {
		s.emitAndHandle(t, like("ann", 6, noon.Add(2*time.Hour)), like("bob", 3, noon))
		close(ctx.done)
	}
	b := s.log.batch(embedReplay, s.next[embedReplay])
	err := s.Handle(ctx, b)
	require.True(t, fault.Waits(err), "%v", err)
	require.Equal(t, 3, s.events(t, "bob"), "handled while the history was read")
	require.Equal(t, corrupt, point(t, s.store, "ann").State)

	for s.next[embedReplay] < int64(len(s.log.records[embedReplay])) {
		require.NoError(t, s.handle(t, embedReplay))
	}
	require.Equal(t, 5, s.events(t, "ann"))
	s.requireSame(t, want)
}

func (s *scenario) emitAndHandle(t *testing.T, batch ...record.Record) {
	t.Helper()
	s.emit(t, batch...)
	require.NoError(t, s.handle(t, schemas.TopicInteractions))
}

// A batch that has left the user out may have its gradient sums on the log when it breaks off. If
// the user were rebuilt before it is tried again, it would teach the items nothing of the user.
func TestRepairWaitsForABatchThatIsTriedAgain(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	s := newScenario(t)
	s.begin(t)
	spoil(t, s.store, "ann", corrupt)
	s.restart(t)
	s.goOn(t)
	s.emit(t, like("ann", 6, noon.Add(2*time.Hour)), like("bob", 3, noon))
	s.log.refuse[schemas.TopicProfileChanges] = true
	require.Error(t, s.handle(t, schemas.TopicInteractions))
	s.log.refuse[schemas.TopicProfileChanges] = false
	require.True(t, fault.Waits(s.handle(t, embedReplay)))
	require.NoError(t, s.handle(t, schemas.TopicInteractions))
	require.NoError(t, s.handle(t, embedReplay))
	require.NoError(t, s.handle(t, embedReplay))
	require.Equal(t, 5, s.events(t, "ann"))
	s.requireSame(t, want)
}

func TestErasureNeedsNoState(t *testing.T) {
	t.Parallel()
	for name, state := range map[string][]byte{"corrupt": corrupt, "not there": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t)
			s.begin(t)
			spoil(t, s.store, "ann", state)
			s.restart(t)
			marker := schemas.User{
				EventID:    "bye again",
				Source:     "app",
				UserID:     "ann",
				Erased:     true,
				OccurredAt: noon.Add(time.Hour),
			}.Message()
			marker.Topic = schemas.TopicInteractions
			before := len(s.log.records[embedReplay])
			s.emitAndHandle(
				t,
				like("ann", 5, noon.Add(time.Minute)),
				marker,
				like("ann", 6, noon.Add(2*time.Hour)),
			)
			require.Equal(t, 1, s.events(t, "ann"), "what came after the erasure")
			require.Len(t, s.log.records[embedReplay], before)
		})
	}
}

// recommending is a recommend on an embedded store.
func recommending(log *memoryLog, store *sqlite.Store) *processors.Recommend {
	erasures := processors.NewErasures()
	cfg := recommend.DefaultConfig()
	cfg.Holdout = 0
	r := recommend.New(
		recommend.Stores{Users: store, Items: store, Graph: store},
		erasures,
		cfg,
		func() time.Time { return noon },
	)
	return processors.NewRecommend(
		r, store, processors.Streams{Log: log, Emit: log}, erasures,
		processors.RecommendConfig{Epoch: sinks.FirstEpoch},
	)
}

func TestUndecodableStateHoldsUpNoListOfOthers(t *testing.T) {
	t.Parallel()
	for name, state := range map[string][]byte{"newer": newer, "corrupt": corrupt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, store := newMemoryLog(), openStore(t)
			require.NoError(
				t,
				log.Emit(
					t.Context(),
					[]record.Record{
						like("ann", 1, noon),
						like("bob", 1, noon),
						like("carl", 2, noon),
					},
				),
			)
			require.NoError(
				t,
				embedOn(t, log, store).Handle(t.Context(), log.batch(schemas.TopicInteractions, 0)),
			)
			former := spoil(t, store, "ann", state)
			p, b := recommending(log, store), log.batch(schemas.TopicProfileChanges, 0)
			listed := func() map[string]int {
				lists := make(map[string]int)
				for i := range log.records[schemas.TopicRecommendations] {
					lists[string(log.records[schemas.TopicRecommendations][i].Key)]++
				}
				return lists
			}

			err := p.Handle(t.Context(), b)
			require.Equal(t, map[string]int{"bob": 1, "carl": 1}, listed())
			if name == "corrupt" {
				require.NoError(t, err)
				require.Len(t, log.records[embedReplay], 1, "embed is asked to rebuild the user")
				require.Equal(t, "ann", string(log.records[embedReplay][0].Key))
				return
			}
			for range 2 {
				require.ErrorIs(t, err, model.ErrNewerFormat)
				require.True(
					t,
					fault.Waits(err),
					"the partition waits and leaves the breaker alone",
				)
				err = p.Handle(t.Context(), b)
			}
			spoil(t, store, "ann", former)
			require.NoError(t, p.Handle(t.Context(), b))
			require.Equal(
				t,
				map[string]int{"ann": 1, "bob": 1, "carl": 1},
				listed(),
				"nobody gets a second one",
			)
			require.Empty(t, log.records[embedReplay])
		})
	}
}

// Recommend finds it and embed repairs it, without another event of the user.
func TestCorruptStateThatRecommendFindsIsRebuilt(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	s.begin(t)
	spoil(t, s.store, "ann", corrupt)
	profiles := int64(len(s.log.records[schemas.TopicProfileChanges]))
	require.NoError(
		t,
		recommending(
			s.log,
			s.store,
		).Handle(t.Context(), s.log.batch(schemas.TopicProfileChanges, profiles-1)),
	)
	before := s.counts(t)
	require.NoError(t, s.handle(t, embedReplay))
	require.Equal(t, 3, s.events(t, "ann"))
	require.Len(t, s.log.records[schemas.TopicProfileChanges], int(profiles)+1, "a list is due")
	require.Equal(t, before, s.counts(t), "nothing is learned twice")
}
