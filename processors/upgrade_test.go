package processors_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// before is what the last program without epochs and sections left behind: it had learned from
// offsets 0 to 3 of interactions/3 (ann i1 and i3, bob i2 and i4) and offset 0 of embed.replay/1
// (ann i2).
type before struct {
	ItemGradients [][]byte
	ItemVectors   []struct{ Key, Value []byte }
	UserPoints    []struct {
		Key                    int64
		ID                     string
		Vector, State          []byte
		Positions              string
		LastEventAt, ChangedAt int64
	}
}

func readBefore(t *testing.T) (b before) {
	t.Helper()
	data, err := os.ReadFile("testdata/formats-v1.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &b))
	return b
}

func (b *before) model() model.Config {
	cfg := model.Default()
	cfg.Dim, cfg.Units, cfg.Negatives = 8, 2, 4
	return cfg
}

// log returns the log, with the events that were read and the first records of item-vectors.
func (b *before) log(t *testing.T, records int) *memoryLog {
	t.Helper()
	log := newMemoryLog()
	replayed := like("ann", 2, noon)
	replayed.Topic = record.ReplayTopic(schemas.GroupEmbed)
	require.NoError(t, log.Emit(t.Context(), []record.Record{
		like("ann", 1, noon), like("bob", 2, noon), like("ann", 3, noon), like("bob", 4, noon),
		replayed,
	}))
	for _, value := range b.ItemGradients {
		message := record.Record{Topic: schemas.TopicItemGradients, Value: value}
		require.NoError(t, log.Emit(t.Context(), []record.Record{message}))
	}
	for _, r := range b.ItemVectors[:records] {
		row := record.Record{Topic: schemas.TopicItemVectors, Key: r.Key, Value: r.Value}
		require.NoError(t, log.Emit(t.Context(), []record.Record{row}))
	}
	return log
}

// store returns a store with the users' rows, byte for byte.
func (b *before) store(t *testing.T) *sqlite.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.db")
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Close())
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	for _, u := range b.UserPoints {
		_, err := db.ExecContext(t.Context(),
			"INSERT INTO user_points (key, id, vector, state, positions, last_event_at, "+
				"changed_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			u.Key, u.ID, u.Vector, u.State, u.Positions, u.LastEventAt, u.ChangedAt)
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
	s, err = sqlite.Open(t.Context(), sqlite.Config{Path: path})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// owner is a catalog that has been assigned partition 0 of the log.
func (b *before) owner(t *testing.T, log *memoryLog) *processors.Catalog {
	t.Helper()
	c := processors.NewCatalog(
		openStore(t),
		processors.Streams{Log: log, Emit: log},
		processors.NewItemFactors(b.model()),
		processors.DefaultCatalogConfig(1),
		func() time.Time { return noon },
	)
	parts := []record.Assignment{
		{TopicPartition: record.TopicPartition{Topic: schemas.TopicItems}, Committed: -1},
		{TopicPartition: record.TopicPartition{Topic: schemas.TopicItemGradients}, Committed: -1},
	}
	require.NoError(t, c.Assign(t.Context(), parts))
	return c
}

// embed is an embed in an epoch that has been assigned the partitions of both inputs.
func (b *before) embed(
	t *testing.T,
	log *memoryLog,
	store *sqlite.Store,
	epoch int,
) *processors.Embed {
	t.Helper()
	cfg := processors.DefaultEmbedConfig(1)
	// What was left behind does not care which partition a user belongs in.
	cfg.Epoch, cfg.UserPartitions = epoch, 0
	factors := processors.NewItemFactors(b.model())
	for i := range log.records[schemas.TopicItemVectors] {
		require.NoError(t, factors.Apply(&log.records[schemas.TopicItemVectors][i]))
	}
	return processors.NewEmbed(
		store, processors.Streams{Log: log, Emit: log}, factors, processors.NewErasures(), cfg,
	)
}

// ranges are what had been read, as their next owner repeats them.
func ranges(log *memoryLog) []*record.Batch {
	main := log.batch(schemas.TopicInteractions, 0)
	main.Partition, main.Repeat = 3, true
	replayed := log.batch(record.ReplayTopic(schemas.GroupEmbed), 0)
	replayed.Partition, replayed.Repeat = 1, true
	return []*record.Batch{main, replayed}
}

func users(t *testing.T, s *sqlite.Store) map[string]sinks.User {
	t.Helper()
	out := make(map[string]sinks.User)
	require.NoError(t, s.EachUser(t.Context(), func(u sinks.User) error {
		out[u.ID] = u
		return nil
	}))
	return out
}

// A process stopped before it closed its ranges, and a new version repeats them: from what the
// stores hold the users have had them.
func TestRangesRepeatedAfterTheUpgradeMoveNoUser(t *testing.T) {
	t.Parallel()
	b := readBefore(t)
	log, store := b.log(t, len(b.ItemVectors)), b.store(t)
	was := users(t, store)
	require.Equal(t, map[string]sinks.Position{
		schemas.TopicInteractions:              sinks.PositionOf(128, 2),
		record.ReplayTopic(schemas.GroupEmbed): sinks.PositionOf(128, 0),
	}, was["ann"].Positions)
	e := b.embed(t, log, store, sinks.FirstEpoch)
	for _, r := range ranges(log) {
		require.NoError(t, e.Handle(t.Context(), r))
	}
	require.Equal(t, was, users(t, store))
	require.Len(
		t, log.records[schemas.TopicItemGradients], len(b.ItemGradients), "and nothing is learned",
	)

	require.NoError(t, log.Emit(t.Context(), []record.Record{like("ann", 4, noon)}))
	next := log.batch(schemas.TopicInteractions, 4)
	next.Partition = 3
	require.NoError(t, e.Handle(t.Context(), next))
	is := users(t, store)
	require.Equal(t, was["bob"], is["bob"])
	require.NotEqual(t, was["ann"].State, is["ann"].State)
	require.Equal(t, sinks.PositionOf(128, 4), is["ann"].Positions[schemas.TopicInteractions])
	require.Len(t, log.records[schemas.TopicItemGradients], len(b.ItemGradients)+1)
}

// A process stopped between the gradient message and the users' states, and a new version repeats
// the range: the message is written again, in the new format. Each item takes it once.
func TestGradientsInBothFormatsAreAppliedOnce(t *testing.T) {
	t.Parallel()
	b := readBefore(t)
	const isNew = 4 // the first records: four items and a feature, without gradients
	for name, records := range map[string]int{
		"the old message was applied by the old version": len(b.ItemVectors),
		"the old message is applied by the new version":  isNew,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := b.log(t, records)
			owner := b.owner(t, log)
			require.NoError(t, owner.Handle(t.Context(), log.batch(schemas.TopicItemGradients, 0)))
			was := factors(t, &b, log)

			repeat := b.log(t, 0) // the first time embed knew no features either
			repeat.records[schemas.TopicItemGradients] = nil
			e := b.embed(t, repeat, openStore(t), sinks.FirstEpoch)
			for _, r := range ranges(repeat) {
				require.NoError(t, e.Handle(t.Context(), r))
			}
			again := repeat.batch(schemas.TopicItemGradients, 0)
			require.Len(t, again.Records, len(b.ItemGradients))
			for i := range again.Records {
				require.NotEqual(
					t, b.ItemGradients[i], again.Records[i].Value, "it is in the new format",
				)
			}
			// in place, and by a successor
			for _, o := range []*processors.Catalog{owner, b.owner(t, log)} {
				require.NoError(t, o.Handle(t.Context(), again))
				require.Equal(t, was, factors(t, &b, log))
			}

			// The same range in the next epoch is another one.
			repeat.records[schemas.TopicItemGradients] = nil
			e = b.embed(t, repeat, openStore(t), sinks.FirstEpoch+1)
			require.NoError(t, e.Handle(t.Context(), ranges(repeat)[0]))
			require.NoError(
				t, owner.Handle(t.Context(), repeat.batch(schemas.TopicItemGradients, 0)),
			)
			require.NotEqual(t, was, factors(t, &b, log))
		})
	}
}

