package processors_test

import (
	"context"
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
	"github.com/slipstream-rec/slipstream/stream/record"
)

// comeBack lets the log's time pass the erasure of dan, of which nobody has heard yet, and returns
// a time after it.
func (s *shop) comeBack() time.Time {
	s.clock = latestOf(s.clock, noon.Add(erasedAfter+time.Minute))
	return s.clock
}

// mark puts the marker in line, which is what every process learns of the erasure here.
func (s *shop) mark() {
	s.put(1, erasedAt(schemas.TopicInteractions, "dan", noon.Add(erasedAfter)))
}

// items returns the items of a user's history and of what the user has seen; nil without a point.
func (s *shop) items(t *testing.T, id string) (history, seen []model.Key) {
	t.Helper()
	u, ok := users(t, s.store)[id]
	if !ok {
		return nil, nil
	}
	var m model.User
	require.NoError(t, m.Decode(u.State))
	for _, x := range m.History {
		history = append(history, x.Key)
	}
	return history, m.AppendSeen(nil)
}

func itemKeys(items ...int) (out []model.Key) {
	for _, n := range items {
		out = append(out, model.KeyOf(fmt.Sprintf("i%d", n)))
	}
	return out
}

// An event that the log takes after an erasure and in front of its marker stays, and nothing else
// does.
func TestWhoComesBackBeforeTheMarkerKeepsWhatIsNotErased(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		happens func(t *testing.T, s *shop)
		// want are the items that stay, learned how many events the items have learned from.
		want    []int
		learned float64
	}{
		"in a batch of its own": {func(t *testing.T, s *shop) {
			s.put(1, like("dan", 3, s.comeBack()))
			s.run(t)
			s.mark()
			s.run(t)
		}, []int{3}, 3},
		"in the batch of the marker": {func(t *testing.T, s *shop) {
			s.put(1, like("dan", 3, s.comeBack()))
			s.mark()
			s.run(t)
		}, []int{3}, 3},
		"before and in the batch of the marker, and behind": {func(t *testing.T, s *shop) {
			s.put(1, like("dan", 3, s.comeBack()))
			s.run(t)
			s.put(1, like("dan", 4, s.comeBack()))
			s.mark()
			s.put(1, like("dan", 5, s.comeBack()))
			s.run(t)
			s.put(1, like("dan", 6, s.comeBack()))
			s.run(t)
		}, []int{3, 4, 5, 6}, 6},
		"with what happened before, in the batch of the marker": {func(t *testing.T, s *shop) {
			s.put(1, like("dan", 3, s.comeBack()), like("dan", 4, noon))
			s.mark()
			s.run(t)
		}, []int{3}, 3},
		"in another partition": {func(t *testing.T, s *shop) {
			s.put(0, like("dan", 3, s.comeBack()))
			s.run(t)
			s.mark()
			s.run(t)
		}, []int{3}, 3},
		"in both partitions": {func(t *testing.T, s *shop) {
			s.put(0, like("dan", 3, s.comeBack()))
			s.put(1, like("dan", 4, s.comeBack()))
			s.run(t)
			s.mark()
			s.run(t)
			s.put(0, like("dan", 5, s.comeBack()))
			s.run(t)
		}, []int{4, 3, 5}, 5},
		"with what happened or was recorded before": {func(t *testing.T, s *shop) {
			s.put(1, like("dan", 7, noon.Add(erasedAfter+time.Hour))) // a phone that is fast
			s.put(1, like("dan", 3, s.comeBack()))
			s.put(1, like("dan", 8, noon)) // one that was offline
			s.run(t)
			s.mark()
			s.run(t)
		}, []int{3}, 5},
		"with a repetition of what was recorded before": {func(t *testing.T, s *shop) {
			fast := like("dan", 7, noon.Add(erasedAfter+time.Hour))
			s.put(1, fast)
			s.comeBack()
			s.put(1, fast, like("dan", 3, s.clock))
			s.run(t)
			s.mark()
			s.run(t)
		}, []int{3}, 4},
		"with nothing but late news of before": {func(t *testing.T, s *shop) {
			s.put(1, like("dan", 7, noon.Add(erasedAfter+time.Hour)))
			s.comeBack()
			s.put(1, like("dan", 8, noon))
			s.run(t)
			s.mark()
			s.run(t)
		}, nil, 4},
		"when others take over": {func(t *testing.T, s *shop) {
			s.put(1, like("dan", 3, s.comeBack()))
			s.put(0, like("dan", 4, s.comeBack()))
			s.run(t)
			s.restart(t)
			s.mark()
			s.run(t)
		}, []int{3, 4}, 4},
		"when the erasure is known": {func(t *testing.T, s *shop) {
			s.eraseDan()
			s.put(1, like("dan", 3, s.comeBack()))
			s.run(t)
			s.mark()
			s.run(t)
		}, []int{3}, 3},
		"when the marker comes again": {func(t *testing.T, s *shop) {
			s.put(1, like("dan", 3, s.comeBack()))
			s.mark()
			s.put(1, like("dan", 4, s.comeBack()))
			s.run(t)
			s.mark()
			s.run(t)
		}, []int{3, 4}, 4},
		"when the marker comes again beyond the recent ids": {func(t *testing.T, s *shop) {
			s.recentIDs = 2
			s.restart(t)
			s.put(1, like("dan", 3, s.comeBack()))
			s.mark()
			s.put(1, like("dan", 4, s.comeBack()))
			s.run(t)
			s.put(1, likes("eve", 1, 2, 3, 4)...)
			s.mark()
			s.run(t)
		}, []int{3, 4}, 8},
		"with a state that cannot be decoded": {func(t *testing.T, s *shop) {
			s.put(1, like("dan", 3, s.comeBack()))
			s.run(t)
			spoil(t, s.store, "dan", corrupt)
			s.restart(t)
			s.put(1, like("dan", 4, s.comeBack()))
			s.run(t)
			s.mark()
			s.run(t)
			s.put(1, like("dan", 5, s.comeBack()))
			s.run(t)
		}, []int{3, 4, 5}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.put(1, likes("dan", 1, 2)...)
			s.run(t)
			c.happens(t, s)
			history, seen := s.items(t, "dan")
			require.Equal(t, itemKeys(c.want...), history)
			require.Equal(t, itemKeys(c.want...), seen)
			require.InDelta(t, c.learned, s.gradients(t), 0, "the items learn once")

			s.restart(t)
			require.NoError(t, s.embed.RecheckErasures(t.Context()))
			history, _ = s.items(t, "dan")
			require.Equal(t, itemKeys(c.want...), history, "what looks for late writers leaves it")
			rebuilt := s.replayOn(t)
			require.Equal(t, len(c.want), rebuilt["dan"], "in a rebuild")
			s.put(1, like("dan", 9, s.comeBack()))
			s.run(t)
			require.Equal(t, len(c.want)+1, s.learned(t)["dan"])
		})
	}
}

