package eval

import "math"

// Cosine is item-item collaborative filtering kept up to date event by event: the similarity of two
// items is the number of users who took both over the root of the product of their counts. A score
// sums the similarity to the user's latest items, decayed.
//
// Source: Sarwar, Karypis, Konstan and Riedl 2001; the incremental form is TencentRec's, Huang et
// al. 2015.
type Cosine struct {
	decay  []float32
	recent recent
	pairs  []map[int32]float32 // by item: users in common
	count  []float32
}

// NewCosine returns item-item cosine over the user's latest window items, for instance 10 with
// decay 0.8.
func NewCosine(d *Data, window int, decay float64) *Cosine {
	return &Cosine{
		decay: powers(window, decay), recent: newRecent(len(d.Users), pairedItems),
		pairs: make([]map[int32]float32, len(d.Items)),
		count: make([]float32, len(d.Items)),
	}
}

// pairedItems bounds how many of a user's latest items an event is paired with: a user with
// thousands would need as many updates per event.
const pairedItems = 200

// Name is "item cosine".
func (c *Cosine) Name() string { return "item cosine" }

// Score sums similarities.
func (c *Cosine) Score(user int32, out []float32) {
	for i, n := range c.count {
		if n > 0 {
			out[i] = 0
		}
	}
	for k, h := range c.recent.items[user] {
		if k == len(c.decay) {
			break
		}
		w := c.decay[k] / float32(math.Sqrt(float64(c.count[h])))
		for i, n := range c.pairs[h] {
			out[i] += w * n / float32(math.Sqrt(float64(c.count[i])))
		}
	}
}

// Learn counts the pairs that the event makes.
func (c *Cosine) Learn(e Event, _ uint64) {
	for _, h := range c.recent.items[e.User] {
		if h != e.Item {
			c.pair(h, e.Item)
			c.pair(e.Item, h)
		}
	}
	c.count[e.Item]++
	c.recent.add(e.User, e.Item)
}

func (c *Cosine) pair(a, b int32) {
	if c.pairs[a] == nil {
		c.pairs[a] = map[int32]float32{}
	}
	c.pairs[a][b]++
}
