package stream

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// TestOffsetsThatAreGivenUpAreSkipped: a group gets them as a batch that cannot be read, the other
// readers skip them and tell.
func TestOffsetsThatAreGivenUpAreSkipped(t *testing.T) {
	t.Parallel()
	for name, change := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := damaged(t, change)
			skipped := make(chan record.Undecodable, 10)
			l.conn.cfg.Skipped = func(u *record.Undecodable) { skipped <- *u }
			l.conn.cfg.SkipDamaged = []record.Range{
				{Topic: "another", First: 0, Last: 100}, {Topic: l.tp.Topic, First: 1, Last: 3},
			}
			cfg := l.ranged(t)
			cfg.Hooks.PartitionStopped = func(_ record.TopicPartition, err error) {
				t.Errorf("it stopped: %v", err)
			}
			out, stop := l.subscribe(t, cfg, l.tp.Topic)
			defer stop()
			var got []string
			for len(got) < 7 {
				m := receive(t, out)
				b := BatchOf(m)
				for _, u := range b.Undecodable {
					require.Equal(t, [2]int64{2, 3}, [2]int64{u.First, u.Last})
					require.Contains(t, u.Reason, "damaged, and given up")
					got = append(got, "a dead letter")
				}
				got = append(got, values(b)...)
				m.Ack()
			}
			want := []string{"0", "1", "4", "5", "6", "7"}
			require.Equal(t, append([]string{"0", "1", "a dead letter"}, want[2:]...), got)
			stop()

			var read heard
			require.NoError(t, l.conn.Read(t.Context(), l.tp, 0, 8, read.add))
			require.Equal(t, want, read.handed())
			require.EqualValues(t, 3, (<-skipped).Last)
			var followed heard
			f := NewFollower(l.conn, l.tp.Topic, testLogger(t), followed.add)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- f.Run(ctx) }()
			require.NoError(t, f.WaitCaughtUp(t.Context()))
			require.Equal(t, want, followed.handed())
			cancel()
			require.NoError(t, <-ended)
			require.EqualValues(t, 3, (<-skipped).Last)
		})
	}
}

// TestADamagedPartitionIsResumed: it is told, once, that it works again.
func TestADamagedPartitionIsResumed(t *testing.T) {
	t.Parallel()
	l := damaged(t, damages["a bit of a record"])
	cfg := l.ranged(t)
	stopped, resumed := make(chan error, 10), make(chan record.TopicPartition, 10)
	cfg.Hooks.PartitionStopped = func(_ record.TopicPartition, err error) { stopped <- err }
	cfg.Hooks.PartitionResumed = func(tp record.TopicPartition) { resumed <- tp }
	out, stop := l.subscribe(t, cfg, l.tp.Topic)
	defer stop()
	var got heard
	got.drain(t, out)
	require.True(t, Damaged(<-stopped))
	require.Empty(t, resumed)
	l.restore()
	require.Equal(t, l.tp, <-resumed)
	eventually(t, "the rest comes", func() bool { return len(got.handed()) == 8 })
	stop()
	require.Empty(t, stopped)
	require.Empty(t, resumed)
}

// TestDamageThatAnAssignedHookMeets: it is told, and the group begins when the log is whole.
func TestDamageThatAnAssignedHookMeets(t *testing.T) {
	t.Parallel()
	l := damaged(t, damages["a bit of a record"])
	cfg := l.ranged(t)
	var mu sync.Mutex
	var told []string
	stopped := make(chan struct{}, 10)
	cfg.Hooks.PartitionStopped = func(tp record.TopicPartition, err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, "stopped "+tp.String())
		stopped <- struct{}{}
	}
	cfg.Hooks.PartitionResumed = func(tp record.TopicPartition) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, "resumed "+tp.String())
	}
	cfg.Assigned = func(ctx context.Context, _ []record.Assignment) error {
		return l.conn.Read(ctx, l.tp, 0, 8, func(*record.Record) error { return nil })
	}
	out, stop := l.subscribe(t, cfg, l.tp.Topic)
	<-stopped
	l.restore()
	m := receive(t, out)
	require.Equal(t, "0", values(BatchOf(m))[0])
	m.Ack()
	stop()
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"stopped " + l.tp.String(), "resumed " + l.tp.String()}, told)
}

// TestNothingWhereTheLogGoesOnIsDamage: Kafka answers with nothing where the length of a batch is
// damaged. Only a compacted topic may have nothing there.
func TestNothingWhereTheLogGoesOnIsDamage(t *testing.T) {
	t.Parallel()
	l := damaged(t, func([]byte) {})
	l.empty.Store(true)
	var got heard
	err := l.conn.Read(t.Context(), l.tp, 0, 8, got.add)
	require.Equal(t, []string{"0", "1"}, got.handed())
	require.ErrorContains(t, err, "the broker returns nothing, although its log goes on")
	require.ErrorContains(t, err, "kafka.skip_damaged="+l.tp.String()+":2-")
	require.True(t, fault.Waits(err))

	cfg := l.ranged(t)
	stopped := make(chan error, 10)
	cfg.Hooks.PartitionStopped = func(_ record.TopicPartition, err error) { stopped <- err }
	out, stop := l.subscribe(t, cfg, l.tp.Topic)
	defer stop()
	var handed heard
	handed.drain(t, out)
	require.True(t, Damaged(<-stopped))
	require.Equal(t, []string{"0", "1"}, handed.handed())
	l.empty.Store(false)
	eventually(t, "the rest comes", func() bool { return len(handed.handed()) == 8 })
	stop()

	l.empty.Store(true)
	l.conn.cfg.SkipDamaged = []record.Range{{Topic: l.tp.Topic, First: 2, Last: 3}}
	var skipped []int64
	l.conn.cfg.Skipped = func(u *record.Undecodable) { skipped = append(skipped, u.First, u.Last) }
	var rest heard
	require.NoError(t, l.conn.Read(t.Context(), l.tp, 0, 8, rest.add))
	require.Equal(t, []string{"0", "1", "4", "5", "6", "7"}, rest.handed())
	require.Equal(t, []int64{2, 3}, skipped)
}
