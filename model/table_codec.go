package model

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// The sections of an item's factors.
const (
	rowNumbers  uint64 = 1 + iota // dim, count, bias and accumulators, V, P, T
	rowFeatures                   // the item's content features; absent when there are none
)

// FirstCallerTag is the first section tag that the model leaves to its callers: they may add
// sections of their own to item factors and gradient sums.
const FirstCallerTag = 64

// RowTags returns the tags of the sections that AppendRow writes and LoadRow reads.
func RowTags() []uint64 { return []uint64{rowNumbers, rowFeatures} }

// AppendRow appends the row at i to b in its binary form: numbers, accumulators, count and
// features, all an owner needs to go on learning. The id is not in it: it is the key of the record.
// The form is a version byte and sections, to which others are added.
func (t *Table) AppendRow(b []byte, i Index, others ...Section) []byte {
	return t.appendRow(b, &t.meta[i], t.row(i), others)
}

// AppendEmptyRow appends a row in which nothing was learned, to carry the sections of a row that
// was removed. A reader that does not know them takes it for a row.
func (t *Table) AppendEmptyRow(b []byte, others ...Section) []byte {
	return t.appendRow(b, &meta{}, make([]float32, t.stride), others)
}

func (t *Table) appendRow(b []byte, m *meta, row []float32, others []Section) []byte {
	room := 4*t.stride + 64
	for _, f := range m.features {
		room += len(t.meta[f].id) + 1
	}
	for n := range others {
		room += len(others[n].Body) + 2*sectionLengthBytes
	}
	w := BeginSections(append(slices.Grow(b, room), rowVersion))
	w.Begin(rowNumbers)
	w.Buf = binary.AppendUvarint(w.Buf, uint64(t.dim))
	w.Buf = binary.AppendUvarint(w.Buf, uint64(m.count))
	w.Buf = appendFloats(w.Buf, row[t.dim:t.dim+offLog])
	w.Buf = appendFloats(w.Buf, row[:t.dim])
	w.Buf = appendFloats(w.Buf, row[t.dim+head:2*t.dim+head])
	w.Buf = appendFloats(w.Buf, row[2*t.dim+head:])
	w.End()
	if len(m.features) > 0 {
		w.Begin(rowFeatures)
		w.Buf = binary.AppendUvarint(w.Buf, uint64(len(m.features)))
		for _, f := range m.features {
			w.Buf = appendString(w.Buf, t.meta[f].id[len(featurePrefix):])
		}
		w.End()
	}
	w.Carry(others)
	return w.Buf
}

// DimError says that data holds vectors of another length than the configured one. Nothing converts
// them: a rebuild reads the same item factors from the log.
type DimError struct{ Data, Configured int }

func (e *DimError) Error() string {
	return fmt.Sprintf(
		"the data has vectors of %d numbers, model.dim is %d: set SLIPSTREAM_MODEL_DIM=%d, or "+
			"take another folder or topic prefix", e.Data, e.Configured, e.Data,
	)
}

// factorsOf names the item factors of id in an error.
func factorsOf(id string) string { return fmt.Sprintf("item factors of %q", id) }

// LoadRow puts the row of the item id, as AppendRow wrote it in this version or an older one, into
// the table in place of what it holds, and ignores sections that it does not know. On an error the
// table is as before; it is ErrNewerFormat when a newer version of the program wrote the row, and a
// *DimError when its vectors have another length. Numbers that are not finite become 0.
func (t *Table) LoadRow(id string, data []byte) (Index, error) {
	version, body, err := CheckVersion(data, rowVersion)
	if err != nil {
		return None, fmt.Errorf("decode %s: %w", factorsOf(id), err)
	}
	if version == 1 {
		return t.loadRow(id, body, nil)
	}
	sections, err := ParseSections(body)
	if err != nil {
		return None, fmt.Errorf("decode %s: %w", factorsOf(id), err)
	}
	return t.LoadRowSections(id, sections)
}

// LoadRowSections is LoadRow for a caller that has parsed the sections.
func (t *Table) LoadRowSections(id string, sections Sections) (Index, error) {
	numbers, err := sections.Need(rowNumbers)
	if err != nil {
		return None, fmt.Errorf("decode %s: %w", factorsOf(id), err)
	}
	features, ok := sections.Get(rowFeatures)
	if !ok {
		features = []byte{0}
	}
	return t.loadRow(id, numbers, features)
}

// RowDim returns the length of the vectors in the sections of an item's factors.
func RowDim(sections Sections) (int, error) {
	numbers, err := sections.Need(rowNumbers)
	if err != nil {
		return 0, err
	}
	return readDim(numbers)
}

// OldRowDim is RowDim of the first form of an item's factors, version byte included.
func OldRowDim(data []byte) (int, error) {
	_, body, err := CheckVersion(data, 1)
	if err != nil {
		return 0, err
	}
	return readDim(body)
}

func readDim(numbers []byte) (int, error) {
	r := reader{data: numbers}
	dim := r.uvarint(math.MaxUint32)
	if r.err != nil {
		return 0, fmt.Errorf("%w: %w", ErrCorrupt, r.err)
	}
	return int(dim), nil
}

// loadRow reads numbers and features. Version 1 is still read but no longer written. In it the
// features follow the numbers, and features is nil.
func (t *Table) loadRow(id string, numbers, features []byte) (Index, error) {
	r := reader{data: numbers}
	if dim := r.uvarint(math.MaxUint32); r.err == nil && dim != uint64(t.dim) {
		return None, fmt.Errorf("decode %s: %w", factorsOf(id), &DimError{int(dim), t.dim})
	}
	count := uint32(r.uvarint(math.MaxUint32))
	if len(t.scratch) < t.stride {
		t.scratch = make([]float32, t.stride)
	}
	row := t.scratch
	clear(row)
	r.floats(row[t.dim : t.dim+offLog])
	r.floats(row[:t.dim])
	r.floats(row[t.dim+head : 2*t.dim+head])
	r.floats(row[2*t.dim+head:])
	if features != nil {
		if r.err != nil || len(r.data) > 0 {
			return None, r.end(factorsOf(id))
		}
		r.data = features
	}
	n := r.count(1)
	var names []string
	for range min(n, 255) {
		names = append(names, r.string())
	}
	if r.err != nil || len(r.data) > 0 {
		return None, r.end(factorsOf(id))
	}
	for at := t.dim + offAccV; at <= t.dim+offAccT; at++ {
		if !(row[at] > 0) {
			row[at] = float32(t.cfg.InitAccumulator)
		}
	}
	i := t.Intern(id)
	copy(t.row(i), row)
	t.setCount(i, count)
	t.SetFeatures(i, names)
	return i, nil
}
