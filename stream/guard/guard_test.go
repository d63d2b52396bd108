package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// emitted is an Emitter that keeps what it is given, and fails as it is told.
type emitted struct {
	mu      sync.Mutex
	records []record.Record
	fail    func(records []record.Record) error
	log     *[]string
}

func (e *emitted) Emit(_ context.Context, records []record.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		if err := e.fail(records); err != nil {
			return err
		}
	}
	e.records = append(e.records, records...)
	if e.log != nil {
		*e.log = append(*e.log, fmt.Sprintf("emit %d", len(records)))
	}
	return nil
}

// heldLease is a lease without a broker.
type heldLease struct {
	drain chan struct{}
	log   *[]string
	fail  error
	lease error
}

func (c *heldLease) Check(context.Context) error { return c.lease }
func (c *heldLease) Draining() <-chan struct{}   { return c.drain }
func (c *heldLease) Note(string)                 {}
func (c *heldLease) Exclude(_ context.Context, offsets ...int64) error {
	if c.log != nil {
		*c.log = append(*c.log, fmt.Sprintf("exclude %v", offsets))
	}
	return c.fail
}

// bench is a guard on the bench: batches go in by hand.
type bench struct {
	t       *testing.T
	g       *guard
	out     *emitted
	lease   *heldLease
	closing chan struct{}
	done    []BatchDone
	told    []Moved
	retried []Retrying
	states  []string
}

func newBench(t *testing.T, handler Handler, change func(*Options)) *bench {
	t.Helper()
	b := &bench{
		t: t, out: &emitted{}, lease: &heldLease{drain: make(chan struct{})},
		closing: make(chan struct{}),
	}
	o := Options{
		Name: "work", Group: "g", Topics: []string{"in"}, Handler: handler, Emitter: b.out,
		Subscriber: noSubscriber{},
	}
	var mu sync.Mutex
	locked := func(f func()) { mu.Lock(); defer mu.Unlock(); f() }
	o.Hooks = Hooks{
		Done: func(_ context.Context, e BatchDone) {
			locked(func() { b.done = append(b.done, e) })
		},
		Moved: func(_ context.Context, e Moved) {
			locked(func() { b.told = append(b.told, e) })
		},
		Retrying: func(_ context.Context, e Retrying) {
			locked(func() { b.retried = append(b.retried, e) })
		},
		Breaker: func(_, state string) { locked(func() { b.states = append(b.states, state) }) },
	}
	if change != nil {
		change(&o)
	}
	require.NoError(t, o.Validate())
	b.g = newGuard(o.filled(), record.Names{}, slog.New(slog.DiscardHandler), b.closing)
	return b
}

type noSubscriber struct{}

func (noSubscriber) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	return nil, errors.New("not to be subscribed to")
}
func (noSubscriber) Close() error { return nil }

// batch makes a batch of records at the offsets, whose values are v<offset>.
func (b *bench) batch(topic string, offsets ...int64) *record.Batch {
	out := &record.Batch{
		Group: "g",
		Range: record.Range{
			Topic: topic, Partition: 3, First: offsets[0], Last: offsets[len(offsets)-1],
		},
		End:   offsets[len(offsets)-1] + 5,
		Lease: b.lease,
	}
	for _, o := range offsets {
		out.Records = append(out.Records, record.Record{
			Topic: topic, Partition: 3, Offset: o, Time: time.Now().Add(-time.Second),
			Key: fmt.Appendf(nil, "k%d", o), Value: fmt.Appendf(nil, "v%d", o),
			Headers: []record.Header{
				{Key: "own", Value: []byte("1")}, {Key: "own", Value: []byte{0, 255}},
			},
		})
	}
	return out
}

// run sends the batch through a chain and reports whether it is acknowledged.
func (b *bench) run(ctx context.Context, batch *record.Batch) bool {
	return b.through(ctx, batch, b.g.chain())
}

func (b *bench) through(
	ctx context.Context,
	batch *record.Batch,
	chain []message.HandlerMiddleware,
) bool {
	h := func(*message.Message) ([]*message.Message, error) {
		return nil, errors.New("the handler link must not call next")
	}
	for _, wrap := range slices.Backward(chain) {
		h = wrap(h)
	}
	msg := message.NewMessage("id", nil)
	msg.SetContext(context.WithValue(ctx, handedKey{}, batch))
	_, err := h(msg)
	if err != nil {
		// Watermill keeps quiet about context.Canceled only.
		assert.ErrorIs(b.t, err, context.Canceled)
	}
	return err == nil
}

