package sqlite

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// itemIndex is the mirror of the items: learned and content vectors, and what queries filter by and
// hits show.
type itemIndex struct {
	learned *index[*itemRow]
	content *index[*itemRow]
}

// itemRow is never changed after it was put: searches hand it out without a lock.
type itemRow struct {
	content   schemas.Item
	version   uint64
	count     float64
	changedAt time.Time
	available bool
}

func newItemIndex() *itemIndex {
	id := func(r *itemRow) string { return r.content.ItemID }
	return &itemIndex{learned: newIndex(id), content: newIndex(id)}
}

// itemEntry is one item on its way into the mirror.
type itemEntry struct {
	key             uint64
	row             *itemRow
	vector, content []float32
}

func (x *itemIndex) entries(items []itemEntry) (learned, content []entry[*itemRow]) {
	learned, content = make([]entry[*itemRow], len(items)), make([]entry[*itemRow], len(items))
	for i, e := range items {
		learned[i] = entry[*itemRow]{key: e.key, vector: e.vector, row: e.row}
		content[i] = entry[*itemRow]{key: e.key, vector: normalised(e.content), row: e.row}
	}
	return learned, content
}

func (x *itemIndex) apply(items []itemEntry) {
	learned, content := x.entries(items)
	x.learned.apply(learned)
	x.content.apply(content)
}

func (x *itemIndex) reset(items []itemEntry) {
	learned, content := x.entries(items)
	x.learned.reset(ofOneLength(learned))
	x.content.reset(ofOneLength(content))
}

// indexQuery returns q as a query of one of the two indexes.
func indexQuery(q *sinks.ItemQuery) query[*itemRow] {
	vector := q.Vector
	if q.Content {
		vector = normalised(vector)
	}
	return query[*itemRow]{
		vector: vector, n: q.N, exclude: q.Exclude,
		accept: func(r *itemRow) bool {
			return r.available && (!q.CatalogOnly || r.content.Title != "") &&
				(q.MaxCount <= 0 || r.count <= q.MaxCount) &&
				(len(q.Genres) == 0 || shareOne(r.content.Genres, q.Genres))
		},
	}
}

func shareOne(a, b []string) bool {
	for _, s := range a {
		if slices.Contains(b, s) {
			return true
		}
	}
	return false
}

// normalised returns v with length 1, so that an inner product is a cosine; a zero vector stays.
func normalised(v []float32) []float32 {
	var sum float64
	for _, f := range v {
		sum += float64(f) * float64(f)
	}
	if sum == 0 {
		return v
	}
	scale := float32(1 / math.Sqrt(sum))
	w := make([]float32, len(v))
	for i, f := range v {
		w[i] = f * scale
	}
	return w
}

// itemHit returns h for a caller who may change it: the row is shared by all searches.
func itemHit(h hit[*itemRow], keyOnly bool) sinks.ItemHit {
	if keyOnly {
		return sinks.ItemHit{Key: h.key, Score: float64(h.score)}
	}
	c := h.row.content
	c.Genres, c.Actors = slices.Clone(c.Genres), slices.Clone(c.Actors)
	c.Directors, c.Tags = slices.Clone(c.Directors), slices.Clone(c.Tags)
	if c.Available != nil {
		c.Available = new(*c.Available)
	}
	c.Attributes = maps.Clone(c.Attributes)
	for k, v := range c.Attributes {
		c.Attributes[k] = clone(v)
	}
	return sinks.ItemHit{
		Key: h.key, Score: float64(h.score),
		Item: sinks.Item{
			Content: c, Version: h.row.version, Count: h.row.count, ChangedAt: h.row.changedAt,
		},
	}
}

// clone copies a value that was read from JSON.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, x := range v {
			m[k] = clone(x)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, x := range v {
			l[i] = clone(x)
		}
		return l
	}
	return v
}
