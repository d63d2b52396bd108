package processors

import (
	"fmt"
	"testing"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// BenchmarkGradientMessages makes the messages of a batch for six partitions of items.
func BenchmarkGradientMessages(b *testing.B) {
	for _, events := range []int{1, 64} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			rows := NewItemFactors(model.Default())
			e := NewEmbed(nil, Streams{}, rows, NewErasures(), DefaultEmbedConfig(6))
			part := e.part(3)
			for n := range 4000 {
				rows.table.AddNegative(rows.table.Intern(fmt.Sprintf("item-%d", n)))
			}
			users := make([]model.User, 50)
			for n := range 64*events + 3000 {
				if n == 3000 {
					part.sums.Reset()
				}
				if n >= 3000+events {
					break
				}
				item := rows.table.Intern(fmt.Sprintf("item-%d", n*7919%4000))
				part.learner.Gradients(
					&users[n%len(users)],
					model.Event{Item: item, Strength: 1, Takes: true, Seed: uint64(n)},
					part.sums,
				)
			}
			batch := &record.Batch{
				Range: record.Range{
					Topic: schemas.TopicInteractions, Partition: 3, First: 1_200_000,
					Last: 1_200_063,
				},
			}
			b.ReportAllocs()
			bytes := 0
			for b.Loop() {
				bytes = 0
				messages, err := e.gradientMessages(part, batch)
				if err != nil {
					b.Fatal(err)
				}
				for _, m := range messages {
					bytes += len(m.Value)
				}
			}
			b.ReportMetric(float64(bytes), "wire-B/op")
		})
	}
}

// BenchmarkItemRecord writes and reads a record of item-vectors that has absorbed 12 partitions.
func BenchmarkItemRecord(b *testing.B) {
	rows := NewItemFactors(model.Default())
	rows.table.Intern("film-18")
	m := rows.touch("film-18")
	m.version = 4711
	for n := range 12 {
		m.applied.set(
			source{partition: n}, sinks.PositionOf(sinks.FirstEpoch, int64(1_200_000+1000*n)),
		)
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		var out []byte
		for b.Loop() {
			out = rows.appendRecord(nil, "film-18")
		}
		b.ReportMetric(float64(len(out)), "wire-B/op")
	})
	b.Run("decode", func(b *testing.B) {
		rec := &record.Record{Key: []byte("film-18"), Value: rows.appendRecord(nil, "film-18")}
		b.ReportAllocs()
		for b.Loop() {
			delete(rows.meta, "film-18")
			if err := rows.Apply(rec); err != nil {
				b.Fatal(err)
			}
		}
	})
}
