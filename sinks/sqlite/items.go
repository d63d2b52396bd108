package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

const selectItems = `SELECT key, version, count, changed_at, vector, content_vector, content
	FROM item_points`

// GetItems returns the items found, with vectors.
func (s *Store) GetItems(ctx context.Context, ids []string) ([]sinks.Item, error) {
	return s.GetItemKeys(ctx, keysOf(ids))
}

// GetItemKeys returns the items found by key, with vectors.
func (s *Store) GetItemKeys(ctx context.Context, keys []uint64) ([]sinks.Item, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	found := make([]sinks.Item, 0, len(keys))
	err := s.eachItem(ctx, func(_ uint64, x sinks.Item) error {
		found = append(found, x)
		return nil
	}, selectItems+" WHERE key IN (SELECT value FROM json_each(?))", keyList(keys))
	if err != nil {
		return nil, s.failed(ctx, "get items", err)
	}
	return found, nil
}

func (s *Store) eachItem(
	ctx context.Context, f func(key uint64, x sinks.Item) error, query string, args ...any,
) error {
	rows, err := s.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var x sinks.Item
		var key, version int64
		var changedAt, vector, contentVector any
		var content sql.RawBytes
		if err := rows.Scan(
			&key, &version, &x.Count, &changedAt, &vector, &contentVector, &content,
		); err != nil {
			return err
		}
		x.Version = uint64(version)
		if s.decodeItem(&x, content, changedAt, vector, contentVector) != nil {
			continue
		}
		if err := f(uint64(key), x); err != nil {
			return err
		}
	}
	return rows.Err()
}

// decodeItem fills in the columns. An item of which one cannot be read is left out of every answer,
// so that the others are found. It counts as not stored: catalog writes it again when it starts.
func (s *Store) decodeItem(x *sinks.Item, content []byte, changedAt, vector, like any) error {
	err := json.Unmarshal(content, &x.Content)
	if err != nil {
		return err
	}
	if x.ChangedAt, err = storedTime(changedAt); err != nil {
		return err
	}
	if x.Vector, err = storedVector(vector, s.items.learned.dims().want); err != nil {
		return err
	}
	x.ContentVector, err = storedVector(like, s.items.content.dims().want)
	return err
}

// sound is the condition that an item can be read. It has two arguments (soundArgs).
const sound = `json_valid(content) AND typeof(changed_at) = 'integer'
	AND ifnull(length(vector), ?1) IN (?1, CASE ?1 WHEN 0 THEN length(vector) END)
	AND ifnull(length(content_vector), ?2)
		IN (?2, CASE ?2 WHEN 0 THEN length(content_vector) END)`

// soundArgs are the sizes of vectors, 0 for any.
func (s *Store) soundArgs() []any {
	return []any{4 * s.items.learned.dims().want, 4 * s.items.content.dims().want}
}

// PutItems writes each item that is newer than the stored one.
func (s *Store) PutItems(ctx context.Context, batch []sinks.Item) error {
	if len(batch) == 0 {
		return nil
	}
	var put []itemEntry
	return s.write(ctx, "put items", func() { s.items.apply(put) }, func(tx *sql.Tx) error {
		if err := s.checkItems(batch); err != nil {
			return err
		}
		winners, err := s.newestItems(tx, batch)
		if err != nil {
			return err
		}
		put, err = insertItems(ctx, tx, winners)
		return err
	})
}

// DeleteItems removes each item unless the stored one has a higher version.
func (s *Store) DeleteItems(ctx context.Context, batch []sinks.ItemVersion) error {
	if len(batch) == 0 {
		return nil
	}
	var gone []itemEntry // without vectors, so that they leave the mirror
	return s.write(ctx, "delete items", func() { s.items.apply(gone) }, func(tx *sql.Tx) error {
		gone = gone[:0]
		for _, x := range batch {
			key := schemas.Key(x.ID)
			done, err := tx.ExecContext(
				ctx, "DELETE FROM item_points WHERE key = ? AND version <= ?",
				int64(key), int64(x.Version),
			)
			if err != nil {
				return err
			}
			if n, err := done.RowsAffected(); err == nil && n > 0 {
				gone = append(gone, itemEntry{key: key})
			}
		}
		return nil
	})
}

// checkItems rejects vectors that cannot be compared. The caller is the writer: the first vector
// decides the dimension.
func (s *Store) checkItems(batch []sinks.Item) error {
	learned, content := s.items.learned.dims(), s.items.content.dims()
	for i := range batch {
		x := &batch[i]
		if err := learned.check("vector of item", x.Content.ItemID, x.Vector); err != nil {
			return err
		}
		if err := content.check(
			"content vector of item", x.Content.ItemID, x.ContentVector,
		); err != nil {
			return err
		}
	}
	return nil
}

// newestItems returns the items of the batch that are newer than the stored ones; of several with
// one id, the newest.
func (s *Store) newestItems(tx *sql.Tx, batch []sinks.Item) (map[uint64]*sinks.Item, error) {
	keys := make([]uint64, len(batch))
	for i := range batch {
		keys[i] = schemas.Key(batch[i].Content.ItemID)
	}
	stored, err := s.versionsOf(tx, keys)
	if err != nil {
		return nil, err
	}
	winners := make(map[uint64]*sinks.Item, len(batch))
	for i := range batch {
		x := &batch[i]
		if before, ok := stored[keys[i]]; ok && before >= x.Version {
			continue
		}
		stored[keys[i]] = x.Version
		winners[keys[i]] = x
	}
	return winners, nil
}

