package model

import (
	"fmt"
	"math"
	"syscall"
	"testing"
	"time"
)

// small returns a configuration that is quick and still has every part of the model.
func small() Config {
	c := Default()
	c.Dim, c.LongItems, c.ShortItems, c.Negatives, c.Buffer = 16, 6, 3, 8, 40
	c.LeastError = 0 // exact, for comparisons
	c.Units = 6
	return c
}

// world is a learner with items, users and a past.
type world struct {
	*Learner
	users []*User
	r     random
	n     uint64
}

func newWorld(cfg Config, items, users, past int, step func(*world, *User, Event)) *world {
	w := &world{Learner: NewLearner(NewTable(cfg)), r: 7}
	for i := range items {
		at := w.table.Intern(fmt.Sprint("item", i))
		w.table.SetFeatures(at, []string{fmt.Sprint("genre:", i%3), fmt.Sprint("decade:", i%2)})
	}
	for range users {
		w.users = append(w.users, &User{})
	}
	for range past {
		u, e := w.event()
		step(w, u, e)
	}
	return w
}

func now(w *world, u *User, e Event) { w.Step(u, e) }

func (w *world) event() (*User, Event) {
	w.n++
	u := w.users[w.r.below(len(w.users))]
	item := w.table.Lookup(KeyOf(fmt.Sprint("item", w.r.below(w.table.Cap()-5-len(w.table.units)))))
	strength := []float32{1, 1, 1.5, 0.5, -1}[w.r.below(5)]
	return u, Event{Item: item, Strength: strength, Takes: true, Seed: w.n}
}

// loss is the corrected log-likelihood that forward climbs, in double precision, from the rows as
// they are.
func (w *world) loss(u *User, cand []Index, times []float32) float64 {
	q := w.queryOf(u)
	z := make([]float64, len(cand))
	highest := math.Inf(-1)
	for j, i := range cand {
		z[j] = w.scoreOf(q, i) - math.Log(float64(w.table.Count(i))+1) + math.Log(float64(times[j]))
		highest = max(highest, z[j])
	}
	var sum float64
	for _, x := range z {
		sum += math.Exp(x - highest)
	}
	return z[0] - highest - math.Log(sum)
}

func (w *world) scoreOf(q []float64, i Index) float64 {
	score := func(i Index) float64 {
		s := float64(w.table.head(i)[offBias])
		for k, x := range w.table.v(i) {
			s += q[k] * float64(x)
		}
		return s
	}
	s := score(i)
	for _, f := range w.table.meta[i].features {
		fade := w.cfg.ContentFade / (w.cfg.ContentFade + float64(w.table.Count(i)))
		s += w.cfg.ContentWeight * fade * score(f)
	}
	return s
}

func (w *world) queryOf(u *User) []float64 {
	q := make([]float64, w.cfg.Dim)
	for k, x := range u.W {
		q[k] = float64(x)
	}
	short := make([]float64, w.cfg.Dim)
	add := func(n int, g float64, part func(Index) []float32, q []float64) {
		var squares float64
		for k := range min(n, len(u.History)) {
			x := float64(u.History[len(u.History)-1-k].Weight) * math.Pow(g, float64(k))
			squares += x * x
		}
		for k := range min(n, len(u.History)) {
			h := u.History[len(u.History)-1-k]
			for j, x := range part(w.table.Lookup(h.Key)) {
				q[j] += float64(
					h.Weight,
				) * math.Pow(
					g,
					float64(k),
				) / math.Sqrt(
					squares,
				) * float64(
					x,
				)
			}
		}
	}
	add(w.cfg.LongItems, w.cfg.LongDecay, w.table.p, q)
	add(w.cfg.ShortItems, w.cfg.ShortDecay, w.table.t, short)
	for j, x := range short {
		q[j] += x
	}
	linear := append([]float64(nil), q...)
	for _, h := range w.table.units {
		z := float64(w.table.head(h)[offBias])
		for j := range q {
			z += float64(w.table.p(h)[j])*linear[j] + float64(w.table.t(h)[j])*short[j]
		}
		for j, x := range w.table.v(h) {
			q[j] += max(z, 0) * float64(x)
		}
	}
	return q
}

