package processors_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

const testItemTTL = 24 * time.Hour

// leaving makes an owner who has restored the partition from the log, and whose items leave.
func (w *watched) leaving(t *testing.T) *catalogTest {
	t.Helper()
	// Everything is later than the events say.
	w.log.clock = max(w.log.clock, noon.Add(time.Hour).Sub(time.Unix(1_700_000_000, 0)))
	c := &catalogTest{watched: w, now: w.logNow()}
	cfg := processors.DefaultCatalogConfig(1)
	cfg.ItemTTL = testItemTTL
	c.Catalog = processors.NewCatalog(w.store, w.streams(), processors.NewItemFactors(
		model.Default(),
	), cfg, func() time.Time { return c.now })
	require.NoError(t, c.Assign(t.Context(), assigned(0, catalogTopics...)))
	require.NoError(t, c.IndexAll(t.Context()))
	return c
}

// logNow is the time of the newest record.
func (w *watched) logNow() (newest time.Time) {
	for _, records := range w.log.records {
		for i := range records {
			if records[i].Time.After(newest) {
				newest = records[i].Time
			}
		}
	}
	return newest
}

// pass lets time pass, looks which items have to leave, and returns which are in the index then.
func (c *catalogTest) pass(t *testing.T, d time.Duration) (ids []string) {
	t.Helper()
	require.NoError(t, c.IndexAll(t.Context()))
	c.now = c.logNow().Add(d)
	c.log.clock = c.now.Sub(time.Unix(1_700_000_000, 0))
	require.NoError(t, c.ExpireItems(t.Context()))
	return c.ids(t)
}

// ids are those of the index.
func (c *catalogTest) ids(t *testing.T) (ids []string) {
	t.Helper()
	for id := range storedItems(t, c.store.Store) {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// follow is what a process knows that follows item-vectors.
func (w *watched) follow(t *testing.T) *processors.ItemFactors {
	t.Helper()
	f := processors.NewItemFactors(model.Default())
	for i := range w.log.records[schemas.TopicItemVectors] {
		require.NoError(t, f.Apply(&w.log.records[schemas.TopicItemVectors][i]))
	}
	return f
}

func TestIDsWithoutAnEntryLeave(t *testing.T) {
	t.Parallel()
	c := watch(t).leaving(t)
	require.NoError(t, c.deliver(t, film("i1", "One")))
	sums := gradients(t, model.Default(), likes("ann", 1, 2), likes("bob", 3), likes("bob", 2))
	require.NoError(t, c.deliver(t, sums[0]))
	require.NoError(t, c.deliver(t, sums[1]))
	all := c.follow(t).Len()
	require.Equal(t, []string{"i1", "i2", "i3"}, c.pass(t, testItemTTL-time.Hour))
	require.Equal(t, []string{"i1"}, c.pass(t, testItemTTL+time.Hour),
		"the one with an entry stays without events")
	require.Equal(t, all-2, c.follow(t).Len(), "no process keeps their factors")

	// The same sums again, as after a repeated batch or a replay.
	require.NoError(t, c.deliver(t, sums[0]))
	require.NoError(t, c.deliver(t, sums[1]))
	require.NoError(t, c.IndexAll(t.Context()))
	require.Equal(t, []string{"i1"}, c.ids(t), "late sums bring nothing back")

	// A restart knows it, too, also where a late writer has put the point back.
	require.NoError(t, c.store.Store.PutItems(t.Context(), []sinks.Item{{
		Content: schemas.Item{ItemID: "i3"}, Version: 1,
	}}))
	c = c.leaving(t)
	require.Equal(t, []string{"i1"}, c.ids(t))
	require.NoError(t, c.deliver(t, sums[0]))
	require.NoError(t, c.IndexAll(t.Context()))
	require.Equal(t, []string{"i1"}, c.ids(t))

	// An event brings it back.
	require.NoError(t, c.deliver(t, sums[2]))
	require.NoError(t, c.IndexAll(t.Context()))
	require.Equal(t, []string{"i1", "i2"}, c.ids(t))
	require.InDelta(t, 1, c.count(t, "i2"), 0, "as a new one")
	require.Equal(t, all-1, c.follow(t).Len())
}

func TestItemsThatOthersSumsNameDoNotComeBack(t *testing.T) {
	t.Parallel()
	c := watch(t).leaving(t)
	// The third batch moves i1 and i2 as what ann has taken before, and has no event of theirs.
	sums := gradients(t, model.Default(), likes("ann", 1, 2), likes("ann", 3))
	require.NoError(t, c.deliver(t, sums[0]))
	require.Empty(t, c.pass(t, testItemTTL+time.Hour))
	require.NoError(t, c.deliver(t, sums[1]))
	require.NoError(t, c.IndexAll(t.Context()))
	require.Equal(t, []string{"i3"}, c.ids(t))
}

func TestWithdrawnItemsLeaveButTheirTitles(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]record.Record{
		"by an event": schemas.Item{
			EventID: "w", Source: "shop", ItemID: "i1", Withdrawn: true, OccurredAt: noon,
		}.Message(),
		"by a tombstone": {Topic: schemas.TopicItems, Key: []byte("i1")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := watch(t).leaving(t)
			require.NoError(t, c.deliver(t, schemas.Item{
				EventID: "e", Source: "shop", ItemID: "i1", Title: "One",
				Genres: []string{"Drama"}, Description: "long", OccurredAt: noon,
			}.Message()))
			require.NoError(t, c.deliver(t, gradients(t, model.Default(), likes("ann", 1))...))
			require.NoError(t, c.deliver(t, m))
			// Compaction leaves the newest record, and of a tombstone nothing in the end.
			items := c.log.records[schemas.TopicItems]
			c.log.records[schemas.TopicItems] = items[1:]
			if len(m.Value) == 0 {
				c.log.records[schemas.TopicItems] = nil
			}
			require.Equal(t, []string{"i1"}, c.pass(t, testItemTTL-time.Hour))
			live := storedItems(t, c.store.Store)["i1"]
			require.True(t, live.Content.Withdrawn)
			require.Equal(t, []string{"Drama"}, live.Content.Genres, "for tastes")
			require.NotEmpty(t, live.Vector)
			requireRebuilt(t, c)

			require.Equal(t, []string{"i1"}, c.pass(t, testItemTTL+time.Hour))
			left := storedItems(t, c.store.Store)["i1"]
			require.Equal(
				t, schemas.Item{ItemID: "i1", Title: "One", Withdrawn: true}, left.Content,
			)
			require.Empty(t, left.Vector)
			require.Empty(t, left.ContentVector)
			requireRebuilt(t, c)
			require.Equal(t, []string{"i1"}, c.pass(t, 100*testItemTTL), "for histories")
			requireRebuilt(t, c)

			// The next owner, since this log gives the offsets of removed records again.
			require.NoError(t, c.leaving(t).deliver(t, film("i1", "Back")))
			back := storedItems(t, c.store.Store)["i1"]
			require.Equal(t, "Back", back.Content.Title)
			require.False(t, back.Content.Withdrawn)
			require.NotEmpty(t, back.Vector)
		})
	}
}

