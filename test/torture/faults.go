//go:build linux

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// fault is one kind of thing that goes wrong, with how often it is drawn.
type fault struct {
	kind   string
	weight int
	// slow faults are bounded by Config.Slow.
	slow   bool
	inject func(ctx context.Context, r *rand.Rand) error
}

// tally counts faults by kind.
type tally struct {
	mu     sync.Mutex
	byKind map[string]int
	total  int
	slow   int
	failed []string
}

func (t *tally) begin(f *fault, limit, slowLimit int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.total >= limit || f.slow && t.slow >= slowLimit {
		return false
	}
	t.total++
	t.byKind[f.kind]++
	if f.slow {
		t.slow++
	}
	return true
}

func (t *tally) full(limit int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total >= limit
}

func (t *tally) fail(f *fault, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = append(t.failed, fmt.Sprintf("%s: %v", f.kind, err))
}

// inject draws faults of a lane one after the other until there are enough or ctx ends. Lanes run
// side by side, so faults of different lanes overlap.
func (h *harness) inject(ctx context.Context, lane []fault, seed uint64, gap time.Duration) {
	r := rand.New(rand.NewPCG(h.cfg.Seed, seed))
	var pile []*fault
	for wait(ctx, time.Duration(float64(gap)*(0.5+r.Float64()))) && !h.tally.full(h.cfg.Faults) {
		if len(pile) == 0 {
			pile = deck(lane, r)
		}
		f := pile[0]
		pile = pile[1:]
		if !h.tally.begin(f, h.cfg.Faults, h.cfg.Slow) {
			continue
		}
		h.note("fault: %s", f.kind)
		// What has begun is undone, also when the time is over.
		if err := f.inject(context.WithoutCancel(ctx), r); err != nil {
			h.tally.fail(f, err)
			h.note("fault %s failed: %v", f.kind, err)
		}
	}
}

// deck is a pile of faults, each as often as its weight says, in a random order that begins with
// one of each kind: a short run, too, meets most of them.
func deck(lane []fault, r *rand.Rand) []*fault {
	var first, rest []*fault
	for i := range lane {
		first = append(first, &lane[i])
		for range lane[i].weight - 1 {
			rest = append(rest, &lane[i])
		}
	}
	for _, pile := range [][]*fault{first, rest} {
		r.Shuffle(len(pile), func(i, k int) { pile[i], pile[k] = pile[k], pile[i] })
	}
	return append(first, rest...)
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Float64()*float64(high-low))
}

// instanceFaults break the program's processes.
func (h *harness) instanceFaults() []fault {
	pick := func(r *rand.Rand) *instance { return h.instances[r.IntN(h.cfg.Instances)] }
	type inject = func(context.Context, *rand.Rand) error
	freeze := func(low, high time.Duration, once ...func()) inject {
		return func(ctx context.Context, r *rand.Rand) error {
			x := pick(r)
			if _, err := x.signal(syscall.SIGSTOP); err == nil { // else it is starting just now
				for _, f := range once {
					f()
				}
				wait(ctx, between(r, low, high))
				_, _ = x.signal(syscall.SIGCONT)
			}
			return nil
		}
	}
	alone := []fault{
		{kind: "instance: kill -9", weight: 6, inject: func(_ context.Context, r *rand.Rand) error {
			pick(r).kill() // the supervisor starts it again
			return nil
		}},
		{
			kind: "instance: frozen briefly", weight: 3,
			inject: freeze(300*time.Millisecond, 3*time.Second),
		},
		{
			kind: "instance: frozen beyond its session, then awake", weight: 5,
			inject: freeze(h.cfg.Session+2*time.Second, h.cfg.Session+7*time.Second),
		},
		{
			kind: "instance: rolling restart", weight: 4,
			inject: func(ctx context.Context, r *rand.Rand) error { return h.roll(ctx, pick(r)) },
		},
		{kind: "poison records", weight: 3, inject: h.poison},
		{kind: "compression bomb", weight: 2, inject: h.bomb},
	}
	if h.services == nil {
		return alone
	}
	return append(alone,
		// Slow connections make the program spend its time between asking and being answered: it is
		// frozen there, between committing an intent and its effects, or with an effect under way,
		// loses its partitions, and wakes up.
		fault{
			kind: "instance: frozen amid a write, replaced, then awake", weight: 4,
			inject: func(ctx context.Context, r *rand.Rand) error {
				engine := []string{
					h.services.brokers[r.IntN(len(h.services.brokers))], engineClickHouse,
					engineQdrant,
				}[r.IntN(3)]
				remove, err := h.services.toxic(engine, "slow_writes", "latency", `"latency":600`)
				if err != nil {
					return err
				}
				wait(ctx, between(r, 800*time.Millisecond, 2*time.Second))
				err = freeze(
					h.cfg.Session+3*time.Second,
					h.cfg.Session+5*time.Second,
					remove,
				)(
					ctx,
					r,
				)
				remove()
				return err
			},
		},
		fault{
			kind: "instance: all killed at once", weight: 1,
			inject: func(context.Context, *rand.Rand) error {
				for _, x := range h.instances {
					x.kill()
				}
				return nil
			},
		},
		fault{
			kind: "instance: one more joins and leaves", weight: 3,
			inject: func(ctx context.Context, r *rand.Rand) error {
				x := h.instances[h.cfg.Instances]
				x.want(true)
				wait(ctx, between(r, 6*time.Second, 12*time.Second))
				x.want(false)
				if !x.running() {
					return nil
				}
				return h.stopped(x)
			},
		},
	)
}

