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
	if err := s.repairUserDays(ctx, r, args, inRange); err != nil {
		return fmt.Errorf("sums per user and day: %w", err)
	}
	if err := s.repairOutcomes(ctx, r, args, inRange); err != nil {
		return fmt.Errorf("feedback to lists: %w", err)
	}
	return nil
}

// repairUserDays adds the range to the sums unless the witness row of its insert says that it has
// landed. Other partitions add to the same days meanwhile, so rows without sums alone say nothing.
// An older version summed up an erased person from all rows, this range's among them: so only what
// is short by the whole of its part of the range is added.
func (s *Store) repairUserDays(
	ctx context.Context, r record.Range, args []any, inRange string,
) error {
	newest, err := s.witness(ctx, tableUserDays, "last_at", "day = toDate(0) AND user_id = ?", r)
	if err != nil || newest > r.First { // the ranges of a partition land in order
		return err
	}
	return s.execFresh(ctx, `INSERT INTO `+s.table(tableUserDays)+`
		SELECT part.user_id, part.day, part.action, part.n, part.vn, part.v, part.at
		FROM (SELECT user_id, toDate(occurred_at) AS day, action, count() AS n,
		             count(value) AS vn, sum(ifNull(value, 0)) AS v, max(occurred_at) AS at
		      `+inRange+` GROUP BY user_id, day, action) AS part
		JOIN (SELECT user_id, toDate(occurred_at) AS day, action, count() AS n
		      FROM `+s.table(tableInteractions)+`
		      WHERE user_id IN @keys AND (user_id, toDate(occurred_at)) IN
		            (SELECT user_id, toDate(occurred_at)`+inRange+`)
		      GROUP BY user_id, day, action) AS raw USING (user_id, day, action)
		LEFT JOIN (SELECT user_id, day, action, sum(events) AS n
		           FROM `+s.table(tableUserDays)+`
		           WHERE user_id IN @keys GROUP BY user_id, day, action) AS sums
		USING (user_id, day, action)
		WHERE raw.n >= sums.n + part.n
		UNION ALL
		SELECT concat('log:', @topic, '/', toString(@partition)), toDate(0), '', 0, 0, 0,
		       fromUnixTimestamp64Micro(max(log_offset) + 1, 'UTC')`+inRange+`
		HAVING count() > 0`, args)
}

// repairOutcomes adds the feedback of the range to the lists unless the witness row of its insert
// says that it has landed. An older version left no witness rows: without any, feedback is added
// where the sums of a list are short of its rows by the whole of its part of the range.
func (s *Store) repairOutcomes(
	ctx context.Context, r record.Range, args []any, inRange string,
) error {
	newest, err := s.witness(
		ctx, tableOutcomes, "feedback_at", `recommendation_id = concat('\t', ?)`, r,
	)
	if err != nil || newest > r.First { // the ranges of a partition land in order
		return err
	}
	ofLists := inRange + ` AND recommendation_id != ''`
	const counts = `max(occurred_at) AS at, countIf(outcome = 'impression') AS i,
		countIf(outcome = 'click') AS c, countIf(outcome = 'conversion') AS v,
		countIf(outcome = 'refusal') AS f`
	part := `SELECT recommendation_id AS id, ` + counts + ofLists + ` GROUP BY id`
	short := ``
	if newest == 0 {
		lists := `recommendation_id IN (SELECT recommendation_id` + ofLists + `)`
		short = ` JOIN (SELECT recommendation_id AS id, ` + counts + `
			FROM ` + s.table(tableInteractions) + ` WHERE ` + lists + ` GROUP BY id) AS raw
			USING (id)
			LEFT JOIN (SELECT recommendation_id AS id, sum(impressions) AS i, sum(clicks) AS c,
			                  sum(conversions) AS v, sum(refusals) AS f
			           FROM ` + s.table(tableOutcomes) + ` WHERE ` + lists + ` GROUP BY id) AS sums
			USING (id)
			WHERE raw.i >= sums.i + part.i AND raw.c >= sums.c + part.c
			  AND raw.v >= sums.v + part.v AND raw.f >= sums.f + part.f`
	}
	return s.execFresh(ctx, `INSERT INTO `+s.table(tableOutcomes)+`
		(recommendation_id, feedback_at, impressions, clicks, conversions, refusals)
		SELECT part.id, part.at, part.i, part.c, part.v, part.f FROM (`+part+`) AS part`+short+`
		UNION ALL
		SELECT concat('\tlog:', @topic, '/', toString(@partition)),
		       fromUnixTimestamp64Micro(max(log_offset) + 1, 'UTC'), 0, 0, 0, 0`+ofLists+`
		HAVING count() > 0`, args)
}

// witness returns the offset after the last row of a partition whose sums have landed in a table, 0
// if none have. It stands in the column next of the row with the key.
func (s *Store) witness(
	ctx context.Context, table, next, key string, r record.Range,
) (offset int64, err error) {
	err = s.queryRow(
		ctx,
		"SELECT max(toUnixTimestamp64Micro("+next+")) FROM "+s.table(table)+" WHERE "+key,
		fmt.Sprintf("log:%s/%d", r.Topic, r.Partition),
	).Scan(&offset)
	return offset, classify(ctx, err)
}

// repairItemHours compares the range with the witness row that every insert leaves beside its sums.
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
	newest, err := s.witness(
		ctx, tableItemHours, "last_at", "hour = toDateTime(0, 'UTC') AND item_id = ?", r,
	)
	if err != nil {
		return err
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
