package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Attributes are facts about an item or a user that are kept and returned, never interpreted. What
// is read from JSON holds each number as a json.Number: its digits as they were sent. In a float64,
// an integer above 2^53, such as an id of another system, would change.
type Attributes map[string]any

// UnmarshalJSON reads an object, or null as none.
func (a *Attributes) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	*a = nil
	return d.Decode((*map[string]any)(a))
}

// outOfRange returns a problem for each number in a JSON object that no float64 can hold, by the
// names of the fields.
func outOfRange(object []byte) []Problem {
	var all Attributes
	if all.UnmarshalJSON(object) != nil {
		return nil
	}
	var problems []Problem
	var look func(field string, v any)
	look = func(field string, v any) {
		switch v := v.(type) {
		case json.Number:
			if err := checkRange(v); err != nil {
				problems = append(problems, Problem{field, err.Error()})
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				look(strings.TrimPrefix(field+"."+name, "."), v[name])
			}
		case []any:
			for i, x := range v {
				look(field+"."+strconv.Itoa(i), x)
			}
		}
	}
	look("", map[string]any(all))
	return problems
}

func checkRange(n json.Number) error {
	if _, err := strconv.ParseFloat(string(n), 64); err != nil {
		return fmt.Errorf("is %s, which is out of range", truncate(string(n), 64))
	}
	return nil
}

// check returns an error unless the attributes can be written as JSON and read as the same.
func (a Attributes) check() error { return attributes("attributes", a) }

func attributes(field string, m map[string]any) error {
	for name, v := range m {
		if err := CheckUTF8(name); err != nil {
			return fmt.Errorf("a name in %q %w", field, err)
		}
		if err := attribute(field+"."+name, v); err != nil {
			return err
		}
	}
	return nil
}

func attribute(field string, v any) error {
	switch v := v.(type) {
	case nil, bool:
		return nil
	case string:
		return text(field, v)
	case json.Number:
		if err := checkRange(v); err != nil {
			return fmt.Errorf("%q %w", field, err)
		}
	case map[string]any:
		return attributes(field, v)
	case Attributes:
		return attributes(field, v)
	case []any:
		for i, x := range v {
			if err := attribute(field+"."+strconv.Itoa(i), x); err != nil {
				return err
			}
		}
		return nil
	}
	return written(field, v)
}

// written checks a value by what encoding/json makes of it.
func written(field string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%q cannot be written as JSON: %w", field, err)
	}
	if err := CheckJSONText(b); err != nil {
		return fmt.Errorf("%q %w", field, err)
	}
	// encoding/json writes U+FFFD as an escape only in place of bytes that are not UTF-8.
	for _, unit := range unicodeEscapes(b) {
		if unit == utf8.RuneError {
			return fmt.Errorf("%q is not UTF-8", field)
		}
	}
	return nil
}
