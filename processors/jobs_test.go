package processors_test

import (
	"context"
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
	"github.com/slipstream-rec/slipstream/stream/record"
)

func erased(user string) record.Record { return erasedAt(schemas.TopicUsers, user, noon) }

// A person's late events are dropped before the markers remove what is there, and the tombstones
// come last: compaction may forget the erasure itself.
func TestAnErasureIsSpreadInOrder(t *testing.T) {
	t.Parallel()
	unreadable := erased("carl")
	unreadable.Value = []byte("{")
	attributes := schemas.User{
		EventID: "1", Source: "app", UserID: "dan", OccurredAt: noon,
	}.Message()
	for fails := range 4 {
		t.Run(fmt.Sprintf("effect %d fails", fails), func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			p := processors.NewErase(w.streams(), processors.NewErasures(), 1)
			b := w.log.batch(schemas.TopicUsers, w.add(t, erased("ann"), unreadable, attributes,
				record.Record{Topic: schemas.TopicUsers, Key: []byte("eve")}, erased("bob")))
			w.failAt = fails
			err := p.Handle(t.Context(), b)
			if fails > 0 {
				require.Equal(t, fault.Transient, fault.ClassOf(err))
				require.Len(t, w.done, fails-1, "nothing that comes later")
				err = p.Handle(t.Context(), b)
			}
			require.Equal(t, []int{1}, rejectedAt(t, err))
			require.Equal(t, "emit erasures", w.done[0])
			require.Equal(t, "emit users", w.done[len(w.done)-1])

			found := processors.NewErasures()
			for i := range w.log.records[schemas.TopicErasures] {
				require.NoError(t, found.Apply(&w.log.records[schemas.TopicErasures][i]))
			}
			require.Equal(t, 2, found.Len())
			after := noon.Add(time.Nanosecond)
			require.True(t, found.Covers("ann", noon, after), "by the time of the event")
			require.True(t, found.Covers("ann", after, noon), "by the time of the log")
			require.False(t, found.Covers("ann", after, after))
			for _, topic := range schemas.MarkedTopics() {
				for i := range w.log.records[topic] {
					u, err := schemas.DecodeUser(&w.log.records[topic][i])
					require.NoError(t, err)
					require.True(t, u.Erased && u.OccurredAt.Equal(noon), topic)
				}
				marked := keysOf(w.log, topic)
				require.Equal(t, []string{"ann", "bob"}, marked[:2])
				require.Len(t, marked, map[bool]int{true: 4, false: 2}[fails == 3])
			}
			for _, x := range w.log.records[schemas.TopicUsers][5:] {
				require.Empty(t, x.Value)
				require.Contains(t, []string{"ann", "bob"}, string(x.Key))
			}
			require.Len(t, w.log.records[schemas.TopicUsers], 7)
			require.Empty(t, w.log.records[schemas.TopicRecommendationsCurrent],
				"recommend withdraws the lists, in line with their changes")
		})
	}
}

// An erasure that is sent again counts as of the first time, also for who starts in between and
// reads what is on the log.
func TestAnErasureThatIsSentAgainKeepsItsTime(t *testing.T) {
	t.Parallel()
	w := watch(t)
	known := processors.NewErasures()
	p := processors.NewErase(w.streams(), known, 1)
	require.NoError(t, p.Handle(t.Context(),
		w.log.batch(schemas.TopicUsers, w.add(t, erased("ann")))))
	next := processors.NewErasures()
	for i := range w.log.records[schemas.TopicErasures] {
		require.NoError(t, next.Apply(&w.log.records[schemas.TopicErasures][i]))
	}
	at, ok := next.At("ann")
	require.True(t, ok)
	repeated := erasedAt(schemas.TopicUsers, "ann", noon.Add(time.Hour))
	for _, e := range []*processors.Erasures{known, next, next.Without(nil)} {
		p = processors.NewErase(w.streams(), e, 1)
		require.NoError(t, p.Handle(t.Context(),
			w.log.batch(schemas.TopicUsers, w.add(t, repeated))))
		for _, topic := range schemas.MarkedTopics() {
			markers := w.log.records[topic]
			u, err := schemas.DecodeUser(&markers[len(markers)-1])
			require.NoError(t, err)
			require.True(t, u.OccurredAt.Equal(at), topic)
		}
	}
	asked := schemas.User{
		EventID: "asked again", Source: "app", UserID: "ann", Erased: true,
		OccurredAt: noon.Add(time.Hour),
	}.Message()
	require.NoError(t, p.Handle(t.Context(), w.log.batch(schemas.TopicUsers, w.add(t, asked))))
	later, _ := next.At("ann")
	require.Equal(t, at, later, "a copy is on its own")
	last := w.log.records[schemas.TopicErasures]
	x, err := schemas.DecodeErasure(&last[len(last)-1])
	require.NoError(t, err)
	require.True(t, x.ErasedAt.After(at))
}

