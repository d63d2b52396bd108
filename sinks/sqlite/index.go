package sqlite

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/viterin/vek/vek32"

	"github.com/slipstream-rec/slipstream/fault"
)

const (
	// blockRows is how many vectors are multiplied at a time: with 65 numbers each they fit into a
	// level 2 cache, so that the queries of a batch share one read of the memory.
	blockRows = 512
	// parallelFrom is the number of products from which vek starts goroutines of its own; several
	// searches at a time use the processors better.
	parallelFrom = 100_000
	// queriesAtOnce bounds how long a batch of queries keeps a writer waiting.
	queriesAtOnce = 8
)

// index mirrors one kind of vectors in contiguous memory and searches them exactly. A search of
// 100,000 vectors reads 26 MB, which takes a few milliseconds. The embedded engine is meant for up
// to about a million vectors.
//
// R is what is known about a row. The zero value is not ready: use newIndex. Safe for concurrent
// use.
type index[R any] struct {
	mu sync.RWMutex
	// dim is the length of every vector, 0 before the first.
	dim  int
	data []float32
	// keys and rows belong to the vector at the same slot; slots is the way back. A removed slot is
	// filled with the last one.
	keys  []uint64
	rows  []R
	slots map[uint64]int32
	// id names a row: it orders equal scores.
	id func(R) string
}

func newIndex[R any](id func(R) string) *index[R] {
	return &index[R]{slots: map[uint64]int32{}, id: id}
}

// entry is one vector to be put; a nil vector removes the key.
type entry[R any] struct {
	key    uint64
	vector []float32
	row    R
}

// dims checks vectors that are about to be put, by a caller who has the writer's turn.
func (x *index[R]) dims() dims {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return dims{want: x.dim}
}

// dims holds the length that all vectors of an index have; the first decides.
type dims struct{ want int }

// check rejects a vector of another length, and one with numbers that are not finite. An empty
// vector is accepted.
func (d *dims) check(what, id string, v []float32) error {
	if len(v) == 0 {
		return nil
	}
	if d.want == 0 {
		d.want = len(v)
	}
	if len(v) != d.want {
		return fault.Permanentf(
			"%s %q has %d numbers, the others have %d: use one dimension, or rebuild the store "+
				"for another",
			what, id, len(v), d.want,
		)
	}
	for i, f := range v {
		if f-f != 0 {
			return fault.Permanentf("%s %q: number %d is %v", what, id, i, f)
		}
	}
	return nil
}

// reset replaces everything.
func (x *index[R]) reset(entries []entry[R]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dim, x.data, x.keys, x.rows = 0, nil, nil, nil
	x.slots = make(map[uint64]int32, len(entries))
	for i := range entries {
		x.put(&entries[i])
	}
}

// apply puts the entries in order; vectors are copied.
func (x *index[R]) apply(entries []entry[R]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range entries {
		x.put(&entries[i])
	}
}

func (x *index[R]) put(e *entry[R]) {
	if len(e.vector) == 0 {
		x.remove(e.key)
		return
	}
	if x.dim == 0 {
		x.dim = len(e.vector)
	}
	slot, there := x.slots[e.key]
	if !there {
		x.slots[e.key] = int32(len(x.keys))
		x.keys = append(x.keys, e.key)
		x.rows = append(x.rows, e.row)
		x.data = append(x.data, e.vector...)
		return
	}
	x.rows[slot] = e.row
	copy(x.data[int(slot)*x.dim:], e.vector)
}

func (x *index[R]) remove(key uint64) {
	slot, there := x.slots[key]
	if !there {
		return
	}
	last := len(x.keys) - 1
	copy(x.data[int(slot)*x.dim:(int(slot)+1)*x.dim], x.data[last*x.dim:])
	x.keys[slot], x.rows[slot] = x.keys[last], x.rows[last]
	x.slots[x.keys[slot]] = slot
	delete(x.slots, key)
	var none R
	x.rows[last] = none // or it would keep what it points to alive
	x.keys, x.rows, x.data = x.keys[:last], x.rows[:last], x.data[:last*x.dim]
	if last == 0 {
		x.dim = 0
	}
}

// query asks for the n rows with the highest inner product with vector, without the excluded keys,
// among those that accept (nil: all) takes.
type query[R any] struct {
	vector  []float32
	n       int
	exclude []uint64
	accept  func(R) bool
}

