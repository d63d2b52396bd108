package schemas

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Names of the headers that carry the envelope.
const (
	HeaderSpecVersion = "ce_specversion"
	HeaderID          = "ce_id"
	HeaderSource      = "ce_source"
	HeaderType        = "ce_type"
	HeaderTime        = "ce_time"
	HeaderSubject     = "ce_subject"
	HeaderContentType = "content-type"
	HeaderTrace       = "traceparent"
)

// ContentTypeJSON and ContentTypeBinary are the values of HeaderContentType in use.
const (
	ContentTypeJSON   = "application/json"
	ContentTypeBinary = "application/octet-stream"
)

// Envelope is what travels around an event.
type Envelope struct {
	// ID and Source together identify the event: sending it again with both the same counts once.
	// Items and users' attributes are states: the record that the log took last counts.
	ID     string
	Source string
	Kind   Kind
	// Time is when it happened (occurred_at).
	Time time.Time
	// Trace is a W3C traceparent, or "".
	Trace string
}

// Headers returns the envelope as record headers; contentType is that of the value.
func (e Envelope) Headers(contentType string) []record.Header {
	h := make([]record.Header, 0, 7)
	add := func(k, v string) {
		if v != "" {
			h = append(h, record.Header{Key: k, Value: []byte(v)})
		}
	}
	add(HeaderSpecVersion, "1.0")
	add(HeaderID, e.ID)
	add(HeaderSource, e.Source)
	add(HeaderType, string(e.Kind))
	if !e.Time.IsZero() {
		add(HeaderTime, e.Time.UTC().Format(time.RFC3339Nano))
	}
	add(HeaderContentType, contentType)
	add(HeaderTrace, e.Trace)
	return h
}

// SourceLog is the source of an event on the log that names none.
const SourceLog = "log"

// EnvelopeOf reads the envelope of r. What the headers do not say is filled in from the log alone,
// so that every reader fills in the same: kind what the value says in its field "kind", else the
// topic's first, id topic/partition/offset (never equal to another's), source "log", time the log's
// (zero when it has none). An unreadable ce_time is an error. So are a key and an attribute that
// are not UTF-8, and a kind of the value that is not that of the headers; an unreadable traceparent
// counts as none, as W3C demands. An erasure marker says its kind in a header. A CloudEvent in
// structured mode says all this in its value.
func EnvelopeOf(r *record.Record, fallback Kind) (Envelope, error) {
	e, _, err := contentOf(r, fallback)
	return e, err
}

// contentOf returns the envelope of r as EnvelopeOf does, and the value that it is about: that of
// r, or the data of a CloudEvent in structured mode.
func contentOf(r *record.Record, fallback Kind) (Envelope, []byte, error) {
	e, value, marker, err := userContentOf(r, fallback)
	if err == nil && e.Kind == KindUserErased && !marker {
		err = fmt.Errorf("kind %q does not belong here: want the topic %s", e.Kind, TopicUsers)
	}
	return e, value, err
}

// userContentOf is contentOf for every topic, users too. typed tells whether a header says the
// kind.
func userContentOf(
	r *record.Record, fallback Kind,
) (e Envelope, value []byte, typed bool, err error) {
	// That of a tombstone is an id, and is checked as one.
	if len(r.Value) > 0 && !utf8.Valid(r.Key) {
		return e, nil, false, fmt.Errorf("the key %w", CheckUTF8(string(r.Key)))
	}
	if isStructured(r) {
		if e, value, typed, err = structuredEnvelope(r); err == nil {
			err = checkPlainKind(e.Kind, value)
		}
		return e, value, typed, err
	}
	e, typed, err = headerEnvelope(r, fallback)
	if err != nil {
		return e, nil, typed, err
	}
	said, ok, err := plainKind(r.Value, typed)
	switch {
	case err != nil:
		return e, nil, typed, err
	case ok && typed && said != e.Kind:
		return e, nil, typed, fmt.Errorf(
			"field \"kind\" is %q, but the header %s is %q",
			truncate(string(said), 64), HeaderType, truncate(string(e.Kind), 64),
		)
	case ok && said == "": // no kind at all would be the topic's first
		return e, nil, typed, fmt.Errorf("kind %q does not belong here", said)
	case ok:
		e.Kind = said
	}
	return e, r.Value, typed, nil
}

// headerEnvelope reads the headers; typed tells whether one says the kind.
func headerEnvelope(r *record.Record, fallback Kind) (e Envelope, typed bool, err error) {
	e = Envelope{Kind: fallback, Time: r.LogTime()}
	for i := range r.Headers {
		name := r.Headers[i].Key
		switch name {
		case HeaderID, HeaderSource, HeaderType, HeaderTime, HeaderTrace:
		default:
			continue
		}
		v := string(r.Headers[i].Value)
		if err := CheckUTF8(v); err != nil {
			if name == HeaderTrace {
				continue
			}
			return e, typed, fmt.Errorf("header %s %w", name, err)
		}
		switch name {
		case HeaderID:
			e.ID = v
		case HeaderSource:
			e.Source = v
		case HeaderType:
			e.Kind, typed = Kind(v), true
		case HeaderTrace:
			e.Trace = v
		case HeaderTime:
			t, err := time.Parse(time.RFC3339Nano, v)
			if err != nil {
				return e, typed, fmt.Errorf(
					"header %s: want an RFC 3339 time, got %q", HeaderTime, truncate(v, 64),
				)
			}
			if !t.IsZero() { // the empty time of Go and .NET says nothing
				e.Time = t.UTC()
			}
		}
	}
	return e, typed, nil
}

// positionID is the id of an event that was written without one.
func positionID(r *record.Record) string {
	return r.Topic + "/" + strconv.Itoa(r.Partition) + "/" + strconv.FormatInt(r.Offset, 10)
}

func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