func (b *bench) values() []string {
	var out []string
	for _, r := range b.out.records {
		out = append(out, r.Topic+":"+string(r.Value))
	}
	return out
}

// The order of the chain is docs/adr/0003: telemetry sees everything, poison sees every end of
// trying, a panic is an error before it is tried again.
func TestGuardOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(context.Context, *record.Batch) error { return nil }, nil)
	var names []string
	for _, l := range b.g.links() {
		names = append(names, l.name)
	}
	assert.Equal(t, []string{"telemetry", "poison", "retry", "recover", "handler"}, names)
}

func TestGuardPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		b := newBench(
			t, func(context.Context, *record.Batch) error { calls++; panic("no such thing") },
			func(o *Options) { o.MaxAttempts = 4 },
		)
		require.True(t, b.run(t.Context(), b.batch("in", 7)))
		assert.Equal(t, 4, calls)
		require.Len(t, b.out.records, 1)
		r := b.out.records[0]
		assert.Contains(t, r.Header(record.HeaderReason), "no such thing")
		assert.Contains(t, r.Header(record.HeaderReason), "guard_test.go", "the stack says where")
		assert.Equal(t, "unknown", r.Header(record.HeaderClass))
		assert.Equal(t, "4", r.Header(record.HeaderAttempts))
	})
}

func TestGuardPermanentRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		b := newBench(t, func(_ context.Context, batch *record.Batch) error {
			calls++
			var no fault.Reject
			no.Add(1, fault.Permanentf("not an event"))
			return no.Err()
		}, nil)
		in := b.batch("in", 10, 11, 12)
		want := in.Records[1]
		require.True(t, b.run(t.Context(), in))
		assert.Equal(t, 1, calls)
		require.Len(t, b.out.records, 1)
		r := b.out.records[0]
		assert.Equal(t, "g.poison", r.Topic)
		assert.Equal(t, record.AnyPartition, r.Partition)
		assert.Equal(t, want.Key, r.Key)
		assert.Equal(t, want.Value, r.Value)
		assert.Equal(t, want.Headers, r.Headers[:2])
		for name, value := range map[string]string{
			"reason_poisoned": "not an event", "topic_poisoned": "in", "handler_poisoned": "work",
			"subscriber_poisoned":  "g",
			record.HeaderPartition: "3", record.HeaderOffset: "11", record.HeaderGroup: "g",
			record.HeaderClass: "permanent", record.HeaderAttempts: "1",
			record.HeaderTime: stamp(want.Time),
			record.HeaderID: deadletter.ID("g", record.Position{
				TopicPartition: record.TopicPartition{Topic: "in", Partition: 3}, Offset: 11,
			}),
			record.HeaderFirstFailure: stamp(time.Now()),
			record.HeaderLastFailure:  stamp(time.Now()),
		} {
			assert.Equal(t, value, r.Header(name), name)
		}
		require.Len(t, b.told, 1)
		assert.True(t, b.told[0].DeadLetter)
		require.Len(t, b.done, 1)
		assert.Equal(t, BatchDone{
			Handler: "work", Group: "g",
			TopicPartition: record.TopicPartition{Topic: "in", Partition: 3}, Records: 3,
			Newest: in.Records[2].Time, Attempts: 1, Outcome: OutcomeMoved, Lag: 4,
		}, b.done[0])
	})
}

