package record

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Intent is a batch intent: the bounds of a batch, committed as metadata of the group's offset
// before the batch has any effect. It is uncertain, the batch may have had effects or not, until
// the group commits the next one.
type Intent struct {
	// First and Last are the inclusive bounds.
	First, Last int64
	// Excluded are the offsets within the bounds whose records are left out, ascending.
	Excluded []int64
	// Begun is when the intent was committed first, in UTC and to the millisecond, by the clock of
	// the process that did. Whatever the batch has written to the log stands there from that time
	// on, give or take the difference of the clocks. Zero is unknown: version 1 had no time.
	Begun time.Time
}

// String returns the intent as it stands in a commit's metadata: v2:first-last@begun, with Begun in
// milliseconds since 1970, and !k,k2,… for the excluded offsets. Each is the distance from the one
// before it, the first from First. Without Begun it is v1:first-last.
//
// A program that knows version 1 alone refuses version 2 and stops the partition, as with any
// metadata that is not its own. It has no effect there. So during a rolling upgrade a partition
// whose batch was cut off waits for a member of the new version.
func (i Intent) String() string {
	var b strings.Builder
	if i.Begun.IsZero() {
		fmt.Fprintf(&b, "v1:%d-%d", i.First, i.Last)
	} else {
		fmt.Fprintf(&b, "v2:%d-%d@%d", i.First, i.Last, i.Begun.UnixMilli())
	}
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
	timed := false
	if !ok {
		if body, timed = strings.CutPrefix(metadata, "v2:"); !timed {
			return bad("it does not begin with v1: or v2:")
		}
	}
	bounds, list, excluding := strings.Cut(body, "!")
	first, last, ok := strings.Cut(bounds, "-")
	if !ok {
		return bad("no bounds")
	}
	in := &Intent{}
	var err error
	if timed {
		var begun string
		last, begun, _ = strings.Cut(last, "@")
		ms, err := parseOffset(begun)
		if err != nil || ms > maxMillis {
			return bad("its time")
		}
		in.Begun = time.UnixMilli(ms).UTC()
	}
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

// maxMillis is the last millisecond of the year 9999.
const maxMillis = 253402300799999

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
