package processors_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// catalogTest is an owner of items/0 on a clock that stands still.
type catalogTest struct {
	*processors.Catalog
	*watched
	now time.Time
}

var catalogTopics = []string{schemas.TopicItems, schemas.TopicItemGradients}

// catalog makes an owner who has restored the partition from the log.
func (w *watched) catalog(t *testing.T) *catalogTest {
	t.Helper()
	return w.catalogWith(t, model.Default(), 1)
}

func (w *watched) catalogWith(t *testing.T, cfg model.Config, partitions int) *catalogTest {
	t.Helper()
	c := &catalogTest{watched: w, now: noon}
	c.Catalog = processors.NewCatalog(w.store, w.streams(), processors.NewItemFactors(cfg),
		processors.DefaultCatalogConfig(partitions), func() time.Time { return c.now })
	require.NoError(t, c.Assign(t.Context(), assigned(0, catalogTopics...)))
	return c
}

// deliver adds records and hands them over as one batch.
func (c *catalogTest) deliver(t *testing.T, batch ...record.Record) error {
	t.Helper()
	return c.Handle(t.Context(), c.log.batch(batch[0].Topic, c.add(t, batch...)))
}

// title returns the title of an item in the index, "" when it is not there.
func (c *catalogTest) title(t *testing.T, id string) string {
	t.Helper()
	return storedItems(t, c.store.Store)[id].Content.Title
}

func film(id, title string) record.Record {
	return schemas.Item{
		EventID: id + title, Source: "shop", ItemID: id, Title: title, OccurredAt: noon,
	}.Message()
}

// gradients are the messages that embed writes for batches of interactions.
func gradients(t *testing.T, cfg model.Config, batches ...[]record.Record) []record.Record {
	t.Helper()
	log := newMemoryLog()
	e := processors.NewEmbed(openStore(t), processors.Streams{Log: log, Emit: log},
		processors.NewItemFactors(cfg), processors.NewErasures(), processors.DefaultEmbedConfig(1))
	for _, batch := range batches {
		first := int64(len(log.records[batch[0].Topic]))
		require.NoError(t, log.Emit(t.Context(), batch))
		require.NoError(t, e.Handle(t.Context(), log.batch(batch[0].Topic, first)))
	}
	return log.records[schemas.TopicItemGradients]
}

func likes(user string, items ...int) (out []record.Record) {
	for _, n := range items {
		out = append(out, like(user, n, noon))
	}
	return out
}

// The log is the state of the catalog: the index must not show what the log does not hold.
var catalogOrder = []string{"emit item-vectors", "index items"}

func TestContentIsOnTheLogBeforeItIsInTheIndex(t *testing.T) {
	t.Parallel()
	c := watch(t).catalog(t)
	require.NoError(t, c.deliver(t, film("i1", "One")))
	require.Equal(t, catalogOrder, c.done)
	found := storedItems(t, c.store.Store)["i1"]
	require.Equal(t, "One", found.Content.Title)
	require.EqualValues(t, 1, found.Version)
	require.Equal(t, c.log.records[schemas.TopicItems][0].Time, found.ChangedAt)
	require.Zero(t, c.Pending())
}

func TestCatalogWithoutALeaseHasNoEffect(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string][]record.Record{
		"items":     {film("i1", "One")},
		"gradients": gradients(t, model.Default(), likes("ann", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			c, topic := w.catalog(t), batch[0].Topic
			b := w.log.batch(topic, w.add(t, batch...))
			b.Lease = w.leaseFor(0)
			require.ErrorIs(t, c.Handle(t.Context(), b), errLeaseLost)
			require.NoError(t, c.IndexDue(t.Context()))
			require.Empty(t, w.done, "the next owner does it")
			b.Lease = nil
			require.NoError(t, c.Handle(t.Context(), b))
			require.NoError(t, c.IndexDue(t.Context()))
			require.Equal(t, catalogOrder, w.done)
		})
	}
}