func TestErasuresKeepTheLatestTime(t *testing.T) {
	t.Parallel()
	e := processors.NewErasures()
	_, ok := e.At("ann")
	require.False(t, ok)
	for _, at := range []time.Time{noon, noon.Add(time.Hour), noon.Add(time.Minute)} {
		m := schemas.Erasure{UserKey: schemas.Key("ann"), ErasedAt: at}.Message()
		require.NoError(t, e.Apply(&m))
	}
	at, ok := e.At("ann")
	require.True(t, ok)
	require.True(t, at.Equal(noon.Add(time.Hour)))
	require.False(t, e.Covers("bob", noon, noon))
	require.Equal(t, 1, e.Len())
	require.NoError(t, e.Apply(&record.Record{Key: []byte("ann")}), "it takes nothing back")
	require.Equal(t, 1, e.Len())
	require.Error(t, e.Apply(&record.Record{Value: []byte("{")}))
}

// running are the tasks that a process runs now.
type running struct {
	mu    sync.Mutex
	names map[string]int
	begun chan struct{}
}

func (r *running) repeat(ctx context.Context, t processors.Task) {
	r.mu.Lock()
	r.names[t.Name]++
	r.mu.Unlock()
	r.begun <- struct{}{}
	<-ctx.Done()
	r.mu.Lock()
	r.names[t.Name]--
	r.mu.Unlock()
}

func (r *running) now() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]int)
	for name, n := range r.names {
		out[name] = n
	}
	return out
}

func TestPeriodicTasksRunWhereThePartitionIs(t *testing.T) {
	t.Parallel()
	r := &running{names: make(map[string]int), begun: make(chan struct{}, 2)}
	p := processors.NewPeriodic(r.repeat, []processors.Task{{Name: "a"}, {Name: "b"}})
	p.Revoke(nil) // nothing runs yet
	parts := assigned(0, schemas.TopicMeta)
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 { // also when it is assigned again without having been revoked
		require.NoError(t, p.Assign(ctx, parts))
		for range 2 {
			<-r.begun
		}
		require.Equal(t, map[string]int{"a": 1, "b": 1}, r.now())
	}
	cancel() // of the assignment: the tasks go on
	require.Equal(t, map[string]int{"a": 1, "b": 1}, r.now())
	require.NoError(t, p.Handle(t.Context(), &record.Batch{}))
	p.Revoke([]record.TopicPartition{parts[0].TopicPartition})
	require.Equal(t, map[string]int{"a": 0, "b": 0}, r.now(), "revoked when they have ended")

	require.NoError(t, p.Assign(t.Context(), parts))
	for range 2 {
		<-r.begun
	}
	require.NoError(t, p.Assign(t.Context(), nil), "the partition is somebody else's now")
	require.Equal(t, map[string]int{"a": 0, "b": 0}, r.now())
}

var popular = sinks.TrendingQuery{
	HalfLife: time.Hour, N: 10, Until: noon,
	Weights: map[schemas.Meaning]float64{schemas.Love: 1},
}

