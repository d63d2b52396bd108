package clickhouse

import (
	"context"
	"fmt"
	"strings"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// repairSums makes sure that the sums hold a range of interactions whose rows are there. The tables
// behind the views persist tokens before rows too, and can lose rows in the same way.
func (s *Store) repairSums(ctx context.Context, r record.Range, keys []string) error {
	args := []any{
		ch.Named("topic", r.Topic),
		ch.Named("partition", uint16(r.Partition)), //nolint:gosec // checked by rowvalidate
		ch.Named("first", r.First), ch.Named("last", r.Last), ch.Named("keys", keys),
	}
	if err := s.repairItemHours(ctx, r, args); err != nil {
		return fmt.Errorf("sums per item and hour: %w", err)
	}
	inRange := ` FROM ` + s.table(tableInteractions) + ` WHERE user_id IN @keys
		AND log_topic = @topic AND log_partition = @partition
		AND log_offset BETWEEN @first AND @last`
	// All that a user does, and the feedback to the user's lists, comes from one partition and its
	// replays: nobody else adds to these sums meanwhile.
	days := `INSERT INTO ` + s.table(tableUserDays) + `
		SELECT user_id, day, action, raw.n - sums.n, raw.vn - sums.vn, raw.v - sums.v, raw.at
		FROM (SELECT user_id, toDate(occurred_at) AS day, action, count() AS n, count(value) AS vn,
		             sum(ifNull(value, 0)) AS v, max(occurred_at) AS at
		      FROM ` + s.table(tableInteractions) + `
		      WHERE user_id IN @keys AND (user_id, toDate(occurred_at)) IN
		            (SELECT user_id, toDate(occurred_at)` + inRange + `)
		      GROUP BY user_id, day, action) AS raw
		LEFT JOIN (SELECT user_id, day, action, sum(events) AS n, sum(value_count) AS vn,
		                  sum(value_sum) AS v
		           FROM ` + s.table(tableUserDays) + `
		           WHERE user_id IN @keys GROUP BY user_id, day, action) AS sums
		USING (user_id, day, action)
		WHERE raw.n > sums.n`
	if err := s.execFresh(ctx, days, args); err != nil {
		return fmt.Errorf("sums per user and day: %w", err)
	}
	lists := `(SELECT DISTINCT recommendation_id` + inRange + ` AND recommendation_id != '')`
	outcomes := `INSERT INTO ` + s.table(tableOutcomes) + `
		(recommendation_id, feedback_at, impressions, clicks, conversions, refusals)
		SELECT recommendation_id, raw.at,
		       raw.i - sums.i, raw.c - sums.c, raw.v - sums.v, raw.f - sums.f
		FROM (SELECT recommendation_id, max(occurred_at) AS at,
		             countIf(action = 'impression') AS i, countIf(action = 'click') AS c,
		             countIf(action IN ('like', 'add_to_cart', 'purchase', 'watch')) AS v,
		             countIf(action IN ('dislike', 'skip', 'hide')) AS f
		      FROM ` + s.table(tableInteractions) + `
		      WHERE recommendation_id IN ` + lists + ` GROUP BY recommendation_id) AS raw
		LEFT JOIN (SELECT recommendation_id, sum(impressions) AS i, sum(clicks) AS c,
		                  sum(conversions) AS v, sum(refusals) AS f
		           FROM ` + s.table(tableOutcomes) + `
		           WHERE recommendation_id IN ` + lists + ` GROUP BY recommendation_id) AS sums
		USING (recommendation_id)
		WHERE raw.i >= sums.i AND raw.c >= sums.c AND raw.v >= sums.v AND raw.f >= sums.f
		  AND raw.i + raw.c + raw.v + raw.f > sums.i + sums.c + sums.v + sums.f`
	if err := s.execFresh(ctx, outcomes, args); err != nil {
		return fmt.Errorf("feedback to lists: %w", err)
	}
	return nil
}

// repairItemHours compares the range with the marker row that every insert leaves beside its sums.
// A view of an older version leaves none; then nothing can be verified.
func (s *Store) repairItemHours(ctx context.Context, r record.Range, args []any) error {
	var view string
	err := s.queryRow(ctx, `SELECT as_select FROM system.tables
		WHERE database = ? AND name = 'interactions_to_item_hours'`, s.cfg.Database).Scan(&view)
	if err != nil {
		return classify(ctx, err)
	}
	if !strings.Contains(view, "log_offset") {
		return nil
	}
	var newest int64
	err = s.queryRow(
		ctx,
		"SELECT max(toUnixTimestamp64Micro(last_at)) FROM "+s.table(tableItemHours)+
			" WHERE hour = toDateTime(0, 'UTC') AND item_id = ?",
		fmt.Sprintf("log:%s/%d", r.Topic, r.Partition),
	).Scan(&newest)
	if err != nil {
		return classify(ctx, err)
	}
	if newest > r.First { // the ranges of a partition land in order
		return nil
	}
	return s.execFresh(ctx, `INSERT INTO `+s.table(tableItemHours)+`
		SELECT if(w, toDateTime(0, 'UTC'), g.h),
		       if(w, concat('log:', @topic, '/', toString(@partition)), g.item),
		       if(w, '', toString(g.act)), if(w, 0, g.n), if(w, 0, g.vn), if(w, 0, g.v),
		       if(w, fromUnixTimestamp64Micro(g.newest, 'UTC'), g.at)
		FROM (SELECT toStartOfHour(occurred_at) AS h, item_id AS item, action AS act,
		             count() AS n, count(value) AS vn, sum(ifNull(value, 0)) AS v,
		             max(occurred_at) AS at, max(log_offset) + 1 AS newest
		      FROM `+s.table(tableInteractions)+`
		      WHERE user_id IN @keys AND log_topic = @topic AND log_partition = @partition
		        AND log_offset BETWEEN @first AND @last
		      GROUP BY h, item, act) AS g
		ARRAY JOIN [false, true] AS w`, args)
}

// execFresh inserts what no token stands for.
func (s *Store) execFresh(ctx context.Context, statement string, args []any) error {
	fresh := ch.Context(ctx, ch.WithSettings(ch.Settings{"insert_deduplicate": 0}))
	return s.exec(fresh, s.cfg.InsertTimeout, statement, args...)
}
