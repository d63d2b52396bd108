package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/rowvalidate"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// col makes one column of rows.
func col[R, T any](rows []R, f func(*R) T) []T {
	out := make([]T, len(rows))
	for i := range rows {
		out[i] = f(&rows[i])
	}
	return out
}

func addPosition[R any](
	c *columns, r record.Range, rows []R, offset func(*R) int64, recordedAt func(*R) time.Time,
) {
	c.add("log_topic", col(rows, func(*R) string { return r.Topic }))
	c.add("log_partition", col(rows, func(*R) uint16 { return uint16(r.Partition) }))
	c.add("log_offset", col(rows, offset))
	c.add("recorded_at", col(rows, recordedAt))
}

// Insert stores the rows of a range, exactly once. Sums follow by materialized views.
func (s *Store) Insert(ctx context.Context, r record.Range, rows sinks.Rows) error {
	if rows == nil || rows.Len() == 0 {
		return nil
	}
	in := insertionOf(r, rows)
	if err := rowvalidate.Range(r); err != nil {
		return fmt.Errorf("insert into %s: %w", in.table, err)
	}
	if err := rowvalidate.Rows(rows); err != nil {
		return err
	}
	return s.insertRange(ctx, r, in)
}

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
	type row = sinks.InteractionRow
	at := func(x *row) time.Time { return rowvalidate.OrElse(x.OccurredAt, x.RecordedAt) }
	return insertion{
		table: tableInteractions, rows: len(rows),
		build: func(from, to int) *columns {
			rows, c := rows[from:to], new(columns)
			c.add("event_id", col(rows, func(x *row) string { return x.EventID }))
			c.add("source", col(rows, func(x *row) string { return x.Source }))
			c.add("user_id", col(rows, func(x *row) string { return x.UserID }))
			c.add("item_id", col(rows, func(x *row) string { return x.ItemID }))
			c.add("action", col(rows, func(x *row) string { return string(x.Action) }))
			c.add("meaning", col(rows, func(x *row) string { return string(x.Meaning) }))
			c.add("outcome", col(rows, func(x *row) string { return string(x.Outcome) }))
			c.add("value", col(rows, func(x *row) *float64 { return x.Value }))
			c.add("occurred_at", col(rows, at))
			c.add("client_time", col(rows, func(x *row) *time.Time {
				return clientTime(x.ClientTime)
			}))
			c.add("session_id", col(rows, func(x *row) string { return x.SessionID }))
			c.add("recommendation_id", col(rows, func(x *row) string { return x.RecommendationID }))
			c.add("context", col(rows, func(x *row) map[string]string { return x.Context }))
			addPosition(c, r, rows,
				func(x *row) int64 { return x.Offset },
				func(x *row) time.Time { return x.RecordedAt })
			return c
		},
	}
}

func recommendationInsertion(r record.Range, rows []sinks.RecommendationRow) insertion {
	type row = sinks.RecommendationRow
	type place = schemas.RecommendedItem
	at := func(x *row) time.Time { return rowvalidate.OrElse(x.GeneratedAt, x.RecordedAt) }
	return insertion{
		table: tableRecommendations, rows: len(rows),
		build: func(from, to int) *columns {
			rows, c := rows[from:to], new(columns)
			c.add("recommendation_id", col(rows, func(x *row) string { return x.RecommendationID }))
			c.add("user_id", col(rows, func(x *row) string { return x.UserID }))
			c.add("strategy", col(rows, func(x *row) string { return x.Strategy }))
			c.add("variant", col(rows, func(x *row) string { return x.Variant }))
			c.add("version", col(rows, func(x *row) int64 { return x.Version }))
			c.add("generated_at", col(rows, at))
			c.add("expires_at", col(rows, func(x *row) *time.Time {
				return rowvalidate.OrNil(x.ExpiresAt)
			}))
			c.add("trigger", col(rows, func(x *row) string { return x.CausedBy.Trigger }))
			c.add("caused_topic", col(rows, func(x *row) string { return x.CausedBy.Topic }))
			c.add("caused_partition", col(rows, func(x *row) uint16 {
				return uint16(x.CausedBy.Partition)
			}))
			c.add("caused_offset", col(rows, func(x *row) int64 { return x.CausedBy.Offset }))
			c.add("caused_event_id", col(rows, func(x *row) string { return x.CausedBy.EventID }))
			c.add("caused_at", col(rows, func(x *row) *time.Time {
				return rowvalidate.OrNil(x.CausedBy.OccurredAt)
			}))
			c.add("accepted_at", col(rows, func(x *row) *time.Time {
				return rowvalidate.OrNil(x.CausedBy.AcceptedAt)
			}))
			c.add("degraded", col(rows, func(x *row) []string { return x.Degraded }))
			c.add("items.item_id", col(rows, func(x *row) []string {
				return col(x.Items, func(p *place) string { return p.ItemID })
			}))
			c.add("items.rank", col(rows, func(x *row) []uint16 {
				return col(x.Items, func(p *place) uint16 { return uint16(p.Rank) })
			}))
			c.add("items.score", col(rows, func(x *row) []float64 {
				return col(x.Items, func(p *place) float64 { return p.Score })
			}))
			c.add("items.reason", col(rows, func(x *row) []string {
				return col(x.Items, func(p *place) string { return p.Reason })
			}))
			c.add("items.source", col(rows, func(x *row) []string {
				return col(x.Items, func(p *place) string { return p.Source })
			}))
			addPosition(c, r, rows,
				func(x *row) int64 { return x.Offset },
				func(x *row) time.Time { return x.RecordedAt })
			return c
		},
	}
}

