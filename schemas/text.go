package schemas

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// CheckUTF8 returns an error that names the first byte of s that is not UTF-8, counted from 1, or
// nil. Such bytes are refused, never replaced: with a replacement, "M\xfcller" and "M\xf6ller"
// would be one person.
func CheckUTF8(s string) error {
	if utf8.ValidString(s) {
		return nil
	}
	i := 0
	for {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Errorf("is not UTF-8: byte %d is %#02x", i+1, s[i])
		}
		i += size
	}
}

// CheckJSONText returns an error when a JSON value holds what is no text, or nil: bytes that are
// not UTF-8, or an escape for half a character (a lone surrogate, such as \ud800). encoding/json
// would replace both by U+FFFD. The error names the place, counted in bytes from 1. Whether the
// value is JSON is not checked.
func CheckJSONText(value []byte) error {
	if !utf8.Valid(value) {
		return CheckUTF8(string(value))
	}
	high, until := 0, 0 // the place of a first half, and where its second half must begin
	lone := func(at int) error {
		return fmt.Errorf("holds a lone surrogate: %s at byte %d", value[at:at+6], at+1)
	}
	for at, unit := range unicodeEscapes(value) {
		if until > 0 && (at != until || unit < 0xdc00 || unit > 0xdfff) {
			return lone(high)
		}
		switch {
		case until > 0:
			until = 0
		case utf16.IsSurrogate(unit) && unit >= 0xdc00:
			return lone(at)
		case utf16.IsSurrogate(unit):
			high, until = at, at+6
		}
	}
	if until > 0 {
		return lone(high)
	}
	return nil
}

// unicodeEscapes yields the place and the value of each escape \uXXXX in JSON.
func unicodeEscapes(b []byte) iter.Seq2[int, rune] {
	return func(yield func(int, rune) bool) {
		for i := 0; ; i += 2 {
			next := bytes.IndexByte(b[min(i, len(b)):], '\\')
			if next < 0 {
				return
			}
			i += next
			if i+6 > len(b) || b[i+1] != 'u' {
				continue
			}
			unit, err := strconv.ParseUint(string(b[i+2:i+6]), 16, 16)
			if err == nil && !yield(i, rune(unit)) {
				return
			}
		}
	}
}

// text checks a text without a bound.
func text(field, v string) error {
	if err := CheckUTF8(v); err != nil {
		return fmt.Errorf("%q %w", field, err)
	}
	return nil
}
