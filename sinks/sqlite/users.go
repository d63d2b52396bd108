package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

const selectUsers = `SELECT id, vector, state, positions, last_event_at, changed_at
	FROM user_points`

// GetUsers returns the users found.
func (s *Store) GetUsers(ctx context.Context, ids []string) ([]sinks.User, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found := make([]sinks.User, 0, len(ids))
	err := s.eachUser(ctx, func(u sinks.User) error {
		found = append(found, u)
		return nil
	}, selectUsers+" WHERE key IN (SELECT value FROM json_each(?))", keyList(keysOf(ids)))
	if err != nil {
		return nil, s.failed(ctx, "get users", err)
	}
	return found, nil
}

// EachUser calls f for every user.
func (s *Store) EachUser(ctx context.Context, f func(sinks.User) error) error {
	if err := s.eachUser(ctx, f, selectUsers); err != nil {
		return s.failed(ctx, "read every user", err)
	}
	return nil
}

func (s *Store) eachUser(
	ctx context.Context, f func(sinks.User) error, query string, args ...any,
) error {
	rows, err := s.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var u sinks.User
		var vector, positions, lastEventAt, changedAt any
		if err := rows.Scan(
			&u.ID, &vector, &u.State, &positions, &lastEventAt, &changedAt,
		); err != nil {
			return err
		}
		s.decodeUser(&u, vector, positions, lastEventAt, changedAt)
		if err := f(u); err != nil {
			return err
		}
	}
	return rows.Err()
}

// decodeUser fills in the columns. One that cannot be read is zero, and the user is damaged.
func (s *Store) decodeUser(u *sinks.User, vector, positions, lastEventAt, changedAt any) {
	dim := s.users.dims().want
	var vectorErr, lastErr, changedErr, err error
	if u.Vector, vectorErr = storedVector(vector, dim); vectorErr != nil {
		u.Vector = nil
	}
	if u.Positions, err = storedPositions(positions); err != nil {
		u.Positions = nil
	}
	u.LastEventAt, lastErr = storedTime(lastEventAt)
	u.ChangedAt, changedErr = storedTime(changedAt)
	if err = errors.Join(vectorErr, err, lastErr, changedErr); err != nil {
		u.Damaged = fmt.Errorf("the file is damaged: user %q: %w", u.ID, err)
	}
}

// storedVector decodes a column of dim numbers; dim 0 is any length.
func storedVector(column any, dim int) ([]float32, error) {
	if column == nil {
		return nil, nil
	}
	b, ok := column.([]byte)
	if !ok || len(b)%4 != 0 || len(b) == 0 || dim > 0 && len(b) != 4*dim {
		return nil, fmt.Errorf("the vector has %d bytes, want %d numbers", len(b), dim)
	}
	v := floatsOf(b)
	for i, f := range v {
		if f-f != 0 {
			return nil, fmt.Errorf("number %d of the vector is %v", i, f)
		}
	}
	return v, nil
}

func storedPositions(column any) (map[string]sinks.Position, error) {
	var text string
	switch x := column.(type) {
	case string:
		text = x
	case []byte:
		text = string(x)
	}
	p, err := decodePositions(text)
	for topic, at := range p {
		if err == nil && !at.IsValid() {
			err = fmt.Errorf("%s of %s", at, topic)
		}
	}
	if err == nil && len(p) == 0 {
		err = errors.New("there are none")
	}
	if err != nil {
		return nil, fmt.Errorf("positions: %w", err)
	}
	return p, nil
}

func storedTime(column any) (time.Time, error) {
	n, ok := column.(int64)
	if !ok {
		return time.Time{}, fmt.Errorf("a time is %v", column)
	}
	return fromNanos(n), nil
}

// PutUsers writes each user that has absorbed more of src than the stored one.
func (s *Store) PutUsers(ctx context.Context, src sinks.Source, batch []sinks.User) error {
	if len(batch) == 0 {
		return nil
	}
	var put []entry[string]
	return s.write(ctx, "put users", func() { s.users.apply(put) }, func(tx *sql.Tx) error {
		if err := s.checkUsers(src, batch); err != nil {
			return err
		}
		winners, err := newestUsers(tx, src, batch)
		if err != nil {
			return err
		}
		put, err = insertUsers(ctx, tx, winners)
		return err
	})
}

