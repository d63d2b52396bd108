package processors_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// embed makes an owner of interactions/0, who has nothing in memory, from an offset on.
func (w *watched) embed(t *testing.T, next int64) *processors.Embed {
	t.Helper()
	e, _ := w.embedKnowing(t, next, processors.DefaultEmbedConfig(1))
	return e
}

func (w *watched) embedKnowing(
	t *testing.T, next int64, cfg processors.EmbedConfig,
) (*processors.Embed, *processors.Erasures) {
	t.Helper()
	erasures := processors.NewErasures()
	e := processors.NewEmbed(
		w.store, w.streams(), processors.NewItemFactors(model.Default()), erasures, cfg)
	require.NoError(t, e.Assign(t.Context(), assigned(next, schemas.TopicInteractions)))
	return e, erasures
}

// learned is what a stored state has absorbed, apart from the numbers of the vectors: these depend
// on which negatives were drawn.
type learned struct {
	events    uint32
	seen      int
	positions map[string]sinks.Position
	last      time.Time
	changed   time.Time
}

func (w *watched) learned(t *testing.T) map[string]learned {
	t.Helper()
	out := make(map[string]learned)
	for id, u := range users(t, w.store.Store) {
		var m model.User
		require.NoError(t, m.Decode(u.State))
		out[id] = learned{m.Events, m.SeenLen(), u.Positions, u.LastEventAt, u.ChangedAt}
	}
	return out
}

// eventsOf returns how many events each stored state has absorbed.
func (w *watched) eventsOf(t *testing.T) map[string]int {
	t.Helper()
	out := make(map[string]int)
	for id, x := range w.learned(t) {
		out[id] = int(x.events)
	}
	return out
}

func at(offset int64) sinks.Position { return sinks.PositionOf(sinks.FirstEpoch, offset) }

// busy is a log of interactions: the first two are handled, and the batch of the next four moves
// two users, one of them new, and erases one.
func busy(t *testing.T) (*watched, *record.Batch) {
	t.Helper()
	w := watch(t)
	w.add(t, like("ann", 1, noon), like("carl", 1, noon),
		like("ann", 2, noon.Add(time.Minute)), like("bob", 2, noon),
		erasedAt(schemas.TopicInteractions, "carl", noon.Add(time.Hour)), like("bob", 3, noon))
	require.NoError(t, w.embed(t, 0).Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 1)))
	w.log.records[schemas.TopicProfileChanges] = nil
	w.done = nil
	return w, w.span(schemas.TopicInteractions, 2, 5)
}

// The order in which a process may end at any point: who repeats the batch finds every effect done
// or still to do.
var embedOrder = []string{
	"emit item-gradients", "put users", "forget users", "emit profile-changes",
}

func TestEmbedHasItsEffectsInOrder(t *testing.T) {
	t.Parallel()
	w, b := busy(t)
	require.NoError(t, w.embed(t, 2).Handle(t.Context(), b))
	require.Equal(t, embedOrder, w.done)
	require.Equal(t, map[string]learned{
		"ann": {
			2, 2,
			map[string]sinks.Position{schemas.TopicInteractions: at(2)},
			noon.Add(time.Minute), b.Records[0].Time,
		},
		"bob": {
			2, 2,
			map[string]sinks.Position{schemas.TopicInteractions: at(5)},
			noon, b.Records[3].Time,
		},
	}, w.learned(t))
}

func TestEmbedWithoutALeaseHasNoFurtherEffect(t *testing.T) {
	t.Parallel()
	for n := range 2 {
		t.Run(fmt.Sprintf("lost after %d effects", n), func(t *testing.T) {
			t.Parallel()
			w, b := busy(t)
			e := w.embed(t, 2)
			b.Lease = w.leaseFor(n)
			require.ErrorIs(t, e.Handle(t.Context(), b), errLeaseLost)
			require.Equal(t, embedOrder[:n], append([]string{}, w.done...))
			b.Lease = nil
			require.NoError(t, e.Handle(t.Context(), b), "the lease was only uncertain")
			require.Equal(t, map[string]int{"ann": 2, "bob": 2}, w.eventsOf(t))
		})
	}
}

