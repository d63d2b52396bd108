package processors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Compaction removes the content of an item that was withdrawn by a tombstone, and then the
// tombstone. A restart must not take the item for one that only events name.
func TestAWithdrawnItemStaysWithdrawnAfterCompaction(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := w.catalog(t)
	require.NoError(t, c.deliver(t, film("i1", "One")))
	require.NoError(t, c.deliver(t, record.Record{Topic: schemas.TopicItems, Key: []byte("i1")}))
	w.log.records[schemas.TopicItems] = nil
	for _, rebuilt := range []bool{false, true} {
		if rebuilt {
			w = &watched{w.effects, w.log, w.emit, &watchedStore{
				Store: openStore(t), effects: w.effects,
			}}
		}
		c := w.catalog(t)
		require.NoError(t, c.deliver(t, gradients(t, model.Default(), likes("ann", 1))...))
		require.NoError(t, c.IndexAll(t.Context()))
		found := storedItems(t, w.store.Store)["i1"]
		require.True(t, found.Content.Withdrawn)
		require.Equal(t, "One", found.Content.Title)
	}
}
