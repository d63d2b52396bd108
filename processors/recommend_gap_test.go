package processors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// noting is a lease whose notes are kept, as the broker keeps them beside an offset.
type noting struct {
	record.LeaseFunc
	note  string
	drain chan struct{}
}

func (n *noting) Note(text string)          { n.note = text }
func (n *noting) Draining() <-chan struct{} { return n.drain }

// gapTest is an embed, a graph and a recommend on one log. recommend may be behind.
type gapTest struct {
	*watched
	deps     processors.Deps
	lease    *noting
	progress []processors.GapProgress
	paced    []int
}

func gapOn(t *testing.T) *gapTest {
	t.Helper()
	g := &gapTest{watched: watch(t), lease: &noting{
		LeaseFunc: func(ctx context.Context) error { return ctx.Err() },
		drain:     make(chan struct{}),
	}}
	g.deps = g.watched.deps()
	g.deps.Recommender = g.deps.Recommender.WithStoreTimeout(time.Minute) // the machine is busy
	g.deps.Hooks.Gap = func(p processors.GapProgress) { g.progress = append(g.progress, p) }
	g.deps.Pace = func(ctx context.Context, n int) error {
		g.paced = append(g.paced, n)
		return ctx.Err()
	}
	return g
}

// member is a recommend of another process, with what the broker has beside the offset.
func (g *gapTest) member(t *testing.T) *processors.Recommend {
	t.Helper()
	p := processors.RecommendDeclaration().New(g.deps)
	a := assigned(0, schemas.TopicProfileChanges)
	a[0].Note = g.lease.note
	require.NoError(t, p.Assign(t.Context(), a))
	return p.Processor.(*processors.Recommend)
}

// likes lets users like an item each, an hour after the likes before, and embed learn it.
func (g *gapTest) likes(t *testing.T, users ...string) {
	t.Helper()
	g.log.clock += time.Hour
	batch := make([]record.Record, len(users))
	for i, user := range users {
		batch[i] = like(user, 1+int(g.log.clock/time.Hour), noon.Add(g.log.clock))
	}
	first := g.add(t, batch...)
	b := g.log.batch(schemas.TopicInteractions, first)
	require.NoError(t, processors.EmbedDeclaration().New(g.deps).Handle(t.Context(), b))
}

// makeFriends writes a friendship.
func (g *gapTest) makeFriends(t *testing.T, a, b string) {
	t.Helper()
	n := len(g.log.records[schemas.TopicFriendships])
	first := g.add(t, friends(a, b, n, noon.Add(time.Duration(n)*time.Second)))
	batch := g.log.batch(schemas.TopicFriendships, first)
	require.NoError(t, processors.GraphDeclaration().New(g.deps).Handle(t.Context(), batch))
}

// answers lets a recommend handle everything on profile-changes.
func (g *gapTest) answers(t *testing.T, p *processors.Recommend, from int64) {
	t.Helper()
	b := g.log.batch(schemas.TopicProfileChanges, from)
	b.Lease = g.lease
	require.NoError(t, p.Handle(t.Context(), b))
}

func (g *gapTest) end() int64 { return int64(len(g.log.records[schemas.TopicProfileChanges])) }

// lost is the range of profile-changes from an offset to the end, without its records.
func (g *gapTest) lost(from int64) *record.Batch {
	b := g.log.batch(schemas.TopicProfileChanges, from)
	b.Records, b.Lost, b.Lease = nil, true, g.lease
	return b
}

// listed are the users of the lists since the number of lists was n, sorted.
func (g *gapTest) listed(t *testing.T, n int) []string {
	t.Helper()
	users := keysOf(g.log, schemas.TopicRecommendationsCurrent)[n:]
	slices.Sort(users)
	return users
}

