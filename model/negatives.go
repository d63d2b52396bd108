package model

import "sync"

// negatives is a ring of the items of the most recent positive events, of all users, of each user
// and item the first (User.counted). A uniform draw picks items in proportion to their recent
// popularity. Events learned in this process enter at once, those of other processes when the
// items' counts arrive. Without these, the sample would be biased to the few users of one
// partition, who act in bursts. Safe for concurrent use.
type negatives struct {
	mu   sync.RWMutex
	ring []Index
	next int
	size int
	// ahead is, by row, the number of events in the ring that the row's count does not include yet.
	ahead []uint32
}

func newNegatives(size int) *negatives { return &negatives{size: size} }

// note adds an event that was learned in this process.
func (r *negatives) note(i Index) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if int(i) >= len(r.ahead) {
		r.ahead = append(r.ahead, make([]uint32, 2*int(i)+64-len(r.ahead))...)
	}
	r.ahead[i]++
	r.add(i)
}

// grown handles growth of the item's count by n.
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

// removed handles the removal of a row, whose index may be reused. What the ring has of it names no
// row, or the next one at the index: that one is drawn a little too often.
func (r *negatives) removed(i Index) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if int(i) < len(r.ahead) {
		r.ahead[i] = 0
	}
}

// add puts an item into the ring. A full ring drops its oldest item.
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

// AddNegative puts a past positive event on the item at i into the ring of recent positives. The
// item's count includes the event already.
func (t *Table) AddNegative(i Index) {
	t.negatives.mu.Lock()
	defer t.negatives.mu.Unlock()
	t.negatives.add(i)
}

// FillNegatives fills the ring of recent positives, from which negatives are drawn, with items in
// proportion to their counts. After a restart the recent events are gone, and all-time popularity
// is the best substitute. The result depends only on the counts and the seed. From then on the ring
// follows the counts.
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
	// shuffled, so that no item is overwritten first
	for i := len(ring.ring) - 1; i > 0; i-- {
		j := r.below(i + 1)
		ring.ring[i], ring.ring[j] = ring.ring[j], ring.ring[i]
	}
}
