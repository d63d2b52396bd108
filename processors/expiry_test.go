package processors_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// expiryTest are the processors that care for current lists, on one log, and the task of expiry.
type expiryTest struct {
	*watched
	deps      processors.Deps
	recommend processors.Processor
	// run is the task that the owner of meta runs every hour.
	run func(ctx context.Context) error
}

// interrupted is a log of which something is read while others write.
type interrupted struct {
	processors.Log
	// read is called after a reading of recommendations.current.
	read func()
}

func (l *interrupted) Read(
	ctx context.Context, topic string, partition int, from, to int64,
	f func(*record.Record) error,
) error {
	err := l.Log.Read(ctx, topic, partition, from, to, f)
	if topic == schemas.TopicRecommendationsCurrent && l.read != nil {
		then := l.read
		l.read = nil
		then()
	}
	return err
}

func expires(t *testing.T, at time.Time, log *interrupted) *expiryTest {
	t.Helper()
	x := &expiryTest{watched: watch(t)}
	x.deps = x.watched.deps()
	x.deps.Now = func() time.Time { return at }
	if log != nil {
		log.Log = x.deps.Streams.Log
		x.deps.Streams.Log = log
	}
	x.recommend = processors.RecommendDeclaration().New(x.deps)
	found := make(chan processors.Task, 10)
	x.deps.Repeat = func(ctx context.Context, task processors.Task) {
		found <- task
		<-ctx.Done()
	}
	p := processors.PeriodicDeclaration().New(x.deps)
	require.NoError(t, p.Assign(t.Context(), assigned(0, schemas.TopicMeta)))
	t.Cleanup(func() { p.Revoke(nil) })
	for task := range found {
		if task.Name == "expire users and lists" {
			x.run = task.Run
			return x
		}
	}
	return x
}

// list publishes a list as its owner does.
func (x *expiryTest) list(t *testing.T, user string, version int64, expires time.Time) {
	t.Helper()
	list := schemas.Recommendation{
		UserID: user, RecommendationID: fmt.Sprint(user, version), Version: version,
		ExpiresAt: expires, CausedBy: schemas.CausedBy{OccurredAt: noon.Add(-time.Hour)},
	}
	x.add(t, list.Message(schemas.TopicRecommendationsCurrent))
}

// handle lets recommend handle what stands on profile-changes from an offset on.
func (x *expiryTest) handle(t *testing.T, from int64) {
	t.Helper()
	if int(from) < len(x.log.records[schemas.TopicProfileChanges]) {
		require.NoError(t, x.recommend.Handle(
			t.Context(), x.log.batch(schemas.TopicProfileChanges, from),
		))
	}
}

// standing tells for each user who ever had a list whether there is one.
func (x *expiryTest) standing() map[string]bool {
	out := make(map[string]bool)
	for _, r := range x.log.records[schemas.TopicRecommendationsCurrent] {
		out[string(r.Key)] = len(r.Value) > 0
	}
	return out
}

func TestListsExpire(t *testing.T) {
	t.Parallel()
	x := expires(t, noon, nil)
	x.list(t, "old", 1, noon.Add(-time.Minute))
	x.list(t, "renewed", 1, noon.Add(-time.Minute))
	x.list(t, "fresh", 1, noon.Add(time.Minute))
	x.list(t, "renewed", 2, noon.Add(time.Hour))
	for range 2 { // the second run finds nothing left to do
		from := int64(len(x.log.records[schemas.TopicProfileChanges]))
		require.NoError(t, x.run(t.Context()))
		x.handle(t, from)
		require.Equal(
			t, map[string]bool{"old": false, "renewed": true, "fresh": true}, x.standing(),
		)
		require.Len(t, x.log.records[schemas.TopicRecommendationsCurrent], 5)
	}
}

func TestAListThatIsReplacedWhileExpiryReadsStays(t *testing.T) {
	t.Parallel()
	log := &interrupted{}
	x := expires(t, noon, log)
	x.list(t, "ann", 1, noon.Add(-time.Minute))
	x.list(t, "bob", 1, noon.Add(-time.Minute))
	log.read = func() { x.list(t, "ann", 2, noon.Add(24*time.Hour)) }
	require.NoError(t, x.run(t.Context()))
	x.handle(t, 0)
	require.Equal(t, map[string]bool{"ann": true, "bob": false}, x.standing())
}

func TestAListThatIsReplacedBeforeTheRequestIsHandledStays(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]struct {
		before, after bool
		batches       int
	}{
		"in the batch before":           {before: true, batches: 2},
		"in the same batch":             {before: true, batches: 1},
		"in the same batch, behind it":  {after: true, batches: 1},
		"in the batch after":            {after: true, batches: 2},
		"before, and the batch repeats": {before: true, batches: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := expires(t, noon, nil)
			x.list(t, "ann", 1, noon.Add(-time.Minute))
			x.list(t, "bob", 1, noon.Add(-time.Minute))
			if change.before {
				x.add(t, due("ann", 1, 1))
			}
			require.NoError(t, x.run(t.Context()))
			if change.after {
				x.add(t, due("ann", 1, 1))
			}
			switch change.batches {
			case 1:
				x.handle(t, 0)
			default:
				end := int64(len(x.log.records[schemas.TopicProfileChanges])) - 1
				for _, b := range []*record.Batch{
					x.span(schemas.TopicProfileChanges, 0, 0),
					x.span(schemas.TopicProfileChanges, 1, end),
				} {
					require.NoError(t, x.recommend.Handle(t.Context(), b))
				}
				if change.batches == 3 {
					successor := processors.RecommendDeclaration().New(x.deps)
					b := x.span(schemas.TopicProfileChanges, 1, end)
					require.NoError(t, successor.Handle(t.Context(), b))
				}
			}
			require.Equal(t, map[string]bool{"ann": true, "bob": false}, x.standing())
		})
	}
}