func TestEmbedLosesNothingWhereverItBreaksOff(t *testing.T) {
	t.Parallel()
	ref, b := busy(t)
	require.NoError(t, ref.embed(t, 2).Handle(t.Context(), b))
	want, counts := ref.learned(t), itemCounts(t, ref.log)
	for step := range embedOrder {
		for _, landed := range []bool{false, true} {
			for _, successor := range []bool{false, true} {
				name := fmt.Sprintf("%s, landed %v, repeated by a successor %v",
					embedOrder[step], landed, successor)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					w, b := busy(t)
					e := w.embed(t, 2)
					w.failAt, w.landed = step+1, landed
					err := e.Handle(t.Context(), b)
					require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
					done := step
					if landed {
						done++
					}
					require.Equal(t, embedOrder[:done], append([]string{}, w.done...))
					if successor {
						e = w.embed(t, 2)
					}
					b.Repeat = true
					require.NoError(t, e.Handle(t.Context(), b))
					require.Equal(t, want, w.learned(t))
					require.Equal(t, counts, itemCounts(t, w.log), "the items were told once")
					require.Subset(t, keysOf(w.log, schemas.TopicProfileChanges),
						[]string{"ann", "bob"}, "lists are due")
				})
			}
		}
	}
}

func TestUsersOutOfReachLeaveABatchWithoutEffect(t *testing.T) {
	t.Parallel()
	w, b := busy(t)
	e := w.embed(t, 2)
	w.store.away = fault.Transientf("refused")
	require.ErrorIs(t, e.Handle(t.Context(), b), w.store.away)
	require.Empty(t, w.done)
	w.store.away = nil
	require.NoError(t, e.Handle(t.Context(), b))
	require.Equal(t, embedOrder, w.done)
}

func TestProfileChangesTellOfTheNewestAndTheOldestRecord(t *testing.T) {
	t.Parallel()
	w := watch(t)
	first := w.add(t, act("ann", 9, "impression", noon), like("ann", 1, noon), like("bob", 1, noon),
		like("ann", 2, noon.Add(time.Minute)), act("ann", 9, "impression", noon))
	b := w.span(schemas.TopicInteractions, first, 4)
	require.NoError(t, w.embed(t, 0).Handle(t.Context(), b))
	changes := make(map[string]schemas.ProfileChanged)
	for i := range w.log.records[schemas.TopicProfileChanges] {
		x, err := schemas.DecodeProfileChanged(&w.log.records[schemas.TopicProfileChanges][i])
		require.NoError(t, err)
		changes[x.UserID] = x
	}
	require.Equal(t, map[string]schemas.ProfileChanged{
		"ann": {
			UserID: "ann", Topic: schemas.TopicInteractions, Offset: 3, EventID: "ann-2",
			OccurredAt: noon.Add(time.Minute), RecordedAt: noon.Add(time.Minute),
			AcceptedAt: b.Records[1].Time,
		},
		"bob": {
			UserID: "bob", Topic: schemas.TopicInteractions, Offset: 2, EventID: "bob-1",
			OccurredAt: noon, RecordedAt: noon, AcceptedAt: b.Records[2].Time,
		},
	}, changes)
}

