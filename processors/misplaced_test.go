package processors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

// shards is a log of two partitions per topic, whose broker sets the time of records.
type shards struct {
	records map[record.TopicPartition][]record.Record
	clock   time.Time
	clocks  map[record.TopicPartition]record.Clock
	// failAt is the call of Emit that fails, once, counted from 1; 0 is none. Of its records the
	// first `landed` are on the log. pause is called by Emit before it writes; may be nil.
	failAt, landed, calls int
	pause                 func()
}

const shardCount = 2

func newShards() *shards {
	return &shards{
		records: make(map[record.TopicPartition][]record.Record), clock: noon,
		clocks: make(map[record.TopicPartition]record.Clock),
	}
}

func (l *shards) Emit(_ context.Context, batch []record.Record) error {
	if len(batch) == 0 {
		return nil
	}
	if pause := l.pause; pause != nil {
		l.pause = nil
		pause()
	}
	l.calls++
	fails := l.calls == l.failAt
	for i, r := range batch {
		if fails && i == l.landed {
			break
		}
		if r.Partition < 0 {
			r.Partition = record.PartitionOf(r.Key, shardCount)
		}
		l.append(r)
	}
	if fails {
		return fault.Transientf("the broker is away")
	}
	return nil
}

// append writes a record, a second after the one before.
func (l *shards) append(r record.Record) {
	l.clock = l.clock.Add(time.Second)
	tp := record.TopicPartition{Topic: r.Topic, Partition: r.Partition}
	r.Offset, r.Time, r.Appended = int64(len(l.records[tp])), l.clock, true
	clock, one := l.clocks[tp], []record.Record{r}
	clock.Raise(one)
	l.clocks[tp], l.records[tp] = clock, append(l.records[tp], one...)
}

// put writes records into a partition, whatever their keys choose.
func (l *shards) put(partition int, batch ...record.Record) {
	for _, r := range batch {
		r.Partition = partition
		l.append(r)
	}
}

