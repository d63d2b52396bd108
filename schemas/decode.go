package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// ErrErasureMarker is returned by DecodeInteraction and DecodeFriendship for a record that marks the erasure of a user; decode it with DecodeUser.
var ErrErasureMarker = errors.New("the record is an erasure marker")

// DecodeInteraction reads an interaction from r, in CloudEvents binary mode or as a plain value, and validates it. Every error but
// ErrErasureMarker means that the record is unwell for good.
func DecodeInteraction(r *record.Record) (Interaction, error) {
	env, err := EnvelopeOf(r, KindInteraction)
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
	if err := readInteraction(r.Value, &x); err != nil {
		return Interaction{}, err
	}
	fill(r, env, &x.EventID, &x.Source, &x.OccurredAt)
	return x, x.Validate()
}

// DecodeFriendship reads a friendship from r as DecodeInteraction does; Removed follows the kind when there is one.
func DecodeFriendship(r *record.Record) (Friendship, error) {
	env, err := EnvelopeOf(r, "")
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
	if err := readFriendship(r.Value, &x); err != nil {
		return Friendship{}, err
	}
	if env.Kind != "" {
		x.Removed = env.Kind == KindFriendshipRemoved
	}
	fill(r, env, &x.EventID, &x.Source, &x.OccurredAt)
	return x, x.Validate()
}

// DecodeItem reads an item from r as DecodeInteraction does. A tombstone (nil value) is a withdrawal of the item named by the key.
func DecodeItem(r *record.Record) (Item, error) {
	env, err := EnvelopeOf(r, "")
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
	} else if err := readItem(r.Value, &x); err != nil {
		return Item{}, err
	}
	if env.Kind != "" {
		x.Withdrawn = env.Kind == KindItemWithdrawn
	}
	fill(r, env, &x.EventID, &x.Source, &x.OccurredAt)
	return x, x.Validate()
}

// DecodeUser reads a user's attributes or erasure from r as DecodeInteraction does.
func DecodeUser(r *record.Record) (User, error) {
	env, err := EnvelopeOf(r, "")
	if err != nil {
		return User{}, err
	}
	switch env.Kind {
	case "", KindUserUpdated, KindUserErased:
	default:
		return User{}, wrongKind(env.Kind, KindUserUpdated, KindUserErased)
	}
	var x User
	if err := readUser(r.Value, &x); err != nil {
		return User{}, err
	}
	if env.Kind != "" {
		x.Erased = env.Kind == KindUserErased
	}
	fill(r, env, &x.EventID, &x.Source, &x.OccurredAt)
	return x, x.Validate()
}

// fill completes id, source and time: the envelope's first, then the value's own, then the record's position and time.
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
	return fmt.Errorf("kind %q does not belong here, want one of %q", truncate(string(got), 64), want)
}