func TestAnEventCountsOnceInWhateverRangeItComes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		first, last int64
		events      map[string]int
		due         []string
	}{
		{"the range again", 0, 2, map[string]int{"ann": 2, "bob": 1}, []string{"ann", "bob"}},
		{"its beginning", 0, 1, map[string]int{"ann": 2, "bob": 1}, []string{"ann", "bob"}},
		{"its end", 2, 2, map[string]int{"ann": 2, "bob": 1}, []string{"ann"}},
		{"the next record", 3, 3, map[string]int{"ann": 3, "bob": 1}, []string{"ann"}},
		{
			"the end and more", 2, 4,
			map[string]int{"ann": 3, "bob": 1, "carl": 1},
			[]string{"ann", "carl"},
		},
		{
			"all of it and more", 0, 5,
			map[string]int{"ann": 3, "bob": 2, "carl": 1},
			[]string{"ann", "bob", "carl"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			w.add(t, like("ann", 1, noon), like("bob", 1, noon), like("ann", 2, noon),
				like("ann", 3, noon), like("carl", 3, noon), like("bob", 3, noon))
			require.NoError(t, w.embed(t, 0).Handle(
				t.Context(), w.span(schemas.TopicInteractions, 0, 2)))
			w.log.records[schemas.TopicProfileChanges] = nil
			e := w.embed(t, c.first)
			require.NoError(t, e.Handle(
				t.Context(), w.span(schemas.TopicInteractions, c.first, c.last)))
			require.Equal(t, c.events, w.eventsOf(t))
			require.ElementsMatch(t, c.due, keysOf(w.log, schemas.TopicProfileChanges))
		})
	}
}

// The position of gradient sums is the last offset of their range: embed goes on behind it when the
// position of its group is lost.
func TestGradientSumsTellTheEndOfTheirRange(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.add(t, like("ann", 1, noon), like("bob", 1, noon), act("bob", 2, "impression", noon))
	require.NoError(t, w.embed(t, 0).Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 2)))
	found := make(processors.Learned)
	require.NoError(t, found.Due(t.Context(), w.log, 1))
	require.EqualValues(t, 3, found.Next(sinks.FirstEpoch, schemas.TopicInteractions, 0))
	require.Zero(t, found.Next(sinks.FirstEpoch, schemas.TopicInteractions, 1))
	require.Zero(t, found.Next(sinks.FirstEpoch+1, schemas.TopicInteractions, 0))
	require.Zero(t, found.Next(sinks.FirstEpoch, schemas.TopicItems, 0), "no input of embed")
}

// askedLog notes which offsets are read.
type askedLog struct {
	*memoryLog
	asked []string
	fails error
}

func (l *askedLog) Read(
	ctx context.Context, topic string, partition int, from, to int64,
	f func(*record.Record) error,
) error {
	l.asked = append(l.asked, fmt.Sprintf("%s/%d from %d to %d", topic, partition, from, to))
	if l.fails != nil {
		return l.fails
	}
	return l.memoryLog.Read(ctx, topic, partition, from, to, f)
}

func TestAnEventThatWasSentTwiceCountsOnceWithinTheWindow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		repeated  int // the event that comes again at offset 6
		successor bool
		events    int
	}{
		{"the latest", 5, false, 6},
		{"the last of the window", 3, false, 6},
		{"the first beyond the window", 2, false, 7},
		{"the latest, to a successor", 5, true, 6},
		{"the last of the window, to a successor", 3, true, 6},
		{"the first beyond the window, to a successor", 2, true, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			for n := range 6 {
				w.add(t, like("ann", n, noon))
			}
			cfg := processors.DefaultEmbedConfig(1)
			cfg.RecentIDs = 3
			e, _ := w.embedKnowing(t, 0, cfg)
			require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 5)))
			w.add(t, like("ann", c.repeated, noon))
			if c.successor {
				e, _ = w.embedKnowing(t, 6, cfg)
			}
			require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 6, 6)))
			require.Equal(t, map[string]int{"ann": c.events}, w.eventsOf(t))
		})
	}
}

func TestAssignmentReadsTheWindowBeforeThePosition(t *testing.T) {
	t.Parallel()
	log := &askedLog{memoryLog: newMemoryLog()}
	cfg := processors.DefaultEmbedConfig(1)
	cfg.RecentIDs = 3
	e := processors.NewEmbed(openStore(t), processors.Streams{Log: log, Emit: log},
		processors.NewItemFactors(model.Default()), processors.NewErasures(), cfg)
	require.NoError(t, e.Assign(t.Context(), append(
		assigned(7, schemas.TopicInteractions), assigned(2, embedReplay)...)))
	require.Equal(t, []string{
		"interactions/0 from 4 to 7", "embed.replay/0 from 0 to 2",
	}, log.asked)
	log.fails = fault.Transientf("no leader")
	require.ErrorIs(t, e.Assign(t.Context(), assigned(7, schemas.TopicInteractions)), log.fails)
}

