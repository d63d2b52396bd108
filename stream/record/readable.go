package record

import (
	"encoding/hex"
	"encoding/json"
	"unicode/utf8"
)

// Readable returns b as text, or in hexadecimal after 0x when it is not UTF-8: written as JSON,
// such bytes would be replaced, and two keys would look like one.
func Readable(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return "0x" + hex.EncodeToString(b)
}

// IsJSON tells whether b can be shown as JSON: it is JSON, in UTF-8.
func IsJSON(b []byte) bool { return utf8.Valid(b) && json.Valid(b) }