func TestContentIsFoundWhereverItsBatchBrokeOff(t *testing.T) {
	t.Parallel()
	for step := range catalogOrder {
		for _, landed := range []bool{false, true} {
			for _, successor := range []bool{false, true} {
				name := fmt.Sprintf("%s, landed %v, repeated by a successor %v",
					catalogOrder[step], landed, successor)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					w := watch(t)
					c := w.catalog(t)
					require.NoError(t, c.deliver(t, film("i1", "First"), film("i3", "Three")))
					w.done = nil
					w.failAt, w.landed = step+1, landed
					first := w.add(t, film("i1", "One"), film("i2", "Two"))
					b := w.log.batch(schemas.TopicItems, first)
					require.Equal(t, fault.Transient, fault.ClassOf(c.Handle(t.Context(), b)))
					if step == 0 {
						require.Equal(t, "First", c.title(t, "i1"), "the log may not have it")
					}
					if successor {
						c = w.catalog(t)
					}
					require.NoError(t, c.Handle(t.Context(), b))
					require.Equal(t, "One", c.title(t, "i1"))
					require.Equal(t, "Two", c.title(t, "i2"))
					require.Equal(t, "Three", c.title(t, "i3"))
					require.Zero(t, c.Pending())
					require.Zero(t, w.catalog(t).Pending(), "a successor sees it so")
				})
			}
		}
	}
}

func TestOnlyItemsThatMovedArePublished(t *testing.T) {
	t.Parallel()
	c := watch(t).catalog(t)
	require.NoError(t, c.deliver(t, film("i1", "One"), film("i2", "Two"), film("i1", "One again")))
	require.ElementsMatch(t, []string{"i1", "i2"}, keysOf(c.log, schemas.TopicItemVectors))
	require.NoError(t, c.deliver(t, film("i3", "Three")))
	require.Equal(t, "i3", keysOf(c.log, schemas.TopicItemVectors)[2])
	require.Len(t, keysOf(c.log, schemas.TopicItemVectors), 3)
	require.Equal(t, "One again", c.title(t, "i1"), "the last of a batch counts")
	c.done = nil
	require.NoError(t, c.IndexAll(t.Context()))
	require.Empty(t, c.done, "all of it is in the index")
}

func TestVersionsOfItemsGrow(t *testing.T) {
	t.Parallel()
	w := watch(t)
	for n := range 4 {
		c := w.catalog(t) // each time another owner
		require.NoError(t, c.deliver(t, film("i1", fmt.Sprint("Title ", n))))
		found := storedItems(t, w.store.Store)["i1"]
		require.EqualValues(t, n+1, found.Version)
		require.Equal(t, fmt.Sprint("Title ", n), found.Content.Title)
	}
}

func TestReplayedContentUndoesNothingNewer(t *testing.T) {
	t.Parallel()
	deadLetter := func(m record.Record, offset string) record.Record {
		m.Topic = record.ReplayTopic(schemas.GroupCatalog)
		n, _ := strconv.Atoi(offset)
		at := time.Unix(1_700_000_001+int64(n), 0).UTC().Format(time.RFC3339Nano) // as add does
		m.Headers = append(m.Headers,
			record.Header{Key: record.HeaderTopic, Value: []byte(schemas.TopicItems)},
			record.Header{Key: record.HeaderPartition, Value: []byte("0")},
			record.Header{Key: record.HeaderOffset, Value: []byte(offset)},
			record.Header{Key: record.HeaderTime, Value: []byte(at)},
		)
		return m
	}
	for _, c := range []struct{ name, offset, title string }{
		{"one older than what is known", "0", "Known"},
		{"the same", "1", "Replayed"},
		{"a newer one", "2", "Replayed"},
	} {
		for _, successor := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, at a successor %v", c.name, successor), func(t *testing.T) {
				t.Parallel()
				w := watch(t)
				owner := w.catalog(t)
				require.NoError(t, owner.deliver(t, film("i2", "Other"), film("i1", "Known")))
				if successor {
					owner = w.catalog(t)
				}
				w.done = nil
				require.NoError(t, owner.deliver(t, deadLetter(film("i1", "Replayed"), c.offset)))
				require.Equal(t, c.title, owner.title(t, "i1"))
				require.Equal(t, c.title == "Known", len(w.done) == 0)
			})
		}
	}
	c := watch(t).catalog(t)
	err := c.deliver(t, deadLetter(film("i1", "One"), "many"), deadLetter(film("i2", "Two"), "3"))
	require.Equal(t, []int{0}, rejectedAt(t, err))
	require.Equal(t, "Two", c.title(t, "i2"))
	// What stands on items itself does not say where it has been before, whatever its headers say.
	odd := deadLetter(film("i1", "Odd"), "many")
	odd.Topic = schemas.TopicItems
	require.NoError(t, c.deliver(t, odd))
	require.Equal(t, "Odd", c.title(t, "i1"))
}

