package model

// Refuses tells whether a user refuses a kind of items, a genre for instance, of which so many were
// liked and so many refused lately: at least three were refused, and none was liked.
func Refuses(liked, refused int) bool { return refused >= 3 && liked == 0 }

// Refused returns up to n items that the user refused, or gave up, without having taken them
// before: what was met since the oldest item of the history and is not in it. The latest comes
// first. longItems is the length of a full history (Config.LongItems).
func (u *User) Refused(longItems, n int) (out []Key) {
	taken := make(map[Key]bool, len(u.History))
	for i := range u.History {
		taken[u.History[i].Key] = true
	}
	for i := len(u.seen.order) - 1; i >= 0 && len(out) < n; i-- {
		key := u.seen.order[i]
		if len(u.History) >= longItems && key == u.History[0].Key {
			break // what was met before may have left the history
		}
		if !taken[key] {
			out = append(out, key)
		}
	}
	return out
}