// A batch that is tried again meets its own events in the window, and those before it.
func TestARepeatedBatchIsNoRepetitionOfItself(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.add(t, like("ann", 1, noon), like("ann", 1, noon), like("ann", 2, noon), like("ann", 2, noon))
	e := w.embed(t, 0)
	require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 0)))
	w.failAt = len(w.done) + 1
	b := w.span(schemas.TopicInteractions, 1, 3)
	require.Error(t, e.Handle(t.Context(), b))
	require.NoError(t, e.Handle(t.Context(), b))
	require.Equal(t, map[string]int{"ann": 2}, w.eventsOf(t))
}

// After a restart negatives are drawn from the latest positives of the log, an equal share of each
// partition, as they would have been without it.
func TestNegativesAreRecentPositivesAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	cfg := model.Default()
	cfg.Buffer, cfg.Negatives, cfg.LeastError = 4, 64, 0
	factors, past, store := processors.NewItemFactors(cfg), newMemoryLog(), openStore(t)
	embed := func(emit *memoryLog, next int64) *processors.Embed {
		e := processors.NewEmbed(store, processors.Streams{Log: past, Emit: emit},
			factors, processors.NewErasures(), processors.DefaultEmbedConfig(1))
		require.NoError(t, e.Assign(
			t.Context(), assigned(next, schemas.TopicInteractions, embedReplay)))
		return e
	}
	batches := map[string][]record.Record{
		schemas.TopicInteractions: {
			like("a", 1, noon), like("b", 2, noon), like("c", 3, noon),
		},
		embedReplay: {
			like("d", 4, noon), act("e", 5, "view", noon), act("f", 6, "dislike", noon),
		},
	}
	before := embed(newMemoryLog(), 0)
	for topic, batch := range batches {
		for i := range batch {
			batch[i].Topic = topic
		}
		require.NoError(t, past.Emit(t.Context(), batch))
		require.NoError(t, before.Handle(t.Context(), past.batch(topic, 0)))
	}

	now := newMemoryLog()
	after := embed(now, 3)
	require.NoError(t, past.Emit(t.Context(), []record.Record{like("zoe", 9, noon)}))
	require.NoError(t, after.Handle(t.Context(), past.batch(schemas.TopicInteractions, 3)))
	touched := itemCounts(t, now)
	require.Len(t, touched, 4, "%v", touched)
	for _, id := range []string{"i9", "i2", "i3", "i5"} {
		require.Contains(t, touched, id)
	}
}

// Another member may have moved a user since the state was read.
func TestAssignmentForgetsWhatWasInMemory(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.add(t, like("ann", 1, noon), like("ann", 2, noon), like("ann", 3, noon))
	e := w.embed(t, 0)
	require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 0)))
	require.NoError(t, w.embed(t, 1).Handle(t.Context(), w.span(schemas.TopicInteractions, 1, 1)))
	require.NoError(t, e.Assign(t.Context(), assigned(2, schemas.TopicInteractions)))
	require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 2, 2)))
	require.Equal(t, map[string]int{"ann": 3}, w.eventsOf(t))

	e.Revoke([]record.TopicPartition{{Topic: schemas.TopicInteractions}})
	w.store.away = errors.New("asked")
	w.add(t, like("ann", 4, noon))
	require.ErrorIs(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 3, 3)), w.store.away)
}

// While a partition stays, its users are not read again.
func TestUsersOfABatchStayInMemory(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.add(t, like("ann", 1, noon), like("ann", 2, noon), like("bob", 2, noon))
	e := w.embed(t, 0)
	require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 0)))
	var read []string
	w.store.reading = func(ids []string) { read = append(read, ids...) }
	require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 1, 2)))
	require.Equal(t, []string{"bob"}, read)
	require.Equal(t, map[string]int{"ann": 2, "bob": 1}, w.eventsOf(t))
}