func (s *Store) versionsOf(tx *sql.Tx, keys []uint64) (map[uint64]uint64, error) {
	rows, err := tx.Query(
		"SELECT key, version FROM item_points WHERE key IN (SELECT value FROM json_each(?3)) AND "+
			sound,
		append(s.soundArgs(), keyList(keys))...,
	)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	versions := make(map[uint64]uint64, len(keys))
	for rows.Next() {
		var key, version int64
		if err := rows.Scan(&key, &version); err != nil {
			return nil, err
		}
		versions[uint64(key)] = uint64(version)
	}
	return versions, rows.Err()
}

func insertItems(
	ctx context.Context, tx *sql.Tx, items map[uint64]*sinks.Item,
) ([]itemEntry, error) {
	stmt, err := tx.Prepare(
		`INSERT OR REPLACE INTO item_points (
			key, id, version, count, changed_at, vector, content_vector, content
		) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
	)
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	entries := make([]itemEntry, 0, len(items))
	for key, x := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		content, err := json.Marshal(&x.Content)
		if err != nil {
			return nil, fault.Permanentf("content of item %q: %w", x.Content.ItemID, err)
		}
		if _, err := stmt.Exec(
			int64(key), x.Content.ItemID, int64(x.Version), x.Count, nanos(x.ChangedAt),
			floatBytes(x.Vector), floatBytes(x.ContentVector), string(content),
		); err != nil {
			return nil, err
		}
		row := &itemRow{
			version: x.Version, count: x.Count, changedAt: fromNanos(nanos(x.ChangedAt)),
			available: x.Content.IsAvailable(),
		}
		// What was written is read back: the mirror keeps nothing of the caller's, and shows the
		// same as the file.
		if err := json.Unmarshal(content, &row.content); err != nil {
			return nil, fault.Permanentf("content of item %q: %w", x.Content.ItemID, err)
		}
		entries = append(
			entries, itemEntry{key: key, row: row, vector: x.Vector, content: x.ContentVector},
		)
	}
	return entries, nil
}

// SearchItems answers each query with at most N available items.
func (s *Store) SearchItems(
	ctx context.Context, queries []sinks.ItemQuery,
) ([][]sinks.ItemHit, error) {
	if len(queries) == 0 {
		return nil, nil
	}
	if err := s.fresh(ctx); err != nil {
		return nil, s.failed(ctx, "search items", err)
	}
	answers := make([][]sinks.ItemHit, len(queries))
	for _, content := range []bool{false, true} {
		if err := s.searchKind(ctx, content, queries, answers); err != nil {
			return nil, s.failed(ctx, "search items", err)
		}
	}
	return answers, nil
}

// searchKind answers the queries of one of the two kinds of vectors.
func (s *Store) searchKind(
	ctx context.Context, content bool, queries []sinks.ItemQuery, answers [][]sinks.ItemHit,
) error {
	x := s.items.learned
	if content {
		x = s.items.content
	}
	var places []int
	var asked []query[*itemRow]
	for i := range queries {
		if queries[i].Content == content {
			places = append(places, i)
			asked = append(asked, indexQuery(&queries[i]))
		}
	}
	found, err := x.search(ctx, asked)
	if err != nil {
		return err
	}
	for i, hits := range found {
		answer := make([]sinks.ItemHit, len(hits))
		for j, h := range hits {
			answer[j] = itemHit(h, queries[places[i]].KeysOnly)
		}
		answers[places[i]] = answer
	}
	return nil
}

// ItemVersions calls f with the id and version of every item that can be read.
func (s *Store) ItemVersions(ctx context.Context, f func(id string, version uint64) error) error {
	rows, err := s.reader.QueryContext(
		ctx, "SELECT id, version FROM item_points WHERE "+sound, s.soundArgs()...,
	)
	if err != nil {
		return s.failed(ctx, "read item versions", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var version int64
		if err := rows.Scan(&id, &version); err != nil {
			return s.failed(ctx, "read item versions", err)
		}
		if err := f(id, uint64(version)); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return s.failed(ctx, "read item versions", err)
	}
	return nil
}

// CountItems returns the number of items, withdrawn ones included.
func (s *Store) CountItems(ctx context.Context) (int64, error) {
	return s.count(ctx, "count items", "SELECT count(*) FROM item_points")
}

// loadItems fills the mirror.
func (s *Store) loadItems(ctx context.Context) error {
	var entries []itemEntry
	err := s.eachItem(ctx, func(key uint64, x sinks.Item) error {
		row := &itemRow{
			content: x.Content, version: x.Version, count: x.Count, changedAt: x.ChangedAt,
			available: x.Content.IsAvailable(),
		}
		entries = append(
			entries, itemEntry{key: key, row: row, vector: x.Vector, content: x.ContentVector},
		)
		return nil
	}, selectItems)
	if err != nil {
		return err
	}
	s.items.reset(entries)
	return nil
}
