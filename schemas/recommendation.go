package schemas

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Recommendation is one served list, the same on the topic and over REST.
type Recommendation struct {
	UserID           string    `json:"user_id"`
	RecommendationID string    `json:"recommendation_id"`
	Strategy         string    `json:"strategy"`
	Variant          string    `json:"variant"`
	Version          int64     `json:"version"`
	GeneratedAt      time.Time `json:"generated_at"`
	ExpiresAt        time.Time `json:"expires_at"`
	CausedBy         CausedBy  `json:"caused_by"`
	// Degraded names what is missing ("vectors", "friends", "trending"); empty when nothing is.
	Degraded []string          `json:"degraded"`
	Items    []RecommendedItem `json:"items"`
}

// CausedBy is what a list answers: the newest event it reflects, or a request.
type CausedBy struct {
	// Trigger is "event" or "request".
	Trigger string `json:"trigger"`
	// Topic, Partition and Offset are the position of the newest event that the list reflects.
	Topic     string `json:"topic,omitempty"`
	Partition int    `json:"partition,omitempty"`
	Offset    int64  `json:"offset,omitempty"`
	EventID   string `json:"event_id,omitempty"`
	// OccurredAt is when the newest event happened; AcceptedAt is when the log took the oldest event that no list answered before.
	OccurredAt time.Time `json:"occurred_at,omitzero"`
	AcceptedAt time.Time `json:"accepted_at,omitzero"`
}

// RecommendedItem is one place of a list.
type RecommendedItem struct {
	ItemID string `json:"item_id"`
	// Rank starts at 1.
	Rank  int     `json:"rank"`
	Score float64 `json:"score"`
	// Reason is for people: "because you watched Alien".
	Reason string `json:"reason"`
	// Source is the candidate generator: vectors, similar_users, friends, content, trending.
	Source string `json:"source"`
	Title  string `json:"title,omitempty"`
}

// The strategies.
const (
	StrategyPersonal = "personal"
	StrategyTrending = "trending"
)

// Message returns the list as a record for topic, keyed by user.
func (x *Recommendation) Message(topic string) record.Record {
	env := Envelope{ID: x.RecommendationID, Source: "slipstream", Kind: KindRecommendation, Time: x.GeneratedAt}
	return record.Record{Topic: topic, Partition: record.AnyPartition, Key: []byte(x.UserID), Value: encode(x), Headers: env.Headers(ContentTypeJSON)}
}

// DecodeRecommendation reads a served list; ErrErasureMarker for an erasure marker.
func DecodeRecommendation(r *record.Record) (Recommendation, error) {
	var x Recommendation
	env, err := EnvelopeOf(r, KindRecommendation)
	if err != nil {
		return x, err
	}
	switch env.Kind {
	case KindUserErased:
		return x, ErrErasureMarker
	case KindRecommendation:
	default:
		return x, wrongKind(env.Kind, KindRecommendation)
	}
	if err := decodeJSON(r.Value, &x); err != nil {
		return x, err
	}
	return x, firstError(id("user_id", x.UserID, true), id("recommendation_id", x.RecommendationID, true))
}

// ProfileChanged tells that a user's vector moved, so that a new list is due.
type ProfileChanged struct {
	UserID     string    `json:"user_id"`
	Topic      string    `json:"topic"`
	Partition  int       `json:"partition"`
	Offset     int64     `json:"offset"`
	EventID    string    `json:"event_id,omitempty"`
	OccurredAt time.Time `json:"occurred_at"`
	// AcceptedAt is when the log took the oldest event of the change.
	AcceptedAt time.Time `json:"accepted_at"`
}

// Message returns the change as a record for its topic, keyed by user.
func (x *ProfileChanged) Message() record.Record {
	env := Envelope{ID: fmt.Sprintf("%s/%d/%d", x.Topic, x.Partition, x.Offset), Source: "slipstream", Kind: KindProfileChanged, Time: x.OccurredAt}
	return record.Record{Topic: TopicProfiles, Partition: record.AnyPartition, Key: []byte(x.UserID), Value: encode(x), Headers: env.Headers(ContentTypeJSON)}
}

// DecodeProfileChanged reads a change of a profile; ErrErasureMarker for an erasure marker.
func DecodeProfileChanged(r *record.Record) (ProfileChanged, error) {
	var x ProfileChanged
	env, err := EnvelopeOf(r, KindProfileChanged)
	if err != nil {
		return x, err
	}
	if env.Kind == KindUserErased {
		return x, ErrErasureMarker
	}
	if err := decodeJSON(r.Value, &x); err != nil {
		return x, err
	}
	return x, id("user_id", x.UserID, true)
}

// Erasure says that a person was erased, without saying who: only the hash of the id is kept.
type Erasure struct {
	UserKey  uint64    `json:"user_key,string"`
	ErasedAt time.Time `json:"erased_at"`
}

// Message returns the erasure as a record of the compacted topic erasures, keyed by the hash.
func (x Erasure) Message() record.Record {
	env := Envelope{ID: fmt.Sprintf("%016x", x.UserKey), Source: "slipstream", Kind: KindUserErasureRecorded, Time: x.ErasedAt}
	return record.Record{Topic: TopicErasures, Partition: record.AnyPartition, Key: fmt.Appendf(nil, "%016x", x.UserKey), Value: encode(x), Headers: env.Headers(ContentTypeJSON)}
}

// DecodeErasure reads an erasure.
func DecodeErasure(r *record.Record) (Erasure, error) {
	var x Erasure
	return x, decodeJSON(r.Value, &x)
}

// Trending is the list of what is popular now, with decay; one record of the compacted topic trending per scope.
type Trending struct {
	ComputedAt time.Time      `json:"computed_at"`
	HalfLife   string         `json:"half_life"`
	Items      []TrendingItem `json:"items"`
}

// TrendingItem is one item of Trending; Score is the decayed weighted count, > 0.
type TrendingItem struct {
	ItemID string  `json:"item_id"`
	Score  float64 `json:"score"`
}

// Message returns the list as a record of its topic.
func (x *Trending) Message() record.Record {
	env := Envelope{ID: x.ComputedAt.UTC().Format(time.RFC3339Nano), Source: "slipstream", Kind: KindTrendingComputed, Time: x.ComputedAt}
	return record.Record{Topic: TopicTrending, Partition: 0, Key: []byte("all"), Value: encode(x), Headers: env.Headers(ContentTypeJSON)}
}

// DecodeTrending reads a trending list.
func DecodeTrending(r *record.Record) (Trending, error) {
	var x Trending
	return x, decodeJSON(r.Value, &x)
}

// MarshalJSON never writes null lists: consumers iterate without a check.
func (x Recommendation) MarshalJSON() ([]byte, error) {
	type plain Recommendation
	if x.Degraded == nil {
		x.Degraded = []string{}
	}
	if x.Items == nil {
		x.Items = []RecommendedItem{}
	}
	return json.Marshal(plain(x))
}
