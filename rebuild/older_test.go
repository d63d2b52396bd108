package rebuild

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
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

// onLog works on the log of a folder while nothing else does.
func onLog(t *testing.T, dir string, cfg config.Config, f func(k *app.Kafka)) {
	t.Helper()
	bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	defer func() { require.NoError(t, broker.Close()) }()
	cfg.Kafka.Brokers = []string{broker.Addr()}
	k, err := app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, k.Close()) }()
	f(k)
}

// passInteractions has embed pass all interactions.
func passInteractions(t *testing.T, k *app.Kafka) {
	t.Helper()
	bounds, err := k.Conn().Offsets(t.Context(), schemas.TopicInteractions)
	require.NoError(t, err)
	handled := make(map[record.TopicPartition]int64)
	for tp, b := range bounds {
		handled[tp] = b.HighWatermark
	}
	require.NoError(t, admin.ResetOffsets(t.Context(), k.Conn(), schemas.GroupEmbed, handled))
}

// handledByAnOlderVersion leaves likes of users in partitions of others, which a version that does
// not forward has passed.
func handledByAnOlderVersion(t *testing.T, dir string, cfg config.Config, users, likes int) {
	t.Helper()
	onLog(t, dir, cfg, func(k *app.Kafka) {
		note := record.Record{Topic: schemas.TopicMeta, Key: []byte("forwarding.embed")}
		require.NoError(t, k.Emit(t.Context(), []record.Record{note}))
		for u := range users {
			for n := range likes {
				require.NoError(t, k.Emit(t.Context(),
					[]record.Record{stray(u, n, cfg.Topics.Partitions)}))
			}
		}
		passInteractions(t, k)
	})
}

// usersByEvents returns how many users have absorbed each number of events.
func usersByEvents(t *testing.T, in *apptest.Installation) map[uint32]int {
	t.Helper()
	counts := make(map[uint32]int)
	for _, p := range pictureOf(t, in).Users { //nolint:gocritic // a few
		counts[p.Events]++
	}
	return counts
}

// An older version has handled events in partitions of others without forwarding them.
func TestRebuildForwardsWhatIsOlder(t *testing.T) {
	const users, likes = 6, 5
	dir, cfg := t.TempDir(), apptest.Config()
	partitions := cfg.Topics.Partitions
	_, stop := apptest.StartEmbedded(t, dir, nil)
	stop()
	handledByAnOlderVersion(t, dir, cfg, users, likes)
	in, stop := apptest.StartEmbedded(t, dir, nil)
	began, err := in.Kafka().ForwardingBegan(t.Context())
	require.NoError(t, err)
	require.Len(t, began, partitions)
	for u := range users {
		require.NoError(t, in.Kafka().Emit(
			t.Context(), []record.Record{stray(u, likes, partitions)}))
	}
	in.AwaitIdle(t, 2*time.Minute)
	require.Equal(t, map[uint32]int{1: users}, usersByEvents(t, in), "what is newer is forwarded")
	items := in.Latest(t, schemas.TopicItemVectors)
	cfg = in.Config()
	cfg.DataDir = dir
	stop()
	for _, again := range []string{"", "again"} {
		require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
		in, stop = apptest.StartEmbedded(t, dir, nil)
		in.AwaitIdle(t, 2*time.Minute)
		require.Equal(t, map[uint32]int{likes + 1: users}, usersByEvents(t, in), again)
		require.Equal(t, items, in.Latest(t, schemas.TopicItemVectors),
			"items have learned from it where it stood")
		n, err := in.Engines().Analytics.CountInteractions(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, users*(likes+1), n.Rows)
		stop()
	}
}

