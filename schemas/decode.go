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

// lastYear is the last one that can be written as RFC 3339.
const lastYear = 9999

// fill completes id, source and time: the envelope's first, then the value's own, then the record's
// position and time. It applies the rule for the time of an event (see eventTime) and keeps what
// the event said in client.
func fill(r *record.Record, env Envelope, id, source *string, at, client *time.Time) error {
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
		*source = SourceLog
	}
	if at.IsZero() {
		*at = env.Time
	}
	said := at.UTC()
	*at = eventTime(r, said)
	if !at.Equal(said) {
		*client = writableTime(said)
	}
	if at.After(latestOccurred) {
		return fmt.Errorf("\"occurred_at\" %s is after 2105-01-01, and the log does not say when "+
			"it took the record", at.Format(time.RFC3339))
	}
	if at.IsZero() {
		return errors.New("\"occurred_at\" is missing, and the record has no time " +
			"between 2010 and 2104 either")
	}
	return nil
}

// writableTime returns t in UTC, and the last day that can be written if t is later.
func writableTime(t time.Time) time.Time {
	if t = t.UTC(); t.Year() > lastYear {
		return time.Date(lastYear, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	return t
}

// eventTime is the rule for the time of an event that says it happened at said. Clocks of clients
// are wrong: an event may be at most r.MaxAhead ahead of the time when the log took it, and a later
// one counts as of then. Where the log has no time the event's own stands, unless it is known that
// the log had the record before.
func eventTime(r *record.Record, said time.Time) time.Time {
	log := r.LogTime()
	if log.IsZero() {
		log = r.TakenBy
	}
	if r.MaxAhead > 0 && !log.IsZero() && said.After(log.Add(r.MaxAhead)) {
		return log
	}
	return said
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
// which Validate checks. What a type of ours has made itself is whole: json.Marshal would read it
// once more.
func encode(v any) []byte {
	var b []byte
	var err error
	if m, ok := v.(json.Marshaler); ok {
		b, err = m.MarshalJSON()
	} else {
		b, err = json.Marshal(v)
	}
	if err != nil {
		panic(fmt.Sprintf("schemas: encode %T: %v", v, err))
	}
	return b
}
