package schemas

import (
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// KindProfileChanged is the kind of a ProfileChanged.
const KindProfileChanged Kind = "profile.changed.v1"

func profileChanged() definition {
	return definition{
		kind: KindProfileChanged, decode: decoding(DecodeProfileChanged),
		topics: []string{TopicProfileChanges},
	}
}

// ProfileChanged tells that a user's vector moved, so that a new list is due.
type ProfileChanged struct {
	UserID     string    `json:"user_id"`
	Topic      string    `json:"topic"`
	Partition  int       `json:"partition"`
	Offset     int64     `json:"offset"`
	EventID    string    `json:"event_id,omitempty"`
	OccurredAt time.Time `json:"occurred_at"`
	// RecordedAt is when the log took the newest event of the change. Older versions leave it out.
	RecordedAt time.Time `json:"recorded_at,omitzero"`
	// AcceptedAt is when the log took the oldest event of the change.
	AcceptedAt time.Time `json:"accepted_at"`
}

// Message returns the change as a record for its topic, keyed by user.
func (x ProfileChanged) Message() record.Record {
	env := Envelope{
		ID:     fmt.Sprintf("%s/%d/%d", x.Topic, x.Partition, x.Offset),
		Source: "slipstream", Kind: KindProfileChanged, Time: x.OccurredAt,
	}
	return record.Record{
		Topic: TopicProfileChanges, Partition: record.AnyPartition, Key: []byte(x.UserID),
		Value: encode(x), Headers: env.Headers(ContentTypeJSON),
	}
}

// DecodeProfileChanged reads a change of a profile; ErrErasureMarker for an erasure marker.
func DecodeProfileChanged(r *record.Record) (ProfileChanged, error) {
	var x ProfileChanged
	env, value, err := contentOf(r, KindProfileChanged)
	if err != nil {
		return x, err
	}
	if env.Kind == KindUserErased {
		return x, ErrErasureMarker
	}
	if err := decodeJSON(value, &x); err != nil {
		return x, err
	}
	return x, id("user_id", x.UserID, true)
}