func TestGradientsAgainstFiniteDifferences(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 150, 8, 400, now)
	checked, units := 0, 0
	for range 20 {
		u, e := w.event()
		e.Strength = 1
		if u.Seen(w.table.Key(e.Item)) || !w.forward(u, e.Item, 1, e.Seed) {
			e.Item = w.table.Intern("item0")
			if !w.forward(u, e.Item, 1, e.Seed) {
				continue
			}
		}
		cand, times := append([]Index(nil), w.cand...), append([]float32(nil), w.times...)
		before := *u
		before.W = append([]float32(nil), u.W...)
		before.History = append([]Taken(nil), u.History...)
		sums := NewSums(w.table)
		w.Gradients(u, e, sums)

		// On both sides of a hidden unit's kink the slopes differ: the gradient is one of them, or
		// between.
		difference := func(x *float32) (low, high float64) {
			const h = 1e-3
			old := *x
			at := w.loss(&before, cand, times)
			*x = old + h
			up := (w.loss(&before, cand, times) - at) / h
			*x = old - h
			down := (at - w.loss(&before, cand, times)) / h
			*x = old
			return min(up, down), max(up, down)
		}
		check := func(name string, x *float32, got float32) {
			t.Helper()
			checked++
			low, high := difference(x)
			if slack := 5e-4 + 1e-2*math.Abs(high); float64(got) < low-slack ||
				float64(got) > high+slack {
				t.Errorf("%s: gradient %v, by differences %v to %v", name, got, low, high)
			}
		}
		for n, i := range sums.Rows() {
			name := w.table.ID(i)
			if w.table.meta[i].unit {
				units++
			}
			for k := 0; k < w.cfg.Dim; k += 5 {
				if sums.parts[n].v {
					check(name+" V", &w.table.v(i)[k], sums.v(n)[k])
				}
				if sums.parts[n].p {
					check(name+" P", &w.table.p(i)[k], sums.p(n)[k])
				}
				if sums.parts[n].t {
					check(name+" T", &w.table.t(i)[k], sums.t(n)[k])
				}
			}
			if sums.parts[n].v {
				check(name+" bias", &w.table.head(i)[offBias], *sums.bias(n))
			}
		}
		for k := range before.W {
			check("w", &before.W[k], w.gl[k])
		}
	}
	if checked < 1000 || units < 20 {
		t.Fatalf("only %d gradients checked, %d of units", checked, units)
	}
}

func TestStepEqualsGradientsAndApply(t *testing.T) {
	t.Parallel()
	a := newWorld(small(), 20, 4, 500, now)
	sums := (*Sums)(nil)
	b := newWorld(small(), 20, 4, 500, func(w *world, u *User, e Event) {
		if sums == nil {
			sums = NewSums(w.table)
		}
		w.Gradients(u, e, sums)
		w.table.Apply(sums)
		sums.Reset()
	})
	for i := range Index(a.table.Cap()) {
		if got, want := b.table.Count(i), a.table.Count(i); got != want {
			t.Errorf("count of %q = %d, want %d", a.table.ID(i), got, want)
		}
		for k, want := range a.table.row(i) {
			if got := b.table.row(i)[k]; math.Abs(float64(got-want)) > 1e-3 {
				t.Fatalf("row %q [%d] = %v by sums, %v at once", a.table.ID(i), k, got, want)
			}
		}
	}
	for n, u := range a.users {
		if got, want := fmt.Sprint(b.users[n].History), fmt.Sprint(u.History); got != want {
			t.Errorf("history %d = %v, want %v", n, got, want)
		}
	}
}

func TestSameSeedSameModel(t *testing.T) {
	t.Parallel()
	a, b := newWorld(small(), 20, 4, 300, now), newWorld(small(), 20, 4, 300, now)
	for i := range Index(a.table.Cap()) {
		if got, want := fmt.Sprint(b.table.row(i)), fmt.Sprint(a.table.row(i)); got != want {
			t.Fatalf("row %d differs between two runs:\n%s\n%s", i, got, want)
		}
	}
	other := small()
	other.Seed = 2
	if x, y := NewTable(small()), NewTable(other); fmt.Sprint(
		x.row(x.Intern("i")),
	) == fmt.Sprint(
		y.row(y.Intern("i")),
	) {
		t.Error("another seed gives the same initial row")
	}
}

