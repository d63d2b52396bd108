package schemas

import (
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// KindRecommendationExpired is the kind of a RecommendationExpired.
const KindRecommendationExpired Kind = "recommendation.expired.v1"

func recommendationExpired() definition {
	return definition{
		kind: KindRecommendationExpired, decode: decoding(DecodeRecommendationExpired),
		topics: []string{TopicProfileChanges},
	}
}

// RecommendationExpired asks the owner of a user's list to withdraw it, unless there is a newer
// one. It stands in line with the changes of the user's profile.
type RecommendationExpired struct {
	UserID string `json:"user_id"`
	// Version is that of the list. Partition and Offset are its position on
	// recommendations.current.
	Version   int64 `json:"version"`
	Partition int   `json:"partition"`
	Offset    int64 `json:"offset"`
	// End is the offset up to which the partition was read: there was no newer list before it.
	End int64 `json:"end"`
	// AskedAt is the time of asking.
	AskedAt time.Time `json:"asked_at"`
}

// Message returns the request as a record for profile-changes, keyed by user.
func (x *RecommendationExpired) Message() record.Record {
	env := Envelope{
		ID:     fmt.Sprintf("%s/%d/%d", TopicRecommendationsCurrent, x.Partition, x.Offset),
		Source: "slipstream", Kind: KindRecommendationExpired, Time: x.AskedAt,
	}
	return record.Record{
		Topic: TopicProfileChanges, Partition: record.AnyPartition, Key: []byte(x.UserID),
		Value: encode(x), Headers: env.Headers(ContentTypeJSON),
	}
}

// IsRecommendationExpired tells whether a record of profile-changes is a RecommendationExpired.
func IsRecommendationExpired(r *record.Record) bool {
	return r.Header(HeaderType) == string(KindRecommendationExpired)
}

// DecodeRecommendationExpired reads a request to withdraw a list.
func DecodeRecommendationExpired(r *record.Record) (RecommendationExpired, error) {
	var x RecommendationExpired
	env, value, err := contentOf(r, KindRecommendationExpired)
	if err != nil {
		return x, err
	}
	if env.Kind != KindRecommendationExpired {
		return x, wrongKind(env.Kind, KindRecommendationExpired)
	}
	if err := decodeJSON(value, &x); err != nil {
		return x, err
	}
	return x, id("user_id", x.UserID, true)
}
