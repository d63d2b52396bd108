package dev

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// The log of a process that runs for days must not keep every version of every item's factors, and
// no latest record may be lost.
func TestCompactorKeepsLatestRecordsDuringWrites(t *testing.T) {
	bc := embedded.DefaultConfig(filepath.Join(t.TempDir(), app.LogFolder))
	bc.Addr, bc.Log, bc.SegmentBytes = "127.0.0.1:0", apptest.Quiet(t), 64<<10
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	cfg := config.Default()
	cfg.Topics.Partitions = 2
	cfg.Kafka.Brokers = []string{broker.Addr()}
	k, err := app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, k.EnsureTopics(t.Context(), cfg))
	h := newCompactor(k, broker)
	h.least = 128 << 10

	const keys, rounds = 40, 60
	value := func(round, n int) string { // too random to be compressed
		r := rand.New(rand.NewPCG(uint64(round), uint64(n)))
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
	write := func(ctx context.Context, round int) {
		var batch []record.Record
		for n := range keys {
			value := []byte(value(round, n))
			batch = append(
				batch,
				record.Record{
					Topic: schemas.TopicItemVectors, Partition: record.AnyPartition,
					Key: fmt.Appendf(nil, "item-%d", n), Value: value,
				},
			)
		}
		if err := k.Emit(ctx, batch); err != nil {
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for round := range rounds {
			write(t.Context(), round)
		}
	})
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		require.NoError(t, h.run(t.Context()))
	}
	require.NoError(
		t,
		k.Emit(
			t.Context(),
			[]record.Record{
				{
					Topic: schemas.TopicItemVectors, Partition: record.AnyPartition,
					Key: []byte("item-0"),
				},
			},
		),
	)

	look := func(k *app.Kafka) (latest map[string]string, records int) {
		latest = make(map[string]string)
		for p := range cfg.Topics.Partitions {
			require.NoError(
				t,
				k.Read(
					t.Context(),
					schemas.TopicItemVectors,
					p,
					0,
					-1,
					func(r *record.Record) error {
						latest[string(r.Key)] = string(r.Value)
						records++
						return nil
					},
				),
			)
		}
		return latest, records
	}
	want := map[string]string{"item-0": ""}
	for n := 1; n < keys; n++ {
		want[fmt.Sprintf("item-%d", n)] = value(rounds-1, n)
	}
	latest, records := look(k)
	require.Equal(t, want, latest)
	require.Less(t, records, keys*rounds/2, "the log grows with every version")

	// The same is there after a restart, from its first offset on.
	require.NoError(t, k.Close())
	require.NoError(t, broker.Close())
	broker, err = embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	defer broker.Close()
	cfg.Kafka.Brokers = []string{broker.Addr()}
	k, err = app.OpenKafka(t.Context(), cfg)
	require.NoError(t, err)
	defer k.Close()
	latest, _ = look(k)
	require.Equal(t, want, latest)
	require.Error(
		t, broker.Forget(schemas.TopicItemVectors, 0, 1<<40), "a partition is never emptied",
	)
	require.Error(t, broker.Forget("unknown", 0, 1))
}
