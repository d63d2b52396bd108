package schemas

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

//go:embed jsonschema/*.json
var schemaFiles embed.FS

// JSONSchema returns the JSON Schema (draft 2020-12) of a public kind as it stands in the
// repository, false for any other kind.
func JSONSchema(k Kind) ([]byte, bool) {
	if !slices.Contains(PublicKinds(), k) {
		return nil, false
	}
	b, err := schemaFiles.ReadFile(schemaFile(k))
	return b, err == nil
}

func schemaFile(k Kind) string { return "jsonschema/" + string(k) + ".json" }

func hasSchema(k Kind) bool {
	_, err := fs.Stat(schemaFiles, schemaFile(k))
	return err == nil
}

// Problem is one thing that is wrong with a value.
type Problem struct {
	// Field is where, as in genres.2; empty for the value as a whole.
	Field string `json:"field,omitempty"`
	// Message says what is wrong, for a person.
	Message string `json:"message"`
}

// Invalid is the error of a value that its JSON Schema refuses.
type Invalid struct {
	Kind     Kind
	Problems []Problem
}

// Error names every problem.
func (e *Invalid) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		if p.Field != "" {
			fmt.Fprintf(&b, "%q ", p.Field)
		}
		b.WriteString(p.Message)
	}
	return b.String()
}

// Validator checks values against the JSON Schemas of the public kinds, and interactions against a
// table of actions. It is safe for concurrent use.
type Validator struct {
	actions *Actions
	schemas map[Kind]*jsonschema.Schema
	readers map[Kind]func(value []byte) (Event, error)
	printer sync.Pool
}

// NewValidator compiles the embedded schemas, with the actions in them; it takes some milliseconds.
func NewValidator(actions *Actions) (*Validator, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	for _, f := range formats() {
		c.RegisterFormat(f)
	}
	v := &Validator{
		actions: actions,
		schemas: make(map[Kind]*jsonschema.Schema),
		readers: make(map[Kind]func([]byte) (Event, error)),
	}
	for _, d := range definitions() {
		if d.writable() {
			v.readers[d.kind] = d.read
		}
	}
	v.printer.New = func() any { return message.NewPrinter(language.English) }
	for _, k := range PublicKinds() {
		raw, ok := actions.JSONSchema(k)
		if !ok {
			return nil, fmt.Errorf(
				"%s has no JSON Schema: want the file schemas/%s", k, schemaFile(k),
			)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("read the JSON Schema of %s: %w", k, err)
		}
		url := string(k) + ".json"
		if err := c.AddResource(url, doc); err != nil {
			return nil, fmt.Errorf("add the JSON Schema of %s: %w", k, err)
		}
		if v.schemas[k], err = c.Compile(url); err != nil {
			return nil, fmt.Errorf("compile the JSON Schema of %s: %w", k, err)
		}
	}
	return v, nil
}

// Validate checks a JSON value, and of a kind that applications write also that the value's field
// "kind", if there is one, says k. The error is an *Invalid that names each field that is wrong, or
// says that the value is not JSON.
func (v *Validator) Validate(k Kind, value []byte) error {
	s, ok := v.schemas[k]
	if !ok {
		return &Invalid{
			Kind: k,
			Problems: []Problem{
				{
					Message: fmt.Sprintf(
						"kind %q is unknown: want one of %q", truncate(string(k), 64),
						WritableKinds(),
					),
				},
			},
		}
	}
	if _, writable := v.readers[k]; writable {
		if err := checkPlainKind(k, value); err != nil {
			return err
		}
	}
	object := scan(value)
	for object.next() {
		object.skip()
	}
	if object.err != nil {
		return &Invalid{Kind: k, Problems: []Problem{{Message: object.err.Error()}}}
	}
	// Numbers as float64, since that is what the typed decoders make of them, and so that
	// 1e999999999 costs nothing.
	var x any
	if err := decodeJSON(value, &x); err != nil {
		if problems := outOfRange(value); len(problems) > 0 {
			return &Invalid{Kind: k, Problems: problems}
		}
		return &Invalid{Kind: k, Problems: []Problem{{Message: err.Error()}}}
	}
	err := s.Validate(x)
	var ve *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &ve):
		return fmt.Errorf("validate %s: %w", k, err)
	}
	p := v.printer.Get().(*message.Printer)
	defer v.printer.Put(p)
	invalid := &Invalid{Kind: k}
	invalid.collect(ve, p)
	return invalid
}

