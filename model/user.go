package model

// User is the model's state of one user. The zero value is a user without history. A User is not
// safe for concurrent use.
type User struct {
	// History is the user's latest items, latest last, at most LongItems.
	History []Taken
	// W is the free vector of the user, nil until the first event; AccW is its accumulator.
	W    []float32
	AccW float32
	// Events is the number of positive events.
	Events uint32
	seen   seenSet
	// uncounted are those of seen of which the user has said nothing positive yet.
	uncounted seenSet
	// unknown holds sections that a newer program added (see Sections).
	unknown Sections
}

// Taken is one item of a history.
type Taken struct {
	Key Key
	// Weight is the strength of the event, more than 0.
	Weight float32
	// Label is that of the event; 0 is none.
	Label uint32
	// At is the time of the event in Unix seconds, 0 if unknown.
	At int64
}

// Seen reports whether the user has taken or refused the item.
func (u *User) Seen(key Key) bool { return u.seen.has(key) }

// SeenLen returns how many items the user has taken or refused.
func (u *User) SeenLen() int { return u.seen.len() }

// AppendSeen appends the items the user has taken or refused to out, oldest first. A search filters
// them out unless taken items may return.
func (u *User) AppendSeen(out []Key) []Key { return append(out, u.seen.order...) }

// MarkSeen excludes the item from the user's lists and negatives. When more than limit items are
// marked, the oldest are dropped.
func (u *User) MarkSeen(key Key, limit int) { u.seen.add(key, limit) }

// counted reports whether the count of the item has this user already, as far as the state
// remembers: an item that was taken stays for MaxSeen others, one that was not for LongItems.
func (u *User) counted(key Key) bool {
	if u.seen.has(key) && !u.uncounted.has(key) {
		return true
	}
	for k := range u.History {
		if u.History[k].Key == key {
			return true
		}
	}
	return false
}

// Forget removes an item from the history and from what the user has seen.
func (u *User) Forget(key Key) {
	kept := u.History[:0]
	for _, h := range u.History {
		if h.Key != key {
			kept = append(kept, h)
		}
	}
	u.History = kept
	u.seen.remove(key)
	u.uncounted.remove(key)
}

// appendHistory appends an item to the history, of which the latest n are kept.
func (u *User) appendHistory(item Taken, n int) {
	if len(u.History) >= n {
		drop := len(u.History) - n + 1
		u.History = u.History[:copy(u.History, u.History[drop:])]
	}
	u.History = append(u.History, item)
}

// seenSet is a hash set of keys that keeps their order of insertion. Keys are hashes already, so
// their low bits choose the slot. A slot holds 1 + the key's index in order.
type seenSet struct {
	order []Key
	slots []uint32
}

func (s *seenSet) len() int { return len(s.order) }

func (s *seenSet) has(key Key) bool {
	if len(s.slots) == 0 {
		return false
	}
	mask := uint64(len(s.slots) - 1)
	for at := uint64(key) & mask; s.slots[at] != 0; at = (at + 1) & mask {
		if s.order[s.slots[at]-1] == key {
			return true
		}
	}
	return false
}

func (s *seenSet) add(key Key, limit int) {
	if s.has(key) {
		return
	}
	s.order = append(s.order, key)
	// drop in batches, so that not every event rebuilds the table
	if limit > 0 && len(s.order) > limit+limit/8 {
		s.order = append(s.order[:0], s.order[len(s.order)-limit:]...)
		s.rebuild()
		return
	}
	if 2*len(s.order) > len(s.slots) {
		s.rebuild()
		return
	}
	s.insert(len(s.order) - 1)
}

func (s *seenSet) insert(i int) {
	mask := uint64(len(s.slots) - 1)
	at := uint64(s.order[i]) & mask
	for s.slots[at] != 0 {
		at = (at + 1) & mask
	}
	s.slots[at] = uint32(i + 1)
}

func (s *seenSet) remove(key Key) {
	if !s.has(key) {
		return
	}
	kept := s.order[:0]
	for _, k := range s.order {
		if k != key {
			kept = append(kept, k)
		}
	}
	s.order = kept
	s.rebuild()
}

// rebuild makes a table with at least twice as many slots as keys.
func (s *seenSet) rebuild() {
	size := slotsFor(len(s.order))
	if size == len(s.slots) {
		clear(s.slots)
	} else {
		s.slots = make([]uint32, size)
	}
	for i := range s.order {
		s.insert(i)
	}
}

// slotsFor returns the table size for n keys: a power of two of at least 3n.
func slotsFor(n int) int {
	size := 16
	for size < 3*n {
		size *= 2
	}
	return size
}
