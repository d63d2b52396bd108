package admin

import (
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestEpoch(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		meta := e.newName()
		spec := TopicSpec{Name: meta, Partitions: 1, Compact: true}
		require.NoError(t, EnsureTopics(t.Context(), e.Conn, []TopicSpec{spec}))
		p := e.Publisher(t)
		requireEpoch := func(want int) {
			t.Helper()
			epoch, err := Epoch(t.Context(), e.Conn, meta)
			require.NoError(t, err)
			require.Equal(t, want, epoch)
		}
		requireEpoch(FirstEpoch)
		id, err := LogID(t.Context(), e.Conn, p, meta, true)
		require.NoError(t, err)
		for _, want := range []int{129, 130} {
			epoch, err := RaiseEpoch(t.Context(), e.Conn, p, meta)
			require.NoError(t, err)
			require.Equal(t, want, epoch)
			requireEpoch(want)
		}
		again, err := LogID(t.Context(), e.Conn, p, meta, false)
		require.NoError(t, err)
		require.Equal(t, id, again, "the id stays")

		// One that is written late lowers nothing.
		require.NoError(t, writeEpoch(t.Context(), p, meta, 129))
		requireEpoch(130)

		// Several that raise it at once raise it, and compaction keeps the highest.
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				epoch, err := RaiseEpoch(t.Context(), e.Conn, p, meta)
				if err != nil {
					t.Error(err)
				}
				assert.Greater(t, epoch, 130)
			})
		}
		wg.Wait()
		highest, last, err := readEpochs(t.Context(), e.Conn, meta)
		require.NoError(t, err)
		require.Greater(t, highest, 130)
		require.Equal(t, highest, last)

		require.NoError(t, writeEpoch(t.Context(), p, meta, LastEpoch))
		_, err = RaiseEpoch(t.Context(), e.Conn, p, meta)
		require.Equal(t, fault.Permanent, fault.ClassOf(err), "there is none above the last")
		requireEpoch(LastEpoch)
	})
}

func TestAnEpochThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"x", "127", "512", "-1"} {
		e := fakeEngine(t)
		meta := e.newName()
		spec := TopicSpec{Name: meta, Partitions: 1, Compact: true}
		require.NoError(t, EnsureTopics(t.Context(), e.Conn, []TopicSpec{spec}))
		require.NoError(t, e.Publisher(t).Emit(t.Context(), []record.Record{
			{Topic: meta, Key: []byte(epochKey), Value: []byte(value)},
		}))
		_, err := Epoch(t.Context(), e.Conn, meta)
		require.Equal(t, fault.Permanent, fault.ClassOf(err), value)
		require.ErrorContains(t, err, strconv.Quote(value))
	}
}