func (l *shards) Read(
	_ context.Context, topic string, partition int, from, to int64, f func(*record.Record) error,
) error {
	for _, r := range l.records[record.TopicPartition{Topic: topic, Partition: partition}] {
		if r.Offset >= from && (to < 0 || r.Offset < to) {
			if err := f(&r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *shards) OffsetAt(
	_ context.Context, topic string, partition int, at time.Time,
) (int64, error) {
	all := l.records[record.TopicPartition{Topic: topic, Partition: partition}]
	for i := range all {
		if !all[i].Time.Before(at) {
			return int64(i), nil
		}
	}
	return int64(len(all)), nil
}

// batch is what a partition holds from an offset on.
func (l *shards) batch(topic string, partition int, first int64) *record.Batch {
	all := l.records[record.TopicPartition{Topic: topic, Partition: partition}]
	return &record.Batch{
		Range: record.Range{
			LogID: "l", Topic: topic, Partition: partition, First: first,
			Last: int64(len(all)) - 1,
		},
		Records: slices.Clone(all[first:]), Begun: l.clock,
	}
}

// shop is a log with the owners of all its partitions.
type shop struct {
	*shards
	store *sqlite.Store
	told  map[string]int
	// recentIDs is the size of the deduplication window; 0 is the default.
	recentIDs int
	// known are the erasures that every process reads before it works.
	known []schemas.Erasure

	erasures  *processors.Erasures
	embed     *processors.Embed
	analytics *processors.Analytics
	catalog   *processors.Catalog
	// next is the offset up to which a group has handled a partition.
	next map[string]map[record.TopicPartition]int64
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{
		shards: newShards(), store: openStore(t), told: make(map[string]int),
		next: map[string]map[record.TopicPartition]int64{
			"embed": {}, "analytics": {}, "catalog": {},
		},
	}
	s.restart(t)
	return s
}

func (s *shop) embedConfig() processors.EmbedConfig {
	c := processors.DefaultEmbedConfig(shardCount)
	if s.recentIDs > 0 {
		c.RecentIDs = s.recentIDs
	}
	return c
}

// restart has other processes take over.
func (s *shop) restart(t *testing.T) {
	t.Helper()
	streams := processors.Streams{Log: s.shards, Emit: s.shards}
	s.erasures = processors.NewErasures()
	for _, x := range s.known {
		s.erasures.Add(x)
	}
	ec := s.embedConfig()
	ec.Misplaced = func(x processors.Misplaced) {
		s.told[x.Group+" "+x.Topic+" "+x.Source] += x.Records
	}
	factors := processors.NewItemFactors(model.Default())
	s.embed = processors.NewEmbed(s.store, streams, factors, s.erasures, ec)
	require.NoError(t, s.embed.Assign(t.Context(), s.assigned("embed")))
	s.analytics = processors.NewAnalytics(
		s.store.Analytics(), s.shards, s.erasures, nil, processors.DefaultEmbedConfig(1).RecentIDs)
	require.NoError(t, s.analytics.Assign(t.Context(), s.assigned("analytics")))
	cc := processors.DefaultCatalogConfig(shardCount)
	cc.Misplaced = ec.Misplaced
	s.catalog = processors.NewCatalog(
		s.store, streams, factors, cc, func() time.Time { return noon })
	require.NoError(t, s.catalog.Assign(t.Context(), s.assigned("catalog")))
}

// topics are those that a group reads here.
func topics(group string) []string {
	d, _ := processors.Declared(group)
	return slices.DeleteFunc(d.Topics(), func(topic string) bool {
		return topic == schemas.TopicRecommendations || topic == schemas.TopicUsers ||
			topic == schemas.TopicItemGradients
	})
}

func (s *shop) assigned(group string) (out []record.Assignment) {
	for _, topic := range topics(group) {
		for p := range shardCount {
			tp := record.TopicPartition{Topic: topic, Partition: p}
			next := s.next[group][tp]
			out = append(out, record.Assignment{TopicPartition: tp, Next: next, Committed: next})
		}
	}
	return out
}

// handle hands what is new to a group, until there is nothing new. A batch that fails is repeated,
// by others if restart is set.
func (s *shop) handle(
	t *testing.T, group string, p processors.Processor, restart bool,
) (bad []int) {
	t.Helper()
	for more := true; more; {
		more = false
		for _, a := range s.assigned(group) {
			b := s.batch(a.Topic, a.Partition, a.Next)
			if len(b.Records) == 0 {
				continue
			}
			more = true
			for err := p.Handle(t.Context(), b); err != nil; err = p.Handle(t.Context(), b) {
				var rejected *fault.Rejected
				if errors.As(err, &rejected) {
					bad = append(bad, rejectedAt(t, err)...)
					break
				}
				require.Equal(t, fault.Transient, fault.ClassOf(err))
				if restart {
					s.restart(t)
					p, b.Repeat = s.embed, true
				}
			}
			s.next[group][a.TopicPartition] = b.Last + 1
		}
	}
	return bad
}

func (s *shop) run(t *testing.T) {
	t.Helper()
	require.Empty(t, s.handle(t, "embed", s.embed, false))
	require.Empty(t, s.handle(t, "analytics", s.analytics, false))
	require.Empty(t, s.handle(t, "catalog", s.catalog, false))
}

// learned returns how many events the stored state of each user has absorbed.
func (s *shop) learned(t *testing.T) map[string]int {
	t.Helper()
	out := make(map[string]int)
	for id, u := range users(t, s.store) {
		var m model.User
		require.NoError(t, m.Decode(u.State))
		out[id] = int(m.Events)
	}
	return out
}

// gradients returns how many events the gradient messages on the log were made of.
func (s *shop) gradients(t *testing.T) (n float64) {
	t.Helper()
	for _, count := range s.itemCounts(t) {
		n += count
	}
	return n
}

// itemCounts returns how many events of each item they were made of.
func (s *shop) itemCounts(t *testing.T) map[string]float64 {
	t.Helper()
	log := newMemoryLog()
	for p := range shardCount {
		require.NoError(t, s.Read(t.Context(), schemas.TopicItemGradients, p, 0, -1,
			func(r *record.Record) error {
				return log.Emit(t.Context(), []record.Record{*r})
			}))
	}
	return itemCounts(t, log)
}

func (s *shop) counted(t *testing.T) int64 {
	t.Helper()
	n, err := s.store.Analytics().CountInteractions(t.Context())
	require.NoError(t, err)
	return n.Rows
}

func (s *shop) forwarded(partition int) []record.Record {
	return s.records[record.TopicPartition{Topic: embedMisplaced, Partition: partition}]
}

// ann belongs in partition 0, dan in 1.
func TestUsersInThisFileBelongWhereTheTestsPutThem(t *testing.T) {
	t.Parallel()
	require.Zero(t, record.PartitionOf([]byte("ann"), shardCount))
	require.Equal(t, 1, record.PartitionOf([]byte("dan"), shardCount))
}

func TestEventsOfAUserInTwoPartitionsAreLearned(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put(0, likes("dan", 1, 2, 3, 4, 5)...)
	s.put(1, likes("dan", 6, 7, 8, 9, 10)...)
	s.put(0, likes("ann", 1)...)
	s.run(t)
	require.Equal(t, map[string]int{"dan": 10, "ann": 1}, s.learned(t))
	require.EqualValues(t, 11, s.counted(t))
	require.InDelta(t, 11, s.gradients(t), 0)
	require.Equal(t, map[string]int{"embed interactions app": 5}, s.told)
	require.Empty(t, s.forwarded(0))
	require.Len(t, s.forwarded(1), 5)
}

// The recent ids of the partition where an event stands decide, for embed and analytics alike.
func TestARepeatedEventIsJudgedWhereItStands(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put(0, likes("dan", 1, 1)...) // once
	s.put(1, likes("dan", 1, 1)...) // once more: another partition
	s.run(t)
	s.restart(t)
	s.put(0, likes("dan", 1)...)
	s.put(1, likes("dan", 1)...)
	s.run(t)
	require.Equal(t, map[string]int{"dan": 2}, s.learned(t))
	require.EqualValues(t, 2, s.counted(t))
	require.Len(t, s.forwarded(1), 1)
}

func TestMisplacedEventsAreLearnedOnceWhereverTheForwardingIsCutOff(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		for landed := range 4 {
			t.Run(fmt.Sprintf("after %d events, by a successor %v", landed, restart),
				func(t *testing.T) {
					t.Parallel()
					s := newShop(t)
					s.put(0, likes("dan", 1, 2, 3)...)
					s.failAt, s.landed = 1, landed
					require.Empty(t, s.handle(t, "embed", s.embed, restart))
					require.Greater(t, s.calls, 1)
					require.Equal(t, map[string]int{"dan": 3}, s.learned(t))
					require.InDelta(t, 3, s.gradients(t), 0)
					require.Len(t, s.forwarded(1), 3)
				})
		}
	}
}

// A process that was paused right before it forwards goes on when its successor is done: the same
// origins stand there twice.
func TestAnOriginThatWasSeenIsDropped(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("another owner in between %v", restart), func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.put(0, likes("dan", 1, 2, 3)...)
			b, paused := s.batch(schemas.TopicInteractions, 0, 0), s.embed
			s.pause = func() { // it stands behind the lease check
				s.restart(t)
				again := *b
				again.Repeat = true
				require.NoError(t, s.embed.Handle(t.Context(), &again))
				s.next["embed"][b.TopicPartition()] = b.Last + 1
				s.run(t)
			}
			require.NoError(t, paused.Handle(t.Context(), b))
			require.Len(t, s.forwarded(1), 6)
			if restart {
				s.restart(t)
			}
			s.run(t)
			require.Equal(t, map[string]int{"dan": 3}, s.learned(t))
			require.InDelta(t, 3, s.gradients(t), 0)
		})
	}
}

