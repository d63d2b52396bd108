package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/rowvalidate"
)

// Analytics keeps rows and sums for analysts in the same file, in tables and views named as in ClickHouse. A range, its sums and the note that it has
// landed are one transaction, so a repeated range is dropped exactly.
type Analytics struct{ *Store }

var _ sinks.Analytics = (*Analytics)(nil)

// Analytics returns the store as sinks.Analytics. Closing it closes the store.
func (s *Store) Analytics() *Analytics { return &Analytics{s} }

// keptOffsets is over how many offsets behind the newest one the landed ranges of a partition are remembered. Only the newest can be in doubt.
const keptOffsets = 1_000_000

// insertion is one insert of a range into a table.
type insertion struct {
	table string
	rows  int
	check func(i int) error
	// insert writes row i with the statement for query.
	query string
	args  func(i int) []any
	// sums brings the sums up to date, if there are any.
	sums func(tx *sql.Tx) error
}

func (a *Analytics) insertRange(ctx context.Context, r schemas.Range, in insertion) error {
	if in.rows == 0 {
		return nil
	}
	what := fmt.Sprintf("insert %d rows into %s", in.rows, in.table)
	if err := rowvalidate.Range(r); err != nil {
		return fmt.Errorf("sqlite: %s: %w", what, err)
	}
	if err := rowvalidate.All(in.rows, in.check); err != nil {
		return err
	}
	return a.write(ctx, what, nil, func(tx *sql.Tx) error {
		first, err := land(tx, r, in.table)
		if err != nil || !first {
			return err
		}
		stmt, err := tx.Prepare(in.query)
		if err != nil {
			return err
		}
		defer func() { _ = stmt.Close() }()
		for i := range in.rows {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := stmt.Exec(in.args(i)...); err != nil {
				if err = classify(err); fault.ClassOf(err) == fault.Permanent {
					return &fault.Rejected{Undone: true, Records: []fault.Rejection{{Index: i, Err: err}}}
				}
				return err
			}
		}
		if in.sums == nil {
			return nil
		}
		return in.sums(tx)
	})
}

// land notes that the range lands in table; first is false when it has before.
func land(tx *sql.Tx, r schemas.Range, table string) (first bool, err error) {
	res, err := tx.Exec("INSERT OR IGNORE INTO landed_ranges (log_id, topic, partition, into_table, first_offset, last_offset) VALUES (?, ?, ?, ?, ?, ?)",
		r.LogID, r.Topic, r.Partition, table, r.First, r.Last)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	if err != nil || n == 0 {
		return false, err
	}
	_, err = tx.Exec("DELETE FROM landed_ranges WHERE log_id = ? AND topic = ? AND partition = ? AND into_table = ? AND first_offset < ?",
		r.LogID, r.Topic, r.Partition, table, r.First-keptOffsets)
	return true, err
}

// Layouts of the times as analysts read them; of one length each, so that they sort as text.
const (
	microLayout = "2006-01-02 15:04:05.000000"
	milliLayout = "2006-01-02 15:04:05.000"
	hourLayout  = "2006-01-02 15:00:00"
	dayLayout   = "2006-01-02"
)

func micros(t time.Time) string { return t.UTC().Format(microLayout) }
func millis(t time.Time) string { return t.UTC().Format(milliLayout) }

func microsOrNull(t time.Time) any {
	if p := rowvalidate.OrNil(t); p != nil {
		return micros(*p)
	}
	return nil
}

func jsonArray[T any](list []T) string {
	if len(list) == 0 {
		return "[]"
	}
	b, err := json.Marshal(list)
	if err != nil {
		return "[]" // strings and places can be encoded
	}
	return string(b)
}

