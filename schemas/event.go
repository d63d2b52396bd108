package schemas

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Event is what applications write, such as *Interaction. Each of WritableKinds has a type that
// implements it.
type Event interface {
	// Kind tells which of the public kinds the event is, with its flags as they stand.
	Kind() Kind
	// Validate checks the fields; the error is for the person who sent the event.
	Validate() error
	// Record returns the event as a record for its topic, as Message of the plain types does.
	Record() record.Record
	// Identity returns where id, source and time are kept, so that what is missing can be filled
	// in.
	Identity() (id, source *string, occurredAt *time.Time)
}

// Read reads one event at an entry point, such as the HTTP gateway: the value must pass the JSON
// Schema of env.Kind, which is one of WritableKinds. Id, source and time come from env, then from
// the value; what neither says stays empty, to be filled in by the caller. The error is an
// *Invalid.
func (v *Validator) Read(env Envelope, value []byte) (Event, error) {
	read, ok := v.readers[env.Kind]
	if !ok {
		return nil, &Invalid{Kind: env.Kind, Problems: []Problem{{
			Field: "kind",
			Message: fmt.Sprintf(
				"is %q, want one of %q", truncate(string(env.Kind), 64), WritableKinds(),
			),
		}}}
	}
	if err := checkPlainKind(env.Kind, value); err != nil {
		return nil, err
	}
	// The typed decoder accepts what the schema accepts (TestDecodersAgreeWithSchemas,
	// FuzzDecodersAgreeWithSchemas) in a tenth of the time; the schema knows best what is wrong
	// with the rest.
	event, err := read(value)
	if err == nil {
		_, _, at := event.Identity()
		*at = writableTime(*at)
		err = v.check(event)
	}
	if err != nil {
		if invalid := v.Validate(env.Kind, value); invalid != nil {
			return nil, invalid
		}
		return nil, &Invalid{Kind: env.Kind, Problems: []Problem{{Message: err.Error()}}}
	}
	id, source, at := event.Identity()
	if env.ID != "" {
		*id = env.ID
	}
	if env.Source != "" {
		*source = env.Source
	}
	if at.IsZero() {
		*at = env.Time
	}
	*at = writableTime(*at)
	if err := event.Validate(); err != nil {
		return nil, &Invalid{Kind: env.Kind, Problems: []Problem{{Message: err.Error()}}}
	}
	return event, nil
}

// check checks the fields of an event, and the action of an interaction.
func (v *Validator) check(event Event) error {
	if err := event.Validate(); err != nil {
		return err
	}
	if x, ok := event.(*Interaction); ok {
		return v.actions.Check(x)
	}
	return nil
}

// ReadJSON reads one JSON object at an entry point: a CloudEvent in structured mode when it has a
// "specversion", else a plain value, whose field "kind" tells what it is; without one it is an
// interaction. trace is the CloudEvent's traceparent, or "". The rest is as in Read.
func (v *Validator) ReadJSON(value []byte) (event Event, trace string, err error) {
	env := Envelope{Kind: KindInteraction}
	data := value
	var kind []byte
	cloud := false
	object := scan(value)
	for object.next() {
		switch string(object.key) {
		case "kind":
			kind = object.raw()
		case "specversion":
			cloud = true
			object.skip()
		default:
			object.skip()
		}
	}
	switch {
	case object.err != nil:
		return nil, "", &Invalid{Problems: []Problem{{Message: object.err.Error()}}}
	case cloud:
		if env, data, err = ParseCloudEvent(value); err != nil {
			return nil, "", &Invalid{Kind: env.Kind, Problems: []Problem{{Message: err.Error()}}}
		}
	case kind != nil && string(kind) != "null":
		if err := json.Unmarshal(kind, &env.Kind); err != nil {
			return nil, "", &Invalid{
				Problems: []Problem{{Field: "kind", Message: "is not a JSON string"}},
			}
		}
	}
	event, err = v.Read(env, data)
	return event, env.Trace, err
}