// An event without an id or a time has those of the place where it stood first, as for analytics.
func TestAForwardedEventIsTheSameEvent(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put(0, record.Record{
		Topic: schemas.TopicInteractions,
		Value: []byte(`{"user_id":"dan","item_id":"i1","action":"like"}`),
	})
	stood := s.clock
	s.clock = s.clock.Add(time.Hour)
	s.run(t)
	dan := users(t, s.store)["dan"]
	require.Equal(t, stood, dan.LastEventAt)
	require.Equal(t, stood, dan.ChangedAt)
	require.Equal(t, map[string]sinks.Position{embedMisplaced: at(0)}, dan.Positions)
	changes := s.records[record.TopicPartition{Topic: schemas.TopicProfileChanges, Partition: 1}]
	require.Len(t, changes, 1)
	x, err := schemas.DecodeProfileChanged(&changes[0])
	require.NoError(t, err)
	require.Equal(t, schemas.ProfileChanged{
		UserID: "dan", Topic: schemas.TopicInteractions, Partition: 0, Offset: 0,
		EventID: "interactions/0/0", OccurredAt: stood, RecordedAt: stood,
		AcceptedAt: stood,
	}, x)
}

func TestWhatOthersWriteToTheTopicOfMisplacedEventsIsRejected(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	stray := func(r record.Record) record.Record { r.Topic = embedMisplaced; return r }
	origin := record.Record{Topic: schemas.TopicInteractions, Partition: 0, Offset: 7, Time: noon}
	origin.Headers, origin.Value = likes("ann", 1)[0].Headers, likes("ann", 1)[0].Value
	s.put(1, stray(likes("dan", 1)[0]),
		record.Forwarded(&origin, record.TopicPartition{Topic: embedMisplaced}, []byte("ann")))
	require.Equal(t, []int{0, 1}, s.handle(t, "embed", s.embed, false))
	require.Empty(t, s.learned(t))
}

