package schemas

import (
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// The kinds of a User. KindUserErased also stands on every topic with erasure markers.
const (
	KindUserUpdated Kind = "user.updated.v1"
	KindUserErased  Kind = "user.erased.v1"
)

func userUpdated() definition { return userKind(KindUserUpdated) }
func userErased() definition  { return userKind(KindUserErased) }

func userKind(k Kind) definition {
	return definition{
		kind: k, topics: []string{TopicUsers}, decode: decoding(DecodeUser),
		read: reading(func(value []byte, x *User) error {
			err := readUser(value, x)
			x.Erased = k == KindUserErased
			return err
		}),
	}
}

// User holds what is known of a user beside behaviour. Erased stands for the deletion of the
// person: everything before it is forgotten.
type User struct {
	EventID    string     `json:"event_id,omitempty"`
	Source     string     `json:"source,omitempty"`
	UserID     string     `json:"user_id"`
	Attributes Attributes `json:"attributes,omitempty"`
	OccurredAt time.Time  `json:"occurred_at,omitzero"`
	// ClientTime is what the event said of its time where that was too far ahead of the log's. Then
	// OccurredAt is the log's time. Zero: OccurredAt is what it said.
	ClientTime time.Time `json:"client_time,omitzero"`
	// Erased is set from the kind user.erased.v1.
	Erased bool `json:"erased,omitempty"`
}

// Validate checks the fields.
func (x *User) Validate() error {
	if len(x.Attributes) > 64 {
		return fmt.Errorf("\"attributes\" has %d entries, at most 64 are kept", len(x.Attributes))
	}
	return firstError(
		id("user_id", x.UserID, true), id("event_id", x.EventID, false),
		id("source", x.Source, false), occurred(x.OccurredAt),
		x.Attributes.check(),
	)
}

// Kind returns KindUserUpdated or KindUserErased.
func (x *User) Kind() Kind {
	if x.Erased {
		return KindUserErased
	}
	return KindUserUpdated
}

// Message returns the user's update or erasure as a record for its topic, keyed by user.
func (x User) Message() record.Record {
	kind := KindUserUpdated
	if x.Erased {
		kind = KindUserErased
		x.Attributes = nil
	}
	env := Envelope{ID: x.EventID, Source: x.Source, Kind: kind, Time: x.OccurredAt}
	x.EventID, x.Source, x.Erased = "", "", false
	return record.Record{
		Topic: TopicUsers, Partition: record.AnyPartition, Key: []byte(x.UserID),
		Value: encode(x), Headers: env.Headers(ContentTypeJSON),
	}
}

// Record returns x.Message().
func (x *User) Record() record.Record { return x.Message() }

// Identity returns pointers to id, source and time.
func (x *User) Identity() (id, source *string, occurredAt *time.Time) {
	return &x.EventID, &x.Source, &x.OccurredAt
}

// DecodeUser reads a user's attributes or erasure from r as DecodeInteraction does.
func DecodeUser(r *record.Record) (User, error) {
	env, value, _, err := userContentOf(r, "")
	if err != nil {
		return User{}, err
	}
	switch env.Kind {
	case "", KindUserUpdated, KindUserErased:
	default:
		return User{}, wrongKind(env.Kind, KindUserUpdated, KindUserErased)
	}
	var x User
	if err := readUser(value, &x); err != nil {
		return User{}, err
	}
	if env.Kind != "" {
		x.Erased = env.Kind == KindUserErased
	}
	if err := fill(
		r, env, &x.EventID, &x.Source, &x.OccurredAt, &x.ClientTime,
	); err != nil {
		return x, err
	}
	return x, x.Validate()
}

// readUser reads a user from a plain value.
func readUser(value []byte, x *User) error {
	s := scan(value)
	for s.next() {
		switch string(s.key) {
		case "event_id":
			s.text(&x.EventID)
		case "source":
			s.text(&x.Source)
		case "user_id":
			s.text(&x.UserID)
		case "attributes":
			s.object(&x.Attributes)
		case "erased":
			s.flag(&x.Erased)
		case "occurred_at":
			s.time(&x.OccurredAt)
		default:
			s.skip()
		}
	}
	return s.err
}