// The position of the marker stands in the point: a batch that was cut off has its effects once.
func TestWhoComesBackIsKeptWhereverTheBatchBreaksOff(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		for failAt := range 4 {
			t.Run(fmt.Sprintf("call %d, by a successor %v", failAt, restart), func(t *testing.T) {
				t.Parallel()
				s := newShop(t)
				s.put(1, likes("dan", 1, 2)...)
				s.put(1, like("dan", 3, s.comeBack()))
				s.run(t)
				s.put(1, like("dan", 4, s.comeBack()))
				s.mark()
				s.put(1, like("eve", 1, s.clock))
				s.calls, s.failAt = 0, failAt
				require.Empty(t, s.handle(t, "embed", s.embed, restart))
				history, _ := s.items(t, "dan")
				require.Equal(t, itemKeys(3, 4), history)
				require.InDelta(t, 5, s.gradients(t), 0)
				x := s.lastChange(t, "dan")
				require.True(t, x.OccurredAt.After(noon.Add(erasedAfter)), "%v", x)
				require.True(t, x.RecordedAt.After(noon.Add(erasedAfter)), "%v", x)
			})
		}
	}
}

// lastChange is the newest change of a user's profile. It stands behind the marker in any case.
func (s *shop) lastChange(t *testing.T, user string) (out schemas.ProfileChanged) {
	t.Helper()
	marker := s.records[record.TopicPartition{Topic: schemas.TopicInteractions, Partition: 1}][4]
	for _, r := range s.records[record.TopicPartition{
		Topic: schemas.TopicProfileChanges, Partition: record.PartitionOf([]byte(user), shardCount),
	}] {
		x, err := schemas.DecodeProfileChanged(&r)
		require.NoError(t, err)
		if x.UserID == user && r.Time.After(marker.Time) {
			out = x
		}
	}
	return out
}

