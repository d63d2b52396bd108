package processors_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// recommendTest makes lists of an empty catalog: who gets one, and why, is what counts here.
type recommendTest struct {
	*processors.Recommend
	*watched
	erasures *processors.Erasures
	// published are the lists that were told of.
	published []string
	// searching makes searches for items fail.
	searching error
}

// searchedItems are the items of a store that can be out of reach.
type searchedItems struct {
	*watchedStore
	test *recommendTest
}

func (s *searchedItems) SearchItems(
	ctx context.Context, queries []sinks.ItemQuery,
) ([][]sinks.ItemHit, error) {
	if s.test.searching != nil {
		return nil, s.test.searching
	}
	return s.Store.SearchItems(ctx, queries)
}

func recommends(t *testing.T) *recommendTest {
	t.Helper()
	r := &recommendTest{watched: watch(t), erasures: processors.NewErasures()}
	cfg := recommend.DefaultConfig()
	cfg.Holdout = 0
	stores := recommend.Stores{
		Users: r.store, Items: &searchedItems{r.store, r}, Graph: r.store.Store,
	}
	lists := recommend.New(stores, r.erasures, cfg, func() time.Time { return noon })
	published := processors.RecommendConfig{
		Epoch: sinks.FirstEpoch,
		Published: func(list *schemas.Recommendation) {
			r.published = append(r.published, list.UserID)
		},
	}
	r.Recommend = processors.NewRecommend(lists, r.store, r.streams(), r.erasures, published)
	return r
}

// due is a change of a profile at an offset of interactions; the log took its event so many seconds
// after noon.
func due(user string, offset, accepted int) record.Record {
	return (&schemas.ProfileChanged{
		UserID: user, Topic: schemas.TopicInteractions, Partition: 3, Offset: int64(offset),
		EventID:    fmt.Sprint(user, "-", offset),
		OccurredAt: noon.Add(time.Duration(offset) * time.Minute),
		AcceptedAt: noon.Add(time.Duration(accepted) * time.Second),
	}).Message()
}

// crowd is one change of each of n users.
func crowd(n int) (out []record.Record) {
	for i := range n {
		out = append(out, due(fmt.Sprint("user-", i), i, i))
	}
	return out
}

// deliver adds changes and hands them over as one batch.
func (r *recommendTest) deliver(t *testing.T, batch ...record.Record) error {
	t.Helper()
	return r.Handle(t.Context(), r.log.batch(schemas.TopicProfileChanges, r.add(t, batch...)))
}

func (r *recommendTest) lists(t *testing.T) []schemas.Recommendation {
	t.Helper()
	var out []schemas.Recommendation
	for i := range r.log.records[schemas.TopicRecommendations] {
		x, err := schemas.DecodeRecommendation(&r.log.records[schemas.TopicRecommendations][i])
		require.NoError(t, err)
		out = append(out, x)
	}
	return out
}

func TestChangesOfAUserAreAnsweredByOneList(t *testing.T) {
	t.Parallel()
	cause := func(user string, offset, accepted int) schemas.CausedBy {
		return schemas.CausedBy{
			Trigger: "event", Topic: schemas.TopicInteractions, Partition: 3, Offset: int64(offset),
			EventID:    fmt.Sprint(user, "-", offset),
			OccurredAt: noon.Add(time.Duration(offset) * time.Minute),
			AcceptedAt: noon.Add(time.Duration(accepted) * time.Second),
		}
	}
	for _, c := range []struct {
		name    string
		changes []record.Record
		users   []string
		causes  []schemas.CausedBy
	}{
		{
			"one change",
			[]record.Record{due("ann", 1, 1)},
			[]string{"ann"},
			[]schemas.CausedBy{cause("ann", 1, 1)},
		},
		{
			"the last is the cause, the oldest counts for freshness",
			[]record.Record{due("ann", 1, 1), due("bob", 2, 2), due("ann", 3, 3)},
			[]string{"ann", "bob"},
			[]schemas.CausedBy{cause("ann", 3, 1), cause("bob", 2, 2)},
		},
		{
			"also when it comes later",
			[]record.Record{due("bob", 2, 2), due("ann", 3, 3), due("ann", 4, 1), due("ann", 5, 2)},
			[]string{"bob", "ann"},
			[]schemas.CausedBy{cause("bob", 2, 2), cause("ann", 5, 1)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := recommends(t)
			require.NoError(t, r.deliver(t, c.changes...))
			lists := r.lists(t)
			require.Len(t, lists, len(c.users))
			for i := range lists {
				require.Equal(t, c.users[i], lists[i].UserID)
				require.Equal(t, c.causes[i], lists[i].CausedBy)
			}
			require.Equal(t, c.users, r.published)
			require.Equal(t, c.users, keysOf(r.log, schemas.TopicRecommendationsCurrent))
			for i := range lists {
				require.Equal(t, r.log.records[schemas.TopicRecommendations][i].Value,
					r.log.records[schemas.TopicRecommendationsCurrent][i].Value)
			}
		})
	}
}

