package model

import "math"

// Event is one action of one user.
type Event struct {
	// Item is the row of the item in the learner's table.
	Item Index
	// Strength is above 0 to offer what is like the item, below 0 to avoid it, -10 to 10. The
	// model learns nothing from 0.
	Strength float32
	// Takes says that the item is not offered again. Without it, it may be.
	Takes bool
	// Label stands with the item in the history: what the caller wants to know of the event later.
	// The model does not read it. Retracts says that earlier events of the user on the item get the
	// label, too: the newest word counts.
	Label    uint32
	Retracts bool
	// At is the time of the event in Unix seconds, 0 if unknown.
	At int64
	// Seed decides which negatives are drawn. Derive it from the event's position in the log, so
	// that a retry draws the same ones.
	Seed uint64
}

// Learner does the user's side of the model: it computes queries and learns from events. It reads
// item factors from a Table and holds scratch memory. It is not safe for concurrent use; each
// partition has its own.
type Learner struct {
	cfg   Config
	table *Table

	long, short []float32 // decays by age
	mark        []uint32  // by row: its index in cand, valid if stamp matches
	stamp       uint32

	hist  []Index   // rows of the history, latest first, each row once
	wLong []float32 // weight of each in the long window
	wShrt []float32 // weight of each in the short window, zero beyond it
	cand  []Index   // the positive, then the negatives, each row once
	times []float32 // how often each was drawn
	e     []float32 // error of each: by how much its score should rise
	feat  []Index   // features of the candidates, each once, and their errors
	featE []float32
	q     []float32
	gq    []float32

	hidden hidden
	shortQ []float32 // the short window's part of the query
	gl, gs []float32 // gradients of what the long and the short window add to the query
}

// NewLearner returns a learner that reads rows from table.
func NewLearner(table *Table) *Learner {
	cfg := table.cfg
	l := &Learner{
		cfg: cfg, table: table,
		q: make([]float32, cfg.Dim), gq: make([]float32, cfg.Dim), hidden: newHidden(table),
		shortQ: make([]float32, cfg.Dim), gl: make([]float32, cfg.Dim),
		gs:   make([]float32, cfg.Dim),
		long: decays(cfg.LongItems, cfg.LongDecay), short: decays(cfg.ShortItems, cfg.ShortDecay),
		hist: make([]Index, 0, cfg.LongItems), wLong: make([]float32, 0, cfg.LongItems),
		wShrt: make([]float32, 0, cfg.LongItems),
		cand:  make([]Index, 0, cfg.Negatives+1), times: make([]float32, 0, cfg.Negatives+1),
		e: make([]float32, cfg.Negatives+1),
	}
	return l
}

func decays(n int, g float64) []float32 {
	out := make([]float32, n)
	for k := range out {
		out[k] = float32(math.Pow(g, float64(k)))
	}
	return out
}

// Table returns the table the learner reads.
func (l *Learner) Table() *Table { return l.table }

// Query writes the query vector of the user into out, which has length Dim+1: the user's place in
// the space of Table.Vector. Its last number is BiasScale. A user without history has the query (0,
// …, 0, BiasScale), which ranks by bias.
//
// Source: FISM (Kabbur, Ning, Karypis 2013) over the long window, FPMC (Rendle, Freudenthaler,
// Schmidt-Thieme 2010) over the short one.
func (l *Learner) Query(u *User, out []float32) {
	l.window(u)
	l.sum(u, out[:l.cfg.Dim])
	out[l.cfg.Dim] = BiasScale
}

// window finds the rows of the user's history and their weights.
func (l *Learner) window(u *User) {
	l.hist, l.wLong, l.wShrt = l.hist[:0], l.wLong[:0], l.wShrt[:0]
	l.grow()
	var sumLong, sumShort float32
	age := 0
	for k := len(u.History) - 1; k >= 0 && age < len(l.long); k-- {
		h := &u.History[k]
		i := l.table.Lookup(h.Key)
		if i == None {
			continue // expired, or not yet in this cache
		}
		wl := h.Weight * l.long[age]
		var ws float32
		if age < len(l.short) {
			ws = h.Weight * l.short[age]
		}
		age++
		sumLong += wl * wl
		sumShort += ws * ws
		if at, ok := l.marked(i); ok {
			l.wLong[at] += wl
			l.wShrt[at] += ws
			continue
		}
		l.setMark(i, len(l.hist))
		prefetch(l.table.p(i))
		l.hist = append(l.hist, i)
		l.wLong = append(l.wLong, wl)
		l.wShrt = append(l.wShrt, ws)
	}
	if age == 0 {
		return
	}
	a, c := 1/sqrt32(sumLong), float32(0)
	if sumShort > 0 {
		c = 1 / sqrt32(sumShort)
	}
	for k := range l.hist {
		l.wLong[k] *= a
		l.wShrt[k] *= c
	}
}

