package deadletter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Filter chooses dead letters. A zero field does not restrict.
type Filter struct {
	// IDs are ids, or beginnings of at least four characters that no other id has.
	IDs   []string
	Group string
	// Reason are whole words of the reason, in their order; case does not matter. So "lik" does not
	// find what says "like".
	Reason string
	// Class is permanent, unknown or transient.
	Class string
	// Topic is the original one.
	Topic string
	// Since and Until bound the time of writing: from Since, before Until.
	Since, Until time.Time
	State        State
	// Origins are where the group read the record first.
	Origins []record.Position
	// After is where the page before has ended (PageEnd). Limit is the length of a page; 0 is all.
	After string
	Limit int
	// WithoutValues leaves out Value and Headers, so that a long list takes little memory.
	WithoutValues bool
}

// PageEnd returns the value of Filter.After for the page behind a dead letter.
func PageEnd(l *Letter) string {
	return strconv.FormatInt(l.WrittenAt.UnixMilli(), 10) + "_" + l.ID
}

// pageEnd reads what PageEnd has written.
func pageEnd(after string) (written int64, id string, err error) {
	at, id, ok := strings.Cut(after, "_")
	written, err = strconv.ParseInt(at, 10, 64)
	if !ok || err != nil {
		return 0, "", badFilter("%q is not the end of a page", after)
	}
	return written, id, nil
}

// Restricts reports whether the filter leaves anything out, apart from State and Limit.
func (f *Filter) Restricts() bool {
	return len(f.IDs) > 0 || f.Group != "" || f.Reason != "" || f.Class != "" || f.Topic != "" ||
		!f.Since.IsZero() || !f.Until.IsZero() || len(f.Origins) > 0
}

// check refuses a name that no dead letter of the groups can have. It does not check the topic.
func (f *Filter) check(groups []string, names record.Names) error {
	if f.Group != "" && !slices.Contains(groups, f.Group) {
		if now := names.GroupOfHeader(f.Group); slices.Contains(groups, now) {
			return badFilter("the group %q is %q since a later version", f.Group, now)
		}
		return badFilter("there is no group %q, only %s", f.Group, strings.Join(groups, ", "))
	}
	if f.Class != "" && !slices.Contains(Classes(), f.Class) {
		return badFilter(
			"there is no class %q, only %s", f.Class, strings.Join(Classes(), ", "),
		)
	}
	if f.State != "" && !slices.Contains(States(), f.State) {
		return badFilter("there is no state %q, only %v", f.State, States())
	}
	if f.Limit < 0 {
		return badFilter("the limit %d is negative", f.Limit)
	}
	for _, id := range f.IDs {
		if id = plainID(id); len(id) < shortestID {
			return badFilter("the id %q is too short: give at least %d characters of it",
				id, shortestID)
		}
	}
	return nil
}

// shortestID is the length of the shortest beginning of an id that stands for it.
const shortestID = 4

// plainID returns an id as it is compared: a shortened one may end in dots.
func plainID(id string) string {
	return strings.ToLower(strings.TrimRight(strings.TrimSpace(id), ".…"))
}

func badFilter(format string, args ...any) error {
	return fault.As(
		fault.Permanent, fmt.Errorf("%w: %s", ErrFilter, fmt.Sprintf(format, args...)),
	)
}

// hasWords reports whether text holds the words, each of them whole, in their order and with what
// stands between them.
func hasWords(text, words string) bool {
	text, words = strings.ToLower(text), strings.ToLower(words)
	for at := 0; ; {
		i := strings.Index(text[at:], words)
		if i < 0 || words == "" {
			return words == ""
		}
		from, to := at+i, at+i+len(words)
		before, _ := utf8.DecodeLastRuneInString(text[:from])
		first, size := utf8.DecodeRuneInString(words)
		last, _ := utf8.DecodeLastRuneInString(words)
		after, _ := utf8.DecodeRuneInString(text[to:])
		cuts := inWord(before) && inWord(first) || inWord(last) && inWord(after)
		if !cuts {
			return true
		}
		at = from + size
	}
}

func inWord(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_')
}