// A dead letter without a key may be replayed into any partition.
func TestAReplayedEventInAnotherPartitionIsForwarded(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put(0, replayed(likes("dan", 1)[0], "embed/interactions/0/7"))
	s.run(t)
	s.put(0, replayed(likes("dan", 1)[0], "embed/interactions/0/7"))
	s.run(t)
	require.Equal(t, map[string]int{"dan": 1}, s.learned(t))
	require.Equal(t, map[string]int{"embed embed.replay app": 1}, s.told)
}

func TestMisplacedEventsOfAnErasedUserAreDropped(t *testing.T) {
	t.Parallel()
	for name, forwarded := range map[string]bool{"before": false, "after": true} {
		t.Run(name+" they are forwarded", func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.put(0, likes("dan", 1, 2)...)
			erase := func() {
				s.erasures.Add(schemas.Erasure{
					UserKey: schemas.Key("dan"), ErasedAt: noon.Add(time.Minute),
				})
			}
			if forwarded {
				require.NoError(t, s.embed.Handle(
					t.Context(), s.batch(schemas.TopicInteractions, 0, 0)))
				require.Len(t, s.forwarded(1), 2)
			}
			erase()
			s.run(t)
			require.Empty(t, s.learned(t))
		})
	}
}

func TestACorruptStateIsRebuiltWithTheMisplacedEvents(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put(0, likes("dan", 1, 2, 3)...)
	s.put(1, likes("dan", 4, 5)...)
	s.run(t)
	spoil(t, s.store, "dan", corrupt)
	s.restart(t)
	s.put(0, likes("dan", 6)...)
	s.put(1, likes("dan", 7)...)
	s.run(t)
	require.Equal(t, map[string]int{"dan": 7}, s.learned(t))
	require.InDelta(t, 7, s.gradients(t), 0)
}

// a and b are items of partition 0 and of 1.
func itemsOf(t *testing.T) (a, b string) {
	t.Helper()
	for n := 0; a == "" || b == ""; n++ {
		if id := fmt.Sprintf("i%d", n); record.PartitionOf([]byte(id), shardCount) == 0 {
			a = id
		} else {
			b = id
		}
	}
	return a, b
}

func (s *shop) titles(t *testing.T) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for id, x := range storedItems(t, s.store) { //nolint:gocritic // a few
		out[id] = x.Content.Title
	}
	return out
}