// A partition that waits for reasons of its own charges nothing, and leaves the breaker that it
// shares with the group's other partitions alone.
func TestGuardWaitingPartitionLeavesTheBreakerAlone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		open bool
	}{
		"outage": {fault.Transientf("connection refused"), true},
		"wait":   {fmt.Errorf("load: %w", fault.Wait(errors.New("a newer version"))), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var b *bench
				calls := 0
				b = newBench(t, func(context.Context, *record.Batch) error {
					if calls++; calls <= 20 {
						return tc.err
					}
					return nil
				}, func(o *Options) {
					o.MaxAttempts = 2
					o.Breaker = Breaker{Failures: 5, Delay: 10 * time.Second}
				})
				require.True(t, b.run(t.Context(), b.batch("in", 1, 2)))
				assert.Equal(t, 21, calls)
				assert.Empty(t, b.out.records)
				assert.Equal(t, tc.open, slices.Contains(b.states, "open"), "breaker: %v", b.states)
				require.Len(t, b.done, 1)
				assert.Zero(t, b.done[0].Attempts)
				require.Len(t, b.retried, 20)
				assert.Equal(t, !tc.open, fault.Waits(b.retried[0].Err))
			})
		})
	}
}

// An outage of hours poisons nothing and charges nothing.
func TestGuardOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := time.Now().Add(3 * time.Hour)
		calls := 0
		b := newBench(t, func(context.Context, *record.Batch) error {
			calls++
			if time.Now().Before(up) {
				return fmt.Errorf("put 3 factors: %w", fault.Transientf("connection refused"))
			}
			return nil
		}, func(o *Options) { o.MaxAttempts = 2 })
		require.True(t, b.run(t.Context(), b.batch("in", 1, 2, 3)))
		assert.Empty(t, b.out.records)
		assert.Equal(t, OutcomeDone, b.done[0].Outcome)
		assert.Zero(t, b.done[0].Attempts)
		assert.Less(t, time.Since(up), time.Minute, "it goes on soon after the engine is back")
		assert.Less(t, calls, 900, "waiting grows")
		assert.Greater(t, calls, 200, "and has a bound")
		assert.Equal(t, "open", b.states[0])
		assert.Equal(t, "closed", b.states[len(b.states)-1])
	})
}

// While the breaker is open the partitions wait together instead of each knocking on its own.
func TestGuardBreakerIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := time.Now().Add(10 * time.Minute)
		var mu sync.Mutex
		calls := 0
		b := newBench(t, func(context.Context, *record.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			calls++
			if time.Now().Before(up) {
				return fault.Transientf("connection refused")
			}
			return nil
		}, func(o *Options) {
			o.Breaker = Breaker{Failures: 5, Delay: 10 * time.Second}
			o.Backoff = fault.Backoff{First: 50 * time.Millisecond, Max: time.Second}
		})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { assert.True(t, b.run(t.Context(), b.batch("in", 1))) })
		}
		wg.Wait()
		assert.Empty(t, b.out.records)
		assert.Less(
			t, calls, 20+20+5+65, "once each, then one probe in ten seconds, then once each",
		)
	})
}

// offending returns a handler that fails for whole batches that contain one of the offsets, and
// notes which offsets have had their effects.
func offending(err error, effects *[]int64, offsets ...int64) Handler {
	return func(_ context.Context, b *record.Batch) error {
		for _, r := range b.Records {
			if slices.Contains(offsets, r.Offset) {
				return err
			}
		}
		for _, r := range b.Records {
			*effects = append(*effects, r.Offset)
		}
		return nil
	}
}

func TestGuardFindsTheOffendingRecord(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		err      error
		attempts int
	}{
		{"unknown", errors.New("index out of range"), 4}, // three for the whole, and its own
		{"permanent", fault.Permanentf("refused"), 2},    // seen at once, but not whose
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var effects []int64
				b := newBench(
					t, offending(tc.err, &effects, 13, 40),
					func(o *Options) { o.Splittable = true; o.MaxAttempts = 3 },
				)
				var offsets, want []int64
				for o := range int64(100) {
					offsets = append(offsets, o)
					if o != 13 && o != 40 {
						want = append(want, o)
					}
				}
				require.True(t, b.run(t.Context(), b.batch("in", offsets...)))
				assert.Equal(t, want, effects, "each once, in order")
				assert.Equal(t, []string{"g.poison:v13", "g.poison:v40"}, b.values())
				assert.Empty(t, b.out.records[0].Header(record.HeaderUnnamed))
				assert.GreaterOrEqual(t, b.told[0].Attempts, tc.attempts)
			})
		})
	}
}

