package schemas

import (
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// KindTrendingComputed is the kind of a Trending.
const KindTrendingComputed Kind = "trending.computed.v1"

func trendingComputed() definition {
	return definition{
		kind: KindTrendingComputed, decode: decoding(DecodeTrending),
		topics: []string{TopicTrending},
	}
}

// Trending is the list of what is popular now, with decay; one record of the compacted topic
// trending per scope.
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
func (x Trending) Message() record.Record {
	env := Envelope{
		ID:     x.ComputedAt.UTC().Format(time.RFC3339Nano),
		Source: "slipstream", Kind: KindTrendingComputed, Time: x.ComputedAt,
	}
	return record.Record{
		Topic: TopicTrending, Partition: 0, Key: []byte("all"),
		Value: encode(x), Headers: env.Headers(ContentTypeJSON),
	}
}

// DecodeTrending reads a trending list.
func DecodeTrending(r *record.Record) (Trending, error) {
	var x Trending
	return x, decodeJSON(r.Value, &x)
}