func TestUnreadableInteractionsAreNamed(t *testing.T) {
	t.Parallel()
	w := watch(t)
	broken := erasedAt(schemas.TopicInteractions, "bob", noon)
	broken.Value = []byte("{")
	unreadable := like("ann", 1, noon)
	unreadable.Value = []byte("{")
	stray := repairRequest("ann") // is a request on the replay topic only
	stray.Topic = schemas.TopicInteractions
	w.add(t, unreadable, like("ann", 2, noon), broken, like("bob", 2, noon), stray)
	err := w.embed(t, 0).Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 4))
	require.Equal(t, []int{0, 2, 4}, rejectedAt(t, err))
	require.Equal(t, map[string]int{"ann": 1, "bob": 1}, w.eventsOf(t))
}

func TestARequestToRepairASoundStateHasNoEffect(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.add(t, like("ann", 1, noon))
	e := w.embed(t, 0)
	require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 0)))
	was := w.learned(t)
	w.done = nil
	for _, user := range []string{"ann", "nobody"} {
		first := w.add(t, processors.RepairRequest(
			&schemas.ProfileChanged{UserID: user, OccurredAt: noon, AcceptedAt: noon}))
		require.NoError(t, e.Handle(t.Context(), w.span(embedReplay, first, first)))
	}
	require.Empty(t, w.done)
	require.Equal(t, was, w.learned(t))
}

func TestReplayedDeadLettersCountByTheirFirstPosition(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.add(t, replayed(like("ann", 1, noon), "embed/interactions/0/7"),
		replayed(like("ann", 1, noon), "embed/interactions/0/7"), // replayed twice
		replayed(like("ann", 1, noon), "embed/interactions/0/8")) // as it was sent twice
	require.NoError(t, w.embed(t, 0).Handle(t.Context(), w.span(embedReplay, 0, 2)))
	require.Equal(t, map[string]int{"ann": 2}, w.eventsOf(t))
}

func TestErasureInLine(t *testing.T) {
	t.Parallel()
	marker := erasedAt(schemas.TopicInteractions, "ann", noon)
	for _, c := range []struct {
		name   string
		batch  []record.Record
		events map[string]int
	}{
		{"takes what came before it", []record.Record{like("ann", 1, noon), marker}, nil},
		{"and what comes behind it but happened before", []record.Record{
			like("ann", 1, noon), marker, like("ann", 2, noon),
		}, nil},
		{"but nothing that happened since", []record.Record{
			like("ann", 1, noon), marker, like("ann", 2, noon.Add(time.Second)),
		}, map[string]int{"ann": 1}},
		{"nor of anybody else", []record.Record{
			like("bob", 1, noon), like("ann", 1, noon), marker, like("bob", 2, noon),
		}, map[string]int{"bob": 2}},
		{"and once", []record.Record{
			marker, like("ann", 1, noon.Add(time.Second)), marker,
		}, map[string]int{"ann": 1}},
	} {
		for _, single := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, record by record %v", c.name, single), func(t *testing.T) {
				t.Parallel()
				w := watch(t)
				w.add(t, c.batch...)
				e, last := w.embed(t, 0), int64(len(c.batch)-1)
				if single {
					for n := range last + 1 {
						require.NoError(t, e.Handle(
							t.Context(), w.span(schemas.TopicInteractions, n, n)))
					}
				} else {
					require.NoError(t, e.Handle(
						t.Context(), w.span(schemas.TopicInteractions, 0, last)))
				}
				want := c.events
				if want == nil {
					want = map[string]int{}
				}
				require.Equal(t, want, w.eventsOf(t))
			})
		}
	}
}

