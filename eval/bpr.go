package eval

import (
	"math"
	"math/rand/v2"
)

// BPR is matrix factorisation learned online by Bayesian personalised ranking: a gradient step for
// each of a few uniform negatives per event.
//
// Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme 2009.
type BPR struct {
	dim, negatives int
	rate, reg      float32
	users, items   [][]float32
	bias           []float32
	known          []int32
	isKnown        []bool
	taken          []map[int32]bool
	random         *rand.Rand
}

// NewBPR returns online BPR with the usual settings: rate 0.05, regularisation 0.002.
func NewBPR(d *Data, dim, negatives int) *BPR {
	return &BPR{
		dim: dim, negatives: negatives, rate: 0.05, reg: 0.002,
		users: make([][]float32, len(d.Users)), items: make([][]float32, len(d.Items)),
		bias: make([]float32, len(d.Items)), isKnown: make([]bool, len(d.Items)),
		taken:  make([]map[int32]bool, len(d.Users)),
		random: rand.New(rand.NewPCG(1, 2)),
	}
}

// Name is "online BPR".
func (b *BPR) Name() string { return "online BPR" }

func (b *BPR) vector(rows [][]float32, i int32) []float32 {
	if rows[i] == nil {
		v := make([]float32, b.dim)
		for k := range v {
			v[k] = float32(b.random.NormFloat64() * 0.1)
		}
		rows[i] = v
	}
	return rows[i]
}

func inner(x, y []float32) (s float32) {
	y = y[:len(x)]
	for k := range x {
		s += x[k] * y[k]
	}
	return s
}

// Score writes inner products and biases.
func (b *BPR) Score(user int32, out []float32) {
	u := b.users[user]
	for _, i := range b.known {
		out[i] = b.bias[i]
		if u != nil {
			out[i] += inner(u, b.items[i])
		}
	}
}

// Learn takes one step per negative.
func (b *BPR) Learn(e Event, _ uint64) {
	if b.taken[e.User] == nil {
		b.taken[e.User] = map[int32]bool{}
	}
	b.taken[e.User][e.Item] = true
	u, v := b.vector(b.users, e.User), b.vector(b.items, e.Item)
	if !b.isKnown[e.Item] {
		b.isKnown[e.Item] = true
		b.known = append(b.known, e.Item)
	}
	for range b.negatives {
		j := b.known[b.random.IntN(len(b.known))]
		if b.taken[e.User][j] {
			continue
		}
		w := b.items[j]
		z := inner(u, v) + b.bias[e.Item] - inner(u, w) - b.bias[j]
		g := b.rate / (1 + float32(math.Exp(float64(z))))
		decay := b.rate * b.reg
		for k := range u {
			x, p, n := u[k], v[k], w[k]
			u[k] += g*(p-n) - decay*x
			v[k] += g*x - decay*p
			w[k] += -g*x - decay*n
		}
		b.bias[e.Item] += g - decay*b.bias[e.Item]
		b.bias[j] += -g - decay*b.bias[j]
	}
}
