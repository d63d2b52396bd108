package processors

import (
	"errors"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// NewReplayCheck returns a deadletter.Check: it decodes a corrected record of a group's replay
// topic as the group does, and returns the key that a record with its value has, nil where the
// value does not say. The error says what is wrong with it, also that it is another event than the
// original. actions is the table of actions, nil that of the built-in ones. The check may be called
// concurrently.
func NewReplayCheck(
	actions *schemas.Actions,
) func(group string, original, corrected *record.Record) (key []byte, err error) {
	actions = orBuiltIn(actions)
	return func(group string, original, corrected *record.Record) ([]byte, error) {
		return checkReplay(group, original, corrected, actions)
	}
}

func checkReplay(
	group string, original, r *record.Record, actions *schemas.Actions,
) ([]byte, error) {
	d, ok := Declared(group)
	if !ok || len(d.Inputs) == 0 {
		return nil, errors.New("there is no group " + group)
	}
	topic := firstTopic(r, group, d.Inputs)
	keyless := *r
	if len(r.Value) > 0 {
		keyless.Key = nil // it may be what is wrong
	}
	err := decodeAs(topic, &keyless, actions)
	if err != nil && !errors.Is(err, schemas.ErrErasureMarker) {
		return nil, err
	}
	if topic == schemas.TopicInteractions || topic == schemas.TopicFriendships ||
		topic == schemas.TopicItems || topic == schemas.TopicUsers {
		if err := schemas.KeepsIdentity(original, r); err != nil {
			return nil, err
		}
	}
	return keyOf(topic, &keyless), nil
}

// keyOf returns the key of what a record holds that can be decoded, nil where the record alone has
// it.
func keyOf(topic string, r *record.Record) []byte {
	if len(r.Value) == 0 {
		return nil
	}
	var out record.Record
	switch topic {
	case schemas.TopicInteractions:
		if x, err := schemas.DecodeInteraction(r); err == nil {
			out = x.Message()
		}
	case schemas.TopicFriendships:
		if x, err := schemas.DecodeFriendship(r); err == nil {
			out = x.Message()
		}
	case schemas.TopicItems:
		if x, err := schemas.DecodeItem(r); err == nil {
			out = x.Message()
		}
	case schemas.TopicUsers:
		if x, err := schemas.DecodeUser(r); err == nil {
			out = x.Message()
		}
	}
	return out.Key
}