// requireRebuilt asserts that a restart, and an index that is made anew, agree with the index.
func requireRebuilt(t *testing.T, c *catalogTest) {
	t.Helper()
	want := storedItems(t, c.store.Store)
	for id, x := range want {
		x.ChangedAt = time.Time{} // as of the record that is left
		want[id] = x
	}
	c.leaving(t)
	anew := &watched{c.effects, c.log, c.emit, &watchedStore{
		Store: openStore(t), effects: c.effects,
	}}
	anew.leaving(t)
	for _, store := range []*watchedStore{c.store, anew.store} {
		got := storedItems(t, store.Store)
		for id, x := range got {
			x.ChangedAt = time.Time{}
			got[id] = x
		}
		require.Equal(t, want, got)
	}
}

func TestTombstonesOfInventedIDsAreForgotten(t *testing.T) {
	t.Parallel()
	c := watch(t).leaving(t)
	require.NoError(t, c.deliver(t, gradients(t, model.Default(), likes("ann", 1))...))
	require.Empty(t, c.pass(t, testItemTTL+time.Hour))
	written := c.log.records[schemas.TopicItemVectors]
	newest := &written[len(written)-1]
	require.Equal(t, "i1", string(newest.Key))
	require.NotEmpty(t, newest.Value, "late sums may come")
	require.Empty(t, c.pass(t, 36*24*time.Hour))
	written = c.log.records[schemas.TopicItemVectors]
	newest = &written[len(written)-1]
	require.Equal(t, "i1", string(newest.Key))
	require.Empty(t, newest.Value, "nothing is left")
}

func TestNothingLeavesWithoutALease(t *testing.T) {
	t.Parallel()
	c := watch(t).leaving(t)
	require.NoError(t, c.deliver(t, gradients(t, model.Default(), likes("ann", 1))...))
	parts := assigned(0, catalogTopics...)
	for i := range parts {
		parts[i].Lease = c.leaseFor(0)
	}
	require.NoError(t, c.Assign(t.Context(), parts))
	require.NoError(t, c.IndexAll(t.Context()))
	c.now = c.logNow().Add(testItemTTL + time.Hour)
	require.ErrorIs(t, c.ExpireItems(t.Context()), errLeaseLost)
	require.Equal(t, []string{"i1"}, c.ids(t), "the next owner does it")
}

func TestItemsWithoutAnEntryAreCounted(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := w.leaving(t)
	require.NoError(t, c.deliver(t, film("i1", "One")))
	require.NoError(t, c.deliver(t, gradients(t, model.Default(), likes("ann", 1, 2))...))
	counts := func() processors.ItemCounts {
		require.NoError(t, c.NoteItems(t.Context()))
		n, err := processors.ReadItemCounts(t.Context(), w.log)
		require.NoError(t, err)
		return n
	}
	require.Equal(t, processors.ItemCounts{Items: 2, WithoutEntry: 1}, counts())
	noted := len(w.log.records[schemas.TopicMeta])
	require.Equal(t, processors.ItemCounts{Items: 2, WithoutEntry: 1}, counts())
	require.Len(t, w.log.records[schemas.TopicMeta], noted, "nothing has changed")
	require.Equal(t, []string{"i1"}, c.pass(t, testItemTTL+time.Hour))
	require.Equal(t, processors.ItemCounts{Items: 1}, counts())
}
