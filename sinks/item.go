package sinks

import (
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// Item is an item's point.
type Item struct {
	// Content is the item as the catalog has it.
	Content schemas.Item
	// Vector is (V_i, b_i), d+1 numbers, with the content's part added in.
	Vector []float32
	// ContentVector is the normalised vector of genres, people and tags; nil when the item has
	// none.
	ContentVector []float32
	// Version grows with every change of the item's factors or content. Stores keep the highest.
	Version uint64
	// Count is how many people the learner has counted for the item, each once.
	Count float64
	// ChangedAt is the log's time of the newest record that changed it.
	ChangedAt time.Time
}

// HasEntry tells whether the catalog has an entry of the item, which always has a title. Other
// items are ids that only events name.
func (x *Item) HasEntry() bool { return x.Content.Title != "" }

// ItemVersion names a version of an item.
type ItemVersion struct {
	ID      string
	Version uint64
}

// ItemQuery asks for the items nearest to a vector.
type ItemQuery struct {
	// Vector is a user's (q_u, 1) or an item's (V_i, 0); with Content set, a content vector.
	Vector []float32
	// Content searches content vectors (cosine) in place of the learned ones (inner product).
	Content bool
	// N is how many items are wanted, 1 to 1000.
	N int
	// Exclude are keys (schemas.Key) of items to leave out: seen, hidden.
	Exclude []uint64
	// Genres, when not empty, asks for items that have at least one of them.
	Genres []string
	// MaxCount, when > 0, asks for cold items: those with at most this Count.
	MaxCount float64
	// CatalogOnly asks for items with a catalog entry (Item.HasEntry).
	CatalogOnly bool
	// KeysOnly returns only Key and Score, which is much cheaper. It is for callers that cache
	// items.
	KeysOnly bool
}

// ItemHit is an item found by a search. The item's vectors are not set; with KeysOnly the item is
// empty.
type ItemHit struct {
	// Key is the item's (schemas.Key).
	Key   uint64
	Item  Item
	Score float64
}
