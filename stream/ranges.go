package stream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipstream-rec/slipstream/fault"
)

// maxMetadata is what a broker keeps with a committed offset, by default.
const maxMetadata = 4096

// Range is a written-down range of offsets: the batch that is in doubt while its group's offset carries it as metadata.
type Range struct {
	// First and Last are the inclusive bounds.
	First, Last int64
	// Excluded are the offsets within the bounds whose records are left out, ascending.
	Excluded []int64
}

// String returns the range as it is written into a commit's metadata: v1:first-last, and !k,k2,… for the excluded offsets, each as the
// distance from the one before it, the first from the range's first offset.
func (r Range) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "v1:%d-%d", r.First, r.Last)
	before := r.First
	for i, o := range r.Excluded {
		sep := byte(',')
		if i == 0 {
			sep = '!'
		}
		b.WriteByte(sep)
		b.WriteString(strconv.FormatInt(o-before, 10))
		before = o
	}
	return b.String()
}

// ParseRange reads what Range.String has written. Empty metadata is no range: nil. Metadata that is not of this form is an error: some other
// client has committed under the group's name.
func ParseRange(metadata string) (*Range, error) {
	if metadata == "" {
		return nil, nil
	}
	bad := func(why string) (*Range, error) {
		return nil, fault.Permanentf("the committed metadata %.80q is not a range of this version (%s): did another program commit for this group?", metadata, why)
	}
	body, ok := strings.CutPrefix(metadata, "v1:")
	if !ok {
		return bad("it does not begin with v1:")
	}
	bounds, list, excluding := strings.Cut(body, "!")
	first, last, ok := strings.Cut(bounds, "-")
	if !ok {
		return bad("no bounds")
	}
	r := &Range{}
	var err error
	if r.First, err = parseOffset(first); err != nil {
		return bad("its first offset")
	}
	if r.Last, err = parseOffset(last); err != nil || r.Last < r.First {
		return bad("its last offset")
	}
	if !excluding {
		return r, nil
	}
	at := r.First
	for i, s := range strings.Split(list, ",") {
		delta, err := parseOffset(s)
		if err != nil || delta > r.Last-at || (i > 0 && delta == 0) {
			return bad("its excluded offsets")
		}
		at += delta
		r.Excluded = append(r.Excluded, at)
	}
	return r, nil
}

// parseOffset accepts what strconv.FormatInt writes for numbers that are not negative, and nothing else.
func parseOffset(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, err
	}
	if n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q is not an offset", s)
	}
	return n, nil
}

// without returns the range with further offsets excluded.
func (r Range) without(offsets []int64) (Range, error) {
	all := slices.Concat(r.Excluded, offsets)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > 0 && (all[0] < r.First || all[len(all)-1] > r.Last) {
		return r, fault.Permanentf("exclude offsets %d…%d: not within the range %d-%d", all[0], all[len(all)-1], r.First, r.Last)
	}
	out := Range{First: r.First, Last: r.Last, Excluded: all}
	if n := len(out.String()); n > maxMetadata {
		return r, fault.Permanentf("exclude %d records of %d-%d: the list needs %d bytes, a commit holds %d; use smaller batches",
			len(all), r.First, r.Last, n, maxMetadata)
	}
	return out, nil
}

// excludes reports whether the record at the offset is left out.
func (r Range) excludes(offset int64) bool {
	_, found := slices.BinarySearch(r.Excluded, offset)
	return found
}