// What comes behind the marker may be of a person who has not come back before it: the point goes
// as of the marker, so that a former owner cannot bring it back.
func TestWhoDoesNotComeBackIsForgottenAtTheMarker(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put(1, likes("dan", 1, 2)...)
	s.run(t)
	late := users(t, s.store)["dan"]
	s.comeBack()
	s.mark()
	s.run(t)
	require.Empty(t, s.learned(t))
	src := sinks.Source{Topic: schemas.TopicInteractions, Partition: 1}
	require.NoError(t, s.store.PutUsers(t.Context(), src, []sinks.User{late}))
	require.NoError(t, s.embed.RecheckErasures(t.Context()))
	require.Empty(t, s.learned(t))
}

// impatientLog calls expire at the next read, which then takes longer than its caller waits.
type impatientLog struct {
	*shards
	expire func()
}

func (l *impatientLog) Read(
	ctx context.Context, topic string, partition int, from, to int64,
	f func(*record.Record) error,
) error {
	if expire := l.expire; expire != nil {
		l.expire = nil
		expire()
		return ctx.Err()
	}
	return l.shards.Read(ctx, topic, partition, from, to, f)
}

// impatient has a process take over whose log is impatient.
func (s *shop) impatient(t *testing.T, parts []record.Assignment) *impatientLog {
	t.Helper()
	slow := &impatientLog{shards: s.shards}
	s.embed = processors.NewEmbed(
		s.store, processors.Streams{Log: slow, Emit: s.shards},
		processors.NewItemFactors(model.Default()), s.erasures, s.embedConfig())
	require.NoError(t, s.embed.Assign(t.Context(), parts))
	return slow
}

func TestAMarkerWaitsUntilTheEventsSinceTheErasureAreRead(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put(1, likes("dan", 1, 2)...)
	s.put(1, like("dan", 3, s.comeBack()))
	s.run(t)
	slow := s.impatient(t, s.assigned("embed"))
	s.mark()
	ctx := &expiring{Context: t.Context(), done: make(chan struct{})}
	slow.expire = func() { close(ctx.done) }
	err := s.embed.Handle(ctx, s.batch(schemas.TopicInteractions, 1, 3))
	require.True(t, fault.Waits(err), "%v", err)
	s.run(t)
	history, _ := s.items(t, "dan")
	require.Equal(t, itemKeys(3), history)
	require.InDelta(t, 3, s.gradients(t), 0)
}

// Of a corrupt state nobody knows what it has absorbed of a topic that is not assigned yet.
func TestAMarkerOfACorruptStateNeedsAllTopics(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put(1, likes("dan", 1, 2)...)
	s.put(1, like("dan", 3, s.comeBack()))
	s.run(t)
	spoil(t, s.store, "dan", corrupt)
	parts := s.assigned("embed")
	s.impatient(t, slices.DeleteFunc(slices.Clone(parts), func(a record.Assignment) bool {
		return a.Topic == embedMisplaced
	}))
	s.mark()
	b := s.batch(schemas.TopicInteractions, 1, 3)
	err := s.embed.Handle(t.Context(), b)
	require.True(t, fault.Waits(err), "%v", err)
	require.NoError(t, s.embed.Assign(t.Context(), parts))
	require.NoError(t, s.embed.Handle(t.Context(), b))
	history, _ := s.items(t, "dan")
	require.Equal(t, itemKeys(3), history)
}