// A list that was published by whoever had the partition before is as new as one of our own.
func TestAListOfThePreviousOwnerStays(t *testing.T) {
	t.Parallel()
	x := expires(t, noon, nil)
	x.list(t, "ann", 1, noon.Add(-time.Minute))
	require.NoError(t, x.run(t.Context()))
	x.handle(t, 0)
	require.Equal(t, map[string]bool{"ann": false}, x.standing())
	x.list(t, "ann", 2, noon.Add(time.Hour))
	x.handle(t, 0) // the request comes again, after a crash
	require.Equal(t, map[string]bool{"ann": true}, x.standing())
}

func TestARequestInARetryTopicIsDropped(t *testing.T) {
	t.Parallel()
	x := expires(t, noon, nil)
	x.list(t, "ann", 1, noon.Add(-time.Minute))
	require.NoError(t, x.run(t.Context()))
	require.Len(t, x.log.records[schemas.TopicProfileChanges], 1)
	const retry = "recommend.retry.5s"
	request := x.log.records[schemas.TopicProfileChanges][0]
	request.Topic = retry
	x.add(t, request)
	require.NoError(t, x.recommend.Handle(t.Context(), x.log.batch(retry, 0)))
	require.Equal(t, map[string]bool{"ann": true}, x.standing(), "another member may own the list")
	const replay = "recommend.replay"
	request.Topic = replay
	x.add(t, request)
	require.NoError(t, x.recommend.Handle(t.Context(), x.log.batch(replay, 0)))
	require.Equal(t, map[string]bool{"ann": false}, x.standing())
}

// Whose marker recommend has not seen, and will not see: it was deleted before it was read.
func TestListsOfErasedUsersExpire(t *testing.T) {
	t.Parallel()
	x := expires(t, noon, nil)
	x.list(t, "ann", 1, noon.Add(24*time.Hour))
	x.list(t, "bob", 1, noon.Add(24*time.Hour))
	x.deps.Erasures.Add(schemas.Erasure{UserKey: schemas.Key("ann"), ErasedAt: noon})
	require.NoError(t, x.run(t.Context()))
	x.handle(t, 0)
	require.Equal(t, map[string]bool{"ann": false, "bob": true}, x.standing())
}

func TestAListByAFastClockExpiresWithTheErasure(t *testing.T) {
	t.Parallel()
	x := expires(t, noon.Add(time.Minute), nil)
	x.add(t, fast("ann", 1), fast("bob", 2))
	x.handle(t, 0)
	require.Equal(t, map[string]bool{"ann": true, "bob": true}, x.standing())
	x.deps.Erasures.Add(schemas.Erasure{UserKey: schemas.Key("ann"), ErasedAt: noon.Add(time.Hour)})
	require.NoError(t, x.run(t.Context()))
	x.handle(t, 2)
	require.Equal(t, map[string]bool{"ann": false, "bob": true}, x.standing())
}

// After a crash of erase the marker is written again. Meanwhile the person has returned.
func TestARepeatedMarkerLeavesTheListOfAPersonWhoReturned(t *testing.T) {
	t.Parallel()
	x := expires(t, noon, nil)
	marker := erasedAt(schemas.TopicProfileChanges, "ann", noon)
	x.add(t, like("ann", 1, noon.Add(time.Minute)), marker)
	embed := processors.EmbedDeclaration().New(x.deps)
	require.NoError(t, embed.Handle(t.Context(), x.span(schemas.TopicInteractions, 0, 0)))
	x.handle(t, 0)
	require.Equal(t, map[string]bool{"ann": true}, x.standing())
	again := x.add(t, marker)
	x.handle(t, again)
	require.Equal(t, map[string]bool{"ann": true}, x.standing())
	// and erase itself withdraws nothing: the list may be one of after the erasure
	erase := processors.EraseDeclaration().New(x.deps)
	x.add(t, erasedAt(schemas.TopicUsers, "ann", noon))
	require.NoError(t, erase.Handle(t.Context(), x.log.batch(schemas.TopicUsers, 0)))
	require.Equal(t, map[string]bool{"ann": true}, x.standing())
}

// A batch that is tried again withdraws no list that it has published.
func TestAMarkerInABatchThatBrokeOffWithdrawsOnce(t *testing.T) {
	t.Parallel()
	w := watch(t)
	d := w.deps()
	stores := recommend.Stores{Users: w.store, Items: w.store, Graph: w.store}
	d.Recommender = recommend.New(
		stores, d.Erasures, recommend.DefaultConfig(), func() time.Time { return noon },
	)
	x := &expiryTest{watched: w, deps: d, recommend: processors.RecommendDeclaration().New(d)}
	batch := append([]record.Record{
		erasedAt(schemas.TopicProfileChanges, "ann", noon), due("ann", 1, 1),
	}, crowd(60)...)
	w.add(t, batch...)
	b := w.log.batch(schemas.TopicProfileChanges, 0)
	w.failAt = 3 // the lists after the first fifty
	require.Error(t, x.recommend.Handle(t.Context(), b))
	require.NoError(t, x.recommend.Handle(t.Context(), b))
	require.True(t, x.standing()["ann"])
}