func TestGuardUnnamedBatch(t *testing.T) {
	t.Parallel()
	for _, err := range []error{errors.New("something"), fault.Permanentf("something")} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			b := newBench(
				t, func(context.Context, *record.Batch) error { calls++; return err },
				func(o *Options) { o.MaxAttempts = 3 },
			)
			require.True(t, b.run(t.Context(), b.batch("in", 1, 2)))
			assert.Equal(t, 3, calls, "many records, hardly all offending: not at once")
			assert.Equal(t, []string{"g.poison:v1", "g.poison:v2"}, b.values())
			assert.Equal(t, "2", b.out.records[0].Header(record.HeaderUnnamed))
		})
	}
}

// A store that takes batches whole names the bad rows; they are safe before they are excluded, and
// excluded before the rest is tried again.
func TestGuardUndone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log []string
		b := newBench(t, func(_ context.Context, batch *record.Batch) error {
			var offsets []int64
			for _, r := range batch.Records {
				offsets = append(offsets, r.Offset)
			}
			log = append(log, fmt.Sprintf("call %v", offsets))
			switch len(batch.Records) {
			case 4:
				return fmt.Errorf(
					"insert 4 rows: %w",
					&fault.Rejected{
						Undone: true,
						Records: []fault.Rejection{
							{Index: 0, Err: fault.Permanentf("bad")},
							{Index: 2, Err: fault.Permanentf("bad")},
						},
					},
				)
			case 2:
				return &fault.Rejected{
					Undone:  true,
					Records: []fault.Rejection{{Index: 1, Err: fault.Permanentf("worse")}},
				}
			}
			return nil
		}, nil)
		b.out.log, b.lease.log = &log, &log
		require.True(t, b.run(t.Context(), b.batch("in", 5, 6, 7, 8)))
		assert.Equal(t, []string{
			"call [5 6 7 8]", "emit 2", "exclude [5 7]",
			"call [6 8]", "emit 1", "exclude [8]",
			"call [6]",
		}, log)
		assert.Equal(t, []string{"g.poison:v5", "g.poison:v7", "g.poison:v8"}, b.values())
	})
}

func TestGuardUndoneToTheLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		b := newBench(t, func(_ context.Context, batch *record.Batch) error {
			calls++
			return &fault.Rejected{
				Undone: true, Records: []fault.Rejection{{Index: 0, Err: fault.Permanentf("bad")}},
			}
		}, nil)
		b.lease.fail = fault.Permanentf("too many to commit")
		require.True(t, b.run(t.Context(), b.batch("in", 1, 2, 3)))
		assert.Equal(t, 3, calls)
		assert.Len(t, b.out.records, 3)
	})
}

// Stopping while waiting is nobody's fault, whichever way it is told.
func TestGuardStopIsNotCharged(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"transient": fault.Transientf("down"), "unknown": errors.New("what"),
		"rejected": &fault.Rejected{Records: []fault.Rejection{{Err: errors.New("what")}}},
	} {
		for _, how := range []string{"closing", "context", "draining"} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := newBench(
						t,
						func(context.Context, *record.Batch) error { return err },
						func(o *Options) {
							o.Backoff = fault.Backoff{First: time.Hour, Max: time.Hour}
						},
					)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					stop := map[string]func(){
						"closing": func() { close(b.closing) }, "context": cancel,
						"draining": func() { close(b.lease.drain) },
					}[how]
					time.AfterFunc(time.Second, stop)
					start := time.Now()
					require.False(t, b.run(ctx, b.batch("in", 1)))
					assert.Equal(t, time.Second, time.Since(start))
					assert.Empty(t, b.out.records)
					assert.Equal(t, OutcomeLeft, b.done[0].Outcome)
				})
			})
		}
	}
}

// A driver's error under a canceled context says nothing about the record, whatever it claims.
func TestGuardErrorWhileStopping(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		errors.New("use of closed connection"), fault.Permanentf("no"),
		&fault.Rejected{Records: []fault.Rejection{{Err: fault.Permanentf("no")}}},
		context.Canceled,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		b := newBench(
			t, func(context.Context, *record.Batch) error { cancel(); return err },
			func(o *Options) { o.MaxAttempts = 1 },
		)
		require.False(t, b.run(ctx, b.batch("in", 1)))
		assert.Empty(t, b.out.records)
	}
}