func TestAWithdrawnItemKeepsItsTitle(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]record.Record{
		"by an event": schemas.Item{
			EventID: "w", Source: "shop", ItemID: "i1", Withdrawn: true, OccurredAt: noon,
		}.Message(),
		"by a tombstone": {Topic: schemas.TopicItems, Key: []byte("i1")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			c := w.catalog(t)
			require.NoError(t, c.deliver(t, film("i1", "One")))
			require.NoError(t, c.deliver(t, m))
			found := storedItems(t, w.store.Store)["i1"]
			require.True(t, found.Content.Withdrawn)
			require.Equal(t, "One", found.Content.Title, "for the histories of people who took it")
			require.NoError(t, w.catalog(t).deliver(t, film("i1", "Back")))
			found = storedItems(t, w.store.Store)["i1"]
			require.False(t, found.Content.Withdrawn)
			require.Equal(t, "Back", found.Content.Title)
		})
	}
}

func TestGradientsOfASourceAreAppliedOnce(t *testing.T) {
	t.Parallel()
	replay := likes("dan", 1)
	replay[0].Topic = embedReplay
	// The position of the first is 0, of the second 1, and the third comes from another source.
	m := gradients(t, model.Default(), likes("ann", 1), likes("bob", 1), replay)
	require.Len(t, m, 3)
	for _, c := range []struct {
		name    string
		batches [][]int
		count   float64
	}{
		{"each once", [][]int{{0}, {1}, {2}}, 3},
		{"all at once", [][]int{{0, 1, 2}}, 3},
		{"the first again", [][]int{{0}, {0}, {1}, {2}}, 3},
		{"all of it again", [][]int{{0, 1, 2}, {0, 1, 2}}, 3},
		{"again in one batch", [][]int{{0, 0, 1, 1, 2, 2}}, 3},
		{"what comes late from a former owner", [][]int{{0, 1}, {0, 2}}, 3},
		{"without the second", [][]int{{0, 2}, {2}}, 2},
	} {
		for _, successors := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, by successors %v", c.name, successors), func(t *testing.T) {
				t.Parallel()
				w := watch(t)
				owner := w.catalog(t)
				for _, indexes := range c.batches {
					if successors {
						owner = w.catalog(t)
					}
					var batch []record.Record
					for _, i := range indexes {
						batch = append(batch, m[i])
					}
					require.NoError(t, owner.deliver(t, batch...))
				}
				require.NoError(t, owner.IndexAll(t.Context()))
				require.InDelta(t, c.count, storedItems(t, w.store.Store)["i1"].Count, 0)
				require.Zero(t, owner.Pending())
			})
		}
	}
}

func TestGradientsThatWereAppliedAreNotPublishedAgain(t *testing.T) {
	t.Parallel()
	m := gradients(t, model.Default(), likes("ann", 1))
	c := watch(t).catalog(t)
	require.NoError(t, c.deliver(t, m[0]))
	require.NoError(t, c.IndexAll(t.Context()))
	was := storedItems(t, c.store.Store)["i1"]
	c.done = nil
	require.NoError(t, c.deliver(t, m[0]))
	require.NoError(t, c.IndexAll(t.Context()))
	require.Empty(t, c.done)
	require.Equal(t, was, storedItems(t, c.store.Store)["i1"])
}

