package schemas

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// plainKind returns what a value says of its kind in the field "kind"; ok is false when it says
// nothing. The error is about that field alone: of anything else whoever reads the value tells.
// Where the kind is told beside the value (typed), a field of that name that names no kind of ours
// is one of the application's, which are ignored.
func plainKind(value []byte, typed bool) (k Kind, ok bool, err error) {
	// Most values have no such field, and are not read twice. Its name may be written with escapes.
	if !bytes.Contains(value, []byte(`"kind"`)) && !bytes.Contains(value, []byte(`\u`)) {
		return "", false, nil
	}
	flags := make(map[string]string)
	s := scan(value)
	for s.next() {
		switch name := string(s.key); name {
		case "kind":
			if ok = s.is('"', "string"); ok {
				k = Kind(s.bytes())
			} else if s.err != nil && !typed {
				return "", false, s.err
			}
		case "removed", "withdrawn", "erased":
			flags[name] = string(s.raw())
		default:
			s.skip()
		}
	}
	if s.err != nil || !ok || typed && !isKind(k) {
		return "", false, nil //nolint:nilerr // who reads the value tells what is wrong with it
	}
	flag, set := flagOf(k)
	if said := flags[flag]; said == strconv.FormatBool(!set) {
		return "", false, fmt.Errorf("field \"kind\" is %q, but %q is %s", k, flag, said)
	}
	return k, true, nil
}

// isKind tells whether k is a kind of ours.
func isKind(k Kind) bool {
	return slices.ContainsFunc(definitions(), func(d definition) bool { return d.kind == k })
}

// flagOf returns the field that tells the kind in a plain value without one, and its value.
func flagOf(k Kind) (name string, set bool) {
	switch k {
	case KindFriendshipAdded, KindFriendshipRemoved:
		return "removed", k == KindFriendshipRemoved
	case KindItemUpdated, KindItemWithdrawn:
		return "withdrawn", k == KindItemWithdrawn
	case KindUserUpdated, KindUserErased:
		return "erased", k == KindUserErased
	default:
		return "", false
	}
}

// checkPlainKind returns an *Invalid when a value says that it is of another kind than k, or nil.
func checkPlainKind(k Kind, value []byte) error {
	said, ok, err := plainKind(value, true)
	switch {
	case err != nil:
		return &Invalid{Kind: k, Problems: []Problem{{Message: err.Error()}}}
	case ok && said != k:
		return &Invalid{Kind: k, Problems: []Problem{{
			Field:   "kind",
			Message: fmt.Sprintf("is %q, want %q", truncate(string(said), 64), k),
		}}}
	}
	return nil
}
