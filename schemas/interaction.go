package schemas

import (
	"fmt"
	"math"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// KindInteraction is the kind of an Interaction.
const KindInteraction Kind = "interaction.recorded.v1"

func interactionRecorded() definition {
	return definition{
		kind: KindInteraction, topics: []string{TopicInteractions},
		read: reading(readInteraction), decode: decoding(DecodeInteraction),
	}
}

// Action is what a user did with an item.
type Action string

// The built-in actions. Actions is the table of what they, and others, mean.
const (
	View       Action = "view"
	Click      Action = "click"
	Like       Action = "like"
	Dislike    Action = "dislike"
	Rate       Action = "rate"
	AddToCart  Action = "add_to_cart"
	Purchase   Action = "purchase"
	Watch      Action = "watch"
	Skip       Action = "skip"
	Hide       Action = "hide"
	Impression Action = "impression"
)

// Interaction is one thing a user did with an item.
type Interaction struct {
	// EventID and Source identify the event; from the envelope, or event_id and source in a plain
	// value.
	EventID string `json:"event_id,omitempty"`
	Source  string `json:"source,omitempty"`
	UserID  string `json:"user_id"`
	ItemID  string `json:"item_id"`
	Action  Action `json:"action"`
	// Value is 0 to 1e9. The rules of the action say what it means and whether it is required: for
	// rate it is (0.5 to 5), for watch (the fraction watched, 0 to 1) and purchase (the price) not.
	Value      *float64  `json:"value,omitempty"`
	OccurredAt time.Time `json:"occurred_at,omitzero"`
	// ClientTime is what the event said of its time where that was too far ahead of the log's. Then
	// OccurredAt is the log's time. Zero: OccurredAt is what it said.
	ClientTime time.Time `json:"client_time,omitzero"`
	SessionID  string    `json:"session_id,omitempty"`
	// RecommendationID attributes the interaction to a served list.
	RecommendationID string            `json:"recommendation_id,omitempty"`
	Context          map[string]string `json:"context,omitempty"`
}

// Validate checks all that the JSON Schema says, but not which actions are declared, nor the bounds
// of their values: Actions.Check does. The error is for the person who sent the event.
func (x *Interaction) Validate() error {
	switch {
	case x.Value != nil && (math.IsNaN(*x.Value) || *x.Value < 0 || *x.Value > MaxValue):
		return fmt.Errorf("\"value\" %v is not between 0 and 1e9", *x.Value)
	case len(x.Context) > 32:
		return fmt.Errorf("\"context\" has %d entries, at most 32 are kept", len(x.Context))
	}
	for k, v := range x.Context {
		if len(k) > 64 || len(v) > 1024 {
			return fmt.Errorf("\"context\" entry %q is too long: keys to 64 bytes, values to 1024",
				truncate(k, 64))
		}
		if err := firstError(text("context", k), text("context."+k, v)); err != nil {
			return err
		}
	}
	return firstError(
		id("user_id", x.UserID, true), id("item_id", x.ItemID, true),
		id("action", string(x.Action), true),
		id("event_id", x.EventID, false), id("source", x.Source, false),
		id("session_id", x.SessionID, false), id("recommendation_id", x.RecommendationID, false),
		occurred(x.OccurredAt),
	)
}

// Kind returns KindInteraction.
func (x *Interaction) Kind() Kind { return KindInteraction }

// Message returns the interaction as a record for its topic, keyed by user.
func (x Interaction) Message() record.Record {
	env := Envelope{ID: x.EventID, Source: x.Source, Kind: KindInteraction, Time: x.OccurredAt}
	x.EventID, x.Source = "", ""
	return record.Record{
		Topic: TopicInteractions, Partition: record.AnyPartition, Key: []byte(x.UserID),
		Value: encode(x), Headers: env.Headers(ContentTypeJSON),
	}
}

// Record returns x.Message().
func (x *Interaction) Record() record.Record { return x.Message() }

// Identity returns pointers to id, source and time.
func (x *Interaction) Identity() (id, source *string, occurredAt *time.Time) {
	return &x.EventID, &x.Source, &x.OccurredAt
}

// DecodeInteraction reads an interaction from r, in CloudEvents binary mode or as a plain value,
// and validates it. Whether its action is declared, Actions.Check tells. Every error but
// ErrErasureMarker means that the record is invalid.
func DecodeInteraction(r *record.Record) (Interaction, error) {
	env, value, err := contentOf(r, KindInteraction)
	if err != nil {
		return Interaction{}, err
	}
	switch env.Kind {
	case KindUserErased:
		return Interaction{}, ErrErasureMarker
	case KindInteraction:
	default:
		return Interaction{}, wrongKind(env.Kind, KindInteraction)
	}
	var x Interaction
	if err := readInteraction(value, &x); err != nil {
		return Interaction{}, err
	}
	if err := fill(
		r, env, &x.EventID, &x.Source, &x.OccurredAt, &x.ClientTime,
	); err != nil {
		return x, err
	}
	return x, x.Validate()
}

// readInteraction reads an interaction from a plain value.
func readInteraction(value []byte, x *Interaction) error {
	s := scan(value)
	for s.next() {
		switch string(s.key) {
		case "event_id":
			s.text(&x.EventID)
		case "source":
			s.text(&x.Source)
		case "user_id":
			s.text(&x.UserID)
		case "item_id":
			s.text(&x.ItemID)
		case "action":
			s.action(&x.Action)
		case "value":
			s.number(&x.Value)
		case "occurred_at":
			s.time(&x.OccurredAt)
		case "session_id":
			s.text(&x.SessionID)
		case "recommendation_id":
			s.text(&x.RecommendationID)
		case "context":
			s.texts(&x.Context)
		default:
			s.skip()
		}
	}
	return s.err
}