func TestTrendingItemsArePublished(t *testing.T) {
	t.Parallel()
	w := watch(t)
	a := processors.NewAnalytics(w.store.Analytics(), w.log, processors.NewErasures(), nil, 100)
	job := processors.NewTrendingJob(
		w.store.Analytics(), w.emit, popular, func() time.Time { return noon })
	require.NoError(t, job.Run(t.Context()))
	require.Empty(t, w.done, "nothing is known yet: what stands is better than nothing")
	require.False(t, job.Found())

	first := w.add(t, like("ann", 1, noon.Add(-time.Hour)), like("bob", 1, noon.Add(-time.Hour)),
		like("bob", 2, noon.Add(-time.Hour)))
	require.NoError(t, a.Handle(t.Context(), w.log.batch(schemas.TopicInteractions, first)))
	w.failAt = 1
	require.Equal(t, fault.Transient, fault.ClassOf(job.Run(t.Context())))
	require.False(t, job.Found())
	require.NoError(t, job.Run(t.Context()))
	require.True(t, job.Found())
	list, err := schemas.DecodeTrending(&w.log.records[schemas.TopicTrending][0])
	require.NoError(t, err)
	require.Equal(t, noon, list.ComputedAt)
	require.Equal(t, "1h0m0s", list.HalfLife)
	require.Len(t, list.Items, 2)
	require.Equal(t, "i1", list.Items[0].ItemID)
	require.Greater(t, list.Items[0].Score, list.Items[1].Score)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, job.Run(ctx))
	require.Len(t, w.done, 1)
}

// stored puts n users whom the log changed at a time.
func (w *watched) stored(t *testing.T, name string, n int, changed time.Time) {
	t.Helper()
	var batch []sinks.User
	for i := range n {
		batch = append(batch, sinks.User{
			ID: fmt.Sprint(name, i), Vector: []float32{1, 1}, ChangedAt: changed,
			Positions: map[string]sinks.Position{schemas.TopicInteractions: at(int64(i))},
		})
	}
	src := sinks.Source{Topic: schemas.TopicInteractions}
	require.NoError(t, w.store.Store.PutUsers(t.Context(), src, batch))
}

func TestUsersExpireInParts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		ttl  time.Duration
		left int
	}{
		{"after their time", 24 * time.Hour, 2},
		{"never", 0, 2003},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			w.stored(t, "old", 2001, noon.Add(-25*time.Hour))
			w.stored(t, "new", 2, noon)
			job := processors.NewExpiryJob(
				w.store, w.streams(), processors.NewErasures(),
				processors.ExpiryConfig{Partitions: 1, UserTTL: c.ttl},
				func() time.Time { return noon },
			)
			require.NoError(t, job.Run(t.Context()))
			require.Len(t, users(t, w.store.Store), c.left)
		})
	}
}

func TestExpiryOfUsersAndOfListsDoNotKeepEachOther(t *testing.T) {
	t.Parallel()
	list := schemas.Recommendation{
		UserID: "ann", RecommendationID: "r", ExpiresAt: noon.Add(-time.Nanosecond),
	}
	standing := schemas.Recommendation{UserID: "bob", RecommendationID: "r", ExpiresAt: noon}
	for fails, left := range []map[string]int{
		{"users": 0, "requests": 1}, {"users": 1, "requests": 1}, {"users": 0, "requests": 0},
	} {
		t.Run(fmt.Sprintf("effect %d fails", fails), func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			w.stored(t, "old", 1, noon.Add(-25*time.Hour))
			w.add(t, list.Message(schemas.TopicRecommendationsCurrent),
				standing.Message(schemas.TopicRecommendationsCurrent))
			job := processors.NewExpiryJob(
				w.store, w.streams(), processors.NewErasures(),
				processors.ExpiryConfig{Partitions: 1, UserTTL: 24 * time.Hour},
				func() time.Time { return noon },
			)
			w.failAt = fails
			require.Equal(t, fails > 0, job.Run(t.Context()) != nil)
			require.Len(t, w.log.records[schemas.TopicRecommendationsCurrent], 2)
			require.Len(t, users(t, w.store.Store), left["users"])
			requests := keysOf(w.log, schemas.TopicProfileChanges)
			require.Len(t, requests, left["requests"])
			if len(requests) == 1 {
				require.Equal(t, "ann", requests[0])
			}
		})
	}
	log := &askedLog{memoryLog: newMemoryLog(), fails: fault.Transientf("no leader")}
	job := processors.NewExpiryJob(
		openStore(t), processors.Streams{Log: log, Emit: log}, processors.NewErasures(),
		processors.ExpiryConfig{Partitions: 1}, func() time.Time { return noon },
	)
	require.ErrorIs(t, job.Run(t.Context()), log.fails)
}