// sum writes w_u plus the weighted factors of the window into q, and adds the output of the hidden
// units.
func (l *Learner) sum(u *User, q []float32) {
	if len(u.W) == len(q) {
		copy(q, u.W)
	} else {
		clear(q)
	}
	clear(l.shortQ)
	for k, i := range l.hist {
		axpy(l.wLong[k], l.table.p(i), q)
		if w := l.wShrt[k]; w != 0 {
			axpy(w, l.table.t(i), l.shortQ)
		}
	}
	axpy(1, l.shortQ, q)
	l.hidden.forward(l.table, q, l.shortQ)
}

// backward propagates the gradient of the query to its inputs.
func (l *Learner) backward() bool {
	d := l.cfg.Dim
	l.hidden.backward(l.table, l.gq)
	copy(l.gl, l.gq)
	axpy(1, l.hidden.gx[:d], l.gl)
	copy(l.gs, l.gl)
	axpy(1, l.hidden.gx[d:], l.gs)
	return finite(dot(l.gl, l.gl)) && finite(dot(l.gs, l.gs))
}

// draw fills cand with the positive item and negatives that the user has not taken.
func (l *Learner) draw(u *User, item Index, seed uint64) {
	l.cand = append(l.cand[:0], item)
	l.times = append(l.times[:0], 1)
	l.grow()
	l.setMark(item, 0)
	negatives := l.table.negatives
	negatives.mu.RLock()
	defer negatives.mu.RUnlock()
	ring := negatives.ring
	n := len(ring)
	if n == 0 {
		return
	}
	r := random(mix(seed))
	for range l.cfg.Negatives {
		i := ring[r.below(n)]
		if i == item {
			continue
		}
		if at, ok := l.marked(i); ok {
			l.times[at]++
			continue
		}
		if m := &l.table.meta[i]; !m.live || u.seen.has(m.key) {
			continue
		}
		l.setMark(i, len(l.cand))
		prefetch(l.table.row(i)[:l.table.dim+head])
		l.cand = append(l.cand, i)
		l.times = append(l.times, 1)
	}
}

// forward computes the gradients of a positive event without changing any factors: the errors e of
// the candidates and the gradient gq of the query, both scaled by strength. It returns false when
// there is nothing to learn.
//
// The loss is the log of a softmax over the positive and the sampled negatives, corrected for how
// likely each was to be sampled. Source: Bengio and Senécal 2008; Yi et al.,
// "Sampling-bias-corrected neural modeling", 2019.
func (l *Learner) forward(u *User, item Index, strength float32, seed uint64) bool {
	l.window(u)
	l.draw(u, item, seed) // before sum, so that the rows are on their way
	l.sum(u, l.q)
	if len(l.cand) < 2 {
		return false
	}
	query, t, e := l.q, l.table, l.e[:len(l.cand)]
	highest := float32(math.Inf(-1))
	for j, i := range l.cand {
		row := t.row(i)
		// log(C+1) is the same for all
		z := dot(query, row[:t.dim]) + row[t.dim+offBias] - row[t.dim+offLog]
		if w := t.contentWeight(i); w != 0 {
			for _, f := range t.meta[i].features {
				z += w * (dot(query, t.v(f)) + t.head(f)[offBias])
			}
		}
		if n := l.times[j]; n > 1 {
			z += log32(n) // drawn n times: n equal terms in the sum
		}
		e[j] = z
		highest = max(highest, z)
	}
	var sum float32
	for j, z := range e {
		x := exp32(z - highest)
		e[j] = x
		sum += x
	}
	if !(sum > 0) || !finite(sum) {
		return false
	}
	scale := -strength / sum
	for j := range e {
		e[j] *= scale
	}
	e[0] += strength
	clear(l.gq)
	for j, i := range l.cand {
		l.addOutput(e[j], i, l.gq)
	}
	l.round(strength, seed)
	return l.backward()
}

