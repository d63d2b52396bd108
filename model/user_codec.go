package model

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
)

// The sections of a user. The vector is missing before the first event, labels and what is
// uncounted where there are none.
const (
	userCounters  uint64 = 1 + iota // number of positive events
	userVector                      // accumulator and free vector
	userHistory                     // key, weight and time of each item taken lately
	userSeen                        // keys of the items taken or refused
	userLabels                      // hash of the section of the history, the label of each item
	userUncounted                   // keys of those of userSeen without a positive event
)

// Append appends the binary form of the user to b: a version byte and sections (see Sections),
// also those that Decode did not know.
func (u *User) Append(b []byte) []byte {
	w := BeginSections(append(b, userVersion))
	w.Begin(userCounters)
	w.Buf = binary.AppendUvarint(w.Buf, uint64(u.Events))
	w.End()
	if len(u.W) > 0 {
		w.Begin(userVector)
		w.Buf = binary.AppendUvarint(w.Buf, uint64(len(u.W)))
		w.Buf = appendFloats(appendFloat(w.Buf, u.AccW), u.W)
		w.End()
	}
	w.Begin(userHistory)
	history, labeled := len(w.Buf), false
	w.Buf = binary.AppendUvarint(w.Buf, uint64(len(u.History)))
	for _, h := range u.History {
		labeled = labeled || h.Label != 0
		w.Buf = binary.LittleEndian.AppendUint64(w.Buf, uint64(h.Key))
		w.Buf = appendFloat(w.Buf, h.Weight)
		w.Buf = binary.AppendVarint(w.Buf, h.At)
	}
	hash := hashOf(w.Buf[history:])
	w.End()
	if labeled {
		w.Begin(userLabels)
		w.Buf = binary.LittleEndian.AppendUint64(w.Buf, hash)
		for _, h := range u.History {
			w.Buf = binary.LittleEndian.AppendUint32(w.Buf, h.Label)
		}
		w.End()
	}
	w.Begin(userSeen)
	w.Buf = u.seen.append(w.Buf)
	w.End()
	if u.uncounted.len() > 0 {
		w.Begin(userUncounted)
		w.Buf = u.uncounted.append(w.Buf)
		w.End()
	}
	w.Carry(u.unknown)
	return w.Buf
}

// Decode replaces the user by the one that Append wrote, in this version or an older one. On an
// error the user is as before. The error is ErrNewerFormat when a newer version of the program
// wrote the user, else ErrCorrupt. Sections that a newer program added are kept for Append.
// Numbers that are not finite become 0. A vector of another length than the configuration's is
// dropped at the user's next event.
func (u *User) Decode(data []byte) error {
	version, body, err := CheckVersion(data, userVersion)
	if err != nil {
		return fmt.Errorf("decode user: %w", err)
	}
	var next User
	if version == 1 {
		err = next.decodeV1(body)
	} else {
		err = next.decodeSections(body)
	}
	if err != nil {
		return err
	}
	*u = next
	return nil
}

func (u *User) decodeSections(data []byte) error {
	sections, err := ParseSections(data)
	if err != nil {
		return fmt.Errorf("decode user: %w", err)
	}
	for _, part := range []struct {
		tag      uint64
		optional bool
		read     func(*reader)
	}{
		{userCounters, false, u.readCounters},
		{userVector, true, u.readVector},
		{userHistory, false, u.readHistory},
		{userSeen, false, u.seen.read},
		{userUncounted, true, u.uncounted.read},
	} {
		body, err := sections.Need(part.tag)
		if err != nil && part.optional {
			continue
		}
		if err != nil {
			return fmt.Errorf("decode user: %w", err)
		}
		r := reader{data: body}
		part.read(&r)
		if err := r.end(fmt.Sprintf("user, section %d", part.tag)); err != nil {
			return err
		}
	}
	u.readLabels(sections)
	u.unknown = sections.Except(
		userCounters, userVector, userHistory, userSeen, userLabels, userUncounted,
	)
	return nil
}

// readLabels gives the items of the history their labels. An older program changes the history and
// carries the labels along, so they count only for the history that they were written with.
func (u *User) readLabels(sections Sections) {
	labels, ok := sections.Get(userLabels)
	history, _ := sections.Get(userHistory)
	if !ok || len(labels) != 8+4*len(u.History) ||
		binary.LittleEndian.Uint64(labels) != hashOf(history) {
		return
	}
	for k := range u.History {
		u.History[k].Label = binary.LittleEndian.Uint32(labels[8+4*k:])
	}
}

func hashOf(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64()
}

// decodeV1 reads the form without sections: the same parts in a fixed order. It is still read but
// no longer written.
func (u *User) decodeV1(data []byte) error {
	r := reader{data: data}
	u.readCounters(&r)
	u.readVector(&r)
	u.readHistory(&r)
	u.seen.read(&r)
	return r.end("user")
}

func (u *User) readCounters(r *reader) { u.Events = uint32(r.uvarint(math.MaxUint32)) }

func (u *User) readVector(r *reader) {
	n := r.count(4)
	if n == 0 {
		return
	}
	u.AccW = r.float()
	if u.AccW <= 0 {
		u.AccW = 0.1
	}
	u.W = make([]float32, n)
	r.floats(u.W)
}

func (u *User) readHistory(r *reader) {
	n := r.count(13)
	if n == 0 {
		return
	}
	u.History = make([]Taken, n)
	for k := range u.History {
		h := &u.History[k]
		h.Key, h.Weight = Key(r.uint64()), min(max(r.float(), 0), 10)
		at, size := binary.Varint(r.data)
		if size <= 0 {
			r.fail(errShort)
			break
		}
		h.At, r.data = at, r.data[size:]
	}
}

// append appends the number of keys, and the keys in their order.
func (s *seenSet) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.order)))
	for _, key := range s.order {
		b = binary.LittleEndian.AppendUint64(b, uint64(key))
	}
	return b
}

// read reads what append wrote.
func (s *seenSet) read(r *reader) {
	n := r.count(8)
	if n == 0 {
		return
	}
	s.order = make([]Key, 0, n)
	s.slots = make([]uint32, slotsFor(n))
	for range n {
		s.add(Key(r.uint64()), 0)
	}
}
