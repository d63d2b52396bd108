package guard

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// A range is uncertain, some of its records are excluded and dead letters; whoever comes next
// repeats the same bounds without the same records, and sets none of them aside again.
func TestGuardExclusionsSurvive(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic := e.Topic(t, 1)
		cfg := e.Group(t)
		cfg.Intents = true
		e.groupTopics(t, cfg.Group)
		p := e.Publisher(t)
		streamtest.Emit(t, p, topic, 0, 0, 10)
		type seen struct {
			first, last int64
			values      []string
			repeat      bool
		}
		var mu sync.Mutex
		var batches []seen
		look := func(b *record.Batch) seen {
			mu.Lock()
			defer mu.Unlock()
			s := seen{first: b.First, last: b.Last, repeat: b.Repeat}
			for _, r := range b.Records {
				s.values = append(s.values, string(r.Value))
			}
			batches = append(batches, s)
			return s
		}
		options := func(h Handler) Options {
			return Options{
				Name: "work", Group: cfg.Group, Topics: []string{topic},
				Subscriber: e.newSubscriber(t, cfg), Emitter: p, Handler: h,
			}
		}
		working := make(chan struct{})
		stop := e.runRouter(t, options(func(ctx context.Context, b *record.Batch) error {
			s := look(b)
			no := fault.Rejected{Undone: true}
			for i, v := range s.values {
				if v == "3" || v == "8" {
					no.Records = append(
						no.Records,
						fault.Rejection{Index: i, Err: fault.Permanentf("%s is bad", v)},
					)
				}
			}
			if len(no.Records) > 0 {
				return &no
			}
			close(working)
			<-ctx.Done() // it is not known whether this had effects
			return ctx.Err()
		}))
		<-working
		_, metadata := e.Committed(t, cfg.Group, topic, 0)
		assert.Contains(
			t, metadata, "!", "the excluded offsets are committed before the rest has effects",
		)
		stop()

		done := make(chan struct{})
		e.runRouter(t, options(func(_ context.Context, b *record.Batch) error {
			if s := look(b); s.last == 9 {
				close(done)
			}
			return nil
		}))
		<-done
		mu.Lock()
		defer mu.Unlock()
		before, after := batches[len(batches)-2], batches[len(batches)-1]
		assert.Equal(t, before.values, after.values)
		assert.Equal(t, []int64{before.first, before.last}, []int64{after.first, after.last})
		assert.True(t, after.repeat)
		assert.NotContains(t, after.values, "3")
		assert.Len(t, e.readAll(t, record.PoisonTopic(cfg.Group)), 2, "each once")
	})
}

// A member that waits out an outage hands partitions over when another one joins: it does not wait
// until its back-off is over.
func TestHandoverDuringOutage(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic := e.Topic(t, 2)
		cfg := e.Group(t)
		e.groupTopics(t, cfg.Group)
		p := e.Publisher(t)
		streamtest.Emit(t, p, topic, 0, 0, 5)
		streamtest.Emit(t, p, topic, 1, 10, 5)
		member := func(h Handler) func() {
			return e.runRouter(t, Options{
				Name: "work", Group: cfg.Group, Topics: []string{topic},
				Subscriber: e.newSubscriber(t, cfg), Emitter: p, Handler: h,
				Backoff: fault.Backoff{
					First: 10 * time.Minute, Max: 10 * time.Minute,
				}, Breaker: Breaker{Failures: 1, Delay: 10 * time.Minute},
			})
		}
		waiting := make(chan struct{})
		var once sync.Once
		member(func(context.Context, *record.Batch) error {
			once.Do(func() { close(waiting) })
			return fault.Transientf("this member cannot reach its engine")
		})
		<-waiting
		got := make(chan string, 2)
		member(
			func(_ context.Context, b *record.Batch) error {
				got <- b.TopicPartition().String()
				return nil
			},
		)
		select {
		case <-got:
		case <-time.After(15 * time.Second):
			t.Fatal("the second member got nothing")
		}
		assert.Empty(t, e.readAll(t, record.PoisonTopic(cfg.Group)))
	})
}