// round rounds small errors of negatives to zero or up to the least error, at random and without
// bias. A row that hardly moves then need not be sent to its owner at every event. Of 128 negatives
// about 12 remain.
//
// Source: unbiased sparse gradients, Wangni, Wang, Liu and Zhang, "Gradient sparsification for
// communication-efficient distributed optimization", 2018.
func (l *Learner) round(strength float32, seed uint64) {
	least := float32(l.cfg.LeastError) * strength
	if least <= 0 {
		return
	}
	r := random(mix(^seed))
	kept := 1
	for j := 1; j < len(l.cand); j++ {
		e := l.e[j]
		if -e < least {
			if float32(r.uniform())*least >= -e {
				continue
			}
			e = -least
		}
		l.cand[kept], l.e[kept] = l.cand[j], e
		kept++
	}
	l.cand = l.cand[:kept]
}

// addOutput adds w times the output vector of row i, content included, to out.
func (l *Learner) addOutput(w float32, i Index, out []float32) {
	axpy(w, l.table.v(i), out)
	if c := l.table.contentWeight(i); c != 0 {
		for _, f := range l.table.meta[i].features {
			axpy(w*c, l.table.v(f), out)
		}
	}
}

// refuse computes the gradients of a negative event by the logistic loss log(1-σ(score)): the score
// of the refused item should fall and the user should move away from it. The items of the user's
// history do not change. Its results are in the same fields as those of forward.
func (l *Learner) refuse(u *User, item Index, strength float32) bool {
	l.window(u)
	l.sum(u, l.q)
	l.cand = append(l.cand[:0], item)
	l.hist = l.hist[:0]
	score := dot(l.q, l.table.v(item)) + l.table.head(item)[offBias]
	l.e[0] = strength / (1 + exp32(-score))
	clear(l.gq)
	l.addOutput(l.e[0], item, l.gq)
	return l.backward()
}

// learn runs forward or refuse.
func (l *Learner) learn(u *User, e Event) bool {
	switch {
	case !l.table.Live(e.Item) || l.table.meta[e.Item].feature,
		!finite(e.Strength) || e.Strength == 0:
		return false
	case e.Strength > 0:
		return l.forward(u, e.Item, min(e.Strength, 10), e.Seed)
	}
	return l.refuse(u, e.Item, max(e.Strength, -10))
}

// stepUser updates the user's own vector by one Adagrad step.
func (l *Learner) stepUser(u *User) {
	if len(u.W) != l.cfg.Dim {
		u.W = make([]float32, l.cfg.Dim)
		u.AccW = float32(l.cfg.InitAccumulator)
	}
	axpy(l.rate(&u.AccW, dot(l.gl, l.gl)), l.gl, u.W)
}

// rate adds the squared gradient of one row to its accumulator and returns the step size.
//
// Source: Duchi, Hazan and Singer 2011, with one accumulator a row.
func (l *Learner) rate(acc *float32, square float32) float32 {
	return adagrad(acc, square, float32(l.cfg.Rate), l.cfg.Dim)
}

func adagrad(acc *float32, square, rate float32, dim int) float32 {
	next := *acc + square/float32(dim)
	if !finite(next) {
		return 0
	}
	*acc = next
	return rate / sqrt32(*acc)
}

// note records the event in the user's history, seen items and count, and in the ring of negatives.
// The item's count does not change. It returns whether the event is to be counted.
func (l *Learner) note(u *User, e Event) (counts bool) {
	counts = l.noteUser(u, e)
	if counts {
		l.table.negatives.note(e.Item)
	}
	return counts
}

// noteUser is note for the user alone. The first positive event of a user on an item counts, and no
// other: what one person does a thousand times is not what many do.
func (l *Learner) noteUser(u *User, e Event) (counts bool) {
	if !l.table.Live(e.Item) || !finite(e.Strength) {
		return false
	}
	key := l.table.meta[e.Item].key
	counted := u.counted(key)
	if e.Takes {
		u.seen.add(key, l.cfg.MaxSeen)
	}
	switch {
	case e.Strength > 0:
		u.uncounted.remove(key)
	case e.Takes && !counted:
		u.uncounted.add(key, l.cfg.MaxSeen)
	}
	if e.Retracts {
		for k := range u.History {
			if u.History[k].Key == key {
				u.History[k].Label = e.Label
			}
		}
	}
	if e.Strength <= 0 {
		return false
	}
	u.appendHistory(
		Taken{Key: key, Weight: min(e.Strength, 10), Label: e.Label, At: e.At}, l.cfg.LongItems,
	)
	if u.Events < math.MaxUint32 {
		u.Events++
	}
	return !counted
}

