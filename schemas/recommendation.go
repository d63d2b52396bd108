package schemas

import (
	"encoding/json"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// KindRecommendation is the kind of a Recommendation.
const KindRecommendation Kind = "recommendation.served.v1"

func recommendationServed() definition {
	return definition{
		kind: KindRecommendation, decode: decoding(DecodeRecommendation),
		topics: []string{TopicRecommendations, TopicRecommendationsCurrent},
	}
}

// Recommendation is one served list, the same on the topic and over REST.
type Recommendation struct {
	UserID           string `json:"user_id"`
	RecommendationID string `json:"recommendation_id"`
	Strategy         string `json:"strategy"`
	Variant          string `json:"variant"`
	// Version is the position (sinks.Position) of the profile change that the list answers, 0 for a
	// list made on request. Of a user's lists on recommendations.current the one with the highest
	// version stands, of equal versions the latest on the topic.
	Version     int64     `json:"version"`
	GeneratedAt time.Time `json:"generated_at"`
	ExpiresAt   time.Time `json:"expires_at"`
	CausedBy    CausedBy  `json:"caused_by"`
	// Degraded names what is missing ("vectors", "friends", "trending"); empty when nothing is.
	Degraded []string `json:"degraded"`
	// Notes say what a developer may wonder about the list; empty when there is nothing to say.
	Notes []Note            `json:"notes,omitempty"`
	Items []RecommendedItem `json:"items"`
}

// Note says why a list is not as one might expect.
type Note struct {
	// Code is one of the Note constants, for programs.
	Code string `json:"code"`
	// Message is a sentence, for a developer.
	Message string `json:"message"`
}

// The codes of notes.
const (
	// NoteHoldout: the user gets the baseline, whatever the user does.
	NoteHoldout = "holdout"
	// NoteUnknownGenre: no item has one of the genres asked for.
	NoteUnknownGenre = "unknown_genre"
	// NoteEmptyCatalog: there is no item that could be recommended.
	NoteEmptyCatalog = "empty_catalog"
	// NoteNothingLeft: there are items, and the user has taken, refused or excluded all of them.
	NoteNothingLeft = "nothing_left"
)

// CausedBy is what a list answers: the newest event it reflects, or a request.
type CausedBy struct {
	// Trigger is "event" or "request".
	Trigger string `json:"trigger"`
	// Topic, Partition and Offset are the position of the newest event that the list reflects.
	Topic     string `json:"topic,omitempty"`
	Partition int    `json:"partition,omitempty"`
	Offset    int64  `json:"offset,omitempty"`
	EventID   string `json:"event_id,omitempty"`
	// OccurredAt is when the newest event happened, RecordedAt when the log took it. AcceptedAt is
	// when the log took the oldest event that no list answered before.
	OccurredAt time.Time `json:"occurred_at,omitzero"`
	RecordedAt time.Time `json:"recorded_at,omitzero"`
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
func (x Recommendation) Message(topic string) record.Record {
	env := Envelope{
		ID:     x.RecommendationID,
		Source: "slipstream", Kind: KindRecommendation, Time: x.GeneratedAt,
	}
	return record.Record{
		Topic: topic, Partition: record.AnyPartition, Key: []byte(x.UserID),
		Value: encode(x), Headers: env.Headers(ContentTypeJSON),
	}
}

// DecodeRecommendation reads a served list; ErrErasureMarker for an erasure marker.
func DecodeRecommendation(r *record.Record) (Recommendation, error) {
	var x Recommendation
	env, value, err := contentOf(r, KindRecommendation)
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
	if err := decodeJSON(value, &x); err != nil {
		return x, err
	}
	return x, firstError(
		id("user_id", x.UserID, true), id("recommendation_id", x.RecommendationID, true),
	)
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