// checkUsers refuses what could not be compared. It runs in the writer's turn: the first vector of
// all decides the dimension.
func (s *Store) checkUsers(src sinks.Source, batch []sinks.User) error {
	dims := s.users.dims()
	for i := range batch {
		u := &batch[i]
		if err := u.CheckPositions(src); err != nil {
			return err
		}
		if err := dims.check("vector of user", u.ID, u.Vector); err != nil {
			return err
		}
	}
	return nil
}

// newestUsers returns the users of the batch that are newer than the stored ones; of several with
// one id, the newest.
func newestUsers(tx *sql.Tx, src sinks.Source, batch []sinks.User) (map[uint64]*sinks.User, error) {
	absorbed, err := positionsOf(tx, src, batch)
	if err != nil {
		return nil, err
	}
	winners := make(map[uint64]*sinks.User, len(batch))
	for i := range batch {
		u := &batch[i]
		key, position := schemas.Key(u.ID), u.Positions[src.Topic]
		if before, ok := absorbed[key]; ok && before >= position {
			continue
		}
		absorbed[key] = position
		winners[key] = u
	}
	return winners, nil
}

// positionsOf returns what the stored users have absorbed of src; those that have not absorbed any
// of it are absent.
func positionsOf(
	tx *sql.Tx, src sinks.Source, batch []sinks.User,
) (map[uint64]sinks.Position, error) {
	keys := make([]uint64, len(batch))
	for i := range batch {
		keys[i] = schemas.Key(batch[i].ID)
	}
	rows, err := tx.Query(
		"SELECT key, positions FROM user_points WHERE key IN (SELECT value FROM json_each(?))",
		keyList(keys),
	)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	absorbed := make(map[uint64]sinks.Position, len(batch))
	for rows.Next() {
		var key int64
		var column any
		if err := rows.Scan(&key, &column); err != nil {
			return nil, err
		}
		// Damaged positions are none: whoever writes the user has rebuilt it.
		positions, _ := storedPositions(column)
		if p, ok := positions[src.Topic]; ok {
			absorbed[uint64(key)] = p
		}
	}
	return absorbed, rows.Err()
}

func insertUsers(
	ctx context.Context, tx *sql.Tx, users map[uint64]*sinks.User,
) ([]entry[string], error) {
	stmt, err := tx.Prepare(
		`INSERT OR REPLACE INTO user_points (
			key, id, vector, state, positions, last_event_at, changed_at
		) VALUES (?, ?, ?, ?, ?, ?, ?)`,
	)
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	entries := make([]entry[string], 0, len(users))
	for key, u := range users {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		positions, err := encodePositions(u.Positions)
		if err != nil {
			return nil, err
		}
		if _, err := stmt.Exec(
			int64(key), u.ID, floatBytes(u.Vector), u.State, positions, nanos(u.LastEventAt),
			nanos(u.ChangedAt),
		); err != nil {
			return nil, err
		}
		entries = append(entries, entry[string]{key: key, vector: u.Vector, row: u.ID})
	}
	return entries, nil
}

// SimilarUsers returns the users nearest to each query.
func (s *Store) SimilarUsers(
	ctx context.Context, queries []sinks.UserQuery,
) ([][]sinks.Neighbour, error) {
	if err := s.fresh(ctx); err != nil {
		return nil, s.failed(ctx, "search users", err)
	}
	ask := make([]query[string], len(queries))
	for i, q := range queries {
		ask[i] = query[string]{vector: q.Vector, n: q.N, exclude: keysOf(q.Exclude)}
	}
	hits, err := s.users.search(ctx, ask)
	if err != nil {
		return nil, s.failed(ctx, "search users", err)
	}
	near := make([][]sinks.Neighbour, len(hits))
	for i := range hits {
		for _, h := range hits[i] {
			near[i] = append(near[i], sinks.Neighbour{ID: h.row, Score: float64(h.score)})
		}
	}
	return near, nil
}

