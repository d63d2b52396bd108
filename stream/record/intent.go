package record

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Intent is a batch intent: the bounds of a batch, committed as metadata of the group's offset
// before the batch has any effect. It is uncertain, the batch may have had effects or not, until
// the group commits the next one.
type Intent struct {
	// First and Last are the inclusive bounds.
	First, Last int64
	// Excluded are the offsets within the bounds whose records are left out, ascending.
	Excluded []int64
}

// String returns the intent as it stands in a commit's metadata: v1:first-last, and !k,k2,… for the
// excluded offsets, each as the distance from the one before it, the first from First.
func (i Intent) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "v1:%d-%d", i.First, i.Last)
	before := i.First
	for n, o := range i.Excluded {
		sep := byte(',')
		if n == 0 {
			sep = '!'
		}
		b.WriteByte(sep)
		b.WriteString(strconv.FormatInt(o-before, 10))
		before = o
	}
	return b.String()
}

// ParseIntent reads what Intent.String has written. Empty metadata is no intent: nil. Metadata of
// another form is an error: another program has committed under the group's name.
func ParseIntent(metadata string) (*Intent, error) {
	if metadata == "" {
		return nil, nil
	}
	bad := func(why string) (*Intent, error) {
		return nil, fmt.Errorf(
			"the committed metadata %.80q is not a batch intent of this version "+
				"(%s): did another program commit for this group?",
			metadata,
			why,
		)
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
	in := &Intent{}
	var err error
	if in.First, err = parseOffset(first); err != nil {
		return bad("its first offset")
	}
	if in.Last, err = parseOffset(last); err != nil || in.Last < in.First {
		return bad("its last offset")
	}
	if !excluding {
		return in, nil
	}
	at := in.First
	for n, s := range strings.Split(list, ",") {
		delta, err := parseOffset(s)
		if err != nil || delta > in.Last-at || (n > 0 && delta == 0) {
			return bad("its excluded offsets")
		}
		at += delta
		in.Excluded = append(in.Excluded, at)
	}
	return in, nil
}

// parseOffset accepts what strconv.FormatInt writes for numbers that are not negative.
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

// Excludes reports whether the record at the offset is left out.
func (i Intent) Excludes(offset int64) bool {
	_, found := slices.BinarySearch(i.Excluded, offset)
	return found
}
