package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/rowvalidate"
)

// GetProgress returns what SetProgress wrote, one entry per partition, in order of topic and
// partition.
func (s *Store) GetProgress(ctx context.Context) ([]sinks.Progress, error) {
	var rows []struct {
		Topic      string    `ch:"topic"`
		Partition  uint16    `ch:"partition"`
		Offset     int64     `ch:"offset"`
		OccurredAt time.Time `ch:"occurred_at"`
		RecordedAt time.Time `ch:"recorded_at"`
	}
	err := s.selectRows(
		ctx, &rows,
		"SELECT topic, partition, offset, occurred_at, recorded_at FROM "+s.table(viewCompleteness)+
			" ORDER BY topic, partition",
	)
	if err != nil {
		return nil, fmt.Errorf("read the progress: %w", err)
	}
	told := func(t time.Time) time.Time {
		if t.Unix() == 0 {
			return time.Time{}
		}
		return t.UTC()
	}
	out := make([]sinks.Progress, len(rows))
	for i, r := range rows {
		out[i] = sinks.Progress{
			Topic: r.Topic, Partition: int(r.Partition), Offset: r.Offset,
			OccurredAt: told(r.OccurredAt), RecordedAt: told(r.RecordedAt),
		}
	}
	return out, nil
}

// TrendingItems sums up the hours before q.Until with decay. The events of an hour count as if they
// had happened in its middle, and the hour of q.Until counts whole. Items whose sum is not above 0
// are left out.
func (s *Store) TrendingItems(ctx context.Context, q sinks.TrendingQuery) ([]sinks.Scored, error) {
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
		// Only the newest hour is read for the time within it.
		if err := s.queryRow(
			ctx,
			"SELECT max(last_at) FROM "+s.table(tableItemHours)+
				" WHERE hour >= (SELECT max(hour) FROM "+s.table(tableItemHours)+")",
		).Scan(&until); err != nil {
			return nil, fmt.Errorf("find the newest event: %w", classify(ctx, err))
		}
		lastHour = until
	}
	var (
		actions           []string
		from, to, weights []float64
		withoutValue      []int32
	)
	for _, w := range q.Weights {
		actions, weights = append(actions, string(w.Action)), append(weights, w.Weight)
		from, to = append(from, w.From), append(to, w.To)
		without := int32(0)
		if w.WithoutValue {
			without = 1
		}
		withoutValue = append(withoutValue, without)
	}
	first := time.Unix(0, 0)
	if d := until.Sub(first) / q.HalfLife; d > rowvalidate.HalfLives {
		first = until.Add(-rowvalidate.HalfLives * q.HalfLife)
	}
	var rows []struct {
		ItemID string  `ch:"item"`
		Score  float64 `ch:"score"`
	}
	err := s.selectRows(
		ctx, &rows,
		`
		SELECT item, sum(n * arraySum(arrayMap(
			(a, f, t, o, w) -> if(a = act AND if(vn = 0, o = 1, v / vn >= f AND v / vn < t),
				toFloat64(w), toFloat64(0)), ?, ?, ?, ?, ?))
			* exp2(-greatest(0, ? - toUnixTimestamp(h) - 1800) / ?)) AS score
		FROM (SELECT hour AS h, item_id AS item, toString(action) AS act, sum(events) AS n,
		             sum(value_count) AS vn, sum(value_sum) AS v
		      FROM `+s.table(tableItemHours)+`
		      WHERE hour >= fromUnixTimestamp(?) AND hour <= fromUnixTimestamp(?) AND action IN ?
		      GROUP BY h, item, act)
		GROUP BY item HAVING score > 0
		ORDER BY score DESC, item LIMIT ?`,
		actions, from, to, withoutValue, weights, float64(until.UnixMilli())/1000,
		q.HalfLife.Seconds(), first.Unix(), lastHour.Unix(), actions, q.N,
	)
	if err != nil {
		return nil, fmt.Errorf("sum up trending items: %w", err)
	}
	out := make([]sinks.Scored, len(rows))
	for i, r := range rows {
		out[i] = sinks.Scored{ItemID: r.ItemID, Score: r.Score}
	}
	return out, nil
}

// CountInteractions counts the raw rows and adds up the sums made from them.
func (s *Store) CountInteractions(ctx context.Context) (sinks.Counts, error) {
	var rows, hours, days uint64
	err := s.queryRow(
		ctx,
		"SELECT (SELECT count() FROM "+s.table(tableInteractions)+"), (SELECT sum(events) FROM "+
			s.table(tableItemHours)+
			"), (SELECT sum(events) FROM "+s.table(tableUserDays)+")",
	).Scan(&rows, &hours, &days)
	if err != nil {
		return sinks.Counts{}, fmt.Errorf("count interactions: %w", classify(ctx, err))
	}
	return sinks.Counts{Rows: int64(rows), ItemHours: int64(hours), UserDays: int64(days)}, nil
}

func (s *Store) selectRows(ctx context.Context, dest any, query string, args ...any) error {
	qctx, cancel := context.WithTimeout(ctx, s.cfg.QueryTimeout)
	defer cancel()
	return classify(ctx, s.conn.Select(qctx, dest, query, args...))
}