func TestGradientsAreOnTheLogWhereverTheirBatchBrokeOff(t *testing.T) {
	t.Parallel()
	m := gradients(t, model.Default(), likes("ann", 1), likes("bob", 1, 2))
	for _, landed := range []bool{false, true} {
		for _, successor := range []bool{false, true} {
			name := fmt.Sprintf("landed %v, repeated by a successor %v", landed, successor)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := watch(t)
				c := w.catalog(t)
				require.NoError(t, c.deliver(t, m[0]))
				w.failAt, w.landed = len(w.done)+1, landed
				b := w.log.batch(schemas.TopicItemGradients, w.add(t, m[1]))
				require.Error(t, c.Handle(t.Context(), b))
				if successor {
					c = w.catalog(t)
				}
				require.NoError(t, c.Handle(t.Context(), b))
				// What is on the log is what a process that begins now knows.
				next := w.catalog(t)
				require.NoError(t, next.IndexAll(t.Context()))
				found := storedItems(t, w.store.Store)
				require.InDelta(t, 2, found["i1"].Count, 0)
				require.InDelta(t, 1, found["i2"].Count, 0)
			})
		}
	}
}

func TestUnreadableGradientsAreNamed(t *testing.T) {
	t.Parallel()
	m := gradients(t, model.Default(), likes("ann", 1))
	cut := m[0]
	cut.Value = cut.Value[:len(cut.Value)-1]
	empty := m[0]
	empty.Value = nil
	short := model.Default()
	short.Dim /= 2
	foreign := gradients(t, short, likes("ann", 1))[0]
	c := watch(t).catalog(t)
	require.Equal(t, []int{0, 1, 3}, rejectedAt(t, c.deliver(t, cut, foreign, m[0], empty)))
	require.NoError(t, c.IndexAll(t.Context()))
	require.InDelta(t, 1, storedItems(t, c.store.Store)["i1"].Count, 0)
}

func TestItemsThatOnlyGradientsTellOfAreIndexedByTheirID(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := w.catalog(t)
	first := w.add(t, gradients(t, model.Default(), likes("ann", 1))...)
	require.NoError(t, c.Handle(t.Context(), w.log.batch(schemas.TopicItemGradients, first)))
	require.NoError(t, c.IndexAll(t.Context()))
	found := storedItems(t, w.store.Store)["i1"]
	require.Empty(t, found.Content.Title)
	require.Equal(t, w.log.records[schemas.TopicItemGradients][0].Time, found.ChangedAt)
	require.NoError(t, c.deliver(t, film("i1", "One")), "its content may come at the first offset")
	require.Equal(t, "One", c.title(t, "i1"))
}

func TestAssignmentFindsWhatTheIndexIsBehindWith(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := w.catalog(t)
	require.NoError(t, c.deliver(t, film("i1", "One"), film("i2", "Two")))
	require.Zero(t, w.catalog(t).Pending())

	m := gradients(t, model.Default(), likes("ann", 1))
	require.NoError(t, c.deliver(t, m[0])) // the log has it, the index does not
	successor := w.catalog(t)
	require.Equal(t, 1, successor.Pending())
	require.NoError(t, successor.IndexDue(t.Context()))
	require.Zero(t, successor.Pending())
	require.InDelta(t, 1, storedItems(t, w.store.Store)["i1"].Count, 0)

	lost := &watched{&effects{}, w.log, nil, nil}
	lost.emit = &watchedLog{w.log, lost.effects}
	lost.store = &watchedStore{Store: openStore(t), effects: lost.effects}
	again := lost.catalog(t)
	require.Equal(t, 2, again.Pending(), "the index is a new one")
	require.NoError(t, again.IndexAll(t.Context()))
	require.Equal(t, []string{"index items"}, lost.done)
	require.Equal(t, "Two", again.title(t, "i2"))
	require.InDelta(t, 1, storedItems(t, lost.store.Store)["i1"].Count, 0)

	lost.store.away = fault.Transientf("refused")
	require.ErrorIs(t, again.Assign(t.Context(), assigned(0, catalogTopics...)), lost.store.away)
}