func TestInitialRowNeedsNoMessage(t *testing.T) {
	t.Parallel()
	a, b := NewTable(small()), NewTable(small())
	a.Intern("x")
	got, want := fmt.Sprint(b.row(b.Intern("y"))), fmt.Sprint(a.row(a.Intern("y")))
	if got != want {
		t.Errorf("initial row depends on the table: %s, %s", got, want)
	}
}

func TestNegativesAreNeverTakenItems(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 20, 3, 400, now)
	negatives := 0
	for n := range uint64(500) {
		u := w.users[n%3]
		w.draw(u, w.table.Intern("item3"), n)
		for _, i := range w.cand[1:] {
			negatives++
			if u.Seen(w.table.Key(i)) {
				t.Fatalf("negative %q is one of the user's items", w.table.ID(i))
			}
		}
	}
	if negatives == 0 && w.users[0].SeenLen() < 20 {
		t.Error("no negatives drawn")
	}
}

func TestRepeatDrawsTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 200, 3, 400, now)
	w.draw(w.users[0], 0, 42)
	first := fmt.Sprint(w.cand)
	w.draw(w.users[0], 0, 42)
	if again := fmt.Sprint(w.cand); again != first {
		t.Errorf("second draw %s, first %s", again, first)
	}
}

func TestRefusalPushesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 300, 3, 600, now)
	u, q := w.users[0], make([]float32, w.cfg.Dim+1)
	var item Index
	for item = 0; w.table.IsFeature(item) || u.Seen(w.table.Key(item)); item++ {
	}
	w.Query(u, q)
	before, history := w.table.Score(q, item), len(u.History)
	for n := range uint64(5) {
		w.Step(u, Event{Item: item, Strength: -1, Takes: true, Seed: n})
	}
	w.Query(u, q)
	if after := w.table.Score(q, item); after >= before {
		t.Errorf("score of a refused item went from %v to %v", before, after)
	}
	if !u.Seen(w.table.Key(item)) || len(u.History) != history {
		t.Errorf(
			"refused item: seen %v, history %d long, was %d", u.Seen(w.table.Key(item)),
			len(u.History), history,
		)
	}
}

func TestImpressionTeachesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 20, 3, 100, now)
	u := w.users[0]
	before, rows := string(u.Append(nil)), fmt.Sprint(w.table.chunks)
	w.Step(u, Event{Item: 0, Strength: 0, Seed: 9})
	if string(u.Append(nil)) != before || fmt.Sprint(w.table.chunks) != rows {
		t.Error("an impression changed the user or a row")
	}
}

func TestRoundedErrorsHaveTheSameMean(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.Negatives, cfg.Buffer = 60, 400
	w := newWorld(cfg, 400, 8, 1000, now)
	u, item := w.users[0], Index(0)
	if !w.forward(u, item, 1, 5) {
		t.Fatal("nothing to learn")
	}
	exact := map[Index]float64{}
	for j, i := range w.cand {
		exact[i] = float64(w.e[j])
	}
	const rounds = 20_000
	mean, rows := map[Index]float64{}, 0
	for n := range uint64(rounds) {
		w.forward(u, item, 1, 5)
		w.cfg.LeastError = 0.05
		w.round(1, n)
		w.cfg.LeastError = 0
		rows += len(w.cand)
		for j, i := range w.cand {
			mean[i] += float64(w.e[j]) / rounds
		}
	}
	if got, all := float64(rows)/rounds, float64(len(exact)); got > all*0.7 {
		t.Errorf("%v rows left of %v", got, all)
	}
	for i, want := range exact {
		if got := mean[i]; math.Abs(got-want) > 0.002 {
			t.Errorf("row %d: mean error %v, exact %v", i, got, want)
		}
	}
}