func friends(a, b string, n int, at time.Time) record.Record {
	return schemas.Friendship{
		EventID: fmt.Sprint(a, b, n), Source: "app", UserID: a, FriendID: b, OccurredAt: at,
	}.Message()
}

var graphOrder = []string{"apply edges", "erase friends", "emit profile-changes"}

func TestFriendshipsHaveTheirEffectsInOrder(t *testing.T) {
	t.Parallel()
	unreadable := friends("x", "y", 1, noon)
	unreadable.Value = []byte("{")
	marker := erasedAt(schemas.TopicFriendships, "carl", noon)
	broken := marker
	broken.Value = []byte("{")
	batch := []record.Record{
		friends("ann", "bob", 1, noon), unreadable, friends("ann", "carl", 2, noon), marker, broken,
		friends("ann", "carl", 3, noon), friends("ann", "carl", 4, noon.Add(time.Second)),
	}
	for fails := range 4 {
		t.Run(fmt.Sprintf("effect %d fails", fails), func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			p := processors.NewGraph(w.store, w.streams(), processors.NewErasures())
			b := w.log.batch(schemas.TopicFriendships, w.add(t, batch...))
			w.failAt = fails
			err := p.Handle(t.Context(), b)
			if fails > 0 {
				require.Equal(t, fault.Transient, fault.ClassOf(err))
				require.Len(t, w.done, fails-1)
				err = p.Handle(t.Context(), b)
			}
			require.Equal(t, []int{1, 4}, rejectedAt(t, err))
			require.Equal(t, graphOrder[2], w.done[len(w.done)-1])
			found, err := w.store.Friends(t.Context(), []string{"ann"}, 10)
			require.NoError(t, err)
			require.ElementsMatch(t, []string{"bob", "carl"}, found["ann"])
			changes := w.log.records[schemas.TopicProfileChanges]
			require.Subset(t, keysOf(w.log, schemas.TopicProfileChanges),
				[]string{"ann", "bob", "carl"})
			last, err := schemas.DecodeProfileChanged(&changes[len(changes)-1])
			require.NoError(t, err)
			require.Equal(t, "carl", last.UserID)
			require.EqualValues(t, 6, last.Offset)
			require.Equal(t, b.Records[6].Time, last.AcceptedAt)
		})
	}
	w := watch(t)
	p := processors.NewGraph(w.store, w.streams(), processors.NewErasures())
	b := w.log.batch(schemas.TopicFriendships, w.add(t, batch...))
	b.Lease = w.leaseFor(0)
	require.ErrorIs(t, p.Handle(t.Context(), b), errLeaseLost)
	require.Empty(t, w.done)
}

func TestErasedFriendsAreErasedAgainThirtyTimes(t *testing.T) {
	t.Parallel()
	w := watch(t)
	p := processors.NewGraph(w.store, w.streams(), processors.NewErasures())
	first := w.add(t, friends("ann", "bob", 1, noon),
		erasedAt(schemas.TopicFriendships, "ann", noon.Add(time.Hour)))
	require.NoError(t, p.Handle(t.Context(), w.log.batch(schemas.TopicFriendships, first)))
	w.done = nil
	for range 29 {
		require.NoError(t, p.RecheckErasures(t.Context()))
	}
	w.failAt = 30
	require.Error(t, p.RecheckErasures(t.Context()))
	require.NoError(t, p.RecheckErasures(t.Context()), "the last time, again")
	require.Len(t, w.done, 30)
	require.NoError(t, p.RecheckErasures(t.Context()))
	require.Len(t, w.done, 30)

	log := &askedLog{memoryLog: w.log}
	p = processors.NewGraph(
		w.store, processors.Streams{Log: log, Emit: w.emit}, processors.NewErasures())
	require.NoError(t, p.Assign(
		t.Context(), assigned(20_000, schemas.TopicFriendships, "graph.replay")))
	require.Equal(t, []string{"friendships/0 from 10000 to 20000"}, log.asked)
	log.fails = fault.Transientf("no leader")
	require.ErrorIs(t, p.Assign(t.Context(), assigned(0, schemas.TopicFriendships)), log.fails)
}

