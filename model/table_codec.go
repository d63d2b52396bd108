package model

import (
	"encoding/binary"
	"fmt"
	"math"
)

// AppendRow appends the row at i to b in its binary form: numbers, accumulators, count and features, all an owner needs to go on
// learning. The id is not in it: it is the key of the record.
func (t *Table) AppendRow(b []byte, i Index) []byte {
	m, row := &t.meta[i], t.row(i)
	b = append(b, rowVersion)
	b = binary.AppendUvarint(b, uint64(t.dim))
	b = binary.AppendUvarint(b, uint64(m.count))
	b = appendFloats(b, row[t.dim:t.dim+offLog])
	b = appendFloats(b, t.v(i))
	b = appendFloats(b, t.p(i))
	b = appendFloats(b, t.t(i))
	b = binary.AppendUvarint(b, uint64(len(m.features)))
	for _, f := range m.features {
		b = appendString(b, t.meta[f].id[len(featurePrefix):])
	}
	return b
}

// LoadRow puts the row of the item id, as AppendRow wrote it, into the table in place of what it holds. On an error the table is as before.
// Numbers that are not finite become 0.
func (t *Table) LoadRow(id string, data []byte) (Index, error) {
	r := reader{data: data}
	if v := r.byte(); r.err == nil && v != rowVersion {
		return None, fmt.Errorf("decode row of %q: version %d, want %d", id, v, rowVersion)
	}
	if dim := r.uvarint(math.MaxUint32); r.err == nil && dim != uint64(t.dim) {
		return None, fmt.Errorf("decode row of %q: dim %d, want %d: rows of another model; rebuild the model with the new dim", id, dim, t.dim)
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
	n := r.count(1)
	var features []string
	for range min(n, 255) {
		features = append(features, r.string())
	}
	if err := r.end(fmt.Sprintf("row of %q", id)); err != nil {
		return None, err
	}
	for at := t.dim + offAccV; at <= t.dim+offAccT; at++ {
		if !(row[at] > 0) {
			row[at] = float32(t.cfg.InitAccumulator)
		}
	}
	i := t.Intern(id)
	copy(t.row(i), row)
	t.setCount(i, count)
	t.SetFeatures(i, features)
	return i, nil
}
