package model

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Precision is how numbers are written in messages.
type Precision byte

// The precisions: four bytes a number, or two (a common unit per vector and 16-bit multiples of
// it).
const (
	Full Precision = iota
	Half
)

const (
	hasV = 1 << iota
	hasP
	hasT
)

// sumsRows is the section of packed sums that holds V, P and T: precision, dim, and all rows.
// A kind of block that these do not have is a section of its own, which older readers skip.
const sumsRows uint64 = 1

// Frame is what a caller puts around packed sums: bytes before them and sections of its own, with
// tags from FirstCallerTag on, which stand first.
type Frame struct {
	Prefix   []byte
	Sections Sections
}

// Pack appends the sums of the rows for which want returns true (nil: of all) to b, as one message
// for the owner of these rows. It returns b unchanged when there are none. want gets the ids of the
// rows: items, and features, whose ids start with a zero byte.
func (s *Sums) Pack(b []byte, precision Precision, want func(id string) bool) []byte {
	places := make([]int32, 0, len(s.rows))
	for n, i := range s.rows {
		if s.live(n) && (want == nil || want(s.table.meta[i].id)) {
			places = append(places, int32(n))
		}
	}
	return s.pack(b, precision, places, nil)
}

// PackEach is Pack for each of n owners, of which owner names one by the id of a row: 0 to n-1.
// Each message stands in the frame. The message of an owner without rows is nil.
func (s *Sums) PackEach(
	precision Precision, n int, owner func(id string) int, frame Frame,
) [][]byte {
	places := make([][]int32, n)
	for at, i := range s.rows {
		if s.live(at) {
			k := owner(s.table.meta[i].id)
			places[k] = append(places[k], int32(at))
		}
	}
	out := make([][]byte, n)
	for k := range out {
		if len(places[k]) > 0 {
			room := len(frame.Prefix) + s.packedSize(precision, places[k], frame.Sections)
			b := append(make([]byte, 0, room), frame.Prefix...)
			out[k] = s.pack(b, precision, places[k], frame.Sections)
		}
	}
	return out
}

// packedSize is at least the number of bytes that pack appends, and hardly more.
func (s *Sums) packedSize(precision Precision, places []int32, others Sections) int {
	const varint = 5 // a length, a count or a tag, at most
	block := 4 * s.table.dim
	if precision == Half {
		block = 4 + 2*s.table.dim
	}
	size := 2 + (1+len(others))*(varint+sectionLengthBytes) + 1 + 2*varint
	for i := range others {
		size += len(others[i].Body)
	}
	for _, n := range places {
		has := s.parts[n]
		size += 2*varint + len(s.table.meta[s.rows[n]].id) + 1
		if has.v {
			size += block + 4
		}
		if has.p {
			size += block
		}
		if has.t {
			size += block
		}
	}
	return size
}

// pack appends the rows at the places.
func (s *Sums) pack(b []byte, precision Precision, places []int32, others Sections) []byte {
	if len(places) == 0 {
		return b
	}
	t := s.table
	put := appendFloats
	if precision == Half {
		put = appendHalf
	}
	w := BeginSections(append(b, sumsVersion))
	w.Carry(others)
	w.Begin(sumsRows)
	b = append(w.Buf, byte(precision))
	b = binary.AppendUvarint(b, uint64(t.dim))
	b = binary.AppendUvarint(b, uint64(len(places)))
	for _, n := range places {
		n, has := int(n), s.parts[n]
		b = appendString(b, t.meta[s.rows[n]].id)
		var mask byte
		if has.v {
			mask |= hasV
		}
		if has.p {
			mask |= hasP
		}
		if has.t {
			mask |= hasT
		}
		b = append(b, mask)
		b = binary.AppendUvarint(b, uint64(has.count))
		if has.v {
			b = appendFloat(put(b, s.v(n)), *s.bias(n))
		}
		if has.p {
			b = put(b, s.p(n))
		}
		if has.t {
			b = put(b, s.t(n))
		}
	}
	w.Buf = b
	w.End()
	return w.Buf
}

// Merge adds a message that Pack wrote, in this version or an older one, to the sums; rows that the
// table does not know get their initial values, and sections that are not known are ignored. On an
// error nothing is added. It is ErrNewerFormat when a newer version of the program wrote the
// message.
func (s *Sums) Merge(data []byte) error { return s.MergeWhere(data, nil) }

// MergeWhere is Merge for the rows for which want returns true (nil: of all): an owner leaves out
// rows that have had the message already. count is how many events of the row the message has.
func (s *Sums) MergeWhere(data []byte, want func(id string, count uint32) bool) error {
	rows, err := rowsOf(data)
	if err != nil {
		return fmt.Errorf("decode sums: %w", err)
	}
	if err := s.merge(rows, true, nil); err != nil {
		return err
	}
	return s.merge(rows, false, want)
}

// rowsOf returns the part of a message that holds its rows. In version 1, which is still read but
// no longer written, that is the whole message.
func rowsOf(data []byte) ([]byte, error) {
	version, body, err := CheckVersion(data, sumsVersion)
	if err != nil || version == 1 {
		return body, err
	}
	var room [4]Section // messages are many and sections few: no memory of their own
	sections, err := AppendSections(room[:0], body)
	if err != nil {
		return nil, err
	}
	return sections.Need(sumsRows)
}

// merge reads rows, and with check set only finds out whether they can be read.
func (s *Sums) merge(
	data []byte, check bool, want func(id string, count uint32) bool,
) error {
	d := s.table.dim
	if len(s.skip) < d {
		s.skip = make([]float32, d)
	}
	r := reader{data: data}
	precision := Precision(r.byte())
	if r.err == nil && precision > Half {
		return fmt.Errorf("decode sums: %w: precision %d", ErrCorrupt, precision)
	}
	if dim := r.uvarint(math.MaxUint32); r.err == nil && dim != uint64(d) {
		return fmt.Errorf("decode sums: dim %d, want %d", dim, d)
	}
	add := func(out []float32) {
		if precision == Half {
			r.addHalf(out)
		} else {
			r.addFloats(out)
		}
	}
	for rows := r.count(3); rows > 0 && r.err == nil; rows-- {
		id := r.string()
		mask := r.byte()
		if mask&^(hasV|hasP|hasT) != 0 {
			r.fail(fmt.Errorf("blocks %b", mask))
			break
		}
		count := uint32(r.uvarint(math.MaxUint32))
		if check || want != nil && !want(id, count) {
			var bias float32
			if mask&hasV != 0 {
				add(s.skip[:d])
				bias += r.float()
			}
			if mask&hasP != 0 {
				add(s.skip[:d])
			}
			if mask&hasT != 0 {
				add(s.skip[:d])
			}
			continue
		}
		n := s.place(s.table.Intern(id))
		has := &s.parts[n]
		has.count += min(count, math.MaxUint32-has.count)
		if mask&hasV != 0 {
			has.v = true
			add(s.v(n))
			*s.bias(n) += r.float()
		}
		if mask&hasP != 0 {
			has.p = true
			add(s.p(n))
		}
		if mask&hasT != 0 {
			has.t = true
			add(s.t(n))
		}
	}
	return r.end("sums")
}