func itemInsertion(r record.Range, rows []sinks.ItemRow) insertion {
	type row = sinks.ItemRow
	at := func(x *row) time.Time { return rowvalidate.OrElse(x.OccurredAt, x.RecordedAt) }
	return insertion{
		table: tableItems, rows: len(rows),
		build: func(from, to int) *columns {
			rows, c := rows[from:to], new(columns)
			c.add("item_id", col(rows, func(x *row) string { return x.ItemID }))
			c.add("title", col(rows, func(x *row) string { return x.Title }))
			c.add("genres", col(rows, func(x *row) []string { return x.Genres }))
			c.add("actors", col(rows, func(x *row) []string { return x.Actors }))
			c.add("directors", col(rows, func(x *row) []string { return x.Directors }))
			c.add("tags", col(rows, func(x *row) []string { return x.Tags }))
			c.add("description", col(rows, func(x *row) string { return x.Description }))
			c.add("published_at", col(rows, func(x *row) *time.Time {
				return publishedDay(x.PublishedAt)
			}))
			c.add("available", col(rows, func(x *row) bool { return x.IsAvailable() }))
			c.add("withdrawn", col(rows, func(x *row) bool { return x.Withdrawn }))
			c.add("attributes", col(rows, func(x *row) string {
				return rowvalidate.JSONObject(x.Attributes)
			}))
			c.add("occurred_at", col(rows, at))
			c.add("client_time", col(rows, func(x *row) *time.Time {
				return clientTime(x.ClientTime)
			}))
			addStood(c, r, rows, func(x *row) string { return x.Replayed },
				func(x *row) bool { return x.Withdrawn && x.Title == "" })
			addPosition(c, r, rows,
				func(x *row) int64 { return x.Offset },
				func(x *row) time.Time { return x.RecordedAt })
			return c
		},
	}
}

// clientTime keeps what an event said of its time within what a DateTime64 holds. nil: its time was
// accepted.
func clientTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	at := t.UTC()
	if last := time.Date(2299, 12, 31, 0, 0, 0, 0, time.UTC); at.After(last) {
		at = last
	}
	return &at
}

// addStood adds the column by which the storage keeps the newest row of each partition. Replayed
// dead letters stand for themselves: the order of their offsets is not that of the records. So do
// withdrawals, which say nothing of what the item was: the row before them is kept as well.
func addStood[R any](
	c *columns, r record.Range, rows []R, replayed func(*R) string, withdrawal func(*R) bool,
) {
	const (
		ofReplays     = 1 << 31
		ofWithdrawals = 1 << 30
	)
	c.add("stood", col(rows, func(x *R) uint32 {
		if id := replayed(x); id != "" {
			return ofReplays | uint32(xxhash.Sum64String(id))
		}
		if withdrawal(x) {
			return ofWithdrawals | uint32(r.Partition) + 1
		}
		return uint32(r.Partition) + 1
	}))
}

// publishedDay keeps the day within what a Date32 holds: films are older than 1900.
func publishedDay(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	day := t.UTC()
	if first := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC); day.Before(first) {
		day = first
	}
	if last := time.Date(2299, 12, 31, 0, 0, 0, 0, time.UTC); day.After(last) {
		day = last
	}
	return &day
}

