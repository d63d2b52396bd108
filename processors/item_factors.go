package processors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// ItemFactors are the learned item factors of this process: those that it owns (updated by catalog)
// and a read-only cache of the others (read by embed and catalog). A follower of the compacted
// topic item-vectors feeds it. Safe for concurrent use.
type ItemFactors struct {
	mu    sync.RWMutex
	table *model.Table
	meta  map[string]*factorsMeta
	// loose are the rows that ForgetUnpublished found last.
	loose map[string]struct{}
}

// factorsMeta is what the owner keeps besides the numbers.
type factorsMeta struct {
	// version grows with every change of the factors or of the item's content.
	version uint64
	// applied are the positions of the gradients applied so far.
	applied applied
	// seen is the log's time of the newest event of the item, or change of its content, in Unix
	// milliseconds. 0 is unknown.
	seen int64
	// kept is what histories need of an item that was withdrawn (keepOf), nil for others.
	kept []byte
	// left is when the item has left, in Unix milliseconds; 0: it is there. Nothing learned is kept
	// of an item that has left, but its version and applied, so that late gradients do not bring it
	// back.
	left int64
	// unknown are the sections that a newer program added to the record. They are written back.
	unknown model.Sections
}

// NewItemFactors returns an empty set for the model's configuration, which must be valid.
func NewItemFactors(cfg model.Config) *ItemFactors {
	return &ItemFactors{table: model.NewTable(cfg), meta: make(map[string]*factorsMeta)}
}

// Apply applies one record of the topic item-vectors. A record that is not newer than the factors
// in memory changes nothing.
//
// A record in a newer format is an error (model.ErrNewerFormat). It ends the follower and with it
// the process, at the start or later. If the record were skipped, embed would learn against stale
// factors and catalog would overwrite them. A process that says it has to be upgraded is better
// than both. Additions to the format are sections and need no new version, so this concerns only
// changes that an older program must not ignore.
func (f *ItemFactors) Apply(rec *record.Record) error {
	id := string(rec.Key)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(rec.Value) == 0 {
		f.remove(id)
		return nil
	}
	x, err := decodeFactors(rec.Value)
	if errors.Is(err, model.ErrNewerFormat) {
		return fmt.Errorf("item factors of %q at %s/%d/%d: %w: upgrade this instance; before a "+
			"version "+
			"that writes a new format of item factors runs anywhere, every instance has to read it",
			id, rec.Topic, rec.Partition, rec.Offset, err)
	}
	if err != nil {
		return fmt.Errorf(
			"item factors of %q at %s/%d/%d: %w", id, rec.Topic, rec.Partition, rec.Offset, err,
		)
	}
	if known := f.meta[id]; known != nil && known.version >= x.meta.version {
		return nil
	}
	if x.meta.left != 0 {
		f.remove(id)
	} else if err := x.load(f.table, id); err != nil {
		return err
	}
	f.meta[id] = x.meta
	return nil
}

// restorer returns an Apply for the owner at assignment: the highest version on the log counts,
// even if memory has a higher one that was never published. The highest is not always the last: a
// member that has lost the partition may have written after its successor.
func (f *ItemFactors) restorer() func(*record.Record) error {
	highest := make(map[string]uint64)
	return func(rec *record.Record) error {
		id := string(rec.Key)
		if len(rec.Value) == 0 {
			delete(highest, id)
			return f.Apply(rec)
		}
		x, err := decodeFactors(rec.Value)
		if err == nil {
			if v, ok := highest[id]; ok && x.meta.version <= v {
				return nil
			}
			highest[id] = x.meta.version
			f.mu.Lock()
			delete(f.meta, id)
			f.mu.Unlock()
		}
		return f.Apply(rec)
	}
}

// remove deletes an item's factors. The caller holds the lock.
func (f *ItemFactors) remove(id string) {
	delete(f.meta, id)
	if i := f.table.Lookup(model.KeyOf(id)); i != model.None {
		f.table.Remove(i)
	}
}

// touch returns the owner's metadata of an item and adds it for a new item. The caller holds the
// lock.
func (f *ItemFactors) touch(id string) *factorsMeta {
	m := f.meta[id]
	if m == nil {
		m = &factorsMeta{}
		f.meta[id] = m
	}
	return m
}

