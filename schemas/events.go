package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Action is what a user did with an item.
type Action string

// The actions.
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

// Actions lists every action, in the order of the documents.
func Actions() []Action {
	return []Action{View, Click, Like, Dislike, Rate, AddToCart, Purchase, Watch, Skip, Hide, Impression}
}

// Valid tells whether a is one of Actions.
func (a Action) Valid() bool {
	switch a {
	case View, Click, Like, Dislike, Rate, AddToCart, Purchase, Watch, Skip, Hide, Impression:
		return true
	}
	return false
}

// Interaction is one thing a user did with an item.
type Interaction struct {
	// EventID and Source identify the event; from the envelope, or event_id and source in a plain value.
	EventID string `json:"event_id,omitempty"`
	Source  string `json:"source,omitempty"`
	UserID  string `json:"user_id"`
	ItemID  string `json:"item_id"`
	Action  Action `json:"action"`
	// Value is required for rate (0.5 to 5), optional for watch (the fraction watched, 0 to 1) and purchase (the price, ≥ 0).
	Value      *float64  `json:"value,omitempty"`
	OccurredAt time.Time `json:"occurred_at,omitzero"`
	SessionID  string    `json:"session_id,omitempty"`
	// RecommendationID attributes the interaction to a served list.
	RecommendationID string            `json:"recommendation_id,omitempty"`
	Context          map[string]string `json:"context,omitempty"`
}

// Validate checks what the JSON Schema cannot say cheaply, and all it says. The error is for the person who sent the event.
func (x *Interaction) Validate() error {
	switch {
	case x.Action == "":
		return errors.New(`"action" is missing: one of view, click, like, dislike, rate, add_to_cart, purchase, watch, skip, hide, impression`)
	case !x.Action.Valid():
		return fmt.Errorf("\"action\" %q is not one of view, click, like, dislike, rate, add_to_cart, purchase, watch, skip, hide, impression", truncate(string(x.Action), 64))
	case x.Action == Rate && x.Value == nil:
		return errors.New(`"value" is missing: a rate needs one between 0.5 and 5`)
	case x.Action == Rate && (*x.Value < 0.5 || *x.Value > 5):
		return fmt.Errorf("\"value\" %v of a rate is not between 0.5 and 5", *x.Value)
	case x.Value != nil && (math.IsNaN(*x.Value) || math.IsInf(*x.Value, 0) || *x.Value < 0 || *x.Value > 1e9):
		return fmt.Errorf("\"value\" %v is not between 0 and 1e9", *x.Value)
	case x.Action == Watch && x.Value != nil && *x.Value > 1:
		return fmt.Errorf("\"value\" %v of a watch is not a fraction between 0 and 1", *x.Value)
	case len(x.Context) > 32:
		return fmt.Errorf("\"context\" has %d entries, at most 32 are kept", len(x.Context))
	}
	for k, v := range x.Context {
		if len(k) > 64 || len(v) > 1024 {
			return fmt.Errorf("\"context\" entry %q is too long: keys to 64 bytes, values to 1024", truncate(k, 64))
		}
	}
	return firstError(
		id("user_id", x.UserID, true), id("item_id", x.ItemID, true), id("event_id", x.EventID, false), id("source", x.Source, false),
		id("session_id", x.SessionID, false), id("recommendation_id", x.RecommendationID, false), occurred(x.OccurredAt))
}

// Friendship is an undirected edge between two users, added or removed (the kind says which).
type Friendship struct {
	EventID    string    `json:"event_id,omitempty"`
	Source     string    `json:"source,omitempty"`
	UserID     string    `json:"user_id"`
	FriendID   string    `json:"friend_id"`
	Removed    bool      `json:"removed,omitempty"`
	OccurredAt time.Time `json:"occurred_at,omitzero"`
}

// Pair returns the two ids in order, lower first.
func (f *Friendship) Pair() (low, high string) {
	if f.UserID <= f.FriendID {
		return f.UserID, f.FriendID
	}
	return f.FriendID, f.UserID
}

// Validate checks the fields.
func (f *Friendship) Validate() error {
	if f.UserID != "" && f.UserID == f.FriendID {
		return errors.New(`"user_id" and "friend_id" are the same person`)
	}
	return firstError(id("user_id", f.UserID, true), id("friend_id", f.FriendID, true), id("event_id", f.EventID, false), id("source", f.Source, false), occurred(f.OccurredAt))
}

// Item is something that can be recommended. An update replaces the whole item.
type Item struct {
	EventID     string         `json:"event_id,omitempty"`
	Source      string         `json:"source,omitempty"`
	ItemID      string         `json:"item_id"`
	Title       string         `json:"title"`
	Genres      []string       `json:"genres,omitempty"`
	Actors      []string       `json:"actors,omitempty"`
	Directors   []string       `json:"directors,omitempty"`
	Tags        []string       `json:"tags,omitempty"`
	Description string         `json:"description,omitempty"`
	PublishedAt time.Time      `json:"published_at,omitzero"`
	Available   *bool          `json:"available,omitempty"`
	Attributes  map[string]any `json:"attributes,omitempty"`
	OccurredAt  time.Time      `json:"occurred_at,omitzero"`
	// Withdrawn is set from the kind item.withdrawn.v1, or from a tombstone.
	Withdrawn bool `json:"withdrawn,omitempty"`
}