func TestAssignmentBeginsAnew(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := w.catalog(t)
	require.NoError(t, c.deliver(t, film("i1", "One")))
	require.NoError(t, c.deliver(t, gradients(t, model.Default(), likes("ann", 1))[0]))
	require.Equal(t, 1, c.Pending())
	require.NoError(t, w.catalog(t).IndexAll(t.Context()), "another owner has done it")
	require.NoError(t, c.Assign(t.Context(), assigned(0, catalogTopics...)))
	require.Zero(t, c.Pending())

	// A tombstone on item-vectors: nothing is known of the item.
	w.add(t, record.Record{Topic: schemas.TopicItemVectors, Key: []byte("i1")})
	w.log.records[schemas.TopicItems] = nil
	require.NoError(t, c.Assign(t.Context(), assigned(0, catalogTopics...)))
	require.Zero(t, c.Pending())

	log := &askedLog{memoryLog: w.log, fails: fault.Transientf("no leader")}
	broken := processors.NewCatalog(w.store, processors.Streams{Log: log, Emit: w.emit},
		processors.NewItemFactors(model.Default()), processors.DefaultCatalogConfig(1), nil)
	require.ErrorIs(t, broken.Assign(t.Context(), assigned(0, catalogTopics...)), log.fails)
	require.Equal(t, []string{"item-vectors/0 from 0 to -1"}, log.asked)
}

func TestRevokedPartitionsAreLeftAlone(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := w.catalog(t)
	require.NoError(t, c.deliver(t, gradients(t, model.Default(), likes("ann", 1))[0]))
	require.Equal(t, 1, c.Pending())
	c.Revoke([]record.TopicPartition{{Topic: schemas.TopicItemGradients}})
	w.done = nil
	require.Zero(t, c.Pending())
	require.NoError(t, c.IndexDue(t.Context()))
	require.NoError(t, c.IndexAll(t.Context()))
	require.Empty(t, w.done)
}

// slow is a model whose steps are so short that a negative hardly moves, and in which every
// negative moves.
func slow() model.Config {
	cfg := model.Default()
	cfg.Rate, cfg.LeastError = 1e-4, 0
	return cfg
}

// nudged is a catalog with two items in its index, and messages each of which takes one of them and
// moves the other one a little.
func nudged(t *testing.T, times int) (*catalogTest, []record.Record) {
	t.Helper()
	batches := [][]record.Record{likes("ann", 1), likes("bob", 2)}
	for n := range times {
		batches = append(batches, likes(fmt.Sprint("user-", n), 1))
	}
	m := gradients(t, slow(), batches...)
	c := watch(t).catalogWith(t, slow(), 1)
	require.NoError(t, c.deliver(t, m[0], m[1]))
	require.NoError(t, c.IndexDue(t.Context()))
	require.Zero(t, c.Pending())
	return c, m[2:]
}

func (c *catalogTest) count(t *testing.T, id string) float64 {
	t.Helper()
	return storedItems(t, c.store.Store)[id].Count
}

func TestItemsThatWereTakenAreIndexedBeforeThoseThatHardlyMoved(t *testing.T) {
	t.Parallel()
	c, m := nudged(t, 1)
	was := storedItems(t, c.store.Store)["i2"]
	c.now = c.now.Add(time.Second)
	require.NoError(t, c.deliver(t, m[0]))
	require.Equal(t, 2, c.Pending(), "one was taken and the other one has moved")
	require.NoError(t, c.IndexDue(t.Context()))
	require.InDelta(t, 2, c.count(t, "i1"), 0)
	require.Equal(t, 1, c.Pending())
	require.Equal(t, was, storedItems(t, c.store.Store)["i2"])

	moved := c.now
	c.now = moved.Add(3*time.Second - time.Nanosecond)
	require.NoError(t, c.IndexDue(t.Context()))
	require.Equal(t, 1, c.Pending(), "it may move again")
	c.now = moved.Add(3 * time.Second)
	require.NoError(t, c.IndexDue(t.Context()))
	require.Zero(t, c.Pending(), "nothing has moved for three seconds")
	require.Greater(t, storedItems(t, c.store.Store)["i2"].Version, was.Version)
}

