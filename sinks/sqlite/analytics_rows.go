package sqlite

import (
	"database/sql"
	"encoding/json"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/rowvalidate"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Layouts of times in tables for analysts. Each has a fixed length, so that times sort as text.
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

// clientTime is NULL for an event whose time was accepted.
func clientTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return micros(t)
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

// insertionOf returns the statement and arguments that write the rows.
func insertionOf(r record.Range, rows sinks.Rows) insertion {
	switch rows := rows.(type) {
	case sinks.InteractionRows:
		return interactionInsertion(r, rows)
	case sinks.RecommendationRows:
		return recommendationInsertion(r, rows)
	case sinks.ItemRows:
		return itemInsertion(r, rows)
	case sinks.UserRows:
		return userInsertion(r, rows)
	case sinks.DeadLetterRows:
		return deadLetterInsertion(r, rows)
	}
	panic(fault.Permanentf("no table for rows of type %T", rows)) // sinks.Rows is a closed set
}

func interactionInsertion(r record.Range, rows []sinks.InteractionRow) insertion {
	return insertion{
		table: "interactions", rows: len(rows),
		query: `
			INSERT INTO interactions (
				event_id, source, user_id, item_id, action, meaning, outcome, value, occurred_at,
				client_time, session_id, recommendation_id, context, log_topic, log_partition,
				log_offset, recorded_at
			) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		args: func(i int) []any {
			x := &rows[i]
			var value any
			if x.Value != nil {
				value = *x.Value
			}
			return []any{
				x.EventID, x.Source, x.UserID, x.ItemID, string(x.Action), string(x.Meaning),
				string(x.Outcome), value,
				micros(rowvalidate.OrElse(x.OccurredAt, x.RecordedAt)), clientTime(x.ClientTime),
				x.SessionID, x.RecommendationID, rowvalidate.JSONObject(x.Context),
				r.Topic, r.Partition, x.Offset, millis(x.RecordedAt),
			}
		},
		sums: func(tx *sql.Tx) error { return sumInteractions(tx, rows) },
	}
}

func recommendationInsertion(r record.Range, rows []sinks.RecommendationRow) insertion {
	return insertion{
		table: "recommendations", rows: len(rows),
		query: `
			INSERT INTO recommendations (
				recommendation_id, user_id, strategy, variant, version, generated_at, expires_at,
				"trigger", caused_topic, caused_partition, caused_offset, caused_event_id,
				caused_at, accepted_at, degraded, items, log_topic, log_partition, log_offset,
				recorded_at
			) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		args: func(i int) []any {
			x := &rows[i]
			c := x.CausedBy
			return []any{
				x.RecommendationID, x.UserID, x.Strategy, x.Variant, x.Version,
				micros(rowvalidate.OrElse(x.GeneratedAt, x.RecordedAt)), microsOrNull(x.ExpiresAt),
				c.Trigger, c.Topic, c.Partition, c.Offset, c.EventID,
				microsOrNull(c.OccurredAt), microsOrNull(c.AcceptedAt),
				jsonArray(x.Degraded), jsonArray(x.Items),
				r.Topic, r.Partition, x.Offset, millis(x.RecordedAt),
			}
		},
		sums: func(tx *sql.Tx) error { return sumRecommendations(tx, rows) },
	}
}

// newerRow ends a statement that replaces the row of a key by a newer one. In a partition the
// offset decides. Offsets of different partitions cannot be compared, and those of replayed dead
// letters are in no order: there the log time decides, then the partition.
func newerRow(table string) string {
	return strings.ReplaceAll(`
			WHERE CASE
				WHEN excluded.log_topic = TABLE.log_topic
					AND excluded.log_partition = TABLE.log_partition
					AND excluded.log_topic NOT LIKE '%.replay'
				THEN excluded.log_offset >= TABLE.log_offset
				ELSE (excluded.recorded_at, excluded.log_partition) >
					(TABLE.recorded_at, TABLE.log_partition)
			END`, "TABLE", table)
}

// kept is the value of a column of an item: a withdrawal, which says nothing but which item it is,
// leaves it as it was.
func kept(column string) string {
	return "iif(excluded.withdrawn AND excluded.title = '', item_versions." + column +
		", excluded." + column + ")"
}

func itemInsertion(r record.Range, rows []sinks.ItemRow) insertion {
	return insertion{
		table: "item_versions", rows: len(rows),
		query: `
			INSERT INTO item_versions (
				item_id, title, genres, actors, directors, tags, description, published_at,
				available, withdrawn, attributes, occurred_at, client_time, log_topic,
				log_partition, log_offset, recorded_at
			) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (item_id) DO UPDATE SET
				title = ` + kept("title") + `,
				genres = ` + kept("genres") + `,
				actors = ` + kept("actors") + `,
				directors = ` + kept("directors") + `,
				tags = ` + kept("tags") + `,
				description = ` + kept("description") + `,
				published_at = ` + kept("published_at") + `,
				available = excluded.available,
				withdrawn = excluded.withdrawn,
				attributes = ` + kept("attributes") + `,
				occurred_at = excluded.occurred_at,
				client_time = excluded.client_time,
				log_topic = excluded.log_topic,
				log_partition = excluded.log_partition,
				log_offset = excluded.log_offset,
				recorded_at = excluded.recorded_at` + newerRow("item_versions"),
		args: func(i int) []any {
			x := &rows[i]
			var published any
			if !x.PublishedAt.IsZero() {
				published = x.PublishedAt.UTC().Format(dayLayout)
			}
			return []any{
				x.ItemID, x.Title, jsonArray(x.Genres), jsonArray(x.Actors), jsonArray(x.Directors),
				jsonArray(x.Tags), x.Description, published, x.IsAvailable(), x.Withdrawn,
				rowvalidate.JSONObject(x.Attributes),
				micros(rowvalidate.OrElse(x.OccurredAt, x.RecordedAt)), clientTime(x.ClientTime),
				r.Topic, r.Partition, x.Offset, millis(x.RecordedAt),
			}
		},
	}
}

func userInsertion(r record.Range, rows []sinks.UserRow) insertion {
	return insertion{
		table: "user_versions", rows: len(rows),
		query: `
			INSERT INTO user_versions (
				user_id, attributes, erased, occurred_at, client_time, log_topic, log_partition,
				log_offset, recorded_at
			) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (user_id) DO UPDATE SET
				attributes = excluded.attributes,
				erased = excluded.erased,
				occurred_at = excluded.occurred_at,
				client_time = excluded.client_time,
				log_topic = excluded.log_topic,
				log_partition = excluded.log_partition,
				log_offset = excluded.log_offset,
				recorded_at = excluded.recorded_at` + newerRow("user_versions"),
		args: func(i int) []any {
			x := &rows[i]
			return []any{
				x.UserID, rowvalidate.JSONObject(x.Attributes), x.Erased,
				micros(rowvalidate.OrElse(x.OccurredAt, x.RecordedAt)), clientTime(x.ClientTime),
				r.Topic, r.Partition, x.Offset, millis(x.RecordedAt),
			}
		},
	}
}

func deadLetterInsertion(r record.Range, rows []sinks.DeadLetterRow) insertion {
	return insertion{
		table: "dead_letter_rows", rows: len(rows),
		query: `
			INSERT INTO dead_letter_rows (
				id, consumer_group, topic, partition, offset, class, reason, attempts, key, value,
				state, note, first_failed_at, last_failed_at, poison_offset, log_topic,
				log_partition, recorded_at
			) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		args: func(i int) []any {
			x := &rows[i]
			value := x.Value
			if value == nil {
				value = []byte{}
			}
			return []any{
				x.ID, x.Group, x.Topic, x.Partition, x.Offset, x.Class, x.Reason, x.Attempts,
				x.Key, value, x.State, x.Note,
				millis(rowvalidate.OrElse(x.FirstFailedAt, x.RecordedAt)),
				millis(rowvalidate.OrElse(x.LastFailedAt, x.RecordedAt)),
				x.PoisonOffset, r.Topic, r.Partition, millis(x.RecordedAt),
			}
		},
	}
}