// ForgetUsers removes the points of erased users who have not returned.
func (s *Store) ForgetUsers(
	ctx context.Context, src sinks.Source, batch []sinks.UserErasure,
) error {
	if len(batch) == 0 {
		return nil
	}
	var gone []uint64
	return s.write(
		ctx, "forget users", func() { s.users.apply(removals[string](gone)) },
		func(tx *sql.Tx) error {
			points := make([]sinks.User, len(batch))
			for i, e := range batch {
				points[i].ID = e.ID
				points[i].Positions = map[string]sinks.Position{src.Topic: e.Position}
				if err := points[i].CheckPositions(src); err != nil {
					return err
				}
			}
			absorbed, err := positionsOf(tx, src, points)
			if err != nil {
				return err
			}
			for _, e := range batch {
				key := schemas.Key(e.ID)
				whatever := absorbed[key] <= e.Position
				if !whatever && e.At.IsZero() {
					continue
				}
				keys, err := scanKeys(
					tx, "DELETE FROM user_points WHERE key = ? AND (? OR changed_at <= ?) "+
						"RETURNING key",
					int64(key), whatever, nanos(e.At),
				)
				if err != nil {
					return err
				}
				gone = append(gone, keys...)
			}
			return nil
		},
	)
}

// ExpireUsers forgets at most limit users who have not changed since t.
func (s *Store) ExpireUsers(ctx context.Context, t time.Time, limit int) (int, error) {
	var keys []uint64
	err := s.write(
		ctx, "expire users",
		func() { s.users.apply(removals[string](keys)) },
		func(tx *sql.Tx) (err error) {
			keys, err = scanKeys(
				tx,
				`DELETE FROM user_points WHERE key IN (
					SELECT key FROM user_points WHERE changed_at < ? ORDER BY changed_at LIMIT ?
				) RETURNING key`,
				nanos(t), max(0, limit),
			)
			return err
		},
	)
	if err != nil {
		return 0, err
	}
	return len(keys), nil
}

// CountUsers returns the number of users.
func (s *Store) CountUsers(ctx context.Context) (int64, error) {
	return s.count(ctx, "count users", "SELECT count(*) FROM user_points")
}

func (s *Store) count(ctx context.Context, what, query string) (int64, error) {
	var n int64
	if err := s.reader.QueryRowContext(ctx, query).Scan(&n); err != nil {
		return 0, s.failed(ctx, what, err)
	}
	return n, nil
}

// loadUsers fills the mirror.
func (s *Store) loadUsers(ctx context.Context) error {
	rows, err := s.reader.QueryContext(
		ctx, "SELECT key, id, vector FROM user_points WHERE vector IS NOT NULL",
	)
	if err != nil {
		return err
	}
	defer rows.Close()
	var entries []entry[string]
	for rows.Next() {
		var key int64
		var e entry[string]
		var column any
		if err := rows.Scan(&key, &e.row, &column); err != nil {
			return err
		}
		e.key = uint64(key)
		if e.vector, err = storedVector(column, 0); err == nil { // else the user is damaged
			entries = append(entries, e)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	s.users.reset(ofOneLength(entries))
	return nil
}

// ofOneLength returns the entries whose vectors have the length that most have: another length is
// damage, and the first vector of an index decides.
func ofOneLength[R any](entries []entry[R]) []entry[R] {
	counts := make(map[int]int)
	dim := 0
	for i := range entries {
		n := len(entries[i].vector)
		if counts[n]++; n > 0 && counts[n] > counts[dim] {
			dim = n
		}
	}
	return slices.DeleteFunc(entries, func(e entry[R]) bool {
		return len(e.vector) > 0 && len(e.vector) != dim
	})
}

func keysOf(ids []string) []uint64 {
	keys := make([]uint64, len(ids))
	for i, id := range ids {
		keys[i] = schemas.Key(id)
	}
	return keys
}

func removals[R any](keys []uint64) []entry[R] {
	entries := make([]entry[R], len(keys))
	for i, k := range keys {
		entries[i].key = k
	}
	return entries
}

// scanKeys runs a statement that returns keys.
func scanKeys(tx *sql.Tx, query string, args ...any) ([]uint64, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []uint64
	for rows.Next() {
		var k int64
		if err := rows.Scan(&k); err != nil {
			return nil, err
		}
		keys = append(keys, uint64(k))
	}
	return keys, rows.Err()
}
