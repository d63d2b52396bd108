package processors_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// life is what happens to dan: events in both partitions, repetitions, erasures whose markers come
// late, batches that break off, processes that end, and states that get damaged.
type life struct {
	*shop
	rand    *rand.Rand
	events  int
	markers []record.Record // that are not in line yet
}

func (l *life) step(t *testing.T) {
	t.Helper()
	switch n := l.rand.IntN(20); {
	case n < 7: // an event, on the phone's clock
		at := l.clock.Add([]time.Duration{0, 0, 0, -time.Minute, time.Minute}[l.rand.IntN(5)])
		l.events++
		l.put([]int{0, 1, 1}[l.rand.IntN(3)], like("dan", l.events, at))
	case n == 7 && l.events > 0:
		l.repeat()
	case n < 10:
		l.erase(t)
	case n < 12 && len(l.markers) > 0:
		l.put(1, l.markers[0])
		l.markers = l.markers[1:]
	case n == 12:
		l.restart(t)
	case n == 13:
		if u, ok := users(t, l.store)["dan"]; ok {
			u.State = corrupt
			u.Positions["damage"] = max(at(0), u.Positions["damage"]) + 1
			require.NoError(
				t, l.store.PutUsers(t.Context(), sinks.Source{Topic: "damage"}, []sinks.User{u}))
			l.restart(t)
		}
	case n == 14:
		l.calls, l.failAt, l.landed = 0, 1+l.rand.IntN(3), l.rand.IntN(2)
		l.handle(t, "embed", l.embed, l.rand.IntN(2) == 0)
		l.failAt = 0
	default:
		l.handle(t, "embed", l.embed, false)
	}
}

func (l *life) repeat() {
	tp := record.TopicPartition{Topic: schemas.TopicInteractions, Partition: l.rand.IntN(2)}
	if all := l.records[tp]; len(all) > 0 {
		l.put(tp.Partition, all[l.rand.IntN(len(all))])
	}
}

// erase takes an erasure. The process may hear of it at once, or with the marker.
func (l *life) erase(t *testing.T) {
	t.Helper()
	l.clock = l.clock.Add(time.Second)
	l.known = append(l.known, schemas.Erasure{UserKey: schemas.Key("dan"), ErasedAt: l.clock})
	if l.rand.IntN(2) == 0 {
		l.erasures.Add(l.known[len(l.known)-1])
	}
	m := erasedAt(schemas.TopicInteractions, "dan", l.clock)
	u, err := schemas.DecodeUser(&m)
	require.NoError(t, err)
	u.EventID = fmt.Sprint("bye ", len(l.known))
	m = u.Message()
	m.Topic = schemas.TopicInteractions
	l.markers = append(l.markers, m)
}

// kept are the items of what no erasure covers, from the log by the plainest means.
func (l *life) kept(t *testing.T) map[model.Key]bool {
	t.Helper()
	out := make(map[model.Key]bool)
	var erased time.Time
	for _, x := range l.known {
		erased = latestOf(erased, x.ErasedAt)
	}
	for p := range shardCount {
		seen := make(map[string]bool)
		tp := record.TopicPartition{Topic: schemas.TopicInteractions, Partition: p}
		for i := range l.records[tp] {
			r := &l.records[tp][i]
			x, err := schemas.DecodeInteraction(r)
			if err == nil && !seen[x.EventID] &&
				x.OccurredAt.After(erased) && r.Time.After(erased) {
				out[model.KeyOf(x.ItemID)] = true
			}
			seen[x.EventID] = true
		}
	}
	return out
}

// Whatever comes together, after the markers the state holds what is not erased and nothing else,
// and the items have learned once.
func TestAnErasedPersonsStateHoldsExactlyWhatIsNotErased(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("life ", seed), func(t *testing.T) {
			t.Parallel()
			l := &life{shop: newShop(t), rand: rand.New(rand.NewPCG(seed, 11))}
			l.clock = noon.Add(time.Hour)
			for range 40 {
				l.step(t)
			}
			l.put(1, l.markers...)
			l.events++
			l.put(1, like("dan", l.events, l.clock)) // what finds a damaged state
			for range 3 {
				l.handle(t, "embed", l.embed, false)
			}
			want := l.kept(t)
			history, _ := l.items(t, "dan")
			require.ElementsMatch(t, slices.Collect(maps.Keys(want)), history)
			counts := l.itemCounts(t)
			for id, n := range counts {
				require.LessOrEqual(t, n, 1.0, id)
			}
			for n := range l.events {
				if id := fmt.Sprint("i", n+1); want[model.KeyOf(id)] {
					require.InDelta(t, 1, counts[id], 0, id)
				}
			}
			require.Equal(t, len(want), l.replayOn(t)["dan"], "in a rebuild")
		})
	}
}
