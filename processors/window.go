package processors

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// window is the deduplication window: the ids of the events at the last size offsets of one
// partition. An event that an application sent twice counts once. Whether an event is a duplicate
// depends on the log alone (is the same id at one of the size offsets before?), so every reader and
// every repeat of a range decides the same. Not safe for concurrent use.
type window struct {
	size    int64
	entries []windowEntry // in order of offset
	newest  map[[2]uint64]int64
	// start is the first offset of the current batch, which may be delivered again.
	start int64
}

type windowEntry struct {
	id [2]uint64
	// offset of this event; previous is the offset of the same id before it, or -1.
	offset, previous int64
}

func newWindow(size int) *window {
	return &window{
		size: int64(size), newest: make(map[[2]uint64]int64), start: math.MaxInt64,
	}
}

// eventKey is a 128-bit digest of source and id: at 10^9 ids in a window the chance of any clash is
// below 10^-20.
func eventKey(source, id string) [2]uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(source)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(id)
	a := d.Sum64()
	_, _ = d.Write([]byte{1})
	return [2]uint64{a, d.Sum64()}
}

// rewind begins a batch at offset. It drops the entries from there on: the batch may have been
// delivered before.
func (w *window) rewind(offset int64) {
	w.start = offset
	n := len(w.entries)
	for n > 0 && w.entries[n-1].offset >= offset {
		e := w.entries[n-1]
		if e.previous >= 0 {
			w.newest[e.id] = e.previous
		} else {
			delete(w.newest, e.id)
		}
		n--
	}
	w.entries = w.entries[:n]
}

// seen adds the event at offset, and tells whether it was at one of the size offsets before.
// Offsets only grow between rewinds.
func (w *window) seen(offset int64, id [2]uint64) bool {
	w.trim(offset)
	previous, ok := w.newest[id]
	if !ok {
		previous = -1
	}
	w.entries = append(w.entries, windowEntry{id: id, offset: offset, previous: previous})
	w.newest[id] = offset
	return ok && offset-previous <= w.size
}

// trim drops entries that are too old to matter, also when the current batch is delivered again: so
// it counts from the start of the batch.
func (w *window) trim(offset int64) {
	offset = min(offset, w.start)
	if len(w.entries) == 0 || offset-w.entries[0].offset <= 2*w.size {
		return
	}
	i := 0
	for i < len(w.entries) && offset-w.entries[i].offset > w.size {
		if w.newest[w.entries[i].id] == w.entries[i].offset {
			delete(w.newest, w.entries[i].id)
		}
		i++
	}
	w.entries = append(w.entries[:0], w.entries[i:]...)
}