// A write of a former owner that lands after the erasure is found for five minutes, and removed.
func TestALateWriterIsLookedForThirtyTimes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		before int // looks before the late write lands
		stays  bool
	}{
		{"at once", 0, false},
		{"before the last look", 29, false},
		{"after the last look", 30, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			w.add(t, like("ann", 1, noon.Add(-time.Second)), // right before the marker
				erasedAt(schemas.TopicInteractions, "ann", noon))
			e := w.embed(t, 0)
			require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 0)))
			late := users(t, w.store.Store)["ann"]
			require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 1, 1)))
			require.Empty(t, w.eventsOf(t))
			for range c.before {
				require.NoError(t, e.RecheckErasures(t.Context()))
			}
			src := sinks.Source{Topic: schemas.TopicInteractions}
			require.NoError(t, w.store.PutUsers(t.Context(), src, []sinks.User{late}))
			require.NoError(t, e.RecheckErasures(t.Context()))
			require.Equal(t, c.stays, len(w.eventsOf(t)) > 0)
		})
	}
}

func TestALookForErasedUsersThatFailsIsRepeated(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.add(t, like("ann", 1, noon.Add(-time.Second)),
		erasedAt(schemas.TopicInteractions, "ann", noon))
	e := w.embed(t, 0)
	require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 0)))
	late := users(t, w.store.Store)["ann"]
	require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 1, 1)))
	src := sinks.Source{Topic: schemas.TopicInteractions}
	require.NoError(t, w.store.PutUsers(t.Context(), src, []sinks.User{late}))

	w.store.away = fault.Transientf("refused")
	for range 40 {
		require.ErrorIs(t, e.RecheckErasures(t.Context()), w.store.away)
	}
	w.store.away = nil
	w.failAt = len(w.done) + 1
	require.Error(t, e.RecheckErasures(t.Context()))
	require.NoError(t, e.RecheckErasures(t.Context()))
	require.Empty(t, users(t, w.store.Store))
}

// Until the look finds it, an event of a person who has come back meets the state that a late
// writer has brought back, or the empty point that an erasure by an older version has left.
func TestWhoComesBackAfterAnErasureBeginsAnew(t *testing.T) {
	t.Parallel()
	src := sinks.Source{Topic: schemas.TopicInteractions}
	w := watch(t)
	w.add(t, like("ann", 1, noon.Add(-time.Second)),
		erasedAt(schemas.TopicInteractions, "ann", noon), like("ann", 2, noon.Add(time.Second)))
	require.NoError(t, w.embed(t, 0).Handle(t.Context(), w.span(schemas.TopicInteractions, 0, 0)))
	e, erasures := w.embedKnowing(t, 2, processors.DefaultEmbedConfig(1))
	erasures.Add(schemas.Erasure{UserKey: schemas.Key("ann"), ErasedAt: noon})
	require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 2, 2)))
	require.Equal(t, map[string]int{"ann": 1}, w.eventsOf(t), "a late write stood in the store")

	empty := sinks.User{ID: "bob", Positions: map[string]sinks.Position{src.Topic: at(2)}}
	require.NoError(t, w.store.PutUsers(t.Context(), src, []sinks.User{empty}))
	w.add(t, like("bob", 2, noon))
	var corrupt []string
	cfg := processors.DefaultEmbedConfig(1)
	cfg.Corrupt = func(id string, _ error) { corrupt = append(corrupt, id) }
	e, _ = w.embedKnowing(t, 3, cfg)
	require.NoError(t, e.Handle(t.Context(), w.span(schemas.TopicInteractions, 3, 3)))
	require.Equal(t, map[string]int{"ann": 1, "bob": 1}, w.eventsOf(t), "over an empty point")
	require.Empty(t, corrupt)
}

func TestOffsetsBeyondWhatAPositionHoldsAreRefused(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.add(t, like("ann", 1, noon))
	b := w.span(schemas.TopicInteractions, 0, 0)
	b.First, b.Last = 1<<44, 1<<44
	require.ErrorContains(t, w.embed(t, 0).Handle(t.Context(), b), "beyond what positions hold")
	require.Empty(t, w.done)

	foreign := w.span(schemas.TopicInteractions, 0, 0)
	foreign.Topic = schemas.TopicItems
	require.ErrorContains(t, w.embed(t, 0).Handle(t.Context(), foreign), "no input of embed")
	require.Empty(t, w.done)
}
