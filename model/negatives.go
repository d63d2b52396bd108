package model

import "sync"

// negatives is a ring of the most recent positive items of anyone. Drawing from it uniformly draws
// items in proportion to their recent popularity. What is learned here is in it at once, what
// others learn as soon as the items' counts tell of it: people act in bursts, and the few who share
// a partition would be poor company for each other. Safe for concurrent use.
type negatives struct {
	mu   sync.RWMutex
	ring []Index
	next int
	size int
	// ahead is, by row, how many events are in the ring that the row's count has not told of yet.
	ahead []uint32
}

func newNegatives(size int) *negatives { return &negatives{size: size} }

// note takes an event in that was learned here.
func (r *negatives) note(i Index) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if int(i) >= len(r.ahead) {
		r.ahead = append(r.ahead, make([]uint32, 2*int(i)+64-len(r.ahead))...)
	}
	r.ahead[i]++
	r.add(i)
}

// grown takes in that the item's count has grown by n.
func (r *negatives) grown(i Index, n uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if int(i) < len(r.ahead) {
		known := min(n, r.ahead[i])
		r.ahead[i] -= known
		n -= known
	}
	for n = min(n, uint32(r.size)); n > 0; n-- {
		r.add(i)
	}
}

// add puts an item into the ring, in place of the oldest one if the ring is full.
func (r *negatives) add(i Index) {
	if len(r.ring) < r.size {
		r.ring = append(r.ring, i)
		return
	}
	r.ring[r.next] = i
	if r.next++; r.next == r.size {
		r.next = 0
	}
}

// AddNegative puts a positive event of the past, on the item at i, into the ring of recent positives;
// its count has told of it long ago.
func (t *Table) AddNegative(i Index) {
	t.negatives.mu.Lock()
	defer t.negatives.mu.Unlock()
	t.negatives.add(i)
}

// FillNegatives fills the ring of recent positives, from which negatives are drawn, with items in
// proportion to their counts: after a restart the recent past is gone, and all-time popularity is
// the next best thing. It is a function of the counts and the seed. From then on the ring follows
// the counts.
func (t *Table) FillNegatives(seed uint64) {
	ring := t.negatives
	ring.mu.Lock()
	defer ring.mu.Unlock()
	ring.ring, ring.next = ring.ring[:0], 0
	if t.total <= 0 {
		return
	}
	r := random(mix(seed))
	share := min(float64(ring.size)/t.total, 1)
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
		for ; copies > 0 && len(ring.ring) < ring.size; copies-- {
			ring.ring = append(ring.ring, Index(i))
		}
	}
	// in no order, so that what is overwritten first is no particular item
	for i := len(ring.ring) - 1; i > 0; i-- {
		j := r.below(i + 1)
		ring.ring[i], ring.ring[j] = ring.ring[j], ring.ring[i]
	}
}
