package schemas

import (
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// KindUserErasureRecorded is the kind of an Erasure.
const KindUserErasureRecorded Kind = "user_erasure.recorded.v1"

func userErasureRecorded() definition {
	return definition{
		kind: KindUserErasureRecorded, decode: decoding(DecodeErasure),
		topics: []string{TopicErasures},
	}
}

// Erasure says that a person was erased, without saying who: only the hash of the id is kept.
type Erasure struct {
	UserKey uint64 `json:"user_key,string"`
	// ErasedAt is when the log took the erasure: what happened or was recorded until then is gone.
	ErasedAt time.Time `json:"erased_at"`
	// EventKey is a hash of the event's source and id, which tells an erasure that was sent twice
	// from one that was asked for again. Empty in what older versions wrote.
	EventKey string `json:"event_key,omitempty"`
}

// Message returns the erasure as a record of the compacted topic erasures, keyed by the hash.
func (x Erasure) Message() record.Record {
	env := Envelope{
		ID:     fmt.Sprintf("%016x", x.UserKey),
		Source: "slipstream", Kind: KindUserErasureRecorded, Time: x.ErasedAt,
	}
	return record.Record{
		Topic: TopicErasures, Partition: record.AnyPartition,
		Key:   fmt.Appendf(nil, "%016x", x.UserKey),
		Value: encode(x), Headers: env.Headers(ContentTypeJSON),
	}
}

// DecodeErasure reads an erasure. The rule for the times of events holds for it as well: older
// versions took the client's time.
func DecodeErasure(r *record.Record) (Erasure, error) {
	var x Erasure
	err := decodeJSON(r.Value, &x)
	x.ErasedAt = eventTime(r, x.ErasedAt)
	return x, err
}
