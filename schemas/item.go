package schemas

import (
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// The kinds of an Item.
const (
	KindItemUpdated   Kind = "item.updated.v1"
	KindItemWithdrawn Kind = "item.withdrawn.v1"
)

func itemUpdated() definition   { return itemKind(KindItemUpdated) }
func itemWithdrawn() definition { return itemKind(KindItemWithdrawn) }

func itemKind(k Kind) definition {
	return definition{
		kind: k, topics: []string{TopicItems}, decode: decoding(DecodeItem),
		read: reading(func(value []byte, x *Item) error {
			err := readItem(value, x)
			x.Withdrawn = k == KindItemWithdrawn
			return err
		}),
	}
}

// Item is something that can be recommended. An update replaces the whole item.
type Item struct {
	EventID     string     `json:"event_id,omitempty"`
	Source      string     `json:"source,omitempty"`
	ItemID      string     `json:"item_id"`
	Title       string     `json:"title"`
	Genres      []string   `json:"genres,omitempty"`
	Actors      []string   `json:"actors,omitempty"`
	Directors   []string   `json:"directors,omitempty"`
	Tags        []string   `json:"tags,omitempty"`
	Description string     `json:"description,omitempty"`
	PublishedAt time.Time  `json:"published_at,omitzero"`
	Available   *bool      `json:"available,omitempty"`
	Attributes  Attributes `json:"attributes,omitempty"`
	OccurredAt  time.Time  `json:"occurred_at,omitzero"`
	// ClientTime is what the event said of its time where that was too far ahead of the log's. Then
	// OccurredAt is the log's time. Zero: OccurredAt is what it said.
	ClientTime time.Time `json:"client_time,omitzero"`
	// Withdrawn is set from the kind item.withdrawn.v1, or from a tombstone.
	Withdrawn bool `json:"withdrawn,omitempty"`
}

// IsAvailable tells whether the item may be recommended now; an item that does not say is
// available.
func (x *Item) IsAvailable() bool { return !x.Withdrawn && (x.Available == nil || *x.Available) }

// Features returns the names of what describes the item, the most telling first: "director:…",
// "genre:…", "actor:…", "tag:…", "decade:1990". Similar items share features.
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
		return fmt.Errorf("\"description\" is %d bytes long, at most 16384 are kept",
			len(x.Description))
	}
	for name, list := range map[string][]string{
		"genres": x.Genres, "actors": x.Actors, "directors": x.Directors, "tags": x.Tags,
	} {
		if len(list) > 100 {
			return fmt.Errorf("%q has %d entries, at most 100 are kept", name, len(list))
		}
		for _, s := range list {
			if s == "" || len(s) > MaxIDLength {
				return fmt.Errorf("%q has an entry that is empty or longer than %d bytes",
					name, MaxIDLength)
			}
			if err := text(name, s); err != nil {
				return err
			}
		}
	}
	return firstError(
		id("item_id", x.ItemID, true), id("event_id", x.EventID, false),
		id("source", x.Source, false), occurred(x.OccurredAt), published(x.PublishedAt),
		text("title", x.Title), text("description", x.Description),
		x.Attributes.check(),
	)
}

// Kind returns KindItemUpdated or KindItemWithdrawn.
func (x *Item) Kind() Kind {
	if x.Withdrawn {
		return KindItemWithdrawn
	}
	return KindItemUpdated
}

// Message returns the item's update or withdrawal as a record for its topic, keyed by item.
func (x Item) Message() record.Record {
	kind := KindItemUpdated
	if x.Withdrawn {
		kind = KindItemWithdrawn
	}
	env := Envelope{ID: x.EventID, Source: x.Source, Kind: kind, Time: x.OccurredAt}
	x.EventID, x.Source, x.Withdrawn = "", "", false
	return record.Record{
		Topic: TopicItems, Partition: record.AnyPartition, Key: []byte(x.ItemID),
		Value: encode(x), Headers: env.Headers(ContentTypeJSON),
	}
}

// Record returns x.Message().
func (x *Item) Record() record.Record { return x.Message() }

// Identity returns pointers to id, source and time.
func (x *Item) Identity() (id, source *string, occurredAt *time.Time) {
	return &x.EventID, &x.Source, &x.OccurredAt
}

// DecodeItem reads an item from r as DecodeInteraction does. A tombstone (nil value) is a
// withdrawal of the item named by the key.
func DecodeItem(r *record.Record) (Item, error) {
	env, value, err := contentOf(r, "")
	if err != nil {
		return Item{}, err
	}
	switch env.Kind {
	case "", KindItemUpdated, KindItemWithdrawn:
	default:
		return Item{}, wrongKind(env.Kind, KindItemUpdated, KindItemWithdrawn)
	}
	var x Item
	if len(r.Value) == 0 {
		x = Item{ItemID: string(r.Key), Withdrawn: true}
	} else if err := readItem(value, &x); err != nil {
		return Item{}, err
	}
	if env.Kind != "" {
		x.Withdrawn = env.Kind == KindItemWithdrawn
	}
	if err := fill(
		r, env, &x.EventID, &x.Source, &x.OccurredAt, &x.ClientTime,
	); err != nil {
		return x, err
	}
	return x, x.Validate()
}

// readItem reads an item from a plain value.
func readItem(value []byte, x *Item) error {
	s := scan(value)
	for s.next() {
		switch string(s.key) {
		case "event_id":
			s.text(&x.EventID)
		case "source":
			s.text(&x.Source)
		case "item_id":
			s.text(&x.ItemID)
		case "title":
			s.text(&x.Title)
		case "genres":
			s.list(&x.Genres)
		case "actors":
			s.list(&x.Actors)
		case "directors":
			s.list(&x.Directors)
		case "tags":
			s.list(&x.Tags)
		case "description":
			s.text(&x.Description)
		case "published_at":
			s.time(&x.PublishedAt)
		case "available":
			s.optionalFlag(&x.Available)
		case "attributes":
			s.object(&x.Attributes)
		case "withdrawn":
			s.flag(&x.Withdrawn)
		case "occurred_at":
			s.time(&x.OccurredAt)
		default:
			s.skip()
		}
	}
	return s.err
}
