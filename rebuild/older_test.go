package rebuild

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// stray is a like by a user in a partition of others.
func stray(user, n, partitions int) record.Record {
	m := schemas.Interaction{
		EventID: fmt.Sprintf("u%d-%d", user, n), Source: "foreign",
		UserID: fmt.Sprintf("u%d", user), ItemID: fmt.Sprintf("film-%d", n),
		Action: schemas.Like, OccurredAt: time.Now().UTC(),
	}.Message()
	m.Partition = (record.PartitionOf(m.Key, partitions) + 1) % partitions
	return m
}

// An older version has handled events in partitions of others without forwarding them.
func TestRebuildForwardsWhatIsOlder(t *testing.T) {
	const users, likes = 6, 5
	dir, cfg := t.TempDir(), apptest.Config()
	partitions := cfg.Topics.Partitions
	_, stop := apptest.StartEmbedded(t, dir, nil)
	stop()
	func() {
		bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
		bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
		broker, err := embedded.Start(t.Context(), bc)
		require.NoError(t, err)
		defer func() { require.NoError(t, broker.Close()) }()
		old := cfg
		old.Kafka.Brokers = []string{broker.Addr()}
		k, err := app.OpenKafka(t.Context(), old)
		require.NoError(t, err)
		defer func() { require.NoError(t, k.Close()) }()
		note := record.Record{Topic: schemas.TopicMeta, Key: []byte("forwarding.embed")}
		require.NoError(t, k.Emit(t.Context(), []record.Record{note}))
		for u := range users {
			for n := range likes {
				require.NoError(t, k.Emit(t.Context(), []record.Record{stray(u, n, partitions)}))
			}
		}
		bounds, err := k.Conn().Offsets(t.Context(), schemas.TopicInteractions)
		require.NoError(t, err)
		handled := make(map[record.TopicPartition]int64)
		for tp, b := range bounds {
			handled[tp] = b.HighWatermark
		}
		require.NoError(t, admin.ResetOffsets(
			t.Context(), k.Conn(), schemas.GroupEmbed, handled))
	}()

	eventsOf := func(in *apptest.Installation) map[uint32]int {
		counts := make(map[uint32]int)
		for _, p := range pictureOf(t, in).Users { //nolint:gocritic // a few
			counts[p.Events]++
		}
		return counts
	}
	in, stop := apptest.StartEmbedded(t, dir, nil)
	began, err := in.Kafka().ForwardingBegan(t.Context())
	require.NoError(t, err)
	require.Len(t, began, partitions)
	for u := range users {
		require.NoError(t, in.Kafka().Emit(
			t.Context(), []record.Record{stray(u, likes, partitions)}))
	}
	in.AwaitIdle(t, 2*time.Minute)
	require.Equal(t, map[uint32]int{1: users}, eventsOf(in), "what is newer is forwarded")
	items := in.Latest(t, schemas.TopicItemVectors)
	cfg = in.Config()
	cfg.DataDir = dir
	stop()
	for _, again := range []string{"", "again"} {
		require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
		in, stop = apptest.StartEmbedded(t, dir, nil)
		in.AwaitIdle(t, 2*time.Minute)
		require.Equal(t, map[uint32]int{likes + 1: users}, eventsOf(in), again)
		require.Equal(t, items, in.Latest(t, schemas.TopicItemVectors),
			"items have learned from it where it stood")
		n, err := in.Engines().Analytics.CountInteractions(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, users*(likes+1), n.Rows)
		stop()
	}
}
