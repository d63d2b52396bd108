package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/rowvalidate"
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

// TrendingItems sums up the hours before q.Until with decay. Events of an hour are treated as if
// they occurred in its middle, and the hour of q.Until counts in full. Items with a sum of 0 or
// less are left out.
func (a *Analytics) TrendingItems(
	ctx context.Context, q sinks.TrendingQuery,
) ([]sinks.Scored, error) {
	const what = "sum up trending items"
	if q.N <= 0 || len(q.Weights) == 0 {
		return nil, nil
	}
	if q.HalfLife <= 0 {
		return nil, fault.Permanentf(
			"the half-life of trending items is %s, want more than 0", q.HalfLife,
		)
	}
	until, lastHour := q.Until, q.Until.Add(-time.Nanosecond)
	if until.IsZero() {
		var newest sql.NullString
		if err := a.reader.QueryRowContext(
			ctx,
			"SELECT max(last_at) FROM item_hours WHERE hour = (SELECT max(hour) FROM item_hours)",
		).Scan(&newest); err != nil {
			return nil, a.failed(ctx, what, err)
		}
		if !newest.Valid {
			return nil, nil
		}
		var err error
		if until, err = parseTime(microLayout, newest.String); err != nil {
			return nil, a.failed(ctx, what, err)
		}
		lastHour = until
	}
	from := time.Unix(0, 0)
	if until.Sub(from)/q.HalfLife > rowvalidate.HalfLives {
		from = until.Add(-rowvalidate.HalfLives * q.HalfLife)
	}
	scores := make(map[string]float64)
	var (
		hour  string
		decay float64
	)
	err := a.each(
		ctx,
		`SELECT hour, item_id, action, events, value_count, value_sum FROM item_hours
		WHERE hour BETWEEN ? AND ? ORDER BY hour`,
		[]any{from.UTC().Format(hourLayout), lastHour.UTC().Format(hourLayout)},
		func(scan func(...any) error) error {
			var (
				h, item, action string
				events, sum     float64
				values          int64
			)
			if err := scan(&h, &item, &action, &events, &values, &sum); err != nil {
				return err
			}
			if h != hour {
				start, err := time.Parse(hourLayout, h)
				if err != nil {
					return err
				}
				age := max(0, float64(until.Sub(start)-30*time.Minute))
				hour, decay = h, math.Exp2(-age/float64(q.HalfLife))
			}
			scores[item] += q.WeightOf(schemas.Action(action), values, sum) * events * decay
			return nil
		},
	)
	if err != nil {
		return nil, a.failed(ctx, what, err)
	}
	out := make([]sinks.Scored, 0, len(scores))
	for item, score := range scores {
		if score > 0 {
			out = append(out, sinks.Scored{ItemID: item, Score: score})
		}
	}
	slices.SortFunc(out, func(x, y sinks.Scored) int {
		return cmp.Or(cmp.Compare(y.Score, x.Score), cmp.Compare(x.ItemID, y.ItemID))
	})
	return out[:min(q.N, len(out))], nil
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
