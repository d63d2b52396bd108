package processors_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// What one person likes a hundred times counts once, and does not drive what others like out of the
// negatives: not while it happens, and not after a restart.
func TestOnePersonCountsOnceInWhatIsLearned(t *testing.T) {
	t.Parallel()
	cfg := model.Default()
	cfg.Buffer, cfg.Negatives, cfg.LeastError = 8, 64, 0
	factors, past, store := processors.NewItemFactors(cfg), newMemoryLog(), openStore(t)
	embed := func(emit *memoryLog, next int64) *processors.Embed {
		e := processors.NewEmbed(store, processors.Streams{Log: past, Emit: emit},
			factors, processors.NewErasures(), processors.DefaultEmbedConfig(1))
		require.NoError(t, e.Assign(t.Context(), assigned(next, schemas.TopicInteractions)))
		return e
	}
	batch := []record.Record{like("ann", 1, noon), like("bob", 2, noon), like("carl", 3, noon)}
	for n := range 100 {
		batch = append(batch, schemas.Interaction{
			EventID: fmt.Sprint(n), Source: "app", UserID: "buyer", ItemID: "i7",
			Action: schemas.Like, OccurredAt: noon.Add(time.Duration(n) * time.Hour),
		}.Message())
	}
	require.NoError(t, past.Emit(t.Context(), batch))
	taught := newMemoryLog()
	before := embed(taught, 0)
	require.NoError(t, before.Handle(t.Context(), past.batch(schemas.TopicInteractions, 0)))
	require.Equal(
		t, map[string]float64{"i1": 1, "i2": 1, "i3": 1, "i7": 1}, itemCounts(t, taught),
	)

	all := []string{"i1", "i2", "i3", "i7", "i9"}
	// touched is what a newcomer's like of another film moves: that film and the negatives.
	touched := func(e *processors.Embed, emit *memoryLog, user string) []string {
		next := int64(len(past.records[schemas.TopicInteractions]))
		require.NoError(t, past.Emit(t.Context(), []record.Record{like(user, 9, noon)}))
		require.NoError(t, e.Handle(t.Context(), past.batch(schemas.TopicInteractions, next)))
		return slices.Sorted(maps.Keys(itemCounts(t, emit)))
	}
	// The owner of the items counts.
	catalog := processors.NewCatalog(
		store, processors.Streams{Log: newMemoryLog(), Emit: newMemoryLog()}, factors,
		processors.DefaultCatalogConfig(1), func() time.Time { return noon },
	)
	require.NoError(t, catalog.Handle(t.Context(), taught.batch(schemas.TopicItemGradients, 0)))
	require.NoError(t, catalog.IndexAll(t.Context()))
	taught.records[schemas.TopicItemGradients] = nil
	require.Equal(t, all, touched(before, taught, "zoe"))
	now := newMemoryLog()
	require.Equal(t, all, touched(embed(now, int64(len(batch)+1)), now, "yan"))
}