func TestGuardLeaseIsOver(t *testing.T) {
	t.Parallel()
	over := fault.As(fault.Canceled, errors.New("lease is over"))
	for _, err := range []error{
		over, &fault.Rejected{Records: []fault.Rejection{{Err: over}}}, fault.Permanentf("bad"),
	} {
		b := newBench(t, func(context.Context, *record.Batch) error { return err }, nil)
		b.lease.lease = over
		require.False(t, b.run(t.Context(), b.batch("in", 1)))
		assert.Empty(t, b.out.records, "they may be somebody else's by now")
	}
}

// Something inside the handler was canceled although nobody is stopping: the batch waits, with a
// word, instead of coming back at once without one.
func TestGuardCanceledForNoReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		b := newBench(t, func(context.Context, *record.Batch) error {
			if calls++; calls < 5 {
				return fmt.Errorf("search: %w", context.Canceled)
			}
			return nil
		}, func(o *Options) { o.MaxAttempts = 1 })
		require.True(t, b.run(t.Context(), b.batch("in", 1)))
		assert.Equal(t, 5, calls)
		assert.Len(t, b.retried, 4)
		assert.Empty(t, b.out.records)
	})
}

// A batch is not acknowledged before its dead letters are safe.
func TestGuardPoisonTopicDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := time.Now().Add(10 * time.Minute)
		b := newBench(
			t, func(context.Context, *record.Batch) error { return fault.Permanentf("bad") }, nil,
		)
		b.out.fail = func([]record.Record) error {
			if time.Now().Before(up) {
				return fault.Transientf("leader election")
			}
			return nil
		}
		require.True(t, b.run(t.Context(), b.batch("in", 1)))
		assert.False(t, time.Now().Before(up))
		assert.Len(t, b.out.records, 1)

		b.out.fail = func([]record.Record) error { return errors.New("never seen") }
		time.AfterFunc(time.Hour, func() { close(b.closing) })
		require.False(t, b.run(t.Context(), b.batch("in", 2)), "left, not lost")
	})
}

func TestGuardTooLargeForItsHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(_ context.Context, batch *record.Batch) error {
			return &fault.Rejected{
				Records: []fault.Rejection{
					{Index: 0, Err: fault.Permanentf("bad")},
					{Index: 1, Err: fault.Permanentf("%s", strings.Repeat("bad ", 10_000))},
				},
			}
		}, nil)
		b.out.fail = func(records []record.Record) error {
			for _, r := range records {
				if len(r.Value) > 100 {
					return fault.Permanentf("message too large")
				}
			}
			return nil
		}
		in := b.batch("in", 1, 2)
		in.Records[1].Value = make([]byte, 200)
		require.True(t, b.run(t.Context(), in))
		require.Len(t, b.out.records, 2)
		assert.Equal(t, "v1", string(b.out.records[0].Value))
		assert.Nil(t, b.out.records[1].Value)
		assert.Equal(t, "200", b.out.records[1].Header(record.HeaderOmitted))
		assert.Equal(t, "2", b.out.records[1].Header(record.HeaderOffset))
		assert.LessOrEqual(t, len(b.out.records[1].Header(record.HeaderReason)), 300)
	})
}

func TestGuardTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		b := newBench(t, func(ctx context.Context, _ *record.Batch) error {
			if calls++; calls < 4 {
				<-ctx.Done()
				return errors.New("driver: interrupted") // unclassified, but the time was over
			}
			return nil
		}, func(o *Options) { o.Timeout = time.Second; o.MaxAttempts = 1 })
		require.True(t, b.run(t.Context(), b.batch("in", 1)))
		assert.Empty(t, b.out.records)
		assert.Equal(t, fault.Transient, b.retried[0].Class)

		// What is known is known, however late.
		b = newBench(t, func(ctx context.Context, _ *record.Batch) error {
			<-ctx.Done()
			return &fault.Rejected{
				Records: []fault.Rejection{{Index: 0, Err: fault.Permanentf("bad")}},
			}
		}, func(o *Options) { o.Timeout = time.Second })
		require.True(t, b.run(t.Context(), b.batch("in", 1)))
		assert.Len(t, b.out.records, 1)
	})
}

