package model

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Append appends the binary form of the user to b.
func (u *User) Append(b []byte) []byte {
	b = append(b, userVersion)
	b = binary.AppendUvarint(b, uint64(u.Events))
	b = binary.AppendUvarint(b, uint64(len(u.W)))
	if len(u.W) > 0 {
		b = appendFloat(b, u.AccW)
		b = appendFloats(b, u.W)
	}
	b = binary.AppendUvarint(b, uint64(len(u.History)))
	for _, h := range u.History {
		b = binary.LittleEndian.AppendUint64(b, uint64(h.Key))
		b = appendFloat(b, h.Weight)
		b = binary.AppendVarint(b, h.At)
	}
	b = binary.AppendUvarint(b, uint64(len(u.seen.order)))
	for _, key := range u.seen.order {
		b = binary.LittleEndian.AppendUint64(b, uint64(key))
	}
	return b
}

// Decode replaces the user by the one that Append wrote. On an error the user is as before. Numbers that are not finite become 0. A vector of
// another length than the configuration's is dropped at the user's next event.
func (u *User) Decode(data []byte) error {
	r := reader{data: data}
	if v := r.byte(); r.err == nil && v != userVersion {
		return fmt.Errorf("decode user: version %d, want %d", v, userVersion)
	}
	var next User
	next.Events = uint32(r.uvarint(math.MaxUint32))
	if n := r.count(4); n > 0 {
		next.AccW = r.float()
		if next.AccW <= 0 {
			next.AccW = 0.1
		}
		next.W = make([]float32, min(n, len(r.data)/4))
		r.floats(next.W)
	}
	if n := r.count(13); n > 0 {
		next.History = make([]Taken, n)
		for k := range next.History {
			h := &next.History[k]
			h.Key, h.Weight = Key(r.uint64()), min(max(r.float(), 0), 10)
			at, size := binary.Varint(r.data)
			if size <= 0 {
				r.fail(errShort)
				break
			}
			h.At, r.data = at, r.data[size:]
		}
	}
	if n := r.count(8); n > 0 {
		next.seen.order = make([]Key, 0, n)
		next.seen.slots = make([]uint32, slotsFor(n))
		for range n {
			next.seen.add(Key(r.uint64()), 0)
		}
	}
	if err := r.end("user"); err != nil {
		return err
	}
	*u = next
	return nil
}