// deps are what a process gives to every processor.
func (w *watched) deps() processors.Deps {
	factors, erasures := processors.NewItemFactors(model.Default()), processors.NewErasures()
	now := func() time.Time { return noon }
	stores := recommend.Stores{Users: w.store, Items: w.store, Graph: w.store}
	return processors.Deps{
		Streams: w.streams(), Users: w.store, Items: w.store, Graph: w.store,
		Analytics: w.store.Analytics(), ItemFactors: factors, Erasures: erasures,
		Recommender: recommend.New(stores, erasures, recommend.DefaultConfig(), now),
		Repeat: func(ctx context.Context, task processors.Task) {
			_ = task.Run(ctx)
			<-ctx.Done()
		},
		Now: now,
		Settings: processors.Settings{
			Partitions: 1, RecentIDs: 100, Epoch: sinks.FirstEpoch, LearnInterval: 2 * time.Second,
			InsertInterval: time.Second, TrendingInterval: time.Minute, UserTTL: time.Hour,
			Trending: popular,
		},
	}
}

// Everything that is declared, run one after the other: an event goes from the log to a list.
func TestDeclaredProcessorsBringAnEventToItsList(t *testing.T) {
	t.Parallel()
	w := watch(t)
	d := w.deps()
	w.add(t, film("i1", "One"), like("ann", 1, noon))
	for _, declared := range processors.Table() {
		p := declared.New(d)
		require.NoError(t, p.Assign(t.Context(), assigned(0, declared.Topics()...)), declared.Name)
		for _, topic := range declared.Inputs {
			if len(w.log.records[topic]) > 0 {
				require.NoError(t, p.Handle(t.Context(), w.log.batch(topic, 0)), declared.Name)
			}
		}
		for _, task := range p.Tasks {
			require.NoError(t, task.Run(t.Context()), task.Name)
			if task.AtEnd != nil {
				require.NoError(t, task.AtEnd(t.Context()), task.Name)
			}
		}
		if p.Pending != nil {
			require.Zero(t, p.Pending(), declared.Name)
		}
		p.Revoke([]record.TopicPartition{{Topic: declared.Inputs[0]}})
	}
	require.Equal(t, []string{"ann"}, keysOf(w.log, schemas.TopicRecommendationsCurrent))
	require.InDelta(t, 1, storedItems(t, w.store.Store)["i1"].Count, 0)
	n, err := w.store.Analytics().CountInteractions(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n.Rows)
}

func TestTuningFollowsTheSettings(t *testing.T) {
	t.Parallel()
	d := watch(t).deps()
	catalog, _ := processors.Declared(schemas.GroupCatalog)
	tuning := catalog.Tune(d)
	require.Equal(t, 2*time.Second, tuning.TopicLinger[schemas.TopicItemGradients])
	require.Zero(t, tuning.BatchBytes(schemas.TopicItems))
	require.Equal(t, 512<<10, tuning.BatchBytes(schemas.TopicItemGradients))
	var films []record.Record
	for n := range 1000 {
		films = append(films, film(fmt.Sprint("film-", n), "Film"))
	}
	owner := catalog.New(d)
	b := &record.Batch{Range: record.Range{Topic: schemas.TopicItems, Last: 999}, Records: films}
	require.NoError(t, owner.Handle(t.Context(), b))
	require.Greater(t, d.ItemFactors.Len(), 1000)
	require.Equal(t, d.ItemFactors.Len()<<10,
		catalog.Tune(d).BatchBytes(schemas.TopicItemGradients),
		"a larger catalog is not written more often")

	analytics, _ := processors.Declared(schemas.GroupAnalytics)
	require.Equal(t, time.Second, analytics.Tune(d).TopicLinger[schemas.TopicInteractions])
	recommend, _ := processors.Declared(schemas.GroupRecommend)
	require.Equal(t, 4, recommend.Tune(d).BatchFactor)
	require.True(t, recommend.RetryTopics && recommend.Splittable)
	require.Equal(t, []string{schemas.GroupEmbed, schemas.GroupAnalytics},
		processors.Readers(schemas.TopicInteractions))
	require.Empty(t, processors.Readers(schemas.TopicMeta))
}
