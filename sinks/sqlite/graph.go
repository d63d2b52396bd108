package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
)

// applyEdge implements last write wins. The row comparison compares the time first, then the bytes
// of the event's id.
const applyEdge = `
	INSERT INTO edges (a, b, removed, at, event_id, recorded_at) VALUES (?, ?, ?, ?, ?, ?)
	ON CONFLICT (a, b) DO UPDATE SET
		removed = excluded.removed,
		at = excluded.at,
		event_id = excluded.event_id,
		recorded_at = excluded.recorded_at
	WHERE (excluded.at, excluded.event_id) > (edges.at, edges.event_id)`

// ApplyEdges applies the changes.
func (s *Store) ApplyEdges(ctx context.Context, batch []sinks.Edge) error {
	if len(batch) == 0 {
		return nil
	}
	return s.write(ctx, "apply edges", nil, func(tx *sql.Tx) error {
		stmt, err := tx.Prepare(applyEdge)
		if err != nil {
			return err
		}
		defer stmt.Close()
		for _, e := range batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			if e.A == e.B {
				return fault.Permanentf("edge of %q with itself", e.A)
			}
			var recorded any
			if !e.RecordedAt.IsZero() {
				recorded = nanos(e.RecordedAt)
			}
			if _, err := stmt.Exec(
				min(e.A, e.B), max(e.A, e.B), e.Removed, nanos(e.At), e.EventID, recorded,
			); err != nil {
				return err
			}
		}
		return nil
	})
}

// Both halves are sorted by their index, so the limit ends the search early.
const selectFriends = `
	SELECT b AS friend FROM edges WHERE a = ?1 AND removed = 0
	UNION ALL SELECT a FROM edges WHERE b = ?1 AND removed = 0
	ORDER BY friend LIMIT ?2`

// Friends returns the friends of each user.
func (s *Store) Friends(
	ctx context.Context, users []string, limit int,
) (map[string][]string, error) {
	friends := make(map[string][]string)
	if len(users) == 0 || limit <= 0 {
		return friends, nil
	}
	stmt, err := s.reader.PrepareContext(ctx, selectFriends)
	if err != nil {
		return nil, s.failed(ctx, "read friends", err)
	}
	defer stmt.Close()
	for _, u := range users {
		ids, err := scanStrings(stmt.QueryContext(ctx, u, limit))
		if err != nil {
			return nil, s.failed(ctx, "read friends", err)
		}
		if len(ids) > 0 {
			friends[u] = ids
		}
	}
	return friends, nil
}

func scanStrings(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// CROSS JOIN makes SQLite go from the friends to their edges. Without statistics it would read
// every edge.
const selectSuggestions = `WITH
friend (id) AS MATERIALIZED (
    SELECT b FROM edges WHERE a = ?1 AND removed = 0
    UNION ALL SELECT a FROM edges WHERE b = ?1 AND removed = 0),
second (id, via) AS (
    SELECT e.b, f.id FROM friend f CROSS JOIN edges e ON e.a = f.id WHERE e.removed = 0
    UNION ALL SELECT e.a, f.id FROM friend f CROSS JOIN edges e ON e.b = f.id WHERE e.removed = 0)
SELECT id, count(*) AS mutual, json_group_array(via ORDER BY via) FROM second
WHERE id <> ?1 AND id NOT IN (SELECT id FROM friend)
GROUP BY id ORDER BY mutual DESC, id LIMIT ?2`

// maxVia is how many common friends a suggestion names.
const maxVia = 3

// SuggestFriends returns friends of friends who are no friends yet.
func (s *Store) SuggestFriends(
	ctx context.Context, user string, n int,
) ([]sinks.Suggestion, error) {
	rows, err := s.reader.QueryContext(ctx, selectSuggestions, user, max(0, n))
	if err != nil {
		return nil, s.failed(ctx, "suggest friends", err)
	}
	defer rows.Close()
	var found []sinks.Suggestion
	for rows.Next() {
		var x sinks.Suggestion
		var via sql.RawBytes
		if err := rows.Scan(&x.UserID, &x.Mutual, &via); err != nil {
			return nil, s.failed(ctx, "suggest friends", err)
		}
		if err := json.Unmarshal(via, &x.Via); err != nil {
			return nil, s.failed(ctx, "suggest friends", err)
		}
		x.Via = x.Via[:min(maxVia, len(x.Via)):min(maxVia, len(x.Via))]
		found = append(found, x)
	}
	if err := rows.Err(); err != nil {
		return nil, s.failed(ctx, "suggest friends", err)
	}
	return found, nil
}

// EraseFriends removes the users' edges and tombstones up to the erasures.
func (s *Store) EraseFriends(ctx context.Context, users []sinks.Erasure) error {
	if len(users) == 0 {
		return nil
	}
	return s.write(ctx, "erase friends", nil, func(tx *sql.Tx) error {
		for _, u := range users {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := tx.Exec(
				"DELETE FROM edges WHERE (a = ?1 OR b = ?1) AND (at <= ?2 OR recorded_at <= ?2)",
				u.UserID, nanos(u.At),
			); err != nil {
				return err
			}
		}
		return nil
	})
}

// EachEdge calls f for every edge that is not removed.
func (s *Store) EachEdge(ctx context.Context, f func(sinks.Edge) error) error {
	rows, err := s.reader.QueryContext(
		ctx, "SELECT a, b, at, event_id, recorded_at FROM edges WHERE removed = 0",
	)
	if err != nil {
		return s.failed(ctx, "read every edge", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e sinks.Edge
		var at int64
		var recorded sql.NullInt64
		if err := rows.Scan(&e.A, &e.B, &at, &e.EventID, &recorded); err != nil {
			return s.failed(ctx, "read every edge", err)
		}
		e.At = fromNanos(at)
		if recorded.Valid {
			e.RecordedAt = fromNanos(recorded.Int64)
		}
		if err := f(e); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return s.failed(ctx, "read every edge", err)
	}
	return nil
}

// CountEdges returns the number of edges that are not removed.
func (s *Store) CountEdges(ctx context.Context) (int64, error) {
	return s.count(ctx, "count edges", "SELECT count(*) FROM edges WHERE removed = 0")
}
