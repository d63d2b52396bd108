package processors

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Items leave. What was learned of an item goes, and a tombstone stays in item-vectors: a record
// with a version, with the positions applied, and with numbers of which nothing was learned, since
// an older program takes it for an item. Catalog items leave only after a withdrawal.

// appendSections appends what a record has besides the numbers, the version and the positions.
func (m *factorsMeta) appendSections(to model.Sections) model.Sections {
	if m.seen != 0 {
		to = append(to, model.Section{
			Tag: tagSeen, Body: binary.AppendUvarint(nil, uint64(m.seen)), // it is after 1970
		})
	}
	if m.kept != nil {
		to = append(to, model.Section{Tag: tagKept, Body: m.kept})
	}
	if m.left != 0 {
		body := binary.AppendUvarint(nil, m.version)
		to = append(to, model.Section{
			Tag: tagLeft, Body: binary.AppendUvarint(body, uint64(m.left)),
		})
	}
	return append(to, m.unknown...)
}

// readSections reads what appendSections has written.
func (m *factorsMeta) readSections(s model.Sections) error {
	if body, ok := s.Get(tagSeen); ok {
		r := varints{data: body}
		if m.seen = int64(r.uint()); r.err != nil || m.seen < 0 {
			return fmt.Errorf("%w: time of the newest event", model.ErrCorrupt)
		}
	}
	if body, ok := s.Get(tagKept); ok {
		m.kept = slices.Clone(body)
	}
	if body, ok := s.Get(tagLeft); ok {
		r := varints{data: body}
		version, at := r.uint(), int64(r.uint())
		if r.err != nil || at <= 0 {
			return fmt.Errorf("%w: time of leaving", model.ErrCorrupt)
		}
		// An older program carries the section on, and learns of the item again.
		if version == m.version {
			m.left = at
		}
	}
	return nil
}

// sawAt notes an event, or a change of the content, at the log's time.
func (m *factorsMeta) sawAt(t time.Time) {
	if !t.IsZero() {
		m.seen = max(m.seen, t.UnixMilli())
	}
}

// leave removes what was learned of an item. The caller holds the lock.
func (f *ItemFactors) leave(id string, now time.Time) {
	m := f.touch(id)
	if i := f.table.Lookup(model.KeyOf(id)); i != model.None {
		f.table.Remove(i)
	}
	m.version++
	m.left = now.UnixMilli()
}

// keepOf returns what is kept of the content of a withdrawn item: what reasons, and the tastes of
// those who took it, need.
func keepOf(x *schemas.Item) schemas.Item {
	return schemas.Item{
		ItemID: x.ItemID, Title: x.Title, Genres: x.Genres, Actors: x.Actors,
		Directors: x.Directors, Tags: x.Tags, PublishedAt: x.PublishedAt, Withdrawn: true,
	}
}

// titleOf returns what is kept of an item that has left.
func titleOf(x *schemas.Item) schemas.Item {
	return schemas.Item{ItemID: x.ItemID, Title: x.Title, Withdrawn: true}
}

// keep stores the content of a withdrawn item in its record. Compaction may leave a withdrawal
// alone on the topic items, and in the end not even that.
func (m *factorsMeta) keep(x *schemas.Item) {
	m.kept = nil
	if x.Withdrawn {
		m.kept, _ = json.Marshal(x) // attributes, which alone may fail, are not kept
	}
}

// keptContent returns the content that the record of a withdrawn item has.
func (m *factorsMeta) keptContent() (x schemas.Item, ok bool) {
	return x, m.kept != nil && json.Unmarshal(m.kept, &x) == nil && x.Withdrawn
}
