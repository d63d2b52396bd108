package neo4j

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
)

func TestRealGraph(t *testing.T) {
	sinktest.TestGraph(t, func(t *testing.T) sinktest.Graph { return openForTest(t) })
}

// BenchmarkRealApplyEdges measures batches of new and of repeated edges among 5,000 people.
func BenchmarkRealApplyEdges(b *testing.B) {
	for _, size := range []int{1, 100, 1000, 2000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := openForTest(b)
			r := rand.New(rand.NewPCG(1, 2))
			batch := make([]sinks.Edge, size)
			n := 0
			for b.Loop() {
				for i := range batch {
					n++
					batch[i] = sinks.Edge{
						A: fmt.Sprintf("a%d", r.IntN(2500)), B: fmt.Sprintf("b%d", r.IntN(2500)),
						At: time.Unix(int64(n), 0), EventID: fmt.Sprint(n),
					}
				}
				require.NoError(b, s.ApplyEdges(context.Background(), batch))
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "edges/s")
		})
	}
}

// BenchmarkRealSuggest measures suggestions for a person with 200 friends who have 200 each.
func BenchmarkRealSuggest(b *testing.B) {
	s := openForTest(b)
	r := rand.New(rand.NewPCG(1, 2))
	var batch []sinks.Edge
	for i := range 200 {
		friend := fmt.Sprint("f", i)
		batch = append(batch, sinks.Edge{A: "me", B: friend, At: time.Unix(1, 0)})
		for range 200 {
			batch = append(
				batch, sinks.Edge{A: friend, B: fmt.Sprint("s", r.IntN(5000)), At: time.Unix(1, 0)},
			)
		}
	}
	require.NoError(b, s.ApplyEdges(context.Background(), batch))
	for b.Loop() {
		found, err := s.SuggestFriends(context.Background(), "me", 20)
		require.NoError(b, err)
		require.Len(b, found, 20)
	}
}