// embed is behind on embed.misplaced when the older events are forwarded, so they stand behind
// others that it has not read.
func TestRebuildTeachesItemsNothingOlderWhileEmbedIsBehind(t *testing.T) {
	t.Parallel()
	const users, likes = 6, 5
	dir, cfg := t.TempDir(), apptest.Config()
	partitions := cfg.Topics.Partitions
	_, stop := apptest.StartEmbedded(t, dir, nil)
	stop()
	handledByAnOlderVersion(t, dir, cfg, users, likes)
	in, stop := apptest.StartEmbedded(t, dir, nil) // notes where forwarding begins
	in.AwaitIdle(t, 2*time.Minute)
	stop()
	onLog(t, dir, cfg, func(k *app.Kafka) { // embed has forwarded these, and was stopped
		for u := range users {
			newer := stray(u, likes, partitions)
			require.NoError(t, k.Emit(t.Context(), []record.Record{newer}))
			at := newer.Partition
			require.NoError(t, k.Read(t.Context(), newer.Topic, at, 0, -1,
				func(r *record.Record) error { newer = *r; return nil }))
			to := record.TopicPartition{
				Topic:     record.MisplacedTopic(schemas.GroupEmbed),
				Partition: record.PartitionOf(newer.Key, partitions),
			}
			require.NoError(t, k.Emit(t.Context(),
				[]record.Record{record.Forwarded(&newer, to, newer.Key)}))
		}
		passInteractions(t, k)
	})
	cfg.DataDir = dir
	require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
	in, stop = apptest.StartEmbedded(t, dir, nil)
	defer stop()
	in.AwaitIdle(t, 2*time.Minute)
	require.Equal(t, map[uint32]int{likes + 1: users}, usersByEvents(t, in))
	var films []string
	for n := range likes + 1 {
		films = append(films, fmt.Sprint("film-", n))
	}
	items, err := in.Engines().Items.GetItems(t.Context(), films)
	require.NoError(t, err)
	counts := make(map[string]float64)
	for i := range items {
		if items[i].Count > 0 {
			counts[items[i].Content.ItemID] = items[i].Count
		}
	}
	require.Equal(t, map[string]float64{fmt.Sprint("film-", likes): users}, counts,
		"items have learned from the others where they stood")
}

// The folder of the version before has no note of where forwarding begins, and topics whose times
// are those of producers.
func TestRebuildForwardsWhatTheVersionBeforeHasPassed(t *testing.T) {
	t.Parallel()
	const users, likes = 4, 3
	dir, cfg := apptest.Unpack(t, "../app/testdata/renamed.tar.gz"), apptest.Config()
	cfg.Topics.Partitions, cfg.Model.Dim, cfg.DataDir = 2, 16, dir
	sizes := func(c *config.Config) { c.Topics.Partitions, c.Model.Dim = 2, 16 }
	passed := make(map[int]int64)
	onLog(t, dir, cfg, func(k *app.Kafka) {
		began, err := k.ForwardingBegan(t.Context())
		require.NoError(t, err)
		require.Nil(t, began)
		for u := range users {
			for n := range likes {
				require.NoError(t, k.Emit(t.Context(),
					[]record.Record{stray(u, n, cfg.Topics.Partitions)}))
			}
		}
		passInteractions(t, k)
		bounds, err := k.Conn().Offsets(t.Context(), schemas.TopicInteractions)
		require.NoError(t, err)
		for tp, b := range bounds {
			passed[tp.Partition] = b.HighWatermark
		}
	})
	in, stop := apptest.StartEmbedded(t, dir, sizes)
	in.AwaitIdle(t, 2*time.Minute)
	began, err := in.Kafka().ForwardingBegan(t.Context())
	require.NoError(t, err)
	require.Equal(t, passed, began)
	eventsOf := func(in *apptest.Installation) []int {
		have := pictureOf(t, in).Users
		out := make([]int, users)
		for u := range out {
			out[u] = int(have[fmt.Sprint("u", u)].Events)
		}
		return out
	}
	require.Equal(t, make([]int, users), eventsOf(in))
	want := make([]int, users)
	for u := range users {
		want[u] = likes + 1
		require.NoError(t, in.Kafka().Emit(t.Context(),
			[]record.Record{stray(u, likes, cfg.Topics.Partitions)}))
	}
	in.AwaitIdle(t, 2*time.Minute)
	require.Equal(t, slices.Repeat([]int{1}, users), eventsOf(in), "what is newer is forwarded")
	rows, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	stop()
	for range 2 {
		require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
		in, stop = apptest.StartEmbedded(t, dir, sizes)
		in.AwaitIdle(t, 2*time.Minute)
		require.Equal(t, want, eventsOf(in))
		again, err := in.Engines().Analytics.CountInteractions(t.Context())
		require.NoError(t, err)
		require.Equal(t, rows, again)
		stop()
	}
}
