package processors_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// erasedAfter is when the log has taken the erasure of dan.
const erasedAfter = 30 * time.Second

// eraseDan is what every process learns of an erasure.
func (s *shop) eraseDan() {
	s.erasures.Add(schemas.Erasure{
		UserKey: schemas.Key("dan"), ErasedAt: noon.Add(erasedAfter),
	})
}

// markDan puts the marker of the erasure in line with what dan has done.
func (s *shop) markDan() {
	s.eraseDan()
	s.put(1, erasedAt(schemas.TopicInteractions, "dan", noon.Add(erasedAfter)))
}

// strayLikes are two events of dan in partition 0: one without a time, and one of a phone that is
// fast.
func strayLikes() []record.Record {
	return []record.Record{
		{
			Topic: schemas.TopicInteractions,
			Value: []byte(`{"user_id":"dan","item_id":"i1","action":"like"}`),
		},
		like("dan", 2, noon.Add(erasedAfter+time.Minute)),
	}
}

// replayOn replays the log for a new store and returns how many events each user has absorbed.
func (s *shop) replayOn(t *testing.T) map[string]int {
	t.Helper()
	fresh := &shop{shards: s.shards, store: openStore(t)}
	erasures := processors.NewErasures()
	erasures.Add(schemas.Erasure{
		UserKey: schemas.Key("dan"), ErasedAt: noon.Add(erasedAfter),
	})
	for _, x := range s.known {
		erasures.Add(x)
	}
	embed := processors.NewEmbed(
		fresh.store, processors.Streams{Log: s.shards, Emit: processors.Discard{}},
		processors.NewItemFactors(model.Default()), erasures, s.embedConfig())
	replay := processors.NewReplay(embed, s.shards, "l", processors.DefaultReplayConfig())
	for p := range shardCount {
		var spans []processors.Span
		for _, topic := range topics(schemas.GroupEmbed) {
			tp := record.TopicPartition{Topic: topic, Partition: p}
			spans = append(spans, processors.Span{
				Topic: topic, Partition: p, To: int64(len(s.records[tp])),
			})
		}
		require.NoError(t, replay.Run(t.Context(), spans))
	}
	return fresh.learned(t)
}

// What stands on embed.misplaced is judged by when it was recorded at its origin, so it needs no
// markers of its own.
func TestMisplacedEventsBringNoErasedPersonBack(t *testing.T) {
	t.Parallel()
	misplaced := record.TopicPartition{Topic: embedMisplaced, Partition: 1}
	stray := func(t *testing.T, s *shop) {
		t.Helper()
		require.NoError(t, s.embed.Handle(
			t.Context(), s.batch(schemas.TopicInteractions, 0, 0)))
		s.next["embed"][record.TopicPartition{Topic: schemas.TopicInteractions}] = 2
		require.Len(t, s.forwarded(1), 2)
	}
	for name, happens := range map[string]func(t *testing.T, s *shop){
		"erased before they are forwarded": func(_ *testing.T, s *shop) { s.markDan() },
		"erased before they are learned": func(t *testing.T, s *shop) {
			stray(t, s)
			s.markDan()
		},
		"erased when they were learned": func(t *testing.T, s *shop) {
			s.run(t)
			require.Equal(t, map[string]int{"dan": 2}, s.learned(t))
			s.markDan()
		},
		"forwarded by a process that has not heard of the erasure": func(t *testing.T, s *shop) {
			s.clock = noon.Add(time.Hour)
			stray(t, s)
			s.markDan()
		},
		"forwarded once more by a process that was paused": func(t *testing.T, s *shop) {
			s.run(t)
			s.markDan()
			s.run(t)
			s.clock = noon.Add(time.Hour)
			s.put(1, slices.Clone(s.records[misplaced])...)
			s.restart(t)
			s.eraseDan()
		},
		"dead letters that are replayed": func(t *testing.T, s *shop) {
			s.clock = noon.Add(time.Hour)
			stray(t, s)
			letters := slices.Clone(s.records[misplaced])
			delete(s.records, misplaced)
			s.markDan()
			for i := range letters {
				letters[i].Headers = append(slices.Clone(letters[i].Headers),
					record.Header{Key: record.HeaderTopic, Value: []byte(embedMisplaced)},
					record.Header{
						// As the guard writes it.
						Key:   record.HeaderTime,
						Value: []byte(letters[i].LogTime().Format(time.RFC3339Nano)),
					})
				letters[i].Topic = record.ReplayTopic(schemas.GroupEmbed)
			}
			s.put(1, letters...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.put(0, strayLikes()...)
			happens(t, s)
			s.run(t)
			require.Empty(t, s.learned(t))
			require.Empty(t, s.replayOn(t), "in a rebuild")
			s.restart(t)
			s.eraseDan()
			s.run(t)
			require.Empty(t, s.learned(t), "after a restart")

			s.clock = latestOf(s.clock, noon.Add(2*time.Minute))
			at := s.clock.Add(time.Second)
			s.put(0, like("dan", 3, at))
			s.put(1, like("dan", 4, at))
			s.run(t)
			require.Equal(t, map[string]int{"dan": 2}, s.learned(t), "what dan does then counts")
			require.Equal(t, map[string]int{"dan": 2}, s.replayOn(t))
		})
	}
}

func latestOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// A marker erases as of its position, which says nothing in a partition of others. erase writes
// them where they belong.
func TestAMarkerInThePartitionOfOthersErasesNobody(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put(1, likes("dan", 1, 2)...)
	s.run(t)
	s.put(0, erasedAt(schemas.TopicInteractions, "dan", noon.Add(-time.Hour)))
	require.Equal(t, []int{0}, s.handle(t, "embed", s.embed, false))
	s.restart(t)
	require.NoError(t, s.embed.RecheckErasures(t.Context()))
	require.Equal(t, map[string]int{"dan": 2}, s.learned(t))
}

// TestWhoHasReturnedKeepsTheAttributesThoughTheTombstonesAreLate: erase is behind, repeats a batch,
// or gets an erasure again. What the person has written since stays on the compacted topic, except
// where the repeated erasure itself is the newest record of its key.
func TestWhoHasReturnedKeepsTheAttributesThoughTheTombstonesAreLate(t *testing.T) {
	t.Parallel()
	const partitions = 4
	log := newShards()
	erase := processors.EraseDeclaration().New(processors.Deps{
		Streams: processors.Streams{Log: log, Emit: log}, Erasures: processors.NewErasures(),
		Settings: processors.Settings{Partitions: partitions},
	})
	own := record.PartitionOf([]byte("dan"), partitions)
	foreign, late := (own+1)%partitions, (own+2)%partitions
	attributes := func(id string, at time.Time) record.Record {
		return schemas.User{
			EventID: id, Source: "app", UserID: "dan", OccurredAt: at,
			Attributes: map[string]any{"event": id},
		}.Message()
	}
	// compacted is which attributes compaction leaves, by partition.
	compacted := func() map[int]string {
		left := make(map[int]string)
		for partition := range partitions {
			tp := record.TopicPartition{Topic: schemas.TopicUsers, Partition: partition}
			newest := log.records[tp][len(log.records[tp])-1]
			if u, err := schemas.DecodeUser(&newest); err == nil && !u.Erased {
				left[partition] = u.EventID
			}
		}
		return left
	}
	spread := func() {
		t.Helper()
		require.NoError(t, erase.Handle(t.Context(), log.batch(schemas.TopicUsers, own, 0)))
	}
	for partition := range partitions {
		log.put(partition, attributes("before", noon.Add(-time.Hour)))
	}
	log.put(own, erased("dan"))
	back := log.clock.Add(time.Hour)
	log.put(own, attributes("back", back))
	log.put(foreign, attributes("back", back))
	log.put(late, attributes("on its way", noon.Add(-time.Minute)))
	want := map[int]string{own: "back", foreign: "back"}
	spread()
	require.Equal(t, want, compacted())
	spread()
	require.Equal(t, want, compacted(), "repeated")
	log.put(own, erased("dan"))
	spread()
	require.Equal(t, map[int]string{foreign: "back"}, compacted(), "sent again")
	log.clock = back.Add(time.Hour)
	log.put(own, schemas.User{
		EventID: "asked again", Source: "app", UserID: "dan", Erased: true, OccurredAt: log.clock,
	}.Message())
	spread()
	require.Empty(t, compacted(), "erased anew")
}

// TestCompactionForgetsAttributesInAnyPartition: a producer with another partitioner has put the
// attributes of dan where his erasure does not stand.
func TestCompactionForgetsAttributesInAnyPartition(t *testing.T) {
	t.Parallel()
	log := newShards()
	member := processors.EraseDeclaration().New(processors.Deps{
		Streams: processors.Streams{Log: log, Emit: log}, Erasures: processors.NewErasures(),
		Settings: processors.Settings{Partitions: shardCount},
	})
	own := record.PartitionOf([]byte("dan"), shardCount)
	for partition := range shardCount {
		for _, user := range []string{"dan", "eve"} {
			log.put(partition, schemas.User{
				EventID: "1", Source: "app", UserID: user, OccurredAt: noon,
				Attributes: map[string]any{"mail": user + "@example.org"},
			}.Message())
		}
	}
	log.put(own, erased("dan"))
	require.NoError(t, member.Handle(t.Context(), log.batch(schemas.TopicUsers, own, 0)))
	for partition := range shardCount {
		compacted := make(map[string][]byte)
		tp := record.TopicPartition{Topic: schemas.TopicUsers, Partition: partition}
		for _, r := range log.records[tp] {
			compacted[string(r.Key)] = r.Value
		}
		require.Empty(t, compacted["dan"], "partition %d", partition)
		require.NotEmpty(t, compacted["eve"], "partition %d", partition)
	}
}