func TestMisplacedItemsAreForwarded(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	a, b := itemsOf(t)
	keyless := film(b, "Stray")
	keyless.Key = nil
	unreadable := film(a, "One")
	unreadable.Value = []byte("{")
	s.put(0, keyless, film(a, "Own"), unreadable)
	require.Equal(t, []int{2}, s.handle(t, "catalog", s.catalog, false))
	require.Equal(t, map[string]string{a: "Own", b: "Stray"}, s.titles(t))
	require.Equal(t, map[string]int{"catalog items shop": 1}, s.told)
	s.restart(t)
	require.NoError(t, s.catalog.IndexAll(t.Context()))
	require.Equal(t, map[string]string{a: "Own", b: "Stray"}, s.titles(t), "restored from the log")
}

// Offsets of different partitions cannot be compared: the log time comes first.
func TestTheNewestContentOfAnItemIsTheLastOnTheLog(t *testing.T) {
	t.Parallel()
	_, b := itemsOf(t)
	for name, write := range map[string]func(s *shop){
		"the misplaced one, with the lower offset": func(s *shop) {
			s.put(1, film(b, "One"), film(b, "Two"), film(b, "Three"))
			s.put(0, film(b, "Newest"))
		},
		"the one in its own partition, with the lower offset": func(s *shop) {
			s.put(0, film(b, "One"), film(b, "Two"), film(b, "Three"))
			s.put(1, film(b, "Newest"))
		},
	} {
		for _, order := range [][]int{{0, 1}, {1, 0}} {
			t.Run(fmt.Sprintf("%s, read in the order %v", name, order), func(t *testing.T) {
				t.Parallel()
				s := newShop(t)
				write(s)
				for _, p := range order {
					require.NoError(t, s.catalog.Handle(
						t.Context(), s.batch(schemas.TopicItems, p, 0)))
					tp := record.TopicPartition{Topic: schemas.TopicItems, Partition: p}
					s.next["catalog"][tp] = int64(len(s.records[tp]))
				}
				s.run(t)
				require.Equal(t, map[string]string{b: "Newest"}, s.titles(t))
				s.restart(t)
				s.put(1, film(b+"x", "Another")) // which publishes what was restored
				require.NoError(t, s.catalog.IndexAll(t.Context()))
				require.Equal(t, "Newest", s.titles(t)[b])
			})
		}
	}
}

// The clock of a broker may step back: a record counts as no earlier than the one before it in its
// partition, whatever its key.
func TestTheNewestContentOfAnItemStandsThoughTheClockStepsBack(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	a, b := itemsOf(t)
	s.put(1, film(b, "One"), film(b+"x", "Another"))
	s.clock = s.clock.Add(-10 * time.Second)
	s.put(1, film(b, "Two"))
	s.put(0, film(b, "From before"))
	s.run(t)
	require.Equal(t, "Two", s.titles(t)[b])
	s.put(0, film(a, "One"))
	s.clock = s.clock.Add(20 * time.Second)
	s.put(0, film(a, "Two"))
	s.clock = s.clock.Add(-10 * time.Second)
	s.put(0, film(b, "Stray")) // forwarded with the time that counts
	s.put(1, film(b, "From before, too"))
	s.run(t)
	require.Equal(t, "Stray", s.titles(t)[b])
	s.restart(t)
	require.NoError(t, s.catalog.IndexAll(t.Context()))
	require.Equal(t, map[string]string{a: "Two", b: "Stray", b + "x": "Another"}, s.titles(t))
}

func TestAMisplacedTombstoneWithdrawsForGood(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	_, b := itemsOf(t)
	s.put(1, film(b, "One"))
	s.put(0, record.Record{Topic: schemas.TopicItems, Key: []byte(b)})
	s.run(t)
	require.True(t, storedItems(t, s.store)[b].Content.Withdrawn)
	tp := record.TopicPartition{
		Topic: record.MisplacedTopic(schemas.GroupCatalog), Partition: 1,
	}
	require.Len(t, s.records[tp], 1)
	require.NotEmpty(t, s.records[tp][0].Value, "compaction would forget a tombstone")
	var x schemas.Item
	require.NoError(t, json.Unmarshal(s.records[tp][0].Value, &x))
	require.Equal(t, schemas.Item{ItemID: b, Withdrawn: true}, x)
}

