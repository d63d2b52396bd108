package sinks

import "time"

// Edge is one change of a friendship. A and B may come in any order.
type Edge struct {
	A, B    string
	Removed bool
	At      time.Time
	// RecordedAt is when the log took the change. Erasures go by it too; zero: by At alone.
	RecordedAt time.Time
	// EventID breaks ties of At: the higher one wins.
	EventID string
}

// Suggestion is a user who might become a friend.
type Suggestion struct {
	UserID string `json:"user_id"`
	// Mutual is the number of common friends, ≥ 1; Via names up to three of them.
	Mutual int      `json:"mutual"`
	Via    []string `json:"via"`
}

// Erasure asks to delete all data of a user up to At: what happened, or was taken by the log, not
// later. At is when the log took the erasure.
type Erasure struct {
	UserID string
	At     time.Time
}