type hit[R any] struct {
	key   uint64
	row   R
	score float32
}

// search answers each query, best first, by id among equals.
func (x *index[R]) search(ctx context.Context, queries []query[R]) ([][]hit[R], error) {
	hits := make([][]hit[R], len(queries))
	scores := make([]float32, blockRows)
	for from := 0; from < len(queries); from += queriesAtOnce {
		to := min(from+queriesAtOnce, len(queries))
		if err := x.searchSome(ctx, queries[from:to], hits[from:to], scores); err != nil {
			return nil, err
		}
	}
	return hits, nil
}

func (x *index[R]) searchSome(
	ctx context.Context, queries []query[R], hits [][]hit[R], scores []float32,
) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.dim == 0 {
		return ctx.Err()
	}
	tops := make([]top[R], len(queries))
	for i, q := range queries {
		if len(q.vector) != x.dim {
			return fault.Permanentf(
				"the vector of query %d has %d numbers, those in the store have %d", i,
				len(q.vector), x.dim,
			)
		}
		if err := (&dims{}).check("vector of query", strconv.Itoa(i), q.vector); err != nil {
			return err
		}
		tops[i] = top[R]{
			index: x, query: q, excluded: x.bitmap(q.exclude),
			best: make([]place, 0, max(0, min(q.n, len(x.keys)))),
		}
	}
	step := max(1, min(blockRows, (parallelFrom-1)/x.dim))
	for first := 0; first < len(x.keys); first += step {
		if first&(1<<15-1) < step {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		rows := min(step, len(x.keys)-first)
		block := x.data[first*x.dim : (first+rows)*x.dim]
		for i := range tops {
			vek32.MatMul_Into(scores[:rows], block, queries[i].vector, x.dim)
			tops[i].offer(first, scores[:rows])
		}
	}
	for i := range tops {
		hits[i] = tops[i].sorted()
	}
	return nil
}

// bitmap returns the slots of keys as a set of bits, nil for none.
func (x *index[R]) bitmap(keys []uint64) []uint64 {
	if len(keys) == 0 {
		return nil
	}
	bits := make([]uint64, (len(x.keys)+63)/64)
	for _, k := range keys {
		if slot, there := x.slots[k]; there {
			bits[slot>>6] |= 1 << (slot & 63)
		}
	}
	return bits
}

type place struct {
	slot  int32
	score float32
}

// top keeps the best places seen so far in a heap whose root is the worst of them.
type top[R any] struct {
	index    *index[R]
	query    query[R]
	excluded []uint64
	best     []place
}

// offer considers the scores of the slots from first on. Most fail the first comparison, so
// exclusion and acceptance are checked only for the rest.
func (t *top[R]) offer(first int, scores []float32) {
	if t.query.n <= 0 {
		return
	}
	for i, score := range scores {
		p := place{slot: int32(first + i), score: score}
		full := len(t.best) == t.query.n
		if full && (score < t.best[0].score || !t.worse(t.best[0], p)) {
			continue
		}
		if t.excluded != nil && t.excluded[p.slot>>6]&(1<<(p.slot&63)) != 0 {
			continue
		}
		if t.query.accept != nil && !t.query.accept(t.index.rows[p.slot]) {
			continue
		}
		if full {
			t.best[0] = p
			t.down()
		} else {
			t.best = append(t.best, p)
			t.up()
		}
	}
}

// worse tells whether a comes after b.
func (t *top[R]) worse(a, b place) bool { return t.compare(a, b) > 0 }

// compare orders by score, the highest first, and by id among equals: what a search returns does
// not depend on the order of arrival.
func (t *top[R]) compare(a, b place) int {
	if a.score != b.score {
		return cmp.Compare(b.score, a.score)
	}
	x := t.index
	return strings.Compare(x.id(x.rows[a.slot]), x.id(x.rows[b.slot]))
}

func (t *top[R]) up() {
	h := t.best
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !t.worse(h[i], h[parent]) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (t *top[R]) down() {
	h := t.best
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && t.worse(h[child+1], h[child]) {
			child++
		}
		if !t.worse(h[child], h[i]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

func (t *top[R]) sorted() []hit[R] {
	x := t.index
	slices.SortFunc(t.best, t.compare)
	hits := make([]hit[R], len(t.best))
	for i, p := range t.best {
		hits[i] = hit[R]{key: x.keys[p.slot], row: x.rows[p.slot], score: p.score}
	}
	return hits
}
