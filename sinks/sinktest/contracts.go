package sinktest

import (
	"context"
	"io"
	"time"

	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Store is what every engine does, whatever it stores. Close may be called again.
type Store interface {
	io.Closer
	// Migrate creates or upgrades collections, tables and constraints. It is a no-op where they
	// exist.
	Migrate(ctx context.Context) error
	// LogID returns the id of the log whose events the store holds, or "" when it holds none.
	LogID(ctx context.Context) (string, error)
	// SetLogID stores the id. Callers do so once, on an empty store. With an empty id the store
	// holds the events of no log any more, and has to be rebuilt.
	SetLogID(ctx context.Context, id string) error
	// Ping returns nil when the store answers.
	Ping(ctx context.Context) error
}

// Users is the contract of a store of users: one point per user, written by the embed processor
// only.
type Users interface {
	Store
	UserReader
	UserWriter
	UserLister
}

// UserReader finds users.
type UserReader interface {
	// GetUsers returns the users found, in any order. An unknown id is absent, not an error.
	GetUsers(ctx context.Context, ids []string) ([]sinks.User, error)
	// SimilarUsers answers each query with the N users whose vectors have the highest inner product
	// with its vector, best first. Equal scores are ordered by id. Users without a vector are not
	// found.
	SimilarUsers(ctx context.Context, queries []sinks.UserQuery) ([][]sinks.Neighbour, error)
}

// UserWriter changes users.
type UserWriter interface {
	// PutUsers writes each user, whole, unless the stored point has absorbed position
	// Positions[src.Topic] of src already. A stored point with an equal or higher position stays,
	// so a late writer cannot undo a newer vector. A stored plain offset is a position of
	// sinks.FirstEpoch. All users of a call come from src. A user without a position of src, or
	// with one that is not valid, is a permanent error; then nothing is written.
	PutUsers(ctx context.Context, src sinks.Source, batch []sinks.User) error
	// ForgetUsers removes each user who was erased, unless the user has returned: the stored point
	// has absorbed a higher position of src than the erasure's, and its ChangedAt is later. So a
	// late deleter cannot remove what its successor has learned. A position that is not valid is a
	// permanent error; then nothing is removed.
	ForgetUsers(ctx context.Context, src sinks.Source, batch []sinks.UserErasure) error
	// ExpireUsers removes users whose ChangedAt is before t, at most limit of them, and returns how
	// many.
	ExpireUsers(ctx context.Context, t time.Time, limit int) (int, error)
}

// UserLister visits many users. It is for rebuilds, gaps and comparisons, not for serving.
type UserLister interface {
	// ChangedUsers returns at most limit users whose ChangedAt is at since or after it, to the
	// microsecond; a zero since is before all. The latest change comes first. after is the last
	// user of the page before, nil for the first page; fewer users than limit are the last page. A
	// user who changes between two pages may come again or not at all. A page costs what its own
	// length costs, however many users there are and however many have changed at the same time.
	// Users without a ChangedAt, which erasures leave for a moment, are left out.
	ChangedUsers(
		ctx context.Context, since time.Time, after *sinks.UserChange, limit int,
	) ([]sinks.UserChange, error)
	// EachUser calls f for every user, in any order, until f fails, and returns that error.
	EachUser(ctx context.Context, f func(sinks.User) error) error
	// CountUsers returns the number of users.
	CountUsers(ctx context.Context) (int64, error)
}

// Items is the contract of a store of items: one point per item, written by the catalog processor
// only.
type Items interface {
	Store
	ItemReader
	ItemWriter
	ItemLister
}

// ItemReader finds items.
type ItemReader interface {
	// GetItems returns the items found, in any order, with vectors. An unknown id is absent, not an
	// error. Withdrawn items are returned too.
	GetItems(ctx context.Context, ids []string) ([]sinks.Item, error)
	// GetItemKeys is GetItems by schemas.Key of the id.
	GetItemKeys(ctx context.Context, keys []uint64) ([]sinks.Item, error)
	// SearchItems answers each query with at most N available items (Content.IsAvailable), best
	// first.
	SearchItems(ctx context.Context, queries []sinks.ItemQuery) ([][]sinks.ItemHit, error)
}

// ItemWriter changes items.
type ItemWriter interface {
	// PutItems writes each item, whole, unless the stored one has an equal or higher version.
	PutItems(ctx context.Context, batch []sinks.Item) error
	// DeleteItems removes each item unless the stored one has a higher version. An unknown id is no
	// error.
	DeleteItems(ctx context.Context, batch []sinks.ItemVersion) error
}

// ItemLister visits all items.
type ItemLister interface {
	// ItemVersions calls f with the id and version of every item, in any order, until f fails, and
	// returns that error.
	ItemVersions(ctx context.Context, f func(id string, version uint64) error) error
	// CountItems returns the number of items, withdrawn ones included.
	CountItems(ctx context.Context) (int64, error)
}

// Graph is the contract of a store of friendships. The last write wins by Edge.At, ties by
// Edge.EventID, so order and repetition of the changes do not matter.
type Graph interface {
	Store
	FriendReader
	EdgeWriter
	EdgeLister
}

// FriendReader finds friends.
type FriendReader interface {
	// Friends returns the friends of each user in order of id, at most limit per user. A user
	// without friends is absent.
	Friends(ctx context.Context, users []string, limit int) (map[string][]string, error)
	// SuggestFriends returns at most n friends of friends who are not friends yet, most mutual
	// friends first, then by id.
	SuggestFriends(ctx context.Context, user string, n int) ([]sinks.Suggestion, error)
}

// EdgeWriter changes friendships.
type EdgeWriter interface {
	// ApplyEdges applies the changes. A removal leaves a tombstone, so that an older addition that
	// arrives later has no effect. An edge of a user with themselves is a permanent error; then
	// nothing is written.
	ApplyEdges(ctx context.Context, batch []sinks.Edge) error
	// EraseFriends removes the users and their edges, tombstones included, where At or RecordedAt
	// of the edge is not later than the erasure. Other edges stay.
	EraseFriends(ctx context.Context, users []sinks.Erasure) error
}

// EdgeLister visits all friendships. It is for rebuilds and comparisons, not for serving.
type EdgeLister interface {
	// EachEdge calls f for every edge that is not removed, in any order, with A < B, until f fails,
	// and returns that error.
	EachEdge(ctx context.Context, f func(sinks.Edge) error) error
	// CountEdges returns the number of edges that are not removed.
	CountEdges(ctx context.Context) (int64, error)
}

// Analytics is the contract of a store of rows and rollups for analysts.
type Analytics interface {
	Store
	RowWriter
	ProgressStore
	RollupReader
}

// RowWriter changes rows.
type RowWriter interface {
	// Insert stores the rows of the range r and adds them to the rollups, exactly once per r and
	// kind of rows. Rows must be all rows of the range, or nil. Inserting a range again, whatever
	// the rows, changes nothing where it has landed and completes it where a crash cut it off:
	// rollups always agree with their rows. When the store cannot hold some rows, Insert returns
	// *fault.Rejected with Undone set and the indexes of those rows, and nothing has landed.
	Insert(ctx context.Context, r record.Range, rows sinks.Rows) error
	// EraseUsers removes every row of the users that happened, or was recorded, not later than At,
	// with its part of the per-user rollups, and all their dead letters. Rollups per item and per
	// strategy stay.
	EraseUsers(ctx context.Context, users []sinks.Erasure) error
}

// ProgressStore stores up to which offset partitions are complete.
type ProgressStore interface {
	// SetProgress declares that every range up to p.Offset has landed. A lower offset than the
	// stored one changes nothing.
	SetProgress(ctx context.Context, p []sinks.Progress) error
	// GetProgress returns the progress of every partition that has any.
	GetProgress(ctx context.Context) ([]sinks.Progress, error)
}

// RollupReader asks the rollups.
type RollupReader interface {
	// TrendingItems answers q, best first.
	TrendingItems(ctx context.Context, q sinks.TrendingQuery) ([]sinks.Scored, error)
	// CountInteractions returns the number of raw rows and the totals of their rollups.
	CountInteractions(ctx context.Context) (sinks.Counts, error)
}
