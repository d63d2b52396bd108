package stream

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// cpu returns the processor time of this process, in seconds.
func cpu() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// BenchmarkRealThroughput writes and reads records of about 250 bytes, on 8 partitions of the
// broker that KAFKA_BROKERS names.
func BenchmarkRealThroughput(b *testing.B) {
	e := realEngine(b)
	const partitions, n = 8, 400_000
	topic := e.topic(b, partitions)
	for _, compression := range []string{"none", "lz4"} {
		b.Run("emit-1000-"+compression, func(b *testing.B) {
			cfg := DefaultPublisherConfig()
			cfg.Compression = compression
			p, err := NewPublisher(e.conn, cfg)
			require.NoError(b, err)
			defer p.Close()
			value := []byte(
				fmt.Sprintf(
					`{"id":"%s","kind":"interaction","text":"%s"}`,
					strings.Repeat("0123456789abcdef", 2), strings.Repeat("some words ", 14),
				),
			)
			for b.Loop() {
				measure(b, n/2, func() {
					for i := 0; i < n/2; i += 1000 {
						records := make([]record.Record, 1000)
						for j := range records {
							records[j] = record.Record{
								Topic: topic, Partition: record.AnyPartition,
								Key: fmt.Appendf(nil, "user-%d", (i+j)%5000), Value: value,
							}
						}
						require.NoError(b, p.Emit(b.Context(), records))
					}
				})
			}
		})
	}
	bounds, err := e.conn.Offsets(b.Context(), topic)
	require.NoError(b, err)
	total := 0
	for _, x := range bounds {
		total += int(x.HighWatermark)
	}
	for _, ranges := range []bool{false, true} {
		b.Run(fmt.Sprintf("read-ranges=%v", ranges), func(b *testing.B) {
			for b.Loop() {
				cfg := e.group(b)
				cfg.Intents, cfg.HeartbeatInterval = ranges, time.Second
				cfg.CommitInterval = 300 * time.Millisecond
				measure(b, total, func() {
					out, stop := e.subscribe(b, cfg, topic)
					for got := 0; got < total; {
						m := receive(b, out)
						got += len(BatchOf(m).Records)
						m.Ack()
					}
					stop()
				})
			}
		})
	}
}

func measure(b *testing.B, records int, f func()) {
	b.Helper()
	runtime.GC()
	before, start := cpu(), time.Now()
	f()
	b.ReportMetric((cpu()-before)/float64(records)*1e6, "cpu-s/M")
	b.ReportMetric(float64(records)/time.Since(start).Seconds(), "records/s")
}
