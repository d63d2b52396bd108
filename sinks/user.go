package sinks

import "time"

// User is a user's point: the query vector and the state needed to update it.
type User struct {
	ID string
	// Vector is (q_u, 1), d+1 numbers: its inner product with an item's vector is the score. nil
	// for a user who has not taken anything yet.
	Vector []float32
	// State is the model's user state, encoded by it; opaque to stores.
	State []byte
	// Positions are the highest positions absorbed, by Source.Topic.
	Positions map[string]Position
	// LastEventAt is the time of the newest event absorbed; ChangedAt the log's time of the newest
	// record absorbed.
	LastEventAt, ChangedAt time.Time
	// Damaged is set when the user is read and a stored field cannot be: then that field is zero,
	// all positions if one of them. It is never written. Such a user does not fail the call, since
	// the others are sound.
	Damaged error
}

// UserErasure asks to delete a user's point as of an erasure.
type UserErasure struct {
	ID string
	// Position is where the erasure stands in the partition of the call's source.
	Position Position
	// At is the time of the erasure. Zero: only Position counts.
	At time.Time
}

// Erased tells whether the point is an empty one with only the position of an erasure. Older
// versions of the program leave such points.
func (u *User) Erased() bool {
	return u.Damaged == nil && len(u.State) == 0 && u.ChangedAt.Before(time.Unix(1, 0))
}

// Source is one partition of the log that a user's point absorbs. A user's events come from one
// partition of interactions and, after a replay of dead letters, from one partition of the replay
// topic.
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
	// Exclude are ids to leave out.
	Exclude []string
}

// UserChange is what ChangedUsers tells of a user: the point without its vector and state.
type UserChange struct {
	ID                     string
	Positions              map[string]Position
	LastEventAt, ChangedAt time.Time
}
