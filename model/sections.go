package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// The two ways in which a binary form cannot be read. Decoders wrap them: use errors.Is.
var (
	// ErrNewerFormat: a newer version of the program wrote the data. It is valid, but this program
	// must not change it: wait until the upgrade is finished.
	ErrNewerFormat = errors.New("written in a newer format")
	// ErrCorrupt: no version of the program writes this. Rebuild it from the log.
	ErrCorrupt = errors.New("corrupt")
)

// Sections are the body of a binary form that can grow. After the form's own version byte stand one
// byte with the number of sections, and then the sections: a tag (uvarint), the length of the body
// (four bytes) and the body. They end where the data ends. At most 255 sections, each tag once.
//
// How a form grows: new content gets a new tag, and the body of a tag that has ever been written
// never changes its meaning. A reader asks for the tags it knows (Get, Need) and hands the others
// (Except) back to the writer, so that an older program carries what a newer one has written. What
// an older program may not ignore needs a higher version byte instead, which it refuses to read
// (CheckVersion).
type Sections []Section

// Section is one part of a binary form.
type Section struct {
	Tag  uint64
	Body []byte
}

// sectionLengthBytes is the size of the length of a body. It is fixed, so that SectionWriter can
// fill it in behind a body.
const sectionLengthBytes = 4

// CheckVersion compares the version byte that data starts with to the highest that the caller
// reads. It returns the version and what follows it. Versions start at 1. A higher version is
// ErrNewerFormat; no byte at all, or version 0, is ErrCorrupt.
func CheckVersion(data []byte, highest byte) (version byte, body []byte, err error) {
	switch {
	case len(data) == 0:
		return 0, nil, fmt.Errorf("%w: %w", ErrCorrupt, errShort)
	case data[0] == 0:
		return 0, nil, fmt.Errorf("%w: version 0", ErrCorrupt)
	case data[0] > highest:
		return data[0], nil, fmt.Errorf("%w: version %d, this program reads up to %d",
			ErrNewerFormat, data[0], highest)
	}
	return data[0], data[1:], nil
}

// ParseSections reads what SectionWriter wrote. Bodies are parts of data, not copies. Anything but
// complete sections with tags of their own is ErrCorrupt.
func ParseSections(data []byte) (Sections, error) {
	var n int
	if len(data) > 0 {
		n = int(data[0])
	}
	return AppendSections(make(Sections, 0, n), data)
}

// AppendSections is ParseSections into the memory of out, which must be empty.
func AppendSections(out Sections, data []byte) (Sections, error) {
	r := reader{data: data}
	n := int(r.byte())
	if n*(1+sectionLengthBytes) > len(r.data) {
		return nil, fmt.Errorf("%w: %d sections in %d bytes", ErrCorrupt, n, len(r.data))
	}
	for range n {
		tag := r.uvarint(math.MaxUint64)
		var size uint32
		if b := r.bytes(sectionLengthBytes); b != nil {
			size = binary.LittleEndian.Uint32(b)
		}
		if uint64(size) > uint64(len(r.data)) {
			r.fail(errShort)
		}
		if r.err != nil {
			break
		}
		if _, ok := out.Get(tag); ok {
			return nil, fmt.Errorf("%w: section %d stands twice", ErrCorrupt, tag)
		}
		out = append(out, Section{tag, r.bytes(int(size))})
	}
	if err := r.end("sections"); err != nil {
		return nil, err
	}
	return out, nil
}

// Get returns the body of the section with the tag, and whether there is one.
func (s Sections) Get(tag uint64) ([]byte, bool) {
	for i := range s {
		if s[i].Tag == tag {
			return s[i].Body, true
		}
	}
	return nil, false
}

// Need is Get for a section without which the form has no meaning: its absence is ErrCorrupt.
func (s Sections) Need(tag uint64) ([]byte, error) {
	body, ok := s.Get(tag)
	if !ok {
		return nil, fmt.Errorf("%w: section %d is missing", ErrCorrupt, tag)
	}
	return body, nil
}

// Except returns copies of the sections with other tags than the known ones, in their order: what
// to give SectionWriter.Carry. It is nil when there are none.
func (s Sections) Except(known ...uint64) Sections {
	var out Sections
	for i := range s {
		if !slices.Contains(known, s[i].Tag) {
			out = append(out, Section{s[i].Tag, slices.Clone(s[i].Body)})
		}
	}
	return out
}

// SectionWriter appends sections to Buf. Between Begin and End the caller appends the body to Buf:
//
//	w := BeginSections(append(b, version))
//	w.Begin(tagCount)
//	w.Buf = binary.AppendUvarint(w.Buf, count)
//	w.End()
//	w.Carry(unknown)
//	return w.Buf
type SectionWriter struct {
	Buf []byte
	// head is where the number of sections stands, body where the open section's body starts.
	head, body int
}

// BeginSections starts sections behind b. Without any section they are complete already.
func BeginSections(b []byte) SectionWriter {
	return SectionWriter{Buf: append(b, 0), head: len(b)}
}

// Begin starts a section. The caller must not use a tag twice, nor more than 255 tags.
func (w *SectionWriter) Begin(tag uint64) {
	if w.Buf[w.head] == math.MaxUint8 {
		panic("model: more than 255 sections")
	}
	w.Buf[w.head]++
	w.Buf = binary.AppendUvarint(w.Buf, tag)
	w.Buf = append(w.Buf, make([]byte, sectionLengthBytes)...)
	w.body = len(w.Buf)
}

// End ends the section that Begin started. A body holds less than 4 GiB.
func (w *SectionWriter) End() {
	size := len(w.Buf) - w.body
	if uint64(size) > math.MaxUint32 {
		panic("model: a section of 4 GiB")
	}
	binary.LittleEndian.PutUint32(w.Buf[w.body-sectionLengthBytes:], uint32(size))
}

// Carry appends whole sections, such as a reader did not know (Sections.Except).
func (w *SectionWriter) Carry(sections Sections) {
	for i := range sections {
		w.Begin(sections[i].Tag)
		w.Buf = append(w.Buf, sections[i].Body...)
		w.End()
	}
}
