package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// The statements that erase one user up to ?2, whose day is ?3. The sums of a day that keeps some
// of its events are made again. Events that were recorded before the erasure may have happened
// after it, by their clocks, so their days count too.
var eraseUser = []string{
	`CREATE TEMP TABLE IF NOT EXISTS erased_days (day TEXT PRIMARY KEY)`,
	`DELETE FROM erased_days`,
	`INSERT OR IGNORE INTO erased_days
	SELECT substr(occurred_at, 1, 10) FROM interactions
	WHERE user_id = ?1 AND occurred_at > ?2 AND recorded_at <= ?2 UNION SELECT ?3`,
	// By the rows that are about to go, since the audience has no index by user. What else the user
	// said in the same hours is added again below.
	`DELETE FROM item_audience_users WHERE (hour, item_id, meaning, user_id) IN (
		SELECT substr(occurred_at, 1, 13) || ':00:00', item_id, meaning, user_id
		FROM interactions WHERE user_id = ?1
	)`,
	`DELETE FROM interactions WHERE user_id = ?1 AND (occurred_at <= ?2 OR recorded_at <= ?2)`,
	// Also a list that was made later but answers an event of before. accepted_at is when the log
	// took the first event of those it answers; lists for requests answer none.
	`DELETE FROM recommendations
	WHERE user_id = ?1 AND (
		generated_at <= ?2 OR recorded_at <= ?2 OR caused_at <= ?2 OR accepted_at <= ?2
	)`,
	`DELETE FROM user_versions WHERE user_id = ?1 AND (occurred_at <= ?2 OR recorded_at <= ?2)`,
	`DELETE FROM dead_letter_rows
	WHERE key = ?1
	OR json_valid(CAST(value AS TEXT)) AND CAST(value AS TEXT) ->> 'user_id' = ?1`,
	`DELETE FROM dead_letter_rows
	WHERE (topic LIKE '%friendships' OR topic LIKE '%.replay')
	AND (
		substr(key, 1, length(?1) + 1) = ?1 || '|'
		OR substr(key, -length(?1) - 1) = '|' || ?1
		OR key LIKE '0x' || hex(?1 || '|') || '%' -- a key that is not UTF-8, see DeadLetterRow
		OR key LIKE '0x%' || hex('|' || ?1)
		OR json_valid(CAST(value AS TEXT))
		AND CAST(value AS TEXT) ->> 'friend_id' = ?1
	)`,
	`DELETE FROM user_days
	WHERE user_id = ?1 AND (day <= ?3 OR day IN (SELECT day FROM erased_days))`,
	`INSERT INTO user_days (user_id, day, action, events, value_count, value_sum, last_at)
	SELECT user_id, substr(occurred_at, 1, 10), action, count(*), count(value),
		ifnull(sum(value), 0), max(occurred_at)
	FROM interactions
	WHERE user_id = ?1 AND substr(occurred_at, 1, 10) IN (SELECT day FROM erased_days)
	GROUP BY 1, 2, 3`,
	`INSERT OR IGNORE INTO item_audience_users (hour, item_id, meaning, user_id)
	SELECT substr(occurred_at, 1, 13) || ':00:00', item_id, meaning, user_id FROM interactions
	WHERE user_id = ?1 AND meaning NOT IN ('', 'nothing') AND occurred_at >= ` + firstAudience,
}

// EraseUsers removes the users' rows that happened or were recorded up to the erasures, and lists
// that answer such events, and sums up again the days that keep some of their events, in one
// transaction. Dead letters are removed regardless of their time, which is later than that of their
// events. Sums per item and strategy keep their anonymous counts.
func (a *Analytics) EraseUsers(ctx context.Context, users []sinks.Erasure) error {
	if len(users) == 0 {
		return nil
	}
	return a.write(ctx, fmt.Sprintf("erase %d users", len(users)), nil, func(tx *sql.Tx) error {
		if err := eraseStructured(tx, users); err != nil {
			return err
		}
		for _, u := range users {
			if err := ctx.Err(); err != nil {
				return err
			}
			for _, query := range eraseUser {
				if _, err := tx.Exec(
					query, u.UserID, micros(u.At), u.At.UTC().Format(dayLayout),
				); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// eraseStructured removes dead letters that are CloudEvents in structured mode and name one of the
// users. Their data may be encoded in a way that SQL does not decode.
func eraseStructured(tx *sql.Tx, users []sinks.Erasure) error {
	ids := make(map[string]bool, len(users))
	for _, u := range users {
		ids[u.UserID] = true
	}
	rows, err := tx.Query(
		`SELECT rowid, value FROM dead_letter_rows WHERE instr(value, CAST('specversion' AS BLOB))`,
	)
	if err != nil {
		return err
	}
	defer rows.Close()
	var gone []int64
	for rows.Next() {
		var row int64
		var value []byte
		if err := rows.Scan(&row, &value); err != nil {
			return err
		}
		if slices.ContainsFunc(schemas.UsersNamed(value), func(u string) bool { return ids[u] }) {
			gone = append(gone, row)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, row := range gone {
		if _, err := tx.Exec(`DELETE FROM dead_letter_rows WHERE rowid = ?`, row); err != nil {
			return err
		}
	}
	return nil
}