func (f *ItemFactors) touchRead(id string) *factorsMeta {
	if m := f.meta[id]; m != nil {
		return m
	}
	return &factorsMeta{}
}

// Len returns the number of items and content features that have factors.
func (f *ItemFactors) Len() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.table.Len()
}

// The value of a record of item-vectors is the model's form of item factors. Additional sections
// hold the version and the positions applied, the time of the newest event, what is kept of a
// withdrawn item, and that the item has left (itemleave.go). In the first version these came first:
//
//	1, version (uvarint), n (uvarint), n × (source (oldSource), offset (varint)), factors
const (
	factorsVersion = 2
	tagOwner       = model.FirstCallerTag
	tagSeen        = model.FirstCallerTag + 1
	tagKept        = model.FirstCallerTag + 2
	tagLeft        = model.FirstCallerTag + 3
)

// appendRecord appends the value of an item's record. The caller holds the lock for reading.
func (f *ItemFactors) appendRecord(b []byte, id string) []byte {
	m := f.touchRead(id)
	var room [256]byte
	owner := m.applied.append(binary.AppendUvarint(room[:0], m.version))
	others := m.appendSections(model.Sections{{Tag: tagOwner, Body: owner}})
	if m.left != 0 {
		return f.table.AppendEmptyRow(b, others...)
	}
	return f.table.AppendRow(b, f.table.Lookup(model.KeyOf(id)), others...)
}

// factorsRecord is the value of a record of item-vectors whose numbers are not decoded yet.
type factorsRecord struct {
	meta *factorsMeta
	// old are the factors in the first version; when nil, they are in sections.
	old      []byte
	sections model.Sections
}

// decodeFactors reads the value of a record. The record it returns refers to b until it is loaded.
func decodeFactors(b []byte) (*factorsRecord, error) {
	version, body, err := model.CheckVersion(b, factorsVersion)
	if err != nil {
		return nil, err
	}
	if version == 1 {
		return decodeOldFactors(body)
	}
	x := &factorsRecord{meta: &factorsMeta{}}
	if x.sections, err = model.ParseSections(body); err != nil {
		return nil, err
	}
	owner, err := x.sections.Need(tagOwner)
	if err != nil {
		return nil, err
	}
	r := varints{data: owner}
	x.meta.version = r.uint()
	x.meta.applied.read(&r)
	if r.err != nil {
		return nil, fmt.Errorf("%w: positions: %w", model.ErrCorrupt, r.err)
	}
	if err := x.meta.readSections(x.sections); err != nil {
		return nil, err
	}
	x.meta.unknown = x.sections.Except(factorsTags...)
	return x, nil
}

// factorsTags are the tags of the sections that this version knows.
var factorsTags = append(model.RowTags(), tagOwner, tagSeen, tagKept, tagLeft)

func decodeOldFactors(body []byte) (*factorsRecord, error) {
	r := varints{data: body}
	x := &factorsRecord{meta: &factorsMeta{version: r.uint()}}
	for range r.count(len(r.data)) {
		s := oldSource(r.uint())
		if p := r.oldPosition(); r.err == nil {
			x.meta.applied.set(s, p)
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: positions: %w", model.ErrCorrupt, r.err)
	}
	if x.old = r.data; len(x.old) == 0 || x.old[0] != 1 {
		return nil, fmt.Errorf("%w: the factors are not in their first version", model.ErrCorrupt)
	}
	return x, nil
}

// FactorsDim returns the length of the vectors in a value of the topic item-vectors.
func FactorsDim(value []byte) (int, error) {
	x, err := decodeFactors(value)
	if err != nil {
		return 0, err
	}
	if x.old != nil {
		return model.OldRowDim(x.old)
	}
	return model.RowDim(x.sections)
}

// load writes the factors into the table.
func (x *factorsRecord) load(t *model.Table, id string) error {
	var err error
	if x.old != nil {
		_, err = t.LoadRow(id, x.old)
	} else {
		_, err = t.LoadRowSections(id, x.sections)
	}
	return err
}
