package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/rowvalidate"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Analytics keeps rows and sums for analysts in the same file, in tables and views with the names
// of those in ClickHouse. The rows of a range, its sums and its entry in landed_ranges are written
// in one transaction, so a repeated range is dropped.
type Analytics struct{ *Store }

// Analytics returns the store as sinktest.Analytics. Closing it closes the store.
func (s *Store) Analytics() *Analytics { return &Analytics{s} }

// keptOffsets is the number of offsets for which landed ranges of a partition are kept. Only the
// newest range can be uncertain.
const keptOffsets = 1_000_000

// insertion is one insert of a range into a table.
type insertion struct {
	table string
	rows  int
	// insert writes row i with the statement for query.
	query string
	args  func(i int) []any
	// sums brings the sums up to date, if there are any.
	sums func(tx *sql.Tx) error
}

// Insert stores the rows of a range, exactly once, and adds them to the sums.
func (a *Analytics) Insert(ctx context.Context, r record.Range, rows sinks.Rows) error {
	if rows == nil || rows.Len() == 0 {
		return nil
	}
	in := insertionOf(r, rows)
	what := fmt.Sprintf("insert %d rows into %s", in.rows, in.table)
	if err := rowvalidate.Range(r); err != nil {
		return fmt.Errorf("sqlite: %s: %w", what, err)
	}
	if err := rowvalidate.Rows(rows); err != nil {
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
					return &fault.Rejected{
						Undone: true, Records: []fault.Rejection{{Index: i, Err: err}},
					}
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

// land records that the range is inserted into table; first is false when it was before.
func land(tx *sql.Tx, r record.Range, table string) (first bool, err error) {
	res, err := tx.Exec(
		`INSERT OR IGNORE INTO landed_ranges (
			log_id, topic, partition, into_table, first_offset, last_offset
		) VALUES (?, ?, ?, ?, ?, ?)`,
		r.LogID, r.Topic, r.Partition, table, r.First, r.Last,
	)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	if err != nil || n == 0 {
		return false, err
	}
	_, err = tx.Exec(
		`DELETE FROM landed_ranges
		WHERE log_id = ? AND topic = ? AND partition = ? AND into_table = ? AND first_offset < ?`,
		r.LogID, r.Topic, r.Partition, table, r.First-keptOffsets,
	)
	return true, err
}

// SetProgress stores up to which offset partitions are complete. A lower offset changes nothing.
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
	timeOrEmpty := func(t time.Time, layout string) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(layout)
	}
	return a.write(ctx, "write progress", nil, func(tx *sql.Tx) error {
		for _, x := range p {
			_, err := tx.Exec(
				`INSERT INTO progress_rows (topic, partition, offset, occurred_at, recorded_at)
				VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (topic, partition) DO UPDATE SET
					offset = excluded.offset,
					occurred_at = excluded.occurred_at,
					recorded_at = excluded.recorded_at
				WHERE excluded.offset >= progress_rows.offset`,
				x.Topic, x.Partition, x.Offset,
				timeOrEmpty(x.OccurredAt, microLayout), timeOrEmpty(x.RecordedAt, milliLayout),
			)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
