package eval

import "math"

// Popularity recommends what was taken most recently: counts that halve every HalfLife events.
type Popularity struct {
	counts []float64
	unit   float64 // worth of an event now; grows instead of all counts shrinking
	growth float64
}

// NewPopularity returns recent popularity with a half-life in events; 20,000 is usual.
func NewPopularity(d *Data, halfLife float64) *Popularity {
	return &Popularity{
		counts: make([]float64, len(d.Items)), unit: 1, growth: math.Exp2(1 / halfLife),
	}
}

// Name is "recent popularity".
func (p *Popularity) Name() string { return "recent popularity" }

// Score writes the counts.
func (p *Popularity) Score(_ int32, out []float32) {
	for i, c := range p.counts {
		if c > 0 {
			out[i] = float32(c / p.unit)
		}
	}
}

// Learn counts.
func (p *Popularity) Learn(e Event, _ uint64) {
	p.unit *= p.growth
	p.counts[e.Item] += p.unit
	if p.unit > 1e100 {
		for i := range p.counts {
			p.counts[i] /= p.unit
		}
		p.unit = 1
	}
}

// recent holds the latest items of each user, latest first.
type recent struct {
	items [][]int32
	n     int
}

func newRecent(users, n int) recent { return recent{make([][]int32, users), n} }

func (r *recent) add(user, item int32) {
	h := r.items[user]
	if len(h) < r.n {
		h = append(h, 0)
	}
	copy(h[1:], h)
	h[0] = item
	r.items[user] = h
}

// Markov counts which item follows which: every event adds decay^k for the user's item k events
// before. A score is the sum, over the user's latest items, of decay^k times the share of what
// followed that item.
type Markov struct {
	decay  []float32
	recent recent
	next   []map[int32]float32 // by item: what followed, sparse
	total  []float32
	items  int
}

// NewMarkov returns counted Markov transitions over a window, for instance of 20 items with decay
// 0.8.
func NewMarkov(d *Data, window int, decay float64) *Markov {
	return &Markov{
		decay: powers(window, decay), recent: newRecent(len(d.Users), window),
		next:  make([]map[int32]float32, len(d.Items)),
		total: make([]float32, len(d.Items)), items: len(d.Items),
	}
}

func powers(n int, g float64) []float32 {
	out := make([]float32, n)
	for k := range out {
		out[k] = float32(math.Pow(g, float64(k)))
	}
	return out
}

// Name is "counted Markov".
func (m *Markov) Name() string { return "counted Markov" }

// Score writes transition shares, 0 for items nobody has gone to.
func (m *Markov) Score(user int32, out []float32) {
	for i, t := range m.total {
		if t > 0 {
			out[i] = 0
		}
	}
	for k, h := range m.recent.items[user] {
		w := m.decay[k] / m.total[h]
		for i, n := range m.next[h] {
			out[i] += w * n
		}
	}
}

// Learn counts the transitions to the event's item.
func (m *Markov) Learn(e Event, _ uint64) {
	for k, h := range m.recent.items[e.User] {
		if h == e.Item {
			continue
		}
		if m.next[h] == nil {
			m.next[h] = map[int32]float32{}
		}
		m.next[h][e.Item] += m.decay[k]
		m.total[h] += m.decay[k]
	}
	if m.total[e.Item] == 0 {
		m.total[e.Item] = 1e-6
	}
	m.recent.add(e.User, e.Item)
}