// Replay updates the user as Gradients does, for a past event whose gradients were already emitted.
// Item factors, counts and the ring of negatives include the event already.
func (l *Learner) Replay(u *User, e Event) {
	if l.learn(u, e) {
		l.stepUser(u)
	}
	l.noteUser(u, e)
}

// Gradients learns from one event at the user's side. It updates the user's own vector, history,
// seen items and the ring of negatives, and adds the gradients of item factors to sums, which
// belong to the same table. Item factors are only read. Their owner takes a step with Table.Apply.
func (l *Learner) Gradients(u *User, e Event, sums *Sums) {
	if l.learn(u, e) {
		for j, i := range l.cand {
			sums.addV(i, l.e[j], l.q)
			if w := l.table.contentWeight(i); w != 0 {
				for _, f := range l.table.meta[i].features {
					sums.addV(f, w*l.e[j], l.q)
				}
			}
		}
		for k, i := range l.hist {
			sums.addP(i, l.wLong[k], l.gl)
			if w := l.wShrt[k]; w != 0 {
				sums.addT(i, w, l.gs)
			}
		}
		if e.Strength > 0 {
			l.hidden.addTo(sums, l.gq)
		}
		l.stepUser(u)
	}
	if l.note(u, e) {
		sums.addCount(e.Item, 1)
	}
}

// Step learns from one event at once. It equals Gradients into empty sums followed by Table.Apply,
// except for the order of float additions.
func (l *Learner) Step(u *User, e Event) {
	if l.learn(u, e) {
		t, d := l.table, l.cfg.Dim
		qq := dot(l.q, l.q) + 1
		l.stepContent(qq)
		for j, i := range l.cand {
			row, g := t.row(i), l.e[j]
			h := row[d : d+head]
			s := g * l.rate(&h[offAccV], g*g*qq)
			axpy(s, l.q, row[:d])
			h[offBias] += s
		}
		if e.Strength > 0 {
			l.hidden.step(t, l.gq)
		}
		gl, gs := dot(l.gl, l.gl), dot(l.gs, l.gs)
		for k, i := range l.hist {
			row, h, w := t.row(i), t.head(i), l.wLong[k]
			axpy(w*l.rate(&h[offAccP], w*w*gl), l.gl, row[d+head:2*d+head])
			if w := l.wShrt[k]; w != 0 {
				axpy(w*l.rate(&h[offAccT], w*w*gs), l.gs, row[2*d+head:])
			}
		}
		l.stepUser(u)
	}
	if l.note(u, e) {
		l.table.addCount(e.Item, 1)
	}
}

// grow gives every row of the table a mark and starts a new round of marking.
func (l *Learner) grow() {
	if n := l.table.Cap(); len(l.mark) < 2*n {
		l.mark = make([]uint32, 4*n)
		l.stamp = 0
	}
	if l.stamp++; l.stamp == 0 { // after four billion rounds
		clear(l.mark)
		l.stamp = 1
	}
}

func (l *Learner) marked(i Index) (at int, ok bool) {
	return int(l.mark[2*i+1]), l.mark[2*i] == l.stamp
}

func (l *Learner) setMark(i Index, at int) {
	l.mark[2*i], l.mark[2*i+1] = l.stamp, uint32(at)
}

// stepContent updates the feature vectors of the candidates. A feature shared by several candidates
// takes one step with the sum of their gradients, which are all multiples of q.
func (l *Learner) stepContent(qq float32) {
	t := l.table
	l.feat, l.featE = l.feat[:0], l.featE[:0]
	for j, i := range l.cand {
		w := t.contentWeight(i)
		if w == 0 {
			continue
		}
		if len(l.feat) == 0 {
			l.grow()
		}
		for _, f := range t.meta[i].features {
			if at, ok := l.marked(f); ok {
				l.featE[at] += w * l.e[j]
				continue
			}
			l.setMark(f, len(l.feat))
			l.feat, l.featE = append(l.feat, f), append(l.featE, w*l.e[j])
		}
	}
	for n, f := range l.feat {
		row, g := t.row(f), l.featE[n]
		h := row[t.dim : t.dim+head]
		s := g * adagrad(&h[offAccV], g*g*qq, t.sharedRate(), t.dim)
		axpy(s, l.q, row[:t.dim])
		h[offBias] += s
	}
}