// poison plants records that nobody can digest.
func (h *harness) poison(ctx context.Context, r *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	all := plants()
	for range 1 + r.IntN(3) {
		if err := h.planter.plant(ctx, all[r.IntN(len(all))]); err != nil {
			return err
		}
	}
	return nil
}

// engineFaults break the engines and the connections to them: of a cluster one member at a time.
func (h *harness) engineFaults() []fault {
	type inject = func(ctx context.Context, r *rand.Rand, name string) error
	// between two verbs of the services script
	verbs := func(begin, end string, low, high time.Duration) inject {
		return func(ctx context.Context, r *rand.Rand, name string) error {
			if err := h.services.verb(ctx, begin, name); err != nil {
				return err
			}
			wait(ctx, between(r, low, high))
			return h.services.verb(ctx, end, name)
		}
	}
	toxic := func(kind, attributes string, low, high time.Duration) inject {
		return func(ctx context.Context, r *rand.Rand, name string) error {
			remove, err := h.services.toxic(name, kind, kind, attributes)
			if err != nil {
				return err
			}
			wait(ctx, between(r, low, high))
			remove()
			return nil
		}
	}
	var out []fault
	for _, engine := range allEngines() {
		slow := engine == engineKafka || engine == engineNeo4j
		names := h.services.names(engine)
		killWeight := 3
		if slow && len(names) == 1 {
			killWeight = 2
		}
		add := func(kind string, weight int, inject inject) {
			out = append(out, fault{
				kind: engine + ": " + kind, weight: weight, slow: slow && kind == killed,
				inject: func(ctx context.Context, r *rand.Rand) error {
					return inject(ctx, r, names[r.IntN(len(names))])
				},
			})
		}
		add(killed, killWeight, verbs("kill", "start", 0, 4*time.Second))
		add("paused", 3, verbs("pause", "resume", time.Second, 9*time.Second))
		add("connections refused", 2, func(ctx context.Context, r *rand.Rand, name string) error {
			accept := h.services.refuse(name)
			wait(ctx, between(r, 500*time.Millisecond, 6*time.Second))
			return accept()
		})
		add("slow connections", 2, toxic(
			"latency", `"latency":250,"jitter":200`, 2*time.Second, 6*time.Second,
		))
		add("connections cut", 3, toxic(
			"reset_peer", `"timeout":0`, 100*time.Millisecond, 2*time.Second,
		))
		add("connections cut amid data", 2, toxic(
			"limit_data", `"bytes":3000`, 500*time.Millisecond, 3*time.Second,
		))
		add("connections swallow everything", 2, toxic(
			"timeout", `"timeout":0`, time.Second, 7*time.Second,
		))
	}
	return out
}

// killed is the fault that takes an engine some 20 s to come back from, where it is slow.
const killed = "kill -9 and start"

// stopLimit is how long an instance has to stop: its own limit of 20 s and some.
const stopLimit = 25 * time.Second

// roll restarts an instance gracefully, one after the other as an operator would, and waits until
// it serves.
func (h *harness) roll(ctx context.Context, x *instance) error {
	if !x.running() {
		return nil
	}
	x.want(false)
	err := h.stopped(x)
	x.want(true)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_ = x.waitReady(ctx) // it may not become ready while an engine is down
	return err
}

// stopped stops an instance and keeps how long that took.
func (h *harness) stopped(x *instance) error {
	took, err := x.stop(stopLimit)
	h.mu.Lock()
	defer h.mu.Unlock()
	if took > 0 {
		h.stops = append(h.stops, took)
	}
	return err
}