// IsAvailable tells whether the item may be recommended now; an item that does not say is available.
func (x *Item) IsAvailable() bool { return !x.Withdrawn && (x.Available == nil || *x.Available) }

// Features returns the names of what describes the item, the most telling first: "director:…", "genre:…", "actor:…", "tag:…", "decade:1990". Similar
// items share features.
func (x *Item) Features() []string {
	out := make([]string, 0, len(x.Directors)+len(x.Genres)+len(x.Actors)+len(x.Tags)+1)
	for _, group := range []struct {
		prefix string
		values []string
	}{{"director:", x.Directors}, {"genre:", x.Genres}, {"actor:", x.Actors}, {"tag:", x.Tags}} {
		for _, v := range group.values {
			out = append(out, group.prefix+v)
		}
	}
	if !x.PublishedAt.IsZero() {
		out = append(out, fmt.Sprintf("decade:%d", x.PublishedAt.Year()/10*10))
	}
	return out
}

// Validate checks the fields.
func (x *Item) Validate() error {
	switch {
	case !x.Withdrawn && x.Title == "":
		return errors.New(`"title" is missing`)
	case len(x.Title) > 1024:
		return fmt.Errorf("\"title\" is %d bytes long, at most 1024 are kept", len(x.Title))
	case len(x.Description) > 16384:
		return fmt.Errorf("\"description\" is %d bytes long, at most 16384 are kept", len(x.Description))
	}
	for name, list := range map[string][]string{"genres": x.Genres, "actors": x.Actors, "directors": x.Directors, "tags": x.Tags} {
		if len(list) > 100 {
			return fmt.Errorf("%q has %d entries, at most 100 are kept", name, len(list))
		}
		for _, s := range list {
			if s == "" || len(s) > MaxIDLength {
				return fmt.Errorf("%q has an entry that is empty or longer than %d bytes", name, MaxIDLength)
			}
		}
	}
	return firstError(id("item_id", x.ItemID, true), id("event_id", x.EventID, false), id("source", x.Source, false), occurred(x.OccurredAt), published(x.PublishedAt))
}

// User holds what is known of a user beside behaviour. Erased stands for the deletion of the person: everything before it is forgotten.
type User struct {
	EventID    string         `json:"event_id,omitempty"`
	Source     string         `json:"source,omitempty"`
	UserID     string         `json:"user_id"`
	Attributes map[string]any `json:"attributes,omitempty"`
	OccurredAt time.Time      `json:"occurred_at,omitzero"`
	// Erased is set from the kind user.erased.v1.
	Erased bool `json:"erased,omitempty"`
}

// Validate checks the fields.
func (x *User) Validate() error {
	if len(x.Attributes) > 64 {
		return fmt.Errorf("\"attributes\" has %d entries, at most 64 are kept", len(x.Attributes))
	}
	return firstError(id("user_id", x.UserID, true), id("event_id", x.EventID, false), id("source", x.Source, false), occurred(x.OccurredAt))
}

// The bounds of occurred_at. ClickHouse keeps whole seconds since 1970 in its partition key, and a clock far ahead is a mistake.
var (
	earliestOccurred = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
	latestOccurred   = time.Date(2105, 1, 1, 0, 0, 0, 0, time.UTC)
)

func occurred(t time.Time) error {
	if !t.IsZero() && (t.Before(earliestOccurred) || t.After(latestOccurred)) {
		return fmt.Errorf("\"occurred_at\" %s is not between 1970-01-02 and 2105-01-01", t.Format(time.RFC3339))
	}
	return nil
}

// The bounds of published_at: any year that can be written in UTC, up to where ClickHouse's Date32 ends.
var (
	earliestPublished = time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)
	latestPublished   = time.Date(2299, 12, 31, 0, 0, 0, 0, time.UTC)
)

func published(t time.Time) error {
	if !t.IsZero() && (t.Before(earliestPublished) || t.After(latestPublished)) {
		return fmt.Errorf("\"published_at\" %s is not between the years 1 and 2299", t.Format(time.RFC3339))
	}
	return nil
}

func id(field, v string, required bool) error {
	switch {
	case required && v == "":
		return fmt.Errorf("%q is missing", field)
	case len(v) > MaxIDLength:
		return fmt.Errorf("%q is %d bytes long, at most %d are kept", field, len(v), MaxIDLength)
	}
	if !utf8.ValidString(v) {
		return fmt.Errorf("%q is not UTF-8", field)
	}
	for i := range len(v) {
		if v[i] < 0x20 || v[i] == 0x7f {
			return fmt.Errorf("%q holds a control character", field)
		}
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// encode panics on values that cannot be JSON; the types of this package can, but for attributes, which come from JSON.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("schemas: encode %T: %v", v, err))
	}
	return b
}
