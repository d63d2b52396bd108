package processors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Rows are the learned item rows of this process: those that it owns (catalog steps them) and a read-only cache of the others (embed and catalog
// read them), fed from the compacted topic item-vectors. Safe for concurrent use.
type Rows struct {
	mu    sync.RWMutex
	table *model.Table
	meta  map[string]*rowMeta
}

// rowMeta is what the owner keeps beside the numbers.
type rowMeta struct {
	// version grows with every change of the row or of the item's content.
	version uint64
	// applied is the last sequence (offset) whose gradients have been applied, per source.
	applied map[source]int64
}

// source is a partition of interactions (replay false) or of embed's replay topic that gradient sums come from.
type source struct {
	partition int
	replay    bool
}

func (s source) code() uint64 {
	c := uint64(s.partition) << 1
	if s.replay {
		c |= 1
	}
	return c
}

func sourceOf(code uint64) source { return source{partition: int(code >> 1), replay: code&1 == 1} }

// NewRows returns an empty set of rows for the model's configuration, which must be valid.
func NewRows(cfg model.Config) *Rows {
	return &Rows{table: model.NewTable(cfg), meta: make(map[string]*rowMeta)}
}

// Apply takes in one record of the topic item-vectors; a record that is not newer than what is here changes nothing.
func (r *Rows) Apply(rec *record.Record) error {
	id := string(rec.Key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(rec.Value) == 0 {
		r.remove(id)
		return nil
	}
	meta, row, err := decodeRow(rec.Value)
	if err != nil {
		return fmt.Errorf("item vector %q at %s/%d/%d: %w", id, rec.Topic, rec.Partition, rec.Offset, err)
	}
	if known := r.meta[id]; known != nil && known.version >= meta.version {
		return nil
	}
	if _, err := r.table.LoadRow(id, row); err != nil {
		return err
	}
	r.meta[id] = meta
	return nil
}

// restorer is Apply for the owner at assignment: of what the log says the highest version counts, also against a still higher one in memory that never
// got there. The highest is not always the last: a member that has lost the partition may have written after its successor.
func (r *Rows) restorer() func(*record.Record) error {
	highest := make(map[string]uint64)
	return func(rec *record.Record) error {
		id := string(rec.Key)
		if len(rec.Value) == 0 {
			delete(highest, id)
			return r.Apply(rec)
		}
		meta, _, err := decodeRow(rec.Value)
		if err == nil {
			if v, ok := highest[id]; ok && meta.version <= v {
				return nil
			}
			highest[id] = meta.version
			r.mu.Lock()
			delete(r.meta, id)
			r.mu.Unlock()
		}
		return r.Apply(rec)
	}
}

// remove must be called with the lock held.
func (r *Rows) remove(id string) {
	delete(r.meta, id)
	if i := r.table.Lookup(model.KeyOf(id)); i != model.None {
		r.table.Remove(i)
	}
}

// touch returns the owner's notes of a row, new ones for a new row. The lock must be held.
func (r *Rows) touch(id string) *rowMeta {
	m := r.meta[id]
	if m == nil {
		m = &rowMeta{}
		r.meta[id] = m
	}
	return m
}

// Len returns the number of rows, those of content features included.
func (r *Rows) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.table.Len()
}

const rowRecordVersion = 1

// appendRecord appends the value of the item-vectors record of a row. The lock must be held for reading.
func (r *Rows) appendRecord(b []byte, id string) []byte {
	m := r.touchRead(id)
	b = append(b, rowRecordVersion)
	b = binary.AppendUvarint(b, m.version)
	b = binary.AppendUvarint(b, uint64(len(m.applied)))
	for s, seq := range m.applied {
		b = binary.AppendUvarint(b, s.code())
		b = binary.AppendVarint(b, seq)
	}
	return r.table.AppendRow(b, r.table.Lookup(model.KeyOf(id)))
}

func (r *Rows) touchRead(id string) *rowMeta {
	if m := r.meta[id]; m != nil {
		return m
	}
	return &rowMeta{}
}

func decodeRow(b []byte) (*rowMeta, []byte, error) {
	errShort := errors.New("the record is cut short")
	if len(b) < 2 || b[0] != rowRecordVersion {
		return nil, nil, fmt.Errorf("unknown record version, want %d", rowRecordVersion)
	}
	b = b[1:]
	version, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, nil, errShort
	}
	b = b[n:]
	sources, n := binary.Uvarint(b)
	if n <= 0 || sources > uint64(len(b)) {
		return nil, nil, errShort
	}
	b = b[n:]
	m := &rowMeta{version: version, applied: make(map[source]int64, sources)}
	for range sources {
		code, n := binary.Uvarint(b)
		if n <= 0 || code>>1 > 1<<30 {
			return nil, nil, errShort
		}
		b = b[n:]
		seq, n := binary.Varint(b)
		if n <= 0 {
			return nil, nil, errShort
		}
		b = b[n:]
		m.applied[sourceOf(code)] = seq
	}
	return m, b, nil
}
