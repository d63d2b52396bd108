package clickhouse_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// BenchmarkInsertInteractions inserts ranges of several sizes; every event is of one month.
func BenchmarkInsertInteractions(b *testing.B) {
	for _, size := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", size), func(b *testing.B) {
			e := setup(b)
			rows := make(sinks.InteractionRows, size)
			for i := range rows {
				rows[i] = sinks.InteractionRow{Interaction: schemas.Interaction{
					EventID: fmt.Sprintf("0190b2c8-%012d", i),
					Source:  "bench", UserID: fmt.Sprint("user-", i%943),
					ItemID: fmt.Sprint("item-", i%1682), Action: schemas.View,
					OccurredAt: time.Date(2026, 5, 1, 0, 0, i, 0, time.UTC),
				}, Offset: int64(i), RecordedAt: time.Now().UTC()}
			}
			var first int64
			for b.Loop() {
				r := record.Range{
					LogID: "bench", Topic: schemas.TopicInteractions, First: first,
					Last: first + int64(size) - 1,
				}
				require.NoError(b, e.Insert(b.Context(), r, rows))
				first += int64(size)
			}
			b.ReportMetric(float64(first)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkTrendingItems asks what is trending of five million events of a month: 200,000 people,
// 10,000 items of which few are popular, two meanings.
func BenchmarkTrendingItems(b *testing.B) {
	e := setup(b)
	e.exec(b, "INSERT INTO "+e.cfg.Database+`.interactions
		(user_id, item_id, action, meaning, occurred_at, log_offset, recorded_at)
		SELECT toString(rand(1) % 200000), toString(toUInt32(pow(rand(2) / 4294967296, 4) * 10000)),
		       if(rand(3) % 3 = 0, 'like', 'view') AS act, if(act = 'like', 'love', 'interest'),
		       now64(6) - toIntervalSecond(rand(4) % 2700000), number, now64(3)
		FROM numbers(5000000) SETTINGS max_partitions_per_insert_block = 0`)
	e.exec(b, "OPTIMIZE TABLE "+e.cfg.Database+".item_audience_sums FINAL")
	q := popular()
	q.N = 200
	for b.Loop() {
		found, err := e.TrendingItems(b.Context(), q)
		require.NoError(b, err)
		require.Len(b, found, 200)
	}
}