func TestWhoChangedInAGapGetsAList(t *testing.T) {
	t.Parallel()
	g := gapOn(t)
	g.likes(t, "long-ago")
	g.likes(t, "ann", "bob")
	p := g.member(t)
	g.answers(t, p, 0)
	before := len(g.log.records[schemas.TopicRecommendationsCurrent])
	from := g.end()
	g.likes(t, "bob", "carl")
	g.likes(t, "dora", "gone")
	g.deps.Erasures.Add(schemas.Erasure{
		UserKey: schemas.Key("gone"), ErasedAt: noon.Add(1000 * time.Hour),
	})
	b := g.lost(from)
	require.NoError(t, p.Lost(t.Context(), b))
	require.Equal(t, []string{"ann", "bob", "carl", "dora"}, g.listed(t, before),
		"those who have changed since the last change that was answered, less the margin")
	version := sinks.PositionOf(sinks.FirstEpoch, b.Last)
	for user, list := range g.consumer(t) {
		if user == "long-ago" {
			continue
		}
		require.EqualValues(t, version, list.Version, user)
		require.Equal(t, "event", list.CausedBy.Trigger)
		require.Equal(t, schemas.TopicInteractions, list.CausedBy.Topic)
		require.False(t, list.CausedBy.AcceptedAt.IsZero())
	}
	require.EqualValues(t, 3, g.consumer(t)["bob"].CausedBy.Offset, "the newest event it reflects")
	require.False(t, g.progress[0].Done)
	last := g.progress[len(g.progress)-1]
	require.True(t, last.Done)
	require.Equal(t, 4, last.Lists)
	require.Equal(t, []int64{from, b.Last}, []int64{last.First, last.Last})

	// What comes behind the gap is newer.
	after := g.end()
	g.likes(t, "ann")
	g.answers(t, p, after)
	require.Greater(t, g.consumer(t)["ann"].Version, int64(version))
}

func TestFriendshipsThatChangedInAGapAreAnswered(t *testing.T) {
	t.Parallel()
	g := gapOn(t)
	g.makeFriends(t, "old", "older")
	g.likes(t, "ann")
	p := g.member(t)
	g.answers(t, p, 0)
	before := len(g.log.records[schemas.TopicRecommendationsCurrent])
	from := g.end()
	g.makeFriends(t, "ann", "eve")
	g.makeFriends(t, "finn", "gus")
	// A member of another process takes over: it knows by the note.
	p = g.member(t)
	b := g.lost(from)
	require.NoError(t, p.Lost(t.Context(), b))
	require.Equal(t, []string{"ann", "eve", "finn", "gus"}, g.listed(t, before))
	list := g.consumer(t)["finn"]
	require.EqualValues(t, sinks.PositionOf(sinks.FirstEpoch, b.Last), list.Version)
	require.Equal(t, schemas.TopicFriendships, list.CausedBy.Topic)
	require.EqualValues(t, 2, list.CausedBy.Offset)
}

// A misplaced event changes its user when embed comes to it, as of its origin, which may be long
// before.
func TestMisplacedEventsThatWereLearnedInAGapAreAnswered(t *testing.T) {
	t.Parallel()
	g := gapOn(t)
	g.likes(t, "ann")
	origin := like("dora", 1, noon)
	origin.Partition, origin.Time = 1, g.log.records[schemas.TopicInteractions][0].Time
	g.likes(t, "ann")
	p := g.member(t)
	g.answers(t, p, 0)
	before := len(g.log.records[schemas.TopicRecommendationsCurrent])
	from := g.end()
	topic := record.MisplacedTopic(schemas.GroupEmbed)
	to := record.TopicPartition{Topic: topic}
	first := g.add(t, record.Forwarded(&origin, to, []byte("dora")))
	batch := g.log.batch(topic, first)
	require.NoError(t, processors.EmbedDeclaration().New(g.deps).Handle(t.Context(), batch))
	require.NoError(t, p.Lost(t.Context(), g.lost(from)))
	require.Equal(t, []string{"ann", "dora"}, g.listed(t, before))
	require.Equal(t, topic, g.consumer(t)["dora"].CausedBy.Topic)
}

