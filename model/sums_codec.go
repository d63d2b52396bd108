package model

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Precision is how numbers are written in messages.
type Precision byte

// The precisions: four bytes a number, or two (a common unit per vector and 16-bit multiples of it).
const (
	Full Precision = iota
	Half
)

const (
	hasV = 1 << iota
	hasP
	hasT
)

// Pack appends the sums of the rows for which want returns true (nil: of all) to b, as one message for the owner of these rows. It returns b
// unchanged when there are none. want gets the ids of the rows: items, and features, whose ids start with a zero byte.
func (s *Sums) Pack(b []byte, precision Precision, want func(id string) bool) []byte {
	places := make([]int32, 0, len(s.rows))
	for n, i := range s.rows {
		if s.table.Live(i) && (want == nil || want(s.table.meta[i].id)) {
			places = append(places, int32(n))
		}
	}
	return s.pack(b, precision, places)
}

// PackEach is Pack for each of n owners, of which owner names one by the id of a row: 0 to n-1. The message of an owner without rows is nil.
func (s *Sums) PackEach(precision Precision, n int, owner func(id string) int) [][]byte {
	places := make([][]int32, n)
	for at, i := range s.rows {
		if s.table.Live(i) {
			k := owner(s.table.meta[i].id)
			places[k] = append(places[k], int32(at))
		}
	}
	out := make([][]byte, n)
	for k := range out {
		if len(places[k]) > 0 {
			// A row mostly has one block of two bytes a number.
			room := len(places[k]) * (s.table.dim*2 + 24)
			if precision == Full {
				room *= 2
			}
			out[k] = s.pack(make([]byte, 0, room), precision, places[k])
		}
	}
	return out
}

// pack appends the rows at the places.
func (s *Sums) pack(b []byte, precision Precision, places []int32) []byte {
	if len(places) == 0 {
		return b
	}
	t := s.table
	put := appendFloats
	if precision == Half {
		put = appendHalf
	}
	b = append(b, sumsVersion, byte(precision))
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
	return b
}

// Merge adds a message that Pack wrote to the sums; rows that the table does not know get their initial values. On an error nothing is added.
func (s *Sums) Merge(data []byte) error { return s.MergeWhere(data, nil) }

// MergeWhere is Merge for the rows for which want returns true (nil: of all): an owner leaves out rows that have had the message already.
func (s *Sums) MergeWhere(data []byte, want func(id string) bool) error {
	if err := s.merge(data, true, nil); err != nil {
		return err
	}
	return s.merge(data, false, want)
}

// merge reads a message, and with check set only finds out whether it can be read.
func (s *Sums) merge(data []byte, check bool, want func(id string) bool) error {
	d := s.table.dim
	if len(s.skip) < d {
		s.skip = make([]float32, d)
	}
	r := reader{data: data}
	version, precision := r.byte(), Precision(r.byte())
	if r.err == nil && (version != sumsVersion || precision > Half) {
		return fmt.Errorf("decode sums: version %d, precision %d: want version %d", version, precision, sumsVersion)
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
		count := uint32(r.uvarint(math.MaxUint32))
		if check || want != nil && !want(id) {
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
