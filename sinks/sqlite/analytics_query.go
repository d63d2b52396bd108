package sqlite

import (
	"context"
	"time"

	"github.com/slipstream-rec/slipstream/sinks"
)

// GetProgress returns what SetProgress wrote, in order of topic and partition.
func (a *Analytics) GetProgress(ctx context.Context) ([]sinks.Progress, error) {
	const what = "read progress"
	var out []sinks.Progress
	err := a.each(
		ctx,
		"SELECT topic, partition, offset, occurred_at, recorded_at FROM progress_rows ORDER BY "+
			"topic, partition",
		nil,
		func(scan func(...any) error) error {
			var (
				p                  sinks.Progress
				occurred, recorded string
			)
			if err := scan(&p.Topic, &p.Partition, &p.Offset, &occurred, &recorded); err != nil {
				return err
			}
			var err error
			if p.OccurredAt, err = parseTime(microLayout, occurred); err != nil {
				return err
			}
			p.RecordedAt, err = parseTime(milliLayout, recorded)
			out = append(out, p)
			return err
		},
	)
	if err != nil {
		return nil, a.failed(ctx, what, err)
	}
	return out, nil
}

func parseTime(layout, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(layout, s)
}

// each calls f for every row of a query.
func (a *Analytics) each(
	ctx context.Context, query string, args []any, f func(scan func(...any) error) error,
) error {
	rows, err := a.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// CountInteractions counts the rows and adds up the sums made from them.
func (a *Analytics) CountInteractions(ctx context.Context) (sinks.Counts, error) {
	var c sinks.Counts
	err := a.reader.QueryRowContext(
		ctx,
		`SELECT (SELECT count(*) FROM interactions),
			(SELECT ifnull(sum(events), 0) FROM item_hours),
			(SELECT ifnull(sum(events), 0) FROM user_days)`,
	).Scan(&c.Rows, &c.ItemHours, &c.UserDays)
	if err != nil {
		return sinks.Counts{}, a.failed(ctx, "count interactions", err)
	}
	return c, nil
}