// Members come and go under load while records fail in every way: each record has its effect or is
// a dead letter, in order per key, and no dead letter has had an effect.
func TestChurn(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		const total, partitions = 4000, 4
		topic := e.Topic(t, partitions)
		cfg := e.Group(t)
		cfg.Intents, cfg.MaxRecords = true, 50
		e.groupTopics(t, cfg.Group)
		p := e.Publisher(t)
		var mu sync.Mutex
		last := map[int]int64{} // by partition: the newest offset that has had its effect
		effects, calls := map[string]bool{}, 0
		generations := map[int]int{} // by member
		members := 0
		// member starts one and returns when all that run are in the same generation: the
		// in-process broker never misses a member that leaves while it joins.
		member := func() func() {
			members++
			me := members
			mine := cfg
			mine.Hooks.Generation = func(id, n int) {
				mu.Lock()
				defer mu.Unlock()
				if generations[me] = id; n == 0 {
					delete(generations, me)
				}
			}
			stop := e.runRouter(t, Options{
				Name: "work", Group: cfg.Group, Topics: []string{topic},
				Subscriber: e.newSubscriber(t, mine), Emitter: p, MaxAttempts: 2, Splittable: true,
				Backoff: fault.Backoff{
					First: time.Millisecond, Max: 5 * time.Millisecond,
				}, Breaker: Breaker{Failures: 1000, Delay: time.Millisecond},
				Handler: func(ctx context.Context, b *record.Batch) error {
					if err := b.CheckLease(ctx); err != nil {
						return err
					}
					mu.Lock()
					defer mu.Unlock()
					calls++
					if calls%7 == 0 {
						return fault.Transientf("a moment please")
					}
					for _, r := range b.Records {
						if r.Offset%400 == 13 {
							panic(fmt.Sprintf("offset %d", r.Offset))
						}
					}
					for _, r := range b.Records {
						if !b.Repeat && r.Offset <= last[b.Partition] && effects[string(r.Value)] {
							t.Errorf(
								"%s/%d@%d again, though nothing is uncertain", b.Topic, b.Partition,
								r.Offset,
							)
						}
						last[b.Partition] = max(last[b.Partition], r.Offset)
						effects[string(r.Value)] = true
					}
					return nil
				},
			})
			streamtest.Eventually(t, "one generation", func() bool {
				mu.Lock()
				defer mu.Unlock()
				for _, id := range generations {
					if id != generations[me] {
						return false
					}
				}
				return generations[me] > 0
			})
			return stop
		}
		stops := []func(){member(), member()}
		for part := range partitions {
			streamtest.Emit(t, p, topic, part, part*total/partitions, total/partitions/2)
		}
		stops = append(stops, member())
		stops[0]()
		for part := range partitions {
			streamtest.Emit(
				t, p, topic, part, part*total/partitions+total/partitions/2, total/partitions/2,
			)
		}
		stops[1]()
		member()
		const bad = partitions * 3 // offsets 13, 413 and 813 of each
		streamtest.Eventually(
			t, "all records",
			func() bool { mu.Lock(); defer mu.Unlock(); return len(effects) == total-bad },
		)
		d := deadletter.New(e.Conn, p, e.Conn.Names(), []string{cfg.Group}, nil)
		var letters []deadletter.Letter
		streamtest.Eventually(t, "all dead letters", func() bool {
			var err error
			letters, err = d.List(t.Context(), deadletter.Filter{})
			require.NoError(t, err)
			return len(letters) >= bad
		})
		mu.Lock()
		defer mu.Unlock()
		require.Len(t, letters, bad)
		for _, l := range letters {
			assert.False(t, effects[string(l.Value)])
			assert.EqualValues(t, 13, l.Origin.Offset%400)
			assert.Zero(t, l.Unnamed)
		}
		assert.False(t, slices.Contains(offsets(letters), 14))
	})
}
