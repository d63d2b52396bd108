package model

// Negatives is a ring of the most recent positive items of anyone. Drawing from it uniformly draws items in proportion to their
// recent popularity.
type Negatives struct {
	ring []Index
	next int
	size int
}

// NewNegatives returns an empty ring for size items.
func NewNegatives(size int) *Negatives { return &Negatives{size: size} }

// Len returns how many items the ring holds.
func (n *Negatives) Len() int { return len(n.ring) }

// Add puts a positive item into the ring, in place of the oldest one if the ring is full.
func (n *Negatives) Add(i Index) {
	if len(n.ring) < n.size {
		n.ring = append(n.ring, i)
		return
	}
	n.ring[n.next] = i
	if n.next++; n.next == n.size {
		n.next = 0
	}
}

// Fill puts up to size items drawn in proportion to their counts in t into the ring, if it is empty: after a restart the recent past is
// gone, and all-time popularity is the next best thing. It is a function of the table's counts and the seed.
func (n *Negatives) Fill(t *Table, seed uint64) {
	if len(n.ring) > 0 || t.total <= 0 {
		return
	}
	r := random(mix(seed))
	share := float64(n.size) / t.total
	for i := range t.meta {
		m := &t.meta[i]
		if !m.live || m.feature || m.count == 0 {
			continue
		}
		want := share * float64(m.count)
		copies := int(want)
		if r.uniform() <= want-float64(copies) {
			copies++
		}
		for ; copies > 0 && len(n.ring) < n.size; copies-- {
			n.ring = append(n.ring, Index(i))
		}
	}
	for i := len(n.ring) - 1; i > 0; i-- { // in no order, so that what is overwritten first is no particular item
		j := r.below(i + 1)
		n.ring[i], n.ring[j] = n.ring[j], n.ring[i]
	}
}