func TestUnreadableChangesAreNamed(t *testing.T) {
	t.Parallel()
	r := recommends(t)
	unreadable, marker := due("ann", 1, 1), erasedAt(schemas.TopicProfileChanges, "bob", noon)
	unreadable.Value, marker.Value = []byte("{"), []byte("{")
	err := r.deliver(t, unreadable, due("ann", 2, 2), marker, due("bob", 3, 3))
	require.Equal(t, []int{0, 2}, rejectedAt(t, err))
	require.Equal(t, []string{"ann", "bob"}, r.published)
}

func TestListsOfErasedUsersAreWithdrawn(t *testing.T) {
	t.Parallel()
	// The event of a change at offset n happened n minutes after noon.
	marker := erasedAt(schemas.TopicProfileChanges, "ann", noon.Add(5*time.Minute))
	for _, c := range []struct {
		name    string
		batch   []record.Record
		users   []string
		current map[string]bool // whether the list stands
	}{
		{
			"a change before the marker",
			[]record.Record{due("ann", 1, 1), marker, due("bob", 2, 2)},
			[]string{"bob"},
			map[string]bool{"ann": false, "bob": true},
		},
		{
			"a late one behind it",
			[]record.Record{marker, due("ann", 5, 1)},
			nil,
			map[string]bool{"ann": false},
		},
		{
			"one that happened since",
			[]record.Record{marker, due("ann", 6, 1)},
			[]string{"ann"},
			map[string]bool{"ann": true},
		},
		{
			"a late one behind one that happened since",
			[]record.Record{marker, due("ann", 6, 1), due("ann", 5, 2)},
			[]string{"ann"},
			map[string]bool{"ann": true},
		},
		{"on both sides of it", []record.Record{
			due("ann", 1, 1), due("bob", 2, 2), marker, due("ann", 6, 1), due("ann", 7, 2),
		}, []string{"bob", "ann"}, map[string]bool{"ann": true, "bob": true}},
		{"nobody else", []record.Record{marker}, nil, map[string]bool{"ann": false}},
	} {
		for fails := range 3 {
			t.Run(fmt.Sprintf("%s, effect %d fails", c.name, fails), func(t *testing.T) {
				t.Parallel()
				r := recommends(t)
				first := r.add(t, c.batch...)
				b := r.log.batch(schemas.TopicProfileChanges, first)
				r.failAt = fails
				if err := r.Handle(t.Context(), b); err != nil {
					require.Equal(t, fault.Transient, fault.ClassOf(err))
					require.NoError(t, r.Handle(t.Context(), b))
				}
				require.Equal(t, c.users, r.published)
				current := make(map[string]bool)
				for _, x := range r.log.records[schemas.TopicRecommendationsCurrent] {
					current[string(x.Key)] = len(x.Value) > 0
				}
				require.Equal(t, c.current, current, "the last record of each user counts")
				require.ElementsMatch(t, c.users, keysOf(r.log, schemas.TopicRecommendations))
			})
		}
	}
}

func TestWhoIsErasedWhileTheListIsMadeGetsNone(t *testing.T) {
	t.Parallel()
	r := recommends(t)
	r.store.reading = func([]string) {
		r.erasures.Add(schemas.Erasure{UserKey: schemas.Key("ann"), ErasedAt: noon.Add(time.Hour)})
	}
	require.NoError(t, r.deliver(t, due("ann", 1, 1), due("bob", 2, 2)))
	require.Equal(t, []string{"bob"}, r.published)
	require.Equal(t, []string{"bob"}, keysOf(r.log, schemas.TopicRecommendationsCurrent))
}

// A phone's clock is fast: the last event is dated after the erasure that came behind it.
func TestAFastClockKeepsNoListOfWhoIsErasedWhileItIsMade(t *testing.T) {
	t.Parallel()
	r := recommends(t)
	r.store.reading = func([]string) {
		r.erasures.Add(schemas.Erasure{UserKey: schemas.Key("ann"), ErasedAt: noon.Add(time.Hour)})
	}
	require.NoError(t, r.deliver(t, fast("ann", 1), due("bob", 2, 2)))
	require.Equal(t, []string{"bob"}, r.published)
	require.Equal(t, []string{"bob"}, keysOf(r.log, schemas.TopicRecommendationsCurrent))
}

// fast is the change by an event that is dated two hours after the log took it.
func fast(user string, offset int) record.Record {
	return (&schemas.ProfileChanged{
		UserID: user, Topic: schemas.TopicInteractions, Partition: 3, Offset: int64(offset),
		OccurredAt: noon.Add(2 * time.Hour), RecordedAt: noon, AcceptedAt: noon,
	}).Message()
}

func TestListsAreMadeFiftyAtATime(t *testing.T) {
	t.Parallel()
	for users, calls := range map[int]int{1: 1, 50: 1, 51: 2, 120: 3} {
		t.Run(fmt.Sprint(users), func(t *testing.T) {
			t.Parallel()
			r := recommends(t)
			require.NoError(t, r.deliver(t, crowd(users)...))
			require.Len(t, r.done, calls)
			require.Len(t, r.published, users)
			require.Equal(t, keysOf(r.log, schemas.TopicRecommendations), r.published)
		})
	}
}

