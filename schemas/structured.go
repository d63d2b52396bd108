package schemas

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// mediaCloudEvents is what the media types of structured mode begin with, whatever the format.
const mediaCloudEvents = "application/cloudevents"

// isStructured tells whether the value of r is a CloudEvent in structured mode. By the Kafka
// binding the header content-type says so. Not every producer sets it: the Python SDK writes the
// type of the data there before version 2. So the value is asked as well, as over HTTP: it is one
// if it has a "specversion". A value with "user_id" or "item_id" beside it is a plain one of ours,
// since names of CloudEvents attributes hold no underscore. Every plain value has one of the two,
// so none that could be read before is taken for a CloudEvent.
func isStructured(r *record.Record) bool {
	if len(r.Value) == 0 {
		return false
	}
	declared, typed := false, false
	for i := range r.Headers {
		switch h := &r.Headers[i]; h.Key {
		case HeaderContentType:
			n := len(mediaCloudEvents)
			declared = len(h.Value) >= n &&
				strings.EqualFold(string(h.Value[:n]), mediaCloudEvents)
		case HeaderType:
			typed = true
		}
	}
	if !declared && (typed || !bytes.Contains(r.Value, []byte(`"specversion"`))) {
		return false
	}
	version, plain := false, false
	s := scan(r.Value)
	for s.next() {
		switch string(s.key) {
		case "specversion":
			version = true
		case "user_id", "item_id":
			plain = true
		}
		s.skip()
	}
	if version {
		return declared || !plain
	}
	return declared && !plain
}

// structuredEnvelope is envelopeOf for a CloudEvent in structured mode: what the value says counts.
// Headers may repeat it. Only the kind in a header must be the same, since it tells an erasure
// marker.
func structuredEnvelope(r *record.Record) (e Envelope, value []byte, typed bool, err error) {
	said := r.Header(HeaderContentType)
	media, _, err := mime.ParseMediaType(said)
	if err == nil && media != ContentTypeCloudEvent && strings.HasPrefix(media, mediaCloudEvents) {
		return e, nil, false, fmt.Errorf(
			"header %s is %q, want %s: a record holds one event, as JSON",
			HeaderContentType, truncate(said, 64), ContentTypeCloudEvent,
		)
	}
	if e, value, err = ParseCloudEvent(r.Value); err != nil {
		return e, nil, false, err
	}
	if header := r.Header(HeaderType); header != "" {
		if typed = true; Kind(header) != e.Kind {
			return e, nil, typed, fmt.Errorf("cloudevent: %q is %q, but the header %s is %q",
				"type", truncate(string(e.Kind), 64), HeaderType, truncate(header, 64))
		}
	}
	if e.Time.IsZero() {
		e.Time = r.LogTime()
	}
	if trace := r.Header(HeaderTrace); e.Trace == "" && CheckUTF8(trace) == nil {
		e.Trace = trace
	}
	return e, value, typed, nil
}

// Content is what a record says of its event, as far as it can be told without decoding it. It is
// there for records, too, that no decoder accepts.
type Content struct {
	// ID is the event's id, "" if the record says none: then the event's id is its position.
	ID string
	// Kind is what the record says it is, "" if it says nothing: then it is the topic's first.
	Kind Kind
	// Data is the JSON object with the fields of the event, nil if there is none. It is the value,
	// or the data of a CloudEvent in structured mode.
	Data []byte
}

// ContentOf returns the content of r, read as the decoders of applications' kinds read it.
func ContentOf(r *record.Record) Content {
	c := Content{ID: r.Header(HeaderID), Kind: Kind(r.Header(HeaderType)), Data: r.Value}
	if isStructured(r) {
		return structuredContent(r.Value)
	}
	if c.Kind == "" {
		c.Kind, _, _ = plainKind(r.Value, false)
	}
	if c.ID != "" || !bytes.Contains(r.Value, []byte("event_id")) &&
		!bytes.Contains(r.Value, []byte(`\u`)) {
		return c
	}
	s := scan(r.Value)
	for s.next() {
		if string(s.key) == "event_id" {
			s.text(&c.ID)
		} else {
			s.skip()
		}
	}
	return c
}

func structuredContent(value []byte) (c Content) {
	s := scan(value)
	for s.next() {
		switch string(s.key) {
		case "id":
			s.text(&c.ID)
		case "type":
			var kind string
			s.text(&kind)
			c.Kind = Kind(kind)
		case "data":
			c.Data = s.raw()
		case "data_base64":
			var text string
			if s.text(&text); text != "" {
				c.Data, _ = base64.StdEncoding.DecodeString(text)
			}
		default:
			s.skip()
		}
	}
	return c
}

// UsersNamed returns the ids of users that the value of a record names, of a dead letter too: in
// the fields of its event, or in attributes of a CloudEvent that producers fill with the key. Ids
// may stand twice. A value that is not JSON names nobody.
func UsersNamed(value []byte) (users []string) {
	type names struct {
		UserID       any `json:"user_id"`
		FriendID     any `json:"friend_id"`
		Subject      any `json:"subject"`
		PartitionKey any `json:"partitionkey"`
	}
	read := func(text []byte) {
		var x names
		if CheckJSONText(text) != nil { // else a replaced id would be somebody else's
			return
		}
		_ = json.Unmarshal(text, &x) // a value that is none names nobody
		for _, name := range []any{x.UserID, x.FriendID, x.Subject, x.PartitionKey} {
			if id, ok := name.(string); ok && id != "" {
				users = append(users, id)
			}
		}
	}
	read(value)
	if data := structuredContent(value).Data; data != nil {
		read(data)
	}
	return users
}
