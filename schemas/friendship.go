package schemas

import (
	"errors"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// The kinds of a Friendship.
const (
	KindFriendshipAdded   Kind = "friendship.added.v1"
	KindFriendshipRemoved Kind = "friendship.removed.v1"
)

func friendshipAdded() definition   { return friendshipKind(KindFriendshipAdded) }
func friendshipRemoved() definition { return friendshipKind(KindFriendshipRemoved) }

func friendshipKind(k Kind) definition {
	return definition{
		kind: k, topics: []string{TopicFriendships}, decode: decoding(DecodeFriendship),
		read: reading(func(value []byte, f *Friendship) error {
			err := readFriendship(value, f)
			f.Removed = k == KindFriendshipRemoved
			return err
		}),
	}
}

// Friendship is an undirected edge between two users, added or removed (the kind says which).
type Friendship struct {
	EventID    string    `json:"event_id,omitempty"`
	Source     string    `json:"source,omitempty"`
	UserID     string    `json:"user_id"`
	FriendID   string    `json:"friend_id"`
	Removed    bool      `json:"removed,omitempty"`
	OccurredAt time.Time `json:"occurred_at,omitzero"`
	// ClientTime is what the event said of its time where that was too far ahead of the log's. Then
	// OccurredAt is the log's time. Zero: OccurredAt is what it said.
	ClientTime time.Time `json:"client_time,omitzero"`
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
	return firstError(
		id("user_id", f.UserID, true), id("friend_id", f.FriendID, true),
		id("event_id", f.EventID, false), id("source", f.Source, false), occurred(f.OccurredAt),
	)
}

// Kind returns KindFriendshipAdded or KindFriendshipRemoved.
func (f *Friendship) Kind() Kind {
	if f.Removed {
		return KindFriendshipRemoved
	}
	return KindFriendshipAdded
}

// Message returns the friendship as a record for its topic, keyed by the pair, lower id first.
func (f Friendship) Message() record.Record {
	kind := KindFriendshipAdded
	if f.Removed {
		kind = KindFriendshipRemoved
	}
	env := Envelope{ID: f.EventID, Source: f.Source, Kind: kind, Time: f.OccurredAt}
	f.EventID, f.Source, f.Removed = "", "", false
	low, high := f.Pair()
	return record.Record{
		Topic: TopicFriendships, Partition: record.AnyPartition, Key: []byte(low + "|" + high),
		Value: encode(f), Headers: env.Headers(ContentTypeJSON),
	}
}

// Record returns f.Message().
func (f *Friendship) Record() record.Record { return f.Message() }

// Identity returns pointers to id, source and time.
func (f *Friendship) Identity() (id, source *string, occurredAt *time.Time) {
	return &f.EventID, &f.Source, &f.OccurredAt
}

// DecodeFriendship reads a friendship from r as DecodeInteraction does; Removed follows the kind
// when there is one.
func DecodeFriendship(r *record.Record) (Friendship, error) {
	env, value, err := contentOf(r, "")
	if err != nil {
		return Friendship{}, err
	}
	switch env.Kind {
	case KindUserErased:
		return Friendship{}, ErrErasureMarker
	case "", KindFriendshipAdded, KindFriendshipRemoved:
	default:
		return Friendship{}, wrongKind(env.Kind, KindFriendshipAdded, KindFriendshipRemoved)
	}
	var x Friendship
	if err := readFriendship(value, &x); err != nil {
		return Friendship{}, err
	}
	if env.Kind != "" {
		x.Removed = env.Kind == KindFriendshipRemoved
	}
	if err := fill(
		r, env, &x.EventID, &x.Source, &x.OccurredAt, &x.ClientTime,
	); err != nil {
		return x, err
	}
	return x, x.Validate()
}

// readFriendship reads a friendship from a plain value.
func readFriendship(value []byte, x *Friendship) error {
	s := scan(value)
	for s.next() {
		switch string(s.key) {
		case "event_id":
			s.text(&x.EventID)
		case "source":
			s.text(&x.Source)
		case "user_id":
			s.text(&x.UserID)
		case "friend_id":
			s.text(&x.FriendID)
		case "removed":
			s.flag(&x.Removed)
		case "occurred_at":
			s.time(&x.OccurredAt)
		default:
			s.skip()
		}
	}
	return s.err
}
