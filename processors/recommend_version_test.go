package processors_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// listing is a process that makes lists, by its own clock, on a log that it shares with others.
type listing struct {
	processors.Processor
	w *watched
}

func listingAt(w *watched, clock time.Time, epoch int) listing {
	d := w.deps()
	d.Settings.Epoch = epoch
	stores := recommend.Stores{Users: w.store, Items: w.store, Graph: w.store}
	d.Recommender = recommend.New(
		stores, d.Erasures, recommend.DefaultConfig(), func() time.Time { return clock },
	)
	return listing{processors.RecommendDeclaration().New(d), w}
}

// answer handles records of a topic as one batch and returns the lists that stand afterwards.
func (l listing) answer(t *testing.T, topic string, batch ...record.Record) {
	t.Helper()
	for i := range batch {
		batch[i].Topic = topic
	}
	first := l.w.add(t, batch...)
	require.NoError(t, l.Handle(t.Context(), l.w.span(topic, first, first+int64(len(batch))-1)))
}

// consumer keeps the current lists as the guide for consumers says.
func (w *watched) consumer(t *testing.T) map[string]schemas.Recommendation {
	t.Helper()
	lists := make(map[string]schemas.Recommendation)
	for i := range w.log.records[schemas.TopicRecommendationsCurrent] {
		r := &w.log.records[schemas.TopicRecommendationsCurrent][i]
		if len(r.Value) == 0 {
			delete(lists, string(r.Key))
			continue
		}
		list, err := schemas.DecodeRecommendation(r)
		require.NoError(t, err)
		if old, ok := lists[list.UserID]; !ok || list.Version >= old.Version {
			lists[list.UserID] = list
		}
	}
	return lists
}

// failed is a record that failed at a position and stands in another topic of the group.
func failed(r record.Record, offset int64) record.Record {
	for name, value := range map[string]string{
		record.HeaderTopic: schemas.TopicProfileChanges, record.HeaderGroup: schemas.GroupRecommend,
		record.HeaderPartition: "0", record.HeaderOffset: strconv.FormatInt(offset, 10),
	} {
		r.Headers = append(r.Headers, record.Header{Key: name, Value: []byte(value)})
	}
	return r
}

func TestTheListOfTheNewestChangeStandsWhateverTheClocksSay(t *testing.T) {
	t.Parallel()
	w := watch(t)
	listingAt(w, noon, sinks.FirstEpoch).answer(t, schemas.TopicProfileChanges, due("ann", 1, 1))
	slow := listingAt(w, noon.Add(-time.Hour), sinks.FirstEpoch)
	slow.answer(t, schemas.TopicProfileChanges, due("ann", 2, 2))
	stands := w.consumer(t)["ann"]
	require.EqualValues(t, 2, stands.CausedBy.Offset, "the other list was made an hour later")
	require.Equal(t, noon.Add(-time.Hour), stands.GeneratedAt)
	require.EqualValues(t, sinks.PositionOf(sinks.FirstEpoch, 1), stands.Version)
}

func TestTheVersionIsThePositionOfTheNewestChangeAnswered(t *testing.T) {
	t.Parallel()
	w := watch(t)
	l := listingAt(w, noon, sinks.FirstEpoch)
	l.answer(t, schemas.TopicProfileChanges,
		due("ann", 7, 1), due("bob", 8, 2), due("ann", 9, 3), due("carl", 10, 4))
	for user, offset := range map[string]int64{"ann": 2, "bob": 1, "carl": 3} {
		require.EqualValues(t, sinks.PositionOf(sinks.FirstEpoch, offset),
			w.consumer(t)[user].Version, user)
	}
}

func TestOfARepeatedListTheLaterStands(t *testing.T) {
	t.Parallel()
	w := watch(t)
	listingAt(w, noon, sinks.FirstEpoch).answer(t, schemas.TopicProfileChanges, due("ann", 1, 1))
	first := w.consumer(t)["ann"]
	successor := listingAt(w, noon.Add(-time.Hour), sinks.FirstEpoch)
	b := w.span(schemas.TopicProfileChanges, 0, 0)
	b.Repeat = true
	require.NoError(t, successor.Handle(t.Context(), b))
	second := w.consumer(t)["ann"]
	require.Equal(t, first.Version, second.Version)
	require.NotEqual(t, first.RecommendationID, second.RecommendationID)
	require.Equal(t, noon.Add(-time.Hour), second.GeneratedAt)
}