// A dead letter of catalog.misplaced keeps the place where the item stood first.
func TestAReplayedMisplacedItemUndoesNothingNewer(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	_, b := itemsOf(t)
	s.put(0, film(b, "Old"))
	s.put(1, film(b, "New"))
	s.run(t)
	require.Equal(t, "New", s.titles(t)[b])
	tp := record.TopicPartition{
		Topic: record.MisplacedTopic(schemas.GroupCatalog), Partition: 1,
	}
	letter := s.records[tp][0]
	letter.Topic = record.ReplayTopic(schemas.GroupCatalog)
	letter.Headers = append(slices.Clone(letter.Headers),
		record.Header{Key: record.HeaderTopic, Value: []byte("shop." + tp.Topic)},
		record.Header{Key: record.HeaderPartition, Value: []byte("1")},
		record.Header{Key: record.HeaderOffset, Value: []byte("0")},
	)
	s.put(1, letter)
	s.run(t)
	require.Equal(t, "New", s.titles(t)[b])
}

func TestOlderMisplacedEventsAreForwardedOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put(0, likes("dan", 1, 2, 2)...)
	s.put(0, record.Record{Topic: schemas.TopicInteractions, Value: []byte("{")})
	s.put(0, likes("ann", 1)...)
	s.put(0, likes("dan", 3)...) // this one is forwarded by the group
	stood := s.batch(schemas.TopicInteractions, 0, 0)
	older := []processors.Span{{Topic: schemas.TopicInteractions, Partition: 0, To: 5}}
	s.failAt, s.landed = 1, 1
	_, err := s.embed.ForwardOlder(t.Context(), s.shards, older)
	require.Error(t, err)
	for _, want := range []int{1, 0} {
		n, err := s.embed.ForwardOlder(t.Context(), s.shards, older)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	require.Len(t, s.forwarded(1), 2)
	for i, r := range s.forwarded(1) {
		o, err := record.OriginOf(&r)
		require.NoError(t, err)
		require.Equal(t, stood.Records[i].Origin(), o)
	}
	s.next["embed"][stood.TopicPartition()] = 5
	s.restart(t)
	require.Empty(t, s.handle(t, "embed", s.embed, false))
	require.Equal(t, map[string]int{"dan": 3}, s.learned(t))
	require.InDelta(t, 1, s.gradients(t), 0, "items have learned from what is older")
}

// Items have learned from an older event where it stood, whichever way embed takes it.
func TestItemsLearnNothingFromOlderMisplacedEvents(t *testing.T) {
	t.Parallel()
	older := []processors.Span{{Topic: schemas.TopicInteractions, Partition: 0, To: 2}}
	for name, way := range map[string]func(t *testing.T, s *shop){
		"as they come": func(*testing.T, *shop) {},
		"when the state of the user is rebuilt": func(t *testing.T, s *shop) {
			spoil(t, s.store, "dan", corrupt)
		},
		"as a dead letter that is replayed": func(t *testing.T, s *shop) {
			tp := record.TopicPartition{Topic: embedMisplaced, Partition: 1}
			letter := s.records[tp][1]
			s.records[tp] = s.records[tp][:1]
			letter.Topic = record.ReplayTopic(schemas.GroupEmbed)
			letter.Headers = append(slices.Clone(letter.Headers), record.Header{
				Key: record.HeaderTopic, Value: []byte("shop." + embedMisplaced),
			})
			s.put(1, letter)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.put(0, likes("dan", 1, 2)...)
			at := record.TopicPartition{Topic: schemas.TopicInteractions, Partition: 0}
			s.next["embed"][at] = 2
			s.put(1, likes("dan", 3)...)
			s.restart(t)
			s.run(t)
			require.Equal(t, map[string]int{"dan": 1}, s.learned(t))
			n, err := s.embed.ForwardOlder(t.Context(), s.shards, older)
			require.NoError(t, err)
			require.Equal(t, 2, n)
			way(t, s)
			s.restart(t)
			s.run(t)
			require.Equal(t, map[string]int{"dan": 3}, s.learned(t))
			require.InDelta(t, 1, s.gradients(t), 0)
		})
	}
}
