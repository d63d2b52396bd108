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
