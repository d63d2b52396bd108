package model

import "testing"

// gradients returns the sums of so many events of users with a past, as embed packs them: 64
// numbers a vector, 4,000 items.
func gradients(events int) *Sums {
	cfg := Default()
	w := newWorld(cfg, 4000, 50, 3000, now)
	sums := NewSums(w.table)
	for range events {
		u, e := w.event()
		w.Gradients(u, e, sums)
	}
	return sums
}

// BenchmarkSumsPack writes the sums of a batch for six owners.
func BenchmarkSumsPack(b *testing.B) {
	for name, events := range map[string]int{"events=1": 1, "events=64": 64} {
		b.Run(name, func(b *testing.B) {
			sums := gradients(events)
			owner := func(id string) int { return int(KeyOf(id) % 6) }
			b.ReportAllocs()
			bytes := 0
			for b.Loop() {
				bytes = 0
				for _, m := range sums.PackEach(Half, 6, owner, Frame{}) {
					bytes += len(m)
				}
			}
			b.ReportMetric(float64(bytes), "wire-B/op")
		})
	}
}

// BenchmarkSumsMerge reads the sums of a batch.
func BenchmarkSumsMerge(b *testing.B) {
	for name, events := range map[string]int{"events=1": 1, "events=64": 64} {
		b.Run(name, func(b *testing.B) {
			sums := gradients(events)
			message := sums.Pack(nil, Half, nil)
			into := NewSums(sums.table)
			b.ReportAllocs()
			for b.Loop() {
				into.Reset()
				if err := into.Merge(message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFactors writes and reads the factors of one item.
func BenchmarkFactors(b *testing.B) {
	w := newWorld(Default(), 500, 50, 500, now)
	i := w.table.Lookup(KeyOf("item7"))
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		var out []byte
		for b.Loop() {
			out = w.table.AppendRow(nil, i)
		}
		b.ReportMetric(float64(len(out)), "wire-B/op")
	})
	b.Run("load", func(b *testing.B) {
		data := w.table.AppendRow(nil, i)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.table.LoadRow("item7", data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
