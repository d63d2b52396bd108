package rebuild

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// states returns the title of film-1 and the attributes of ann in every store that has them.
func states(t *testing.T, in *apptest.Installation) map[string]string {
	t.Helper()
	found, err := in.Engines().Items.GetItems(t.Context(), []string{"film-1"})
	require.NoError(t, err)
	require.Len(t, found, 1)
	db := in.Rows
	if db == nil {
		db = apptest.OpenRows(t, in.Config())
	}
	row := func(query string) string { return strings.Join(lines(t, db, query), "; ") }
	return map[string]string{
		"item":     found[0].Content.Title,
		"item row": row("SELECT title FROM items WHERE item_id = 'film-1'"),
		"user row": row("SELECT attributes FROM users WHERE user_id = 'ann'"),
	}
}

// offsetsOf returns the offsets at which records of the key stand.
func offsetsOf(t *testing.T, in *apptest.Installation, topic, key string) (offsets []int64) {
	t.Helper()
	n := record.PartitionOf([]byte(key), in.Config().Topics.Partitions)
	require.NoError(t, in.Kafka().Read(t.Context(), topic, n, 0, -1,
		func(r *record.Record) error {
			if string(r.Key) == key {
				offsets = append(offsets, r.Offset)
			}
			return nil
		}))
	return offsets
}

// repeatState has an application that gets no answer to a PUT, sends the next one, and then the
// first one again. It returns what counts: the log took the first one last.
func repeatState(t *testing.T, in *apptest.Installation) map[string]string {
	t.Helper()
	for _, x := range []struct{ id, title, country string }{
		{"first", "Old", "FR"}, {"second", "New", "DE"}, {"first", "Old", "FR"},
	} {
		require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{
			schemas.Item{
				EventID: x.id, Source: "shop", ItemID: "film-1", Title: x.title,
				OccurredAt: time.Now().UTC(),
			}.Message(),
			schemas.User{
				EventID: x.id, Source: "shop", UserID: "ann",
				Attributes: schemas.Attributes{"country": x.country}, OccurredAt: time.Now().UTC(),
			}.Message(),
		}))
		in.AwaitIdle(t, time.Minute)
	}
	for topic, key := range map[string]string{
		schemas.TopicItems: "film-1", schemas.TopicUsers: "ann",
	} {
		require.Len(t, offsetsOf(t, in, topic, key), 3, "before compaction")
	}
	return map[string]string{"item": "Old", "item row": "Old", "user row": `{"country":"FR"}`}
}

// addFillers writes an item and a user to every partition: compaction leaves the end of a partition
// alone.
func addFillers(t *testing.T, in *apptest.Installation) {
	t.Helper()
	for n := range in.Config().Topics.Partitions {
		item := schemas.Item{ItemID: fmt.Sprintf("filler-%d", n), Title: "Filler"}.Message()
		user := schemas.User{UserID: fmt.Sprintf("filler-%d", n)}.Message()
		item.Partition, user.Partition = n, n
		require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{item, user}))
	}
}

// Which of two states counts must not depend on when compaction runs: only the repeated record is
// left then. See docs/adr/0020-states-are-not-deduplicated.md.
func TestARepeatedStateCountsTheSameBeforeAndAfterCompaction(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, nil)
	want := repeatState(t, in)
	addFillers(t, in)
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, want, states(t, in), "live")
	cfg := in.Config()
	cfg.DataDir = dir
	stop()

	bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
	bc.Addr, bc.Log, bc.CompactAfterBytes = "127.0.0.1:0", apptest.Quiet(t), 0
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	require.NoError(t, broker.Close())

	in, stop = apptest.StartEmbedded(t, dir, nil)
	in.AwaitIdle(t, time.Minute)
	require.Len(t, offsetsOf(t, in, schemas.TopicItems, "film-1"), 1, "after compaction")
	require.Len(t, offsetsOf(t, in, schemas.TopicUsers, "ann"), 1, "after compaction")
	require.Equal(t, want, states(t, in), "after a restart")
	stop()
	require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
	in, _ = apptest.StartEmbedded(t, dir, nil)
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, want, states(t, in), "rebuilt")
}

func TestRealARepeatedStateCountsTheSameBeforeAndAfterCompaction(t *testing.T) {
	t.Parallel()
	in := apptest.StartReal(t, nil)
	want := repeatState(t, in)
	require.Equal(t, want, states(t, in), "live")
	compactSoon(t, in.Kafka(), schemas.TopicItems, schemas.TopicUsers)
	apptest.Eventually(t, 2*time.Minute, func() error {
		addFillers(t, in)
		items := offsetsOf(t, in, schemas.TopicItems, "film-1")
		users := offsetsOf(t, in, schemas.TopicUsers, "ann")
		if len(items) > 1 || len(users) > 1 {
			return fmt.Errorf("not compacted: items at %v, users at %v", items, users)
		}
		return nil
	})
	in.AwaitIdle(t, time.Minute)
	in.Stop()
	in = restart(t, in.Config())
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, want, states(t, in), "after a restart")
	in.Stop()
	for _, store := range []string{"qdrant", "clickhouse"} {
		require.NoError(t, rebuilt(t.Context(), t, in.Config(), store))
	}
	in = restart(t, in.Config())
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, want, states(t, in), "rebuilt")
}

// compactSoon lets the broker compact the topics after a second: by default it waits until a
// segment is a week old or 1 GiB long.
func compactSoon(t *testing.T, k *app.Kafka, topics ...string) {
	t.Helper()
	req := &kafka.IncrementalAlterConfigsRequest{}
	for _, topic := range topics {
		r := kafka.IncrementalAlterConfigsRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: k.Conn().Full(topic),
		}
		for name, value := range map[string]string{
			"segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01",
		} {
			r.Configs = append(r.Configs, kafka.IncrementalAlterConfigsRequestConfig{
				Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet,
			})
		}
		req.Resources = append(req.Resources, r)
	}
	res, err := k.Conn().Client().IncrementalAlterConfigs(t.Context(), req)
	require.NoError(t, err)
	for _, r := range res.Resources {
		require.NoError(t, r.Error)
	}
}
