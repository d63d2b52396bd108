package sinks_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

func TestTrendingWindows(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for _, tc := range []struct {
		halfLife time.Duration
		ages     []time.Duration
	}{
		{24 * hour, []time.Duration{
			6 * hour, 12 * hour, 24 * hour, 48 * hour, 96 * hour, 192 * hour, 384 * hour,
			768 * hour,
		}},
		{300 * hour, []time.Duration{
			75 * hour, 150 * hour, 300 * hour, 600 * hour, sinks.AudienceTime,
		}},
		{1 << 62, []time.Duration{sinks.AudienceTime}},
	} {
		q := sinks.TrendingQuery{HalfLife: tc.halfLife}
		var ages []time.Duration
		above := 1.0
		for _, w := range q.Windows() {
			ages = append(ages, w.Age)
			require.Positive(t, w.Decay)
			require.LessOrEqual(t, w.Decay, above)
			above = w.Decay
		}
		require.Equal(t, tc.ages, ages)
	}
	q := sinks.TrendingQuery{HalfLife: 24 * hour}
	require.InDelta(t, 0.5, (q.Windows()[2].Decay+q.Windows()[3].Decay)/2, 0.03, "a day ago")
	q.HalfLife = 1
	require.Len(t, q.Windows(), 8)
}

func TestTrendingHours(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	q := sinks.TrendingQuery{HalfLife: 4 * time.Hour}
	// The middle of 11 to 12 is half an hour ago, that of 10 to 11 is too old for an hour.
	hours := q.Hours(noon, noon.Add(-1))
	require.Equal(t, noon.Add(-time.Hour), hours[0])
	require.Equal(t, noon.Add(-2*time.Hour), hours[1])
	half := noon.Add(-time.Hour / 2)
	require.Equal(t, noon.Add(-2*time.Hour), q.Hours(half, half)[0])
	q.HalfLife = time.Minute
	require.Equal(t, noon.Add(-time.Hour), q.Hours(noon, noon.Add(-1))[0], "at least an hour")
}

func TestTrendingSteps(t *testing.T) {
	t.Parallel()
	q := sinks.TrendingQuery{Weights: map[schemas.Meaning]float64{
		schemas.Love: 3, schemas.Interest: 1, schemas.Doubt: 1, schemas.Refusal: -1,
		schemas.Nothing: 0,
	}}
	require.Equal(t, []sinks.TrendingStep{
		{Meanings: []schemas.Meaning{schemas.Doubt, schemas.Interest, schemas.Love}, Adds: 1},
		{Meanings: []schemas.Meaning{schemas.Love}, Adds: 2},
	}, q.Steps())
	q.Weights = nil
	require.Empty(t, q.Steps())
}
