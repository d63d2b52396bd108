package processors

import (
	"fmt"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Erasures holds which users were erased and when, by hash of the id. A follower of the compacted
// topic erasures fills it before work starts and keeps it up to date. Safe for concurrent use.
type Erasures struct {
	mu sync.RWMutex
	at map[uint64]time.Time
	// first is when the log took the event of an erasure first, by the event's key and the user's.
	first map[erasureKey]time.Time
}

// erasureKey names an erasure whatever record brings it.
type erasureKey struct {
	user  uint64
	event string
}

// NewErasures returns an empty set.
func NewErasures() *Erasures {
	return &Erasures{at: make(map[uint64]time.Time), first: make(map[erasureKey]time.Time)}
}

// Apply applies one record of the topic erasures. A record that cannot be decoded is an error.
func (e *Erasures) Apply(r *record.Record) error {
	if len(r.Value) == 0 {
		return nil
	}
	x, err := schemas.DecodeErasure(r)
	if err != nil {
		return err
	}
	e.Add(x)
	return nil
}

// Add adds an erasure. Of several for a user the latest counts.
func (e *Erasures) Add(x schemas.Erasure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x.ErasedAt.After(e.at[x.UserKey]) {
		e.at[x.UserKey] = x.ErasedAt
	}
	if x.EventKey != "" {
		e.firstTime(erasureKey{x.UserKey, x.EventKey}, x.ErasedAt)
	}
}

// Of returns the erasure that a record of the topic users brings, which must be one. Its time is
// when the log took its event first: an application that got no answer sends it again, and what the
// person has done in between stays.
func (e *Erasures) Of(u *schemas.User, r *record.Record) schemas.Erasure {
	key := markerIdentity(u)
	x := schemas.Erasure{
		UserKey: schemas.Key(u.UserID), EventKey: fmt.Sprintf("%016x%016x", key[0], key[1]),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	x.ErasedAt = e.firstTime(erasureKey{x.UserKey, x.EventKey}, recordedAt(r, u.OccurredAt))
	return x
}

// firstTime returns the earliest time at which an erasure was seen, this one included. The caller
// has locked mu.
func (e *Erasures) firstTime(key erasureKey, at time.Time) time.Time {
	if first, ok := e.first[key]; ok && !at.Before(first) {
		return first
	}
	e.first[key] = at
	return at
}

// Covers tells whether an event of the user is to be dropped: it happened, or the log took it, not
// later than the erasure. For a point these are the times of its newest event.
func (e *Erasures) Covers(userID string, occurred, recorded time.Time) bool {
	at, ok := e.At(userID)
	return ok && (!occurred.After(at) || !recorded.After(at))
}

// coversEvent tells whether an event of the user in a record is to be dropped.
func (e *Erasures) coversEvent(userID string, r *record.Record, occurred time.Time) bool {
	return e.Covers(userID, occurred, recordedAt(r, occurred))
}

// coversChange tells whether a change of a profile is to be dropped: its newest event is.
func (e *Erasures) coversChange(x *schemas.ProfileChanged) bool {
	return e.Covers(x.UserID, x.OccurredAt, recordedOr(x.RecordedAt, x.OccurredAt))
}

// coversList tells whether a user's list is to be dropped: the newest event that it answers is.
func (e *Erasures) coversList(userID string, cause *schemas.CausedBy) bool {
	return e.Covers(userID, cause.OccurredAt, recordedOr(cause.RecordedAt, cause.OccurredAt))
}

// coversServed tells whether the row of a served list is to be dropped: the list was made, or the
// log took it, not later than the erasure, or the same holds for an event that it answers. A list
// that answers a request has no such event.
func (e *Erasures) coversServed(x *sinks.RecommendationRow) bool {
	at, ok := e.At(x.UserID)
	if !ok {
		return false
	}
	c := &x.CausedBy
	for _, t := range []time.Time{
		x.GeneratedAt, x.RecordedAt, c.OccurredAt, c.RecordedAt, c.AcceptedAt,
	} {
		if !t.IsZero() && !t.After(at) {
			return true
		}
	}
	return false
}

// recordedOr returns recorded, or occurred where an older version has left it out.
func recordedOr(recorded, occurred time.Time) time.Time {
	if recorded.IsZero() {
		return occurred
	}
	return recorded
}

// At returns when the user was erased last.
func (e *Erasures) At(userID string) (time.Time, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if len(e.at) == 0 {
		return time.Time{}, false
	}
	at, ok := e.at[schemas.Key(userID)]
	return at, ok
}

// Without returns a copy without the given users (by key).
func (e *Erasures) Without(users map[uint64]struct{}) *Erasures {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := NewErasures()
	for key, at := range e.at {
		if _, drop := users[key]; !drop {
			out.at[key] = at
		}
	}
	for key, at := range e.first {
		if _, drop := users[key.user]; !drop {
			out.first[key] = at
		}
	}
	return out
}

// Len returns how many users were erased.
func (e *Erasures) Len() int {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return len(e.at)
}
