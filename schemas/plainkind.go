package schemas

import (
	"bytes"
	"fmt"
	"strconv"
)

// plainKind returns what a value says of its kind in the field "kind"; ok is false when it says
// nothing. The error is about that field alone: of anything else whoever reads the value tells.
func plainKind(value []byte) (k Kind, ok bool, err error) {
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
			} else if s.err != nil {
				return "", false, s.err
			}
		case "removed", "withdrawn", "erased":
			flags[name] = string(s.raw())
		default:
			s.skip()
		}
	}
	if s.err != nil || !ok {
		return "", false, nil
	}
	flag, set := flagOf(k)
	if said := flags[flag]; said == strconv.FormatBool(!set) {
		return "", false, fmt.Errorf("field \"kind\" is %q, but %q is %s", k, flag, said)
	}
	return k, true, nil
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
	}
	return "", false
}

// checkPlainKind returns an *Invalid when a value says that it is of another kind than k, or nil.
func checkPlainKind(k Kind, value []byte) error {
	said, ok, err := plainKind(value)
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