// InsertInteractions inserts the rows of a range and adds them to the sums.
func (a *Analytics) InsertInteractions(ctx context.Context, r schemas.Range, rows []sinks.InteractionRow) error {
	return a.insertRange(ctx, r, insertion{
		table: "interactions", rows: len(rows),
		check: func(i int) error { return rowvalidate.Interaction(&rows[i]) },
		query: `INSERT INTO interactions (event_id, source, user_id, item_id, action, value, occurred_at, session_id, recommendation_id, context,
			log_topic, log_partition, log_offset, recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		args: func(i int) []any {
			x := &rows[i]
			var value any
			if x.Value != nil {
				value = *x.Value
			}
			return []any{
				x.EventID, x.Source, x.UserID, x.ItemID, string(x.Action), value, micros(rowvalidate.OrElse(x.OccurredAt, x.RecordedAt)), x.SessionID,
				x.RecommendationID, rowvalidate.JSONObject(x.Context), r.Topic, r.Partition, x.Offset, millis(x.RecordedAt),
			}
		},
		sums: func(tx *sql.Tx) error { return sumInteractions(tx, rows) },
	})
}

// InsertRecommendations inserts the served lists of a range.
func (a *Analytics) InsertRecommendations(ctx context.Context, r schemas.Range, rows []sinks.RecommendationRow) error {
	return a.insertRange(ctx, r, insertion{
		table: "recommendations", rows: len(rows),
		check: func(i int) error { return rowvalidate.Recommendation(&rows[i]) },
		query: `INSERT INTO recommendations (recommendation_id, user_id, strategy, variant, version, generated_at, expires_at, "trigger", caused_topic, caused_partition,
			caused_offset, caused_event_id, caused_at, accepted_at, degraded, items, log_topic, log_partition, log_offset, recorded_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		args: func(i int) []any {
			x := &rows[i]
			c := x.CausedBy
			return []any{
				x.RecommendationID, x.UserID, x.Strategy, x.Variant, x.Version, micros(rowvalidate.OrElse(x.GeneratedAt, x.RecordedAt)), microsOrNull(x.ExpiresAt), c.Trigger,
				c.Topic, c.Partition, c.Offset, c.EventID, microsOrNull(c.OccurredAt), microsOrNull(c.AcceptedAt), jsonArray(x.Degraded), jsonArray(x.Items),
				r.Topic, r.Partition, x.Offset, millis(x.RecordedAt),
			}
		},
		sums: func(tx *sql.Tx) error { return sumRecommendations(tx, rows) },
	})
}

// InsertItems keeps the newest version of each item.
func (a *Analytics) InsertItems(ctx context.Context, r schemas.Range, rows []sinks.ItemRow) error {
	return a.insertRange(ctx, r, insertion{
		table: "item_versions", rows: len(rows),
		check: func(i int) error { return rowvalidate.Item(&rows[i]) },
		query: `INSERT INTO item_versions (item_id, title, genres, actors, directors, tags, description, published_at, available, withdrawn, attributes, occurred_at,
			log_topic, log_partition, log_offset, recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (item_id) DO UPDATE SET title = excluded.title, genres = excluded.genres, actors = excluded.actors, directors = excluded.directors,
			tags = excluded.tags, description = excluded.description, published_at = excluded.published_at, available = excluded.available, withdrawn = excluded.withdrawn,
			attributes = excluded.attributes, occurred_at = excluded.occurred_at, log_topic = excluded.log_topic, log_partition = excluded.log_partition,
			log_offset = excluded.log_offset, recorded_at = excluded.recorded_at WHERE excluded.log_offset >= item_versions.log_offset`,
		args: func(i int) []any {
			x := &rows[i]
			var published any
			if !x.PublishedAt.IsZero() {
				published = x.PublishedAt.UTC().Format(dayLayout)
			}
			return []any{
				x.ItemID, x.Title, jsonArray(x.Genres), jsonArray(x.Actors), jsonArray(x.Directors), jsonArray(x.Tags), x.Description, published, x.IsAvailable(),
				x.Withdrawn, rowvalidate.JSONObject(x.Attributes), micros(rowvalidate.OrElse(x.OccurredAt, x.RecordedAt)), r.Topic, r.Partition, x.Offset, millis(x.RecordedAt),
			}
		},
	})
}

// InsertUsers keeps the newest attributes of each user.
func (a *Analytics) InsertUsers(ctx context.Context, r schemas.Range, rows []sinks.UserRow) error {
	return a.insertRange(ctx, r, insertion{
		table: "user_versions", rows: len(rows),
		check: func(i int) error { return rowvalidate.User(&rows[i]) },
		query: `INSERT INTO user_versions (user_id, attributes, erased, occurred_at, log_topic, log_partition, log_offset, recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (user_id) DO UPDATE SET attributes = excluded.attributes, erased = excluded.erased, occurred_at = excluded.occurred_at,
			log_topic = excluded.log_topic, log_partition = excluded.log_partition, log_offset = excluded.log_offset, recorded_at = excluded.recorded_at
			WHERE excluded.log_offset >= user_versions.log_offset`,
		args: func(i int) []any {
			x := &rows[i]
			return []any{x.UserID, rowvalidate.JSONObject(x.Attributes), x.Erased, micros(rowvalidate.OrElse(x.OccurredAt, x.RecordedAt)), r.Topic, r.Partition, x.Offset, millis(x.RecordedAt)}
		},
	})
}

// InsertDeadLetters inserts dead letters and their resolutions.
func (a *Analytics) InsertDeadLetters(ctx context.Context, r schemas.Range, rows []sinks.DeadLetterRow) error {
	return a.insertRange(ctx, r, insertion{
		table: "dead_letter_rows", rows: len(rows),
		check: func(i int) error { return rowvalidate.DeadLetter(&rows[i]) },
		query: `INSERT INTO dead_letter_rows (id, consumer_group, topic, partition, offset, class, reason, attempts, key, value, state, note, first_failed_at,
			last_failed_at, poison_offset, log_topic, log_partition, recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		args: func(i int) []any {
			x := &rows[i]
			value := x.Value
			if value == nil {
				value = []byte{}
			}
			return []any{
				x.ID, x.Group, x.Topic, x.Partition, x.Offset, x.Class, x.Reason, x.Attempts, x.Key, value, x.State, x.Note,
				millis(rowvalidate.OrElse(x.FirstFailedAt, x.RecordedAt)), millis(rowvalidate.OrElse(x.LastFailedAt, x.RecordedAt)), x.PoisonOffset, r.Topic, r.Partition, millis(x.RecordedAt),
			}
		},
	})
}

// SetProgress writes down up to where partitions are complete; a lower offset changes nothing.
func (a *Analytics) SetProgress(ctx context.Context, p []sinks.Progress) error {
	if len(p) == 0 {
		return nil
	}
	var errs []error
	for i := range p {
		errs = append(errs, rowvalidate.Progress(&p[i]))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sqlite: write progress: %w", err)
	}
	told := func(t time.Time, layout string) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(layout)
	}
	return a.write(ctx, "write progress", nil, func(tx *sql.Tx) error {
		for _, x := range p {
			_, err := tx.Exec(`INSERT INTO progress_rows (topic, partition, offset, occurred_at, recorded_at) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (topic, partition) DO UPDATE SET offset = excluded.offset, occurred_at = excluded.occurred_at, recorded_at = excluded.recorded_at
				WHERE excluded.offset >= progress_rows.offset`, x.Topic, x.Partition, x.Offset, told(x.OccurredAt, microLayout), told(x.RecordedAt, milliLayout))
			if err != nil {
				return err
			}
		}
		return nil
	})
}