// collect turns the leaves of the tree of errors into problems, each once.
func (e *Invalid) collect(ve *jsonschema.ValidationError, p *message.Printer) {
	if len(ve.Causes) > 0 {
		for _, c := range ve.Causes {
			e.collect(c, p)
		}
		return
	}
	field := strings.Join(ve.InstanceLocation, ".")
	add := func(field, format string, args ...any) {
		if x := (Problem{Field: field, Message: fmt.Sprintf(format, args...)}); !slices.Contains(
			e.Problems,
			x,
		) {
			e.Problems = append(e.Problems, x)
		}
	}
	switch k := ve.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			add(strings.TrimPrefix(field+"."+name, "."), "is missing")
		}
	case *kind.Type:
		add(field, "is a JSON %s, want a %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Enum:
		want := strings.Trim(fmt.Sprintf("%q", k.Want), "[]")
		got := k.Got
		if s, ok := got.(string); ok {
			got = strconv.Quote(truncate(s, 64))
		}
		add(field, "is %v, want one of %s", got, strings.ReplaceAll(want, "\" \"", "\", \""))
	case *kind.Format:
		if s, ok := k.Got.(string); ok && k.Want == "date-time" {
			if _, err := parseTime([]byte(s)); err != nil {
				add(field, "%v", err)
				return
			}
		}
		add(field, "%v", k.Err)
	case *kind.MinLength:
		add(field, "is empty")
	case *kind.MaxLength:
		add(field, "is %d characters long, at most %d are kept", k.Got, k.Want)
	case *kind.MaxItems:
		add(field, "has %d entries, at most %d are kept", k.Got, k.Want)
	case *kind.MaxProperties:
		add(field, "has %d entries, at most %d are kept", k.Got, k.Want)
	case *kind.Minimum:
		got, _ := k.Got.Float64()
		want, _ := k.Want.Float64()
		add(field, "is %v, want at least %v", got, want)
	case *kind.Maximum:
		got, _ := k.Got.Float64()
		want, _ := k.Want.Float64()
		add(field, "is %v, want at most %v", got, want)
	default:
		add(field, "%s", ve.ErrorKind.LocalizedString(p))
	}
}

// formats are what the schemas say in our own words: bounds in bytes, bounds of time, two different
// people. Other validators leave them out, as they must; the standard keywords beside them say the
// same as far as they can.
func formats() []*jsonschema.Format {
	text := func(name string, check func(s string) error) *jsonschema.Format {
		return &jsonschema.Format{Name: name, Validate: func(v any) error {
			if s, ok := v.(string); ok {
				return check(s)
			}
			return nil
		}}
	}
	atMost := func(name string, n int) *jsonschema.Format {
		return text(name, func(s string) error {
			if len(s) > n {
				return fmt.Errorf("is %d bytes long, at most %d are kept", len(s), n)
			}
			return nil
		})
	}
	within := func(name string, check func(time.Time) error) *jsonschema.Format {
		return text(name, func(s string) error {
			t, err := parseTime([]byte(s))
			if err != nil {
				return err
			}
			if err := check(t); err != nil {
				_, message, _ := strings.Cut(err.Error(), " ")
				return errors.New(message)
			}
			return nil
		})
	}
	return []*jsonschema.Format{
		text("slipstream-id", func(s string) error {
			if err := id("", s, false); err != nil {
				return errors.New(strings.TrimPrefix(err.Error(), `"" `))
			}
			return nil
		}),
		atMost("slipstream-context-key", 64), atMost("slipstream-context-value", 1024),
		atMost("slipstream-label", MaxIDLength),
		atMost("slipstream-title", 1024), atMost("slipstream-description", 16384),
		within("slipstream-time", occurredSince), within("slipstream-published", published),
		{Name: "slipstream-pair", Validate: func(v any) error {
			m, _ := v.(map[string]any)
			a, isA := m["user_id"].(string)
			b, isB := m["friend_id"].(string)
			if isA && isB && a == b {
				return errors.New(`"user_id" and "friend_id" are the same person`)
			}
			return nil
		}},
	}
}

// parseTime reads an RFC 3339 time to the letter: package time also takes one digit for the hour,
// and a comma for the point.
func parseTime(s []byte) (time.Time, error) {
	var t time.Time
	const shape = "dddd-dd-ddTdd:dd:dd"
	ok := len(s) > len(shape)
	for i := 0; ok && i < len(shape); i++ {
		ok = shape[i] == s[i] || shape[i] == 'd' && s[i] >= '0' && s[i] <= '9'
	}
	if ok {
		ok = s[len(shape)] != ',' && t.UnmarshalText(s) == nil
	}
	if !ok {
		return time.Time{}, fmt.Errorf(
			"is %q, want an RFC 3339 time such as 2026-03-01T20:15:00Z", truncate(string(s), 64),
		)
	}
	return t, nil
}
