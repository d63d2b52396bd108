// Package sinks holds the contracts of the stores: small interfaces and the values that cross them. Each has an embedded engine (sinks/sqlite) and a
// real one (sinks/qdrant, sinks/neo4j, sinks/clickhouse), and one suite in sinks/sinktest that both pass.
//
// Common to all methods: safe for concurrent use; they return after the effect is durable; they do not keep or change their arguments; a cancelled
// context ends them soon; errors carry a class (fault) that their engine gives; empty batches are no-ops; repeating a
// call that failed, or whose answer was lost, brings about the same state as one call.
package sinks

import (
	"context"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// Store is what every store can do beside its contract.
type Store interface {
	// Migrate creates or upgrades what the store needs (collections, tables, constraints) and is a no-op when it is there.
	Migrate(ctx context.Context) error
	// LogID returns the id of the log whose events the store holds, or "" when it holds none.
	LogID(ctx context.Context) (string, error)
	// SetLogID writes the id down; migrate does so once, on an empty store.
	SetLogID(ctx context.Context, id string) error
	// Ping returns nil when the store answers.
	Ping(ctx context.Context) error
	Close() error
}

// User is a user's point: the query vector with everything that is needed to compute the next one.
type User struct {
	ID string
	// Vector is (q_u, 1), d+1 numbers: its inner product with an item's vector is the score. nil for a user who has not taken anything yet.
	Vector []float32
	// State is the model's user state, encoded by it; opaque to stores.
	State []byte
	// Positions are the offsets absorbed, by Source.Topic.
	Positions map[string]int64
	// LastEventAt is the time of the newest event absorbed; ChangedAt the log's time of the newest record absorbed.
	LastEventAt, ChangedAt time.Time
}

// Source is one partition of the log that a user's point absorbs. A user's events come from one partition of interactions and, after a
// replay of dead letters, from one partition of the replay topic.
type Source struct {
	Topic     string
	Partition int
}

// Neighbour is a point found by a search; Score is the inner product, higher is nearer.
type Neighbour struct {
	ID    string
	Score float64
}

// UserQuery asks for the users nearest to a vector.
type UserQuery struct {
	// Vector is a user's, d+1 numbers.
	Vector []float32
	// N is how many are wanted, 1 to 1000.
	N int
	// Exclude are ids that must not come.
	Exclude []string
}

// Users stores one point per user. Its only writer is the processor embed.
type Users interface {
	Store
	// GetUsers returns the users found, in any order; an unknown id is absent, not an error.
	GetUsers(ctx context.Context, ids []string) ([]User, error)
	// PutUsers writes each user, whole, if the stored point has not absorbed position Positions[src.Topic] of src yet: a stored point
	// with an equal or higher one stays, so that a late writer cannot undo a newer vector. All users of a call come from src.
	PutUsers(ctx context.Context, src Source, batch []User) error
	// SimilarUsers answers each query with the N users whose vectors have the highest inner product with it, best first, by id among equals.
	SimilarUsers(ctx context.Context, queries []UserQuery) ([][]Neighbour, error)
	// ExpireUsers forgets users whose ChangedAt is before t, at most limit of them, and returns how many.
	ExpireUsers(ctx context.Context, t time.Time, limit int) (int, error)
	// EachUser calls f for every user, in any order, until f fails. It is for rebuilds, tests and comparisons, not for serving.
	EachUser(ctx context.Context, f func(User) error) error
	CountUsers(ctx context.Context) (int64, error)
}

// Item is an item's point.
type Item struct {
	// Content is the item as the catalogue has it.
	Content schemas.Item
	// Vector is (V_i, b_i), d+1 numbers, with the content's part added in.
	Vector []float32
	// ContentVector is the normalised vector of genres, people and tags; nil when the item has none.
	ContentVector []float32
	// Version grows with every change of the item's rows or content: the higher one stays.
	Version uint64
	// Count is how many events the learner has counted for the item.
	Count float64
	// ChangedAt is the log's time of the newest record that changed it.
	ChangedAt time.Time
}

// ItemQuery asks for the items nearest to a vector.
type ItemQuery struct {
	// Vector is a user's (q_u, 1) or an item's (V_i, 0); with Content set, a content vector.
	Vector []float32
	// Content searches content vectors (cosine) in place of the learned ones (inner product).
	Content bool
	// N is how many items are wanted, 1 to 1000.
	N int
	// Exclude are keys (schemas.Key) of items that must not come: seen, hidden.
	Exclude []uint64
	// Genres, when not empty, asks for items that have at least one of them.
	Genres []string
	// MaxCount, when > 0, asks for items that the learner has counted at most so often: new ones.
	MaxCount float64
	// KeysOnly leaves out the items themselves: hits carry Key and Score, which is a fraction of the work. For callers that remember items.
	KeysOnly bool
}

// ItemHit is an item found by a search. The item's vectors are not filled in, and nothing of it when only keys were asked for.
type ItemHit struct {
	// Key is the item's (schemas.Key).
	Key   uint64
	Item  Item
	Score float64
}

// Items stores one point per item. Its only writer is the processor catalog.
type Items interface {
	Store
	// GetItems returns the items found, in any order, with vectors; an unknown id is absent, not an error. Withdrawn items are returned too.
	GetItems(ctx context.Context, ids []string) ([]Item, error)
	// GetItemKeys is GetItems by schemas.Key of the id.
	GetItemKeys(ctx context.Context, keys []uint64) ([]Item, error)
	// PutItems writes each item, whole, unless the stored one has an equal or higher version.
	PutItems(ctx context.Context, batch []Item) error
	// SearchItems answers each query with at most N available items (Content.IsAvailable), best first.
	SearchItems(ctx context.Context, queries []ItemQuery) ([][]ItemHit, error)
	// ItemVersions calls f with the id and version of every item, in any order, until f fails.
	ItemVersions(ctx context.Context, f func(id string, version uint64) error) error
	CountItems(ctx context.Context) (int64, error)
}

// Edge is one change of a friendship. A and B may come in any order.
type Edge struct {
	A, B    string
	Removed bool
	At      time.Time
	// EventID breaks ties of At: the higher one wins.
	EventID string
}

// Suggestion is a person who might become a friend.
type Suggestion struct {
	UserID string `json:"user_id"`
	// Mutual is the number of common friends, ≥ 1; Via names up to three of them.
	Mutual int      `json:"mutual"`
	Via    []string `json:"via"`
}

// Erasure says that everything of a user up to At is to be forgotten.
type Erasure struct {
	UserID string
	At     time.Time
}

// Graph stores friendship edges: last write wins by Edge.At, ties by EventID; order and repetition do not matter.
type Graph interface {
	Store
	// ApplyEdges applies the changes. A removal leaves a tombstone, so that an older addition that comes later stays without effect.
	ApplyEdges(ctx context.Context, batch []Edge) error
	// Friends returns the friends of each user, at most limit for each, in order of id; a user without friends is absent.
	Friends(ctx context.Context, users []string, limit int) (map[string][]string, error)
	// SuggestFriends returns friends of friends who are no friends yet, most mutual friends first, then by id.
	SuggestFriends(ctx context.Context, user string, n int) ([]Suggestion, error)
	// EraseFriends removes the users and their edges up to At, tombstones included. Edges after At stay.
	EraseFriends(ctx context.Context, users []Erasure) error
	// EachEdge calls f for every edge that is there (no tombstones), in any order, with A < B.
	EachEdge(ctx context.Context, f func(Edge) error) error
	CountEdges(ctx context.Context) (int64, error)
}

// Progress is up to where a partition's records are complete in the store.
type Progress struct {
	Topic     string
	Partition int
	// Offset is the last offset of the newest complete range; OccurredAt and RecordedAt are the highest times up to it.
	Offset                 int64
	OccurredAt, RecordedAt time.Time
}

// Scored is an item with a score.
type Scored struct {
	ItemID string
	Score  float64
}

// TrendingQuery asks what was popular: the sum over interactions of Weights[action] * 2^(-(Until - occurred_at) / HalfLife), from hourly rollups.
type TrendingQuery struct {
	// Until is the end of the period; zero means the newest event in the store (public data sets are from the past).
	Until    time.Time
	HalfLife time.Duration
	Weights  map[schemas.Action]float64
	N        int
}

// Analytics stores rows and rollups for analysts. An insert takes all rows of a range at once; inserting a range again, whatever the rows, changes
// nothing where it has landed and fills in where a crash cut it off: rollups agree with their rows. When the store refuses some rows, the
// insert returns *fault.Rejected with Undone set and their indexes, and nothing has landed.
type Analytics interface {
	Store
	// Insert stores the rows of the range r. rows may be nil.
	Insert(ctx context.Context, r schemas.Range, rows Rows) error
	// SetProgress tells that every range up to p.Offset has landed. A lower offset than the stored one changes nothing.
	SetProgress(ctx context.Context, p []Progress) error
	GetProgress(ctx context.Context) ([]Progress, error)
	// EraseUsers removes every row of the users that happened up to At, and their per-user rollups and dead letters; per-item and per-strategy rollups stay.
	EraseUsers(ctx context.Context, users []Erasure) error
	// TrendingItems answers q, best first.
	TrendingItems(ctx context.Context, q TrendingQuery) ([]Scored, error)
	// CountInteractions returns the number of raw rows; Counts the rollups' totals of the same, for comparison.
	CountInteractions(ctx context.Context) (Counts, error)
}

// Counts are totals of the raw rows and of each rollup of them; in an intact store without erasures they are all equal.
type Counts struct {
	Rows, ItemHours, UserDays int64
}