func TestRecommendWithoutALeaseHasNoFurtherEffect(t *testing.T) {
	t.Parallel()
	for n := range 3 {
		t.Run(fmt.Sprintf("lost after %d effects", n), func(t *testing.T) {
			t.Parallel()
			r := recommends(t)
			marker := erasedAt(schemas.TopicProfileChanges, "gone", noon)
			b := r.log.batch(schemas.TopicProfileChanges, r.add(t, append(crowd(60), marker)...))
			b.Lease = r.leaseFor(n)
			require.ErrorIs(t, r.Handle(t.Context(), b), errLeaseLost)
			require.Len(t, r.done, n)
			require.Len(t, r.published, []int{0, 0, 50}[n], "withdrawn first, then the lists")
		})
	}
}

// broken returns a recommend that has published the first fifty lists of a batch of sixty.
func broken(t *testing.T) (*recommendTest, *record.Batch) {
	t.Helper()
	r := recommends(t)
	b := r.log.batch(schemas.TopicProfileChanges, r.add(t, crowd(60)...))
	r.failAt = 2
	require.Error(t, r.Handle(t.Context(), b))
	require.Len(t, r.published, 50)
	return r, b
}

func TestABatchOfListsThatBrokeOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		first, last int64
		lists       int
		revoked     bool
	}{
		{"goes on with the lists that are missing", 0, 59, 10, false},
		{"is answered in full by another owner", 0, 59, 60, true},
		{"is another one with another end", 0, 54, 55, false},
		{"is another one with another beginning", 10, 59, 50, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, _ := broken(t)
			if c.revoked {
				r.Revoke([]record.TopicPartition{{Topic: schemas.TopicProfileChanges}})
			}
			r.published = nil
			b := r.span(schemas.TopicProfileChanges, c.first, c.last)
			require.NoError(t, r.Handle(t.Context(), b))
			require.Len(t, r.published, c.lists)
			r.published = nil
			require.NoError(t, r.Handle(t.Context(), b))
			require.Len(t, r.published, int(c.last-c.first+1), "it was done, and comes again")
		})
	}
}

func TestPartitionsDoNotShareTheirProgress(t *testing.T) {
	t.Parallel()
	r, b := broken(t)
	other := *b
	other.Partition = 1
	r.published = nil
	require.NoError(t, r.Handle(t.Context(), &other))
	require.Len(t, r.published, 60)
	r.Revoke([]record.TopicPartition{{Topic: schemas.TopicProfileChanges, Partition: 1}})
	r.published = nil
	require.NoError(t, r.Handle(t.Context(), b))
	require.Len(t, r.published, 10)
}

// The list that stands is better than one made of what is left.
func TestWithoutVectorsListsWait(t *testing.T) {
	t.Parallel()
	refused := fault.Transientf("refused")
	for name, fail := range map[string]func(r *recommendTest, err error){
		"users": func(r *recommendTest, err error) { r.store.away = err },
		"items": func(r *recommendTest, err error) { r.searching = err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := recommends(t)
			b := r.log.batch(schemas.TopicProfileChanges, r.add(t, crowd(2)...))
			fail(r, refused)
			require.Equal(t, fault.Transient, fault.ClassOf(r.Handle(t.Context(), b)))
			require.Empty(t, r.done)
			require.Empty(t, r.published)
		})
	}
	r := recommends(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := r.log.batch(schemas.TopicProfileChanges, r.add(t, crowd(2)...))
	require.Equal(t, fault.Canceled, fault.ClassOf(r.Handle(ctx, b)))
	require.Empty(t, r.done)
}

func TestListsThatTheLogRefusesAreNotToldOf(t *testing.T) {
	t.Parallel()
	r := recommends(t)
	r.failAt = 1
	b := r.log.batch(schemas.TopicProfileChanges, r.add(t, crowd(3)...))
	require.Error(t, r.Handle(t.Context(), b))
	require.Empty(t, r.published)
	require.NoError(t, r.Handle(t.Context(), b))
	require.Len(t, r.published, 3)
}

func TestARepairIsRequestedForTheChangeThatFoundTheState(t *testing.T) {
	t.Parallel()
	r := recommends(t)
	r.add(t, like("ann", 1, noon))
	require.NoError(t, r.embed(t, 0).Handle(t.Context(), r.span(schemas.TopicInteractions, 0, 0)))
	spoil(t, r.store.Store, "ann", corrupt)
	require.NoError(t, r.deliver(t, due("ann", 7, 7), due("bob", 8, 8)))
	require.Equal(t, []string{"bob"}, r.published)
	require.Equal(t, []string{"bob"}, keysOf(r.log, schemas.TopicRecommendationsCurrent))
	require.Len(t, r.log.records[embedReplay], 1)
	got, err := schemas.DecodeProfileChanged(&r.log.records[embedReplay][0])
	require.NoError(t, err)
	change := due("ann", 7, 7)
	want, err := schemas.DecodeProfileChanged(&change)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
