package app

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// What every partition of a process makes together is bounded.
func TestListsForGapsHaveOnePace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const perSecond, batch, batches = 100, 50, 20
		wait, began := pace(perSecond), time.Now()
		made := make(chan error)
		for range 2 { // partitions
			go func() {
				for range batches / 2 {
					if err := wait(t.Context(), batch); err != nil {
						made <- err
						return
					}
				}
				made <- nil
			}()
		}
		require.NoError(t, <-made)
		require.NoError(t, <-made)
		took := time.Since(began)
		require.GreaterOrEqual(t, took, (batches-1)*batch*time.Second/perSecond)
		require.LessOrEqual(t, took, batches*batch*time.Second/perSecond)
	})
}

func TestProgressOfAGapIsTold(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := bareApp()
	a.log = slog.New(slog.NewTextHandler(&out, nil))
	a.gaps = gaps{
		lists:  make(map[record.TopicPartition]int),
		logged: make(map[record.TopicPartition]time.Time),
	}
	partitions := check(t, a, "partitions")
	since := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	g := processors.GapProgress{Partition: 3, First: 10, Last: 99, Since: since}
	a.gapProgress(g)
	require.ErrorContains(t, partitions(), "profile-changes/3")
	require.ErrorContains(t, partitions(), "changed since 2026-11-27T12:00:00Z")
	require.ErrorContains(t, partitions(), "0 so far")
	g.Lists, g.At = 50, since.Add(6*time.Hour)
	a.gapProgress(g)
	require.ErrorContains(t, partitions(), "50 so far, now at 2026-11-27T18:00:00Z")
	require.Equal(t, 1, strings.Count(out.String(), "\n"), "one line in half a minute")
	g.Lists, g.Done = 80, true
	a.gapProgress(g)
	require.NoError(t, partitions())
	require.Contains(t, out.String(), "lists=80 done=true")
	require.InDelta(t, 80, a.measured(t, "slipstream_gap_lists_total"), 0)
}

// measured returns the value of a counter or a gauge with exactly these labels, in their order.
func (a *App) measured(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := a.metrics.Registry().Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(got, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("nothing measures %s of %v", name, labels)
	return 0
}

// What catalog does not read in time is not learned, so it has a week at the least, and more where
// an operator has given it more.
func TestGradientsAreKeptForAWeekOrLonger(t *testing.T) {
	t.Parallel()
	for _, topic := range processors.Topics(TopicsConfig(config.Default())) {
		if topic.Name == schemas.TopicItemGradients {
			require.False(t, topic.Compact)
			require.GreaterOrEqual(t, topic.Retention, 7*24*time.Hour)
			require.True(t, topic.AtLeast)
			return
		}
	}
	t.Fatal("no such topic")
}

// The alert goes by these: how old the oldest record is that a group has not read, and how long the
// topic keeps it.
func TestTheAgeOfWhatCatalogHasNotReadIsMeasured(t *testing.T) {
	t.Parallel()
	bc := embedded.DefaultConfig(t.TempDir())
	bc.Addr, bc.Log = "127.0.0.1:0", slog.New(slog.DiscardHandler)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	cfg := config.Default()
	cfg.Kafka.Brokers, cfg.Topics.Partitions = []string{broker.Addr()}, 2
	a := bareApp()
	a.kafka, err = OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.kafka.Close()) })
	require.NoError(t, a.kafka.EnsureTopics(t.Context(), cfg))
	const topic, group = schemas.TopicItemGradients, schemas.GroupCatalog
	age := func() time.Duration {
		require.NoError(t, a.measureAge(t.Context()))
		seconds := a.measured(t, "slipstream_lag_seconds", group, topic)
		return time.Duration(seconds * float64(time.Second))
	}
	require.Zero(t, age())
	week := (7 * 24 * time.Hour).Seconds()
	require.InDelta(t, week, a.measured(t, "slipstream_retention_seconds", group, topic), 0)

	var batch []record.Record
	for i, hours := range []int{60, 50, 40} { // the first two are in one partition
		batch = append(batch, record.Record{
			Topic: topic, Partition: i / 2, Value: []byte("1"),
			Time: now().Add(-time.Duration(hours) * time.Hour),
		})
	}
	require.NoError(t, a.kafka.Emit(t.Context(), batch))
	require.InDelta(t, 60, age().Hours(), 0.5)
	read := map[record.TopicPartition]int64{{Topic: topic}: 1}
	require.NoError(t, admin.ResetOffsets(t.Context(), a.kafka.conn, group, read))
	require.InDelta(t, 50, age().Hours(), 0.5)
	read = map[record.TopicPartition]int64{{Topic: topic}: 2, {Topic: topic, Partition: 1}: 1}
	require.NoError(t, admin.ResetOffsets(t.Context(), a.kafka.conn, group, read))
	require.Zero(t, age())
}