// A group of the version before has noted nothing.
func TestWithoutANoteEverybodyGetsAList(t *testing.T) {
	t.Parallel()
	for _, note := range []string{"", "v1:2-5", `{"users":"x","next":{"friendships":[9]}}`} {
		g := gapOn(t)
		g.makeFriends(t, "old", "older")
		g.likes(t, "ann")
		g.likes(t, "bob")
		g.lease.note = note
		require.NoError(t, g.member(t).Lost(t.Context(), g.lost(0)))
		require.Equal(t, []string{"ann", "bob", "old", "older"}, g.listed(t, 0))
		require.True(t, g.progress[0].Since.IsZero())
	}
}

// crowded is a gap with so many users.
func crowded(t *testing.T, n int) *gapTest {
	t.Helper()
	g := gapOn(t)
	users := make([]string, n)
	for i := range users {
		users[i] = fmt.Sprintf("user-%04d", i)
	}
	g.likes(t, users...)
	g.done = nil
	return g
}

func TestListsForAGapAreMadeAtTheirPace(t *testing.T) {
	t.Parallel()
	g := crowded(t, 120)
	require.NoError(t, g.member(t).Lost(t.Context(), g.lost(0)))
	require.Equal(t, []int{50, 50, 20}, g.paced)
	require.Len(t, g.listed(t, 0), 120)
	require.Len(t, g.progress, 5, "the beginning, each time, and the end")
}

func TestAGapGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	for name, counted := range map[string]int{"the same member": 2500, "another": 2300} {
		successor := counted == 2300 // which knows of whole pages
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := crowded(t, 2300)
			p := g.member(t)
			g.failAt = len(g.done) + 25 // within the second thousand
			b := g.lost(0)
			err := p.Lost(t.Context(), b)
			require.Equal(t, fault.Transient, fault.ClassOf(err))
			made := len(g.log.records[schemas.TopicRecommendationsCurrent])
			require.Equal(t, 24*50, made)
			if successor {
				p = g.member(t)
			}
			require.NoError(t, p.Lost(t.Context(), b))
			listed := g.listed(t, 0)
			require.Len(t, listed, 2300+200, "the page that broke off is made again")
			require.Len(t, slices.Compact(listed), 2300, "and nobody is left out")
			require.Equal(t, counted, g.progress[len(g.progress)-1].Lists)
		})
	}
}

// Another gap begins at the front: who was listed may have lost more changes since.
func TestALargerGapBeginsAnew(t *testing.T) {
	t.Parallel()
	g := crowded(t, 60)
	g.failAt = 2
	require.Error(t, g.member(t).Lost(t.Context(), g.lost(0)))
	g.likes(t, "user-0001")
	before := len(g.log.records[schemas.TopicRecommendationsCurrent])
	require.NoError(t, g.member(t).Lost(t.Context(), g.lost(0)))
	require.Len(t, g.listed(t, before), 60)
}

func TestAGapIsLeftWhenThePartitionIsHandedOver(t *testing.T) {
	t.Parallel()
	g := crowded(t, 10)
	close(g.lease.drain)
	err := g.member(t).Lost(t.Context(), g.lost(0))
	require.Equal(t, fault.Canceled, fault.ClassOf(err))
	require.Empty(t, g.listed(t, 0))
	g = crowded(t, 10)
	g.deps.Pace = func(context.Context, int) error { return errors.New("the end") }
	require.Equal(t, fault.Canceled, fault.ClassOf(g.member(t).Lost(t.Context(), g.lost(0))))
	g = crowded(t, 10)
	g.store.away = fault.Transientf("refused")
	require.Equal(t, fault.Transient,
		fault.ClassOf(g.member(t).Lost(t.Context(), g.lost(0))), "it waits for the store")
}

func TestGapsOfOtherTopicsNeedNoLists(t *testing.T) {
	t.Parallel()
	g := crowded(t, 10)
	b := g.lost(0)
	b.Topic = "recommend.retry.5s"
	require.NoError(t, g.member(t).Lost(t.Context(), b))
	require.Empty(t, g.listed(t, 0))
}
