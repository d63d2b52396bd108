package processors

import (
	"strings"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// firstTopic returns the topic from which a group read a record first: for a replayed dead letter
// the one that its headers name, which must be one of the inputs, else where it stands. The headers
// have the name on the broker, with the prefix of the installation, and maybe that of an older
// version. A replay that names no input counts as one of the first input, whose decoder says what
// is wrong with it.
func firstTopic(r *record.Record, group string, inputs []string) string {
	if r.Topic != record.ReplayTopic(group) {
		return r.Topic
	}
	told := r.Header(record.HeaderTopic)
	for _, input := range inputs {
		if strings.HasSuffix(told, input) {
			return input
		}
	}
	for old, now := range schemas.Renamed().Topics {
		if strings.HasSuffix(told, old) {
			return now
		}
	}
	return inputs[0]
}

// replayedLetter returns the id of the dead letter that was replayed to a group, "" for a record
// that is none.
func replayedLetter(r *record.Record, group string) string {
	if r.Topic != record.ReplayTopic(group) {
		return ""
	}
	return r.Header(record.HeaderID)
}

// replayed adds a replayed dead letter to the window of its partition, and tells whether it was
// replayed before.
func (w *window) replayed(r *record.Record) bool {
	id := r.Header(record.HeaderID)
	return id != "" && w.seen(r.Offset, replayIdentity(r, id))
}

// replayIdentity returns the key of a replayed dead letter for deduplication: its id, with the
// attempts that it had been charged with. A correction does not change it.
func replayIdentity(r *record.Record, id string) [2]uint64 {
	return eventKey("replay", id+"/"+r.Header(record.HeaderAttempts))
}

// decodable tells whether analytics can decode a record.
func (p *Analytics) decodable(r *record.Record) bool {
	topic := firstTopic(r, schemas.GroupAnalytics, analyticsInputs())
	return decodeAs(topic, r, p.actions) == nil
}

// decodeAs decodes a record as those of a topic are decoded, and returns what is wrong with it.
func decodeAs(topic string, r *record.Record, actions *schemas.Actions) (err error) {
	switch topic {
	case schemas.TopicInteractions:
		_, err = decodeDeclared(r, actions)
	case schemas.TopicFriendships:
		_, err = schemas.DecodeFriendship(r)
	case schemas.TopicItems:
		_, err = schemas.DecodeItem(r)
	case schemas.TopicUsers:
		if len(r.Value) > 0 { // else it is the tombstone after an erasure
			_, err = schemas.DecodeUser(r)
		}
	case schemas.TopicRecommendations:
		_, err = schemas.DecodeRecommendation(r)
	case schemas.TopicProfileChanges:
		if schemas.IsRecommendationExpired(r) {
			_, err = schemas.DecodeRecommendationExpired(r)
		} else {
			_, err = schemas.DecodeProfileChanged(r)
		}
	case schemas.TopicItemGradients:
		_, _, _, err = decodeGradients(r.Value)
	}
	return err
}
