package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// ErrErasureMarker is returned by the decoders of kinds whose topic has ErasureMarkers. The record
// marks the erasure of a user; decode it with DecodeUser.
var ErrErasureMarker = errors.New("the record is an erasure marker")

// fill completes id, source and time: the envelope's first, then the value's own, then the record's
// position and time.
func fill(r *record.Record, env Envelope, id, source *string, at *time.Time) {
	if env.ID != "" {
		*id = env.ID
	}
	if *id == "" {
		*id = positionID(r)
	}
	if env.Source != "" {
		*source = env.Source
	}
	if *source == "" {
		*source = "log"
	}
	if at.IsZero() {
		*at = env.Time
	}
	*at = at.UTC()
}

func decodeJSON(value []byte, into any) error {
	if len(bytes.TrimSpace(value)) == 0 {
		return errors.New("the value is empty, want a JSON object")
	}
	if err := CheckJSONText(value); err != nil {
		return fmt.Errorf("the value %w", err)
	}
	err := json.Unmarshal(value, into)
	var (
		syntax *json.SyntaxError
		typ    *json.UnmarshalTypeError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return fmt.Errorf("the value is not JSON: %w at byte %d", syntax, syntax.Offset)
	case errors.As(err, &typ):
		return fmt.Errorf("field %q is a JSON %s, want a %s", typ.Field, typ.Value, typ.Type)
	}
	return fmt.Errorf("the value cannot be read: %w", err)
}

func wrongKind(got Kind, want ...Kind) error {
	return fmt.Errorf("kind %q does not belong here, want one of %q",
		truncate(string(got), 64), want)
}

// encode panics on values that cannot be JSON; the types of this package can, but for attributes,
// which Validate checks.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("schemas: encode %T: %v", v, err))
	}
	return b
}
