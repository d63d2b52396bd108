package processors_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// deliverOf delivers a record that the log took at a time.
func (c *catalogTest) deliverOf(t *testing.T, at time.Time, r record.Record) {
	t.Helper()
	n := c.add(t, r)
	c.log.records[r.Topic][n].Time = at
	require.NoError(t, c.Handle(t.Context(), c.log.batch(r.Topic, n)))
	require.NoError(t, c.IndexAll(t.Context()))
}

func TestOnlyAnEventInTimeBringsAnItemBack(t *testing.T) {
	t.Parallel()
	c := watch(t).leaving(t)
	sums := gradients(t, model.Default(), likes("ann", 1), likes("bob", 1), likes("cid", 1))
	require.NoError(t, c.deliver(t, sums[0]))
	require.Empty(t, c.pass(t, testItemTTL+time.Hour))
	left := c.now
	c.deliverOf(t, left.Add(-testItemTTL-time.Second), sums[1])
	require.Empty(t, c.ids(t), "with this event it would have left, too")
	require.Zero(t, c.follow(t).Len()-processors.NewItemFactors(model.Default()).Len())
	c.deliverOf(t, left.Add(-testItemTTL+time.Second), sums[2])
	require.Equal(t, []string{"i1"}, c.ids(t), "with this one it would have stayed")
}

func TestAnIDThatIsOnlyRefusedStaysForItsTime(t *testing.T) {
	t.Parallel()
	c := watch(t).leaving(t)
	refusal := act("ann", 1, "dislike", noon)
	require.NoError(t, c.deliver(t, gradients(t, model.Default(), []record.Record{refusal})...))
	require.Equal(t, []string{"i1"}, c.pass(t, testItemTTL-time.Hour))
	require.Empty(t, c.pass(t, testItemTTL+time.Hour))
}

// A paused owner wakes up, and its last write reaches the index behind the removal.
func TestLateWritesToTheIndexAreRemoved(t *testing.T) {
	t.Parallel()
	c := watch(t).leaving(t)
	late := func(id string, version uint64) {
		require.NoError(t, c.store.Store.PutItems(t.Context(), []sinks.Item{{
			Content: schemas.Item{ItemID: id}, Version: version,
		}}))
	}
	require.NoError(t, c.deliver(t, film("i1", "One")))
	require.NoError(t, c.deliver(t, gradients(t, model.Default(), likes("ann", 2))...))
	require.Equal(t, []string{"i1"}, c.pass(t, testItemTTL+time.Hour))
	late("i2", 1)
	c.now = c.now.Add(10 * time.Minute)
	require.NoError(t, c.ExpireItems(t.Context()))
	require.Equal(t, []string{"i1"}, c.ids(t))

	// The tombstone is forgotten, or the log never had the item, or not this version.
	late("i9", 7)
	late("i1", 9)
	c = c.leaving(t)
	require.NoError(t, c.ExpireItems(t.Context()))
	require.NoError(t, c.IndexAll(t.Context()))
	require.Equal(t, []string{"i1"}, c.ids(t))
	require.Equal(t, "One", c.title(t, "i1"))
	require.Equal(t, uint64(1), storedItems(t, c.store.Store)["i1"].Version)
}

// unreadable is a log that cannot read a topic.
type unreadable struct {
	processors.Log
	topic string
}

var errUnreadable = errors.New("cannot be read")

func (l unreadable) Read(
	ctx context.Context, topic string, n int, from, to int64, f func(*record.Record) error,
) error {
	if topic == l.topic {
		return errUnreadable
	}
	return l.Log.Read(ctx, topic, n, from, to, f)
}

func TestNothingLeavesBeforeTheCatalogIsRead(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := w.leaving(t)
	require.NoError(t, c.deliver(t, film("i1", "One")))
	require.NoError(t, c.deliver(t, gradients(t, model.Default(), likes("ann", 1))...))
	require.NoError(t, c.IndexAll(t.Context()))
	cfg := processors.DefaultCatalogConfig(1)
	cfg.ItemTTL = testItemTTL
	now := c.logNow().Add(100 * testItemTTL)
	next := processors.NewCatalog(
		w.store, processors.Streams{Log: unreadable{w.log, schemas.TopicItems}, Emit: w.emit},
		processors.NewItemFactors(model.Default()), cfg, func() time.Time { return now },
	)
	require.ErrorIs(t, next.Assign(t.Context(), assigned(0, catalogTopics...)), errUnreadable)
	require.NoError(t, next.ExpireItems(t.Context()))
	require.NoError(t, next.NoteItems(t.Context()))
	require.False(t, next.Noted())
	require.Equal(t, []string{"i1"}, c.ids(t))
	require.Empty(t, w.log.records[schemas.TopicMeta])
	require.Equal(t, "One", w.leaving(t).title(t, "i1"))
}

func TestCountsOfItemsAreWrittenRarely(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := w.leaving(t)
	require.NoError(t, c.NoteItems(t.Context()))
	require.True(t, c.Noted())
	noted := func() int {
		require.NoError(t, c.NoteItems(t.Context()))
		return len(w.log.records[schemas.TopicMeta])
	}
	require.Equal(t, 1, noted())
	ids := make([]int, 40)
	for i := range ids {
		ids[i] = i + 1
	}
	sums := gradients(t, model.Default(), likes("ann", ids...), likes("bob", 99))
	require.NoError(t, c.deliver(t, sums[0]))
	require.Equal(t, 2, noted(), "much has changed")
	require.NoError(t, c.deliver(t, sums[1]))
	require.Equal(t, 2, noted(), "little has changed")
	c.now = c.now.Add(5 * time.Minute)
	require.Equal(t, 3, noted())
}