// factors returns what a process that begins now reads from item-vectors: the vectors of the items.
func factors(t *testing.T, b *before, log *memoryLog) string {
	t.Helper()
	store := openStore(t)
	c := processors.NewCatalog(
		store,
		processors.Streams{Log: log, Emit: log},
		processors.NewItemFactors(b.model()),
		processors.DefaultCatalogConfig(1),
		func() time.Time { return noon },
	)
	require.NoError(
		t,
		c.Assign(
			t.Context(),
			[]record.Assignment{
				{
					TopicPartition: record.TopicPartition{Topic: schemas.TopicItemGradients},
					Committed:      -1,
				},
			},
		),
	)
	require.NoError(t, c.IndexAll(t.Context()))
	items, err := store.GetItems(t.Context(), []string{"i1", "i2", "i3", "i4"})
	require.NoError(t, err)
	require.Len(t, items, 4)
	out := make(map[string]string)
	for _, x := range items {
		out[x.Content.ItemID] = fmt.Sprint(x.Version, x.Count, x.Vector)
	}
	text, err := json.Marshal(out)
	require.NoError(t, err)
	return string(text)
}

// A log that was restored from a copy begins anew, below what the stores have absorbed. With its
// epoch raised its events count.
func TestEventsOfALaterEpochAreNew(t *testing.T) {
	t.Parallel()
	b := readBefore(t)
	store := b.store(t)
	for _, step := range []struct {
		epoch  int
		events int
	}{{sinks.FirstEpoch, 3}, {sinks.FirstEpoch + 1, 4}} {
		log := newMemoryLog()
		require.NoError(t, log.Emit(t.Context(), []record.Record{like("ann", 9, noon)}))
		first := log.batch(schemas.TopicInteractions, 0)
		first.Partition = 3
		require.NoError(t, b.embed(t, log, store, step.epoch).Handle(t.Context(), first))
		var u model.User
		require.NoError(t, u.Decode(users(t, store)["ann"].State))
		require.EqualValues(t, step.events, u.Events, "epoch %d", step.epoch)
	}
	require.Equal(
		t, sinks.PositionOf(129, 0), users(t, store)["ann"].Positions[schemas.TopicInteractions],
	)
}