func TestItemsThatMoveAllTheTimeAreIndexedEveryThirtySeconds(t *testing.T) {
	t.Parallel()
	c, m := nudged(t, 16)
	begun := c.now
	for n := range 16 {
		c.now = begun.Add(time.Duration(2*n) * time.Second)
		if n == 15 {
			c.now = begun.Add(30 * time.Second)
		}
		require.NoError(t, c.deliver(t, m[n]))
		require.NoError(t, c.IndexDue(t.Context()))
		require.InDelta(t, float64(n+2), c.count(t, "i1"), 0)
		if n > 0 { // at the beginning the last of everything was just now
			require.Equal(t, n == 15, c.Pending() == 0, "after %s", c.now.Sub(begun))
		}
	}
}

func TestTheIndexRestsTwentyTimesAsLongAsItWorks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		takes, rest time.Duration
		fails       bool
	}{
		{"a quick one", 10 * time.Millisecond, 200 * time.Millisecond, false},
		{"a slow one", 100 * time.Millisecond, time.Second, false},
		{"one that failed", time.Millisecond, time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x, m := nudged(t, 2)
			x.now = x.now.Add(time.Minute)
			x.store.indexing = func() { x.now = x.now.Add(c.takes) }
			require.NoError(t, x.deliver(t, m[0]))
			if c.fails {
				x.failAt = len(x.done) + 1
				require.Error(t, x.IndexDue(t.Context()))
				require.Positive(t, x.Pending())
			} else {
				require.NoError(t, x.IndexDue(t.Context()))
			}
			written, count := x.now, x.count(t, "i1")
			require.NoError(t, x.deliver(t, m[1]))
			x.now = written.Add(c.rest - time.Nanosecond)
			require.NoError(t, x.IndexDue(t.Context()))
			require.InDelta(t, count, x.count(t, "i1"), 0, "it rests")
			x.now = written.Add(c.rest)
			require.NoError(t, x.IndexDue(t.Context()))
			require.InDelta(t, 3, x.count(t, "i1"), 0)
		})
	}
}

func TestAnItemThatMovedFarIsIndexedAtOnce(t *testing.T) {
	t.Parallel()
	batches := [][]record.Record{likes("ann", 1), likes("bob", 2), likes("carl", 1)}
	cfg := slow()
	cfg.Rate = 1 // the first step of a negative is a long one
	m := gradients(t, cfg, batches...)
	c := watch(t).catalogWith(t, cfg, 1)
	require.NoError(t, c.deliver(t, m[0], m[1]))
	require.NoError(t, c.IndexDue(t.Context()))
	c.now = c.now.Add(time.Second)
	require.NoError(t, c.deliver(t, m[2]))
	require.Equal(t, 2, c.Pending())
	require.NoError(t, c.IndexDue(t.Context()))
	require.Zero(t, c.Pending())
}

func TestALargeCatalogIsIndexedInChunks(t *testing.T) {
	t.Parallel()
	c := watch(t).catalog(t)
	var batch []record.Record
	for n := range 501 {
		batch = append(batch, film(fmt.Sprint("film-", n), fmt.Sprint("Film ", n)))
	}
	require.NoError(t, c.deliver(t, batch...))
	require.Equal(t, []string{"emit item-vectors", "index items", "index items"}, c.done)
	require.Len(t, storedItems(t, c.store.Store), 501)
}

func TestContentIsSearchableByItsFeatures(t *testing.T) {
	t.Parallel()
	c := watch(t).catalog(t)
	western := film("i1", "One")
	require.NoError(t, c.deliver(t, schemas.Item{
		EventID: "1", Source: "shop", ItemID: "i1", Title: "One", Genres: []string{"western"},
		OccurredAt: noon,
	}.Message(), film("i2", "Two")))
	found := storedItems(t, c.store.Store)
	require.Len(t, found["i1"].ContentVector, model.DefaultContentDim)
	require.Empty(t, found["i2"].ContentVector)
	require.Len(t, found["i1"].Vector, model.Default().Dim+1)
	require.NotContains(t, found, model.FeatureID("western"), "features are no items")
	require.NoError(t, c.deliver(t, western))
	require.Empty(t, storedItems(t, c.store.Store)["i1"].ContentVector)
}