func TestARetriedListKeepsItsFirstVersion(t *testing.T) {
	t.Parallel()
	const replay = "recommend.replay"
	for _, topic := range []string{"recommend.retry.5s", "recommend.retry.1m0s", replay} {
		t.Run(topic, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			l := listingAt(w, noon, sinks.FirstEpoch)
			l.answer(t, schemas.TopicProfileChanges,
				due("bob", 1, 1), due("carl", 2, 2), due("ann", 3, 3))
			l.answer(t, topic, failed(due("dora", 0, 0), 0), failed(due("ann", 2, 2), 1))
			stands := w.consumer(t)
			require.EqualValues(t, 3, stands["ann"].CausedBy.Offset, "the newer list stays")
			require.EqualValues(t, sinks.PositionOf(sinks.FirstEpoch, 0), stands["dora"].Version)
			l.answer(t, topic, failed(due("carl", 2, 2), 1))
			require.EqualValues(t, sinks.PositionOf(sinks.FirstEpoch, 1),
				w.consumer(t)["carl"].Version, "of equal versions the later stands")
		})
	}
}

// A dead letter of before the topics were made anew is replayed: its offset is of another life.
func TestARetriedListOfAnEarlierEpochIsOlderThanAllOfThisOne(t *testing.T) {
	t.Parallel()
	w := watch(t)
	l := listingAt(w, noon, sinks.FirstEpoch+1)
	l.answer(t, schemas.TopicProfileChanges, due("bob", 1, 1), due("ann", 2, 2))
	l.answer(t, "recommend.replay", failed(due("ann", 0, 0), 7000), failed(due("bob", 0, 0), 0))
	stands := w.consumer(t)
	require.EqualValues(t, 2, stands["ann"].CausedBy.Offset)
	require.EqualValues(t, sinks.PositionOf(sinks.FirstEpoch+1, 1), stands["ann"].Version)
}

// Until today a version was the time in microseconds. A position is higher than that until 2041, so
// consumers take the first list of a new version of the program.
func TestListsReplaceThoseWithAVersionInMicroseconds(t *testing.T) {
	t.Parallel()
	w := watch(t)
	before := schemas.Recommendation{
		UserID: "ann", RecommendationID: "before", Version: noon.UnixMicro(),
		GeneratedAt: noon, ExpiresAt: noon.Add(time.Hour),
	}
	w.add(t, before.Message(schemas.TopicRecommendationsCurrent))
	listingAt(w, noon, sinks.FirstEpoch).answer(t, schemas.TopicProfileChanges, due("ann", 1, 1))
	stands := w.consumer(t)["ann"]
	require.NotEqual(t, "before", stands.RecommendationID)
	require.EqualValues(t, sinks.PositionOf(sinks.FirstEpoch, 0), stands.Version)
	until := time.Date(2041, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	require.Greater(t, int64(sinks.PositionOf(sinks.FirstEpoch, 0)), until)
	require.Less(t, int64(sinks.PositionOf(sinks.LastEpoch, 1<<44-1)), int64(1)<<53,
		"exact in JavaScript")
}

func TestLaterEpochsHaveHigherVersions(t *testing.T) {
	t.Parallel()
	w := watch(t)
	l := listingAt(w, noon, sinks.FirstEpoch)
	l.answer(t, schemas.TopicProfileChanges, crowd(20)...)
	l.answer(t, schemas.TopicProfileChanges, due("ann", 1, 1))
	w.log.records[schemas.TopicProfileChanges] = nil // restored from an old copy
	listingAt(w, noon, sinks.FirstEpoch+1).
		answer(t, schemas.TopicProfileChanges, due("ann", 2, 2))
	require.EqualValues(t, 2, w.consumer(t)["ann"].CausedBy.Offset)
}
