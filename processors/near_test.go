package processors

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
)

func TestNearPointsGiveNearlyTheSameScores(t *testing.T) {
	t.Parallel()
	old := []float32{3, 4, 1} // a vector of length 5, and the bias
	moved := func(x, bias float32) []float32 {
		return []float32{3 + x, 4, 1 + bias/model.BiasScale}
	}
	require.True(t, isNear(moved(0, 0), old))
	require.True(t, isNear(moved(0.49, 0.04), old))
	require.False(t, isNear(moved(0.51, 0), old), "the vector has moved by more than a tenth")
	require.False(
		t, isNear(moved(0, 0.06), old), "the bias counts for itself, however long the vector is",
	)
	require.False(t, isNear(moved(0, -0.06), old))
	require.False(t, isNear([]float32{0.1, 0, 0}, []float32{0, 0, 0}), "any move of nothing is far")
}
