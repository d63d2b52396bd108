package sqlite

import (
	"context"
	"math"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// ChangedUsers returns users who have changed since a time, the latest first. It reads backwards in
// the index of changed_at, which holds the key beside each time.
func (s *Store) ChangedUsers(
	ctx context.Context, since time.Time, after *sinks.UserChange, limit int,
) ([]sinks.UserChange, error) {
	last, key := int64(math.MaxInt64), int64(math.MaxInt64)
	if after != nil {
		last, key = nanos(after.ChangedAt), int64(schemas.Key(after.ID))
	}
	rows, err := s.reader.QueryContext(
		ctx,
		`SELECT id, positions, last_event_at, changed_at FROM user_points
		WHERE changed_at >= ? AND changed_at > ? AND (changed_at, key) < (?, ?)
			AND typeof(changed_at) = 'integer'
		ORDER BY changed_at DESC, key DESC LIMIT ?`,
		nanos(since.Truncate(time.Microsecond)), int64(never), last, key, max(0, limit),
	)
	if err != nil {
		return nil, s.failed(ctx, "list changed users", err)
	}
	defer rows.Close()
	var out []sinks.UserChange
	for rows.Next() {
		var u sinks.UserChange
		var positions, lastEventAt any
		var changedAt int64
		if err := rows.Scan(&u.ID, &positions, &lastEventAt, &changedAt); err != nil {
			return nil, s.failed(ctx, "list changed users", err)
		}
		// What is damaged is zero: the user is in the list all the same.
		if u.Positions, err = storedPositions(positions); err != nil {
			u.Positions = nil
		}
		u.LastEventAt, _ = storedTime(lastEventAt)
		u.ChangedAt = fromNanos(changedAt)
		out = append(out, u)
	}
	if err := rows.Err(); err != nil {
		return nil, s.failed(ctx, "list changed users", err)
	}
	return out, nil
}