func userInsertion(r record.Range, rows []sinks.UserRow) insertion {
	type row = sinks.UserRow
	at := func(x *row) time.Time { return rowvalidate.OrElse(x.OccurredAt, x.RecordedAt) }
	return insertion{
		table: tableUsers, rows: len(rows),
		build: func(from, to int) *columns {
			rows, c := rows[from:to], new(columns)
			c.add("user_id", col(rows, func(x *row) string { return x.UserID }))
			c.add("attributes", col(rows, func(x *row) string {
				return rowvalidate.JSONObject(x.Attributes)
			}))
			c.add("erased", col(rows, func(x *row) bool { return x.Erased }))
			c.add("occurred_at", col(rows, at))
			c.add("client_time", col(rows, func(x *row) *time.Time {
				return clientTime(x.ClientTime)
			}))
			addStood(c, r, rows, func(x *row) string { return x.Replayed },
				func(*row) bool { return false })
			addPosition(c, r, rows,
				func(x *row) int64 { return x.Offset },
				func(x *row) time.Time { return x.RecordedAt })
			return c
		},
	}
}

func deadLetterInsertion(r record.Range, rows []sinks.DeadLetterRow) insertion {
	type row = sinks.DeadLetterRow
	return insertion{
		table: tableDeadLetters, rows: len(rows),
		build: func(from, to int) *columns {
			rows, c := rows[from:to], new(columns)
			c.add("id", col(rows, func(x *row) string { return x.ID }))
			c.add("consumer_group", col(rows, func(x *row) string { return x.Group }))
			c.add("topic", col(rows, func(x *row) string { return x.Topic }))
			c.add("partition", col(rows, func(x *row) uint16 { return uint16(x.Partition) }))
			c.add("offset", col(rows, func(x *row) int64 { return x.Offset }))
			c.add("class", col(rows, func(x *row) string { return x.Class }))
			c.add("reason", col(rows, func(x *row) string { return x.Reason }))
			c.add("attempts", col(rows, func(x *row) uint32 { return uint32(x.Attempts) }))
			c.add("key", col(rows, func(x *row) string { return x.Key }))
			c.add("value", col(rows, func(x *row) string { return string(x.Value) }))
			c.add("state", col(rows, func(x *row) string { return x.State }))
			c.add("note", col(rows, func(x *row) string { return x.Note }))
			c.add(
				"first_failed_at",
				col(
					rows,
					func(x *row) time.Time {
						return rowvalidate.OrElse(x.FirstFailedAt, x.RecordedAt)
					},
				),
			)
			c.add(
				"last_failed_at",
				col(
					rows,
					func(x *row) time.Time {
						return rowvalidate.OrElse(x.LastFailedAt, x.RecordedAt)
					},
				),
			)
			c.add("poison_offset", col(rows, func(x *row) int64 { return x.PoisonOffset }))
			c.add("log_topic", col(rows, func(*row) string { return r.Topic }))
			c.add("log_partition", col(rows, func(*row) uint16 { return uint16(r.Partition) }))
			c.add("recorded_at", col(rows, func(x *row) time.Time { return x.RecordedAt }))
			return c
		},
	}
}

// SetProgress stores up to which offset partitions are complete. A lower offset than the stored one
// changes nothing.
func (s *Store) SetProgress(ctx context.Context, p []sinks.Progress) error {
	if len(p) == 0 {
		return nil
	}
	type row = sinks.Progress
	epoch := time.Unix(0, 0).UTC()
	for i := range p {
		if err := rowvalidate.Progress(&p[i]); err != nil {
			return err
		}
	}
	bounded := func(t time.Time) time.Time {
		if rowvalidate.Time("", t) != nil {
			return epoch // nothing with a time yet
		}
		return t
	}
	ictx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	c := new(columns)
	c.add("topic", col(p, func(x *row) string { return x.Topic }))
	c.add("partition", col(p, func(x *row) uint16 { return uint16(x.Partition) }))
	c.add("offset", col(p, func(x *row) int64 { return x.Offset }))
	c.add("occurred_at", col(p, func(x *row) time.Time { return bounded(x.OccurredAt) }))
	c.add("recorded_at", col(p, func(x *row) time.Time { return bounded(x.RecordedAt) }))
	err := s.send(ictx, tableProgress, c)
	if isLost(err) && ictx.Err() == nil {
		err = s.send(ictx, tableProgress, c)
	}
	if err != nil {
		return fmt.Errorf("write the progress of %d partitions: %w", len(p), classify(ctx, err))
	}
	return nil
}
