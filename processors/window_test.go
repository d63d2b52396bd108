package processors

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestARetriedBatchIsJudgedAsBefore: whether an event is a repeat depends on the log alone, also
// when its batch is longer than the window, or when the window has become too long amid the batch.
func TestARetriedBatchIsJudgedAsBefore(t *testing.T) {
	t.Parallel()
	const size, first, last = 100, 1000, 1400
	id := func(name string, offset int64) [2]uint64 { return eventKey(name, fmt.Sprint(offset)) }
	ids := make(map[int64][2]uint64)
	for offset := int64(700); offset <= last; offset++ {
		ids[offset] = id("once", offset)
	}
	for name, offsets := range map[string][]int64{
		"of before the batch":        {first - 60, first + 30},
		"just within the window":     {first - 1, first + size - 1},
		"just beyond the window":     {first - 3, first + size - 2},
		"twice in the batch":         {first + 40, first + 40 + size + 10},
		"twice, close to each other": {first + 200, first + 210},
	} {
		for _, offset := range offsets {
			ids[offset] = id(name, 0)
		}
	}
	want := make(map[int64]bool)
	latest := make(map[[2]uint64]int64)
	for offset := int64(700); offset <= last; offset++ {
		before, ok := latest[ids[offset]]
		want[offset] = ok && offset-before <= size
		latest[ids[offset]] = offset
	}
	w := newWindow(size)
	for offset := int64(700); offset < first; offset++ {
		w.seen(offset, ids[offset])
	}
	for attempt := range 3 {
		w.rewind(first)
		for offset := int64(first); offset <= last; offset++ {
			require.Equal(t, want[offset], w.seen(offset, ids[offset]),
				"attempt %d, offset %d", attempt, offset)
		}
	}
	w.rewind(last + 1)
	w.seen(last+1, id("once", last+1))
	require.LessOrEqual(t, len(w.entries), size+1+1, "what is too old is dropped")
}
