package clickhouse

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
)

// TrendingItems counts people per item in the windows of q. Counts of more than a hundred people
// are estimates: the standard error is 1.6 %.
func (s *Store) TrendingItems(ctx context.Context, q sinks.TrendingQuery) ([]sinks.Scored, error) {
	steps := q.Steps()
	if q.N <= 0 || len(steps) == 0 {
		return nil, nil
	}
	if q.HalfLife <= 0 {
		return nil, fault.Permanentf(
			"the half-life of trending items is %s, want more than 0", q.HalfLife,
		)
	}
	until, last := q.Until, q.Until.Add(-time.Nanosecond)
	if until.IsZero() {
		// Only the newest hour is read for the time within it.
		if err := s.queryRow(
			ctx,
			"SELECT max(last_at) FROM "+s.table(tableItemHours)+
				" WHERE hour >= (SELECT max(hour) FROM "+s.table(tableItemHours)+")",
		).Scan(&until); err != nil {
			return nil, fmt.Errorf("find the newest event: %w", classify(ctx, err))
		}
		last = until
	}
	var firsts []int64
	for _, hour := range q.Hours(until, last) {
		firsts = append(firsts, max(hour.Unix(), 0))
	}
	score, args := score(steps, q.Windows())
	args = append(args, firsts, firsts[len(firsts)-1], last.Unix(), steps[0].Meanings, q.N)
	var rows []struct {
		ItemID string  `ch:"item"`
		Score  float64 `ch:"score"`
	}
	err := s.selectRows(
		ctx, &rows,
		`
		SELECT item, `+score+` AS score
		FROM (SELECT item_id AS item, toString(meaning) AS said,
		             arrayFirstIndex(f -> toUnixTimestamp(hour) >= f, ?) AS age,
		             uniqCombined64MergeState(12)(users) AS people
		      FROM `+s.table(tableAudience)+`
		      WHERE hour >= fromUnixTimestamp(?) AND hour <= fromUnixTimestamp(?) AND meaning IN ?
		      GROUP BY item, said, age)
		GROUP BY item
		ORDER BY score DESC, item LIMIT ?`,
		args...,
	)
	if err != nil {
		return nil, fmt.Errorf("count the people of trending items: %w", err)
	}
	out := make([]sinks.Scored, len(rows))
	for i, r := range rows {
		out[i] = sinks.Scored{ItemID: r.ItemID, Score: r.Score}
	}
	return out, nil
}

// score returns the expression of an item's score. People whose newest word is in a window are
// those in it less those in the windows before. So the people of each window count what their decay
// is above that of the next one.
func score(steps []sinks.TrendingStep, windows []sinks.TrendingWindow) (sql string, args []any) {
	var terms []string
	for _, step := range steps {
		for i, w := range windows {
			above := w.Decay
			if i+1 < len(windows) {
				above -= windows[i+1].Decay
			}
			terms = append(
				terms, "? * uniqCombined64MergeIf(12)(people, said IN ? AND age <= ?)",
			)
			args = append(args, step.Adds*above, step.Meanings, i+1)
		}
	}
	return strings.Join(terms, " + "), args
}
