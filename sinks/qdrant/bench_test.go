package qdrant

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// BenchmarkRealPutUsers measures conditional upserts of whole users with a state of 1 KiB, each
// user with a position of its own.
func BenchmarkRealPutUsers(b *testing.B) {
	for _, size := range []int{64, 256, 1024} {
		for _, batch := range []int{1, 64, 256, 1024} {
			if batch > size {
				continue
			}
			b.Run(fmt.Sprintf("call=%d/batch=%d", size, batch), func(b *testing.B) {
				s := openForTest(b, func(c *Config) { c.WriteBatch = batch })
				users := make([]sinks.User, size)
				src := sinks.Source{Topic: schemas.TopicInteractions}
				pos := int64(0)
				for b.Loop() {
					for i := range users {
						pos++
						users[i] = sinks.User{
							ID:     fmt.Sprintf("user-%d", rand.IntN(5000)),
							Vector: randomVector(65), State: make([]byte, 1024),
							Positions: map[string]sinks.Position{
								src.Topic: sinks.PositionOf(sinks.FirstEpoch, pos),
							},
							LastEventAt: time.Now(), ChangedAt: time.Now(),
						}
					}
					require.NoError(b, s.Users().PutUsers(context.Background(), src, users))
				}
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "users/s")
			})
		}
	}
}

func randomVector(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rand.NormFloat64())
	}
	return v
}