// A list that cannot be right is trusted in nothing.
func TestGuardWrongIndex(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(context.Context, *record.Batch) error {
			return &fault.Rejected{
				Records: []fault.Rejection{{Index: 9, Err: fault.Permanentf("bad")}},
			}
		}, nil)
		require.True(t, b.run(t.Context(), b.batch("in", 1, 2)))
		assert.Equal(t, []string{"g.poison:v1", "g.poison:v2"}, b.values())
	})
}

// Where order matters a failing record holds up what is behind it.
func TestGuardOrderedRejections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		b := newBench(t, func(context.Context, *record.Batch) error {
			calls++
			var no fault.Reject
			no.Add(0, fault.Permanentf("bad"))
			switch {
			case calls < 10:
				no.Add(1, fault.Transientf("down"))
			case calls < 12:
				no.Add(1, errors.New("what"))
			}
			return no.Err()
		}, func(o *Options) { o.MaxAttempts = 5 })
		require.True(t, b.run(t.Context(), b.batch("in", 1, 2)))
		assert.Equal(t, 12, calls)
		assert.Equal(t, []string{"g.poison:v1"}, b.values())
	})
}

// A group that reads its own dead letters, for instance to count them, must not bury them again and
// again.
func TestGuardOwnPoisonTopic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(
			t,
			func(context.Context, *record.Batch) error {
				return fault.Permanentf("not a dead letter")
			},
			nil,
		)
		require.True(t, b.run(t.Context(), b.batch("g.poison", 1)))
		assert.Empty(t, b.out.records)
		require.True(t, b.run(t.Context(), b.batch("other.poison", 1)))
		assert.Len(t, b.out.records, 1)
	})
}

// BenchmarkGuard measures what the chain costs per batch, the batch's records left aside.
func BenchmarkGuard(b *testing.B) {
	o := Options{
		Name: "work", Group: "g", Topics: []string{"in"},
		Handler: func(context.Context, *record.Batch) error { return nil }, Emitter: &emitted{},
		Subscriber: noSubscriber{},
	}
	g := newGuard(o.filled(), record.Names{}, slog.New(slog.DiscardHandler), nil)
	h := func(*message.Message) ([]*message.Message, error) { return nil, nil }
	for _, wrap := range slices.Backward(g.chain()) {
		h = wrap(h)
	}
	batch := &record.Batch{Records: make([]record.Record, 1000)}
	ctx := context.WithValue(b.Context(), handedKey{}, batch)
	b.ReportAllocs()
	for b.Loop() {
		msg := message.NewMessage("id", nil)
		msg.SetContext(ctx)
		if _, err := h(msg); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "batches/s")
}

// stamp is a time as it stands in headers.
func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// A replay judges failures as the consumer group does, without a router and a subscriber.
func TestGuardOfAReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dead := &emitted{}
		calls := map[string]int{}
		var effects []string
		g, err := New(Options{
			Name: "work", Group: "g", Emitter: dead, MaxAttempts: 2, Splittable: true,
			Handler: func(_ context.Context, b *record.Batch) error {
				for i := range b.Records {
					v := string(b.Records[i].Value)
					if calls[v]++; v == "away" && calls[v] < 9 {
						return fault.Transientf("connection refused")
					}
					if v == "bad" {
						panic("a record that breaks the handler")
					}
				}
				for i := range b.Records {
					effects = append(effects, string(b.Records[i].Value))
				}
				return nil
			},
		}, RouterConfig{Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		b := &record.Batch{Range: record.Range{Topic: "in", First: 1, Last: 4}}
		for i, v := range []string{"a", "away", "bad", "b"} {
			b.Records = append(
				b.Records, record.Record{Topic: "in", Offset: int64(i + 1), Value: []byte(v)},
			)
		}
		require.NoError(t, g.Handle(t.Context(), b))
		assert.Equal(t, []string{"a", "away", "b"}, effects)
		require.Len(t, dead.records, 1, "the offending record alone")
		assert.Equal(t, "3", dead.records[0].Header(record.HeaderOffset))

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		calls["away"] = -1 << 30
		b.Records = b.Records[1:2]
		assert.Equal(t, fault.Canceled, fault.ClassOf(g.Handle(ctx, b)))
	})
	_, err := New(Options{Name: "work"}, RouterConfig{})
	require.ErrorContains(t, err, "no Handler")
}