func TestNothingMakesNaN(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	w := newWorld(small(), 20, 4, 100, now)
	for n := range 3000 {
		u, e := w.event()
		e.Strength = []float32{1, nan, inf, -inf, 1e30, -1e30, 1e-30, 0}[n%8]
		if n%5 == 0 {
			e.Item = Index(n%200 - 50)
		}
		w.Step(u, e)
	}
	huge := w.table.AppendRow(nil, 0)
	const head = 2 + 1 + sectionLengthBytes + 2 // version, one section's tag and length, dim, count
	for i := head; i+4 <= len(huge); i += 4 {
		copy(huge[i:], []byte{0xff, 0xff, 0x7f, 0x7f}) // the greatest float32
	}
	if _, err := w.table.LoadRow("item1", huge); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		u, e := w.event()
		w.Step(u, e)
	}
	q := make([]float32, w.cfg.Dim+1)
	for _, u := range w.users {
		w.Query(u, q)
		for i := range Index(w.table.Cap()) {
			if s := w.table.Score(q, i); !finite(s) {
				t.Fatalf("score of %q is %v", w.table.ID(i), s)
			}
		}
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	w := newWorld(small(), 200, 10, 5000, now)
	// event itself formats an id
	if n := testing.AllocsPerRun(
		1000,
		func() { u, e := w.event(); e.Item = Index(w.n % 200); w.Step(u, e) },
	); n > 2 {
		t.Errorf("%v allocations an event", n)
	}
	sums := NewSums(w.table)
	for range 500 {
		u, e := w.event()
		w.Gradients(u, e, sums)
	}
	if n := testing.AllocsPerRun(1000, func() {
		u, e := w.event()
		w.Gradients(u, e, sums)
	}); n > 2 {
		t.Errorf("%v allocations an event for gradients", n)
	}
}

func TestRemovedRowsLeaveNoTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 30, 4, 600, now)
	gone := w.table.Intern("item5")
	total := w.table.Total()
	w.table.Remove(gone)
	if w.table.Lookup(KeyOf("item5")) != None || w.table.Total() >= total {
		t.Errorf("item5 is still there, or counted: total %v, was %v", w.table.Total(), total)
	}
	q := make([]float32, w.cfg.Dim+1)
	for n := range uint64(200) {
		u := w.users[n%4]
		w.Query(u, q)
		w.Step(u, Event{Item: w.table.Intern("item7"), Strength: 1, Takes: true, Seed: n})
	}
	back := w.table.Intern("item5")
	fresh := NewTable(small())
	got, want := fmt.Sprint(w.table.v(back)), fmt.Sprint(fresh.v(fresh.Intern("item5")))
	if got != want {
		t.Error("a row that came back is not the initial one")
	}
}

// cpuTime returns the processor time of this process: on a shared machine the wall clock says
// little.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLearn measures one event of a user with a full history, on so many items picked
// uniformly (the worst case for the processor's caches).
func BenchmarkLearn(b *testing.B) {
	for _, items := range []int{4_000, 100_000} {
		for _, how := range []string{"step", "gradients"} {
			b.Run(fmt.Sprintf("%s/items=%d", how, items), func(b *testing.B) {
				cfg := Default()
				w := &Learner{}
				*w = *NewLearner(NewTable(cfg))
				r := random(1)
				for i := range items {
					w.table.Intern(fmt.Sprint(i))
				}
				users := make([]*User, 1000)
				for n := range users {
					users[n] = &User{}
					for range 200 {
						e := Event{Item: Index(r.below(items)), Strength: 1, Takes: true}
						w.note(users[n], e)
					}
				}
				sums := NewSums(w.table)
				n, before := uint64(0), cpuTime()
				for b.Loop() {
					n++
					u, e := users[r.below(len(users))], Event{
						Item: Index(r.below(items)), Strength: 1, Takes: true, Seed: n,
					}
					if how == "step" {
						w.Step(u, e)
						continue
					}
					w.Gradients(u, e, sums)
					if n%1000 == 0 {
						w.table.Apply(sums)
						sums.Reset()
					}
				}
				b.ReportMetric(
					float64((cpuTime()-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/event",
				)
			})
		}
	}
}

func TestScoreIsInnerProductOfQueryAndPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 50, 4, 600, now)
	query, point := make([]float32, w.cfg.Dim+1), make([]float32, w.cfg.Dim+1)
	for _, u := range append(w.users, &User{}) {
		w.Query(u, query)
		q := w.queryOf(u)
		for i := range Index(w.table.Cap()) {
			w.table.Vector(i, point)
			got, scored, want := Dot(query, point), w.table.Score(query, i), w.scoreOf(q, i)
			if math.Abs(float64(got)-want) > 1e-4 || math.Abs(float64(scored)-want) > 1e-4 {
				t.Fatalf("item %d: inner product %v, score %v, want %v", i, got, scored, want)
			}
		}
	}
}
