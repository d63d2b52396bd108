//go:build unix

package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// brokerClock is a clock that can be set.
type brokerClock struct{ ms atomic.Int64 }

func (c *brokerClock) set(t time.Time) { c.ms.Store(t.UnixMilli()) }

func (c *brokerClock) now() time.Time { return time.UnixMilli(c.ms.Load()) }

// places are the log times of records, by offset.
type places map[int64]time.Time

func (p places) note(r *record.Record) error {
	p[r.Offset] = r.Time
	return nil
}

// from returns those from an offset on.
func (p places) from(offset int64) places {
	out := places{}
	for o, t := range p {
		if o >= offset {
			out[o] = t
		}
	}
	return out
}

// batches returns the log times that a group of one member gets until it has the last offset, and
// ends the member.
func batches(t *testing.T, conn *stream.Conn, group, topic string, limit int, last int64) places {
	t.Helper()
	cfg := stream.DefaultSubscriberConfig(group)
	cfg.Intents, cfg.MaxRecords, cfg.IdleClose = true, 1, 10*time.Millisecond
	cfg.SessionTimeout, cfg.HeartbeatInterval = 6*time.Second, time.Second
	cfg.RebalanceTimeout, cfg.DrainTimeout = 6*time.Second, time.Second
	cfg.Logger = slog.New(slog.DiscardHandler)
	sub, err := stream.NewSubscriber(conn, cfg)
	require.NoError(t, err)
	out, err := sub.Subscribe(t.Context(), topic)
	require.NoError(t, err)
	got := places{}
	for range limit {
		m := <-out
		b := stream.BatchOf(m)
		require.NotNil(t, b)
		for i := range b.Records {
			require.NoError(t, got.note(&b.Records[i]))
		}
		m.Ack()
		if b.Last >= last {
			break
		}
	}
	require.NoError(t, sub.Close())
	return got
}

func followed(t *testing.T, conn *stream.Conn, topic string) places {
	t.Helper()
	got := places{}
	f := stream.NewFollower(conn, topic, slog.New(slog.DiscardHandler), got.note)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	require.NoError(t, f.WaitCaughtUp(t.Context()))
	cancel()
	require.NoError(t, <-ended)
	return got
}

// startClocked starts a broker with a clock of the test and a topic that has its times.
func startClocked(t *testing.T, topic string) (*Broker, Config, *brokerClock) {
	t.Helper()
	clock := &brokerClock{}
	cfg := testConfig(t.TempDir())
	cfg.Clock = clock.now
	b := start(t, cfg)
	appendTimeTopic(t, b.Addr(), topic, nil)
	return b, cfg, clock
}

// The clock of a broker steps back by ten seconds, twice. Whoever reads the partition, from
// wherever, after whatever restart, finds the same log times, and they never fall.
func TestLogTimesNeverFall(t *testing.T) {
	t.Parallel()
	const topic = "events"
	tp := record.TopicPartition{Topic: topic}
	b, cfg, clock := startClocked(t, topic)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	want := places{}
	// by the second of the broker's clock, and the second that counts
	times := [][2]int{
		{0, 0}, {20, 20}, {10, 20}, {12, 20}, {2, 20}, {19, 20}, {20, 20}, {25, 25}, {24, 25},
	}
	cl := client(t, b.Addr())
	for i, x := range times {
		clock.set(noon.Add(time.Duration(x[0]) * time.Second))
		r := &kgo.Record{Topic: topic, Value: fmt.Append(nil, i), Timestamp: noon.AddDate(9, 0, 0)}
		require.NoError(t, cl.ProduceSync(t.Context(), r).FirstErr())
		want[int64(i)] = noon.Add(time.Duration(x[1]) * time.Second)
	}
	last := int64(len(times) - 1)
	check := func(t *testing.T, addr string) {
		conn, err := stream.Open(t.Context(), stream.DefaultConfig(addr))
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		for from := range last + 1 {
			got := places{}
			require.NoError(t, conn.Read(t.Context(), tp, from, -1, got.note))
			require.Equal(t, want.from(from), got, "from %d", from)
		}
		require.Equal(t, want, followed(t, conn, topic))
		require.Equal(t, want, batches(t, conn, "whole"+addr, topic, len(want), last))
		got := places{} // each batch by another member, which begins where the last one ended
		for len(got) < len(want) {
			for o, at := range batches(t, conn, "in turn"+addr, topic, 1, last) {
				got[o] = at
			}
		}
		require.Equal(t, want, got)
	}
	check(t, b.Addr())
	require.NoError(t, b.Close())
	check(t, start(t, cfg).Addr())
}

// The broker cannot look into a batch that cannot be decompressed. Who begins to read in front of
// one reads what stands around it.
func TestLogTimesBeforeABatchThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const topic = "events"
	b, _, clock := startClocked(t, topic)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const gzip = 1 // which the records are not
	for i, second := range []int{20, 10, 25, 30, 40} {
		clock.set(noon.Add(time.Duration(second) * time.Second))
		attrs := map[bool]int16{true: gzip}[i == 3]
		answer := produceRaw(t, b.Addr(), map[string][]byte{topic: rawBatch(attrs)})[topic]
		require.NoError(t, kerr.ErrorForCode(answer.ErrorCode))
	}
	conn, err := stream.Open(t.Context(), stream.DefaultConfig(b.Addr()))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	at20, at25 := noon.Add(20*time.Second), noon.Add(25*time.Second)
	at40 := noon.Add(40 * time.Second)
	want := places{2: at20, 3: at20, 4: at25, 5: at25, 8: at40, 9: at40}
	for _, from := range []int64{2, 4} {
		got := places{}
		tp := record.TopicPartition{Topic: topic}
		require.NoError(t, conn.Read(ctx, tp, from, -1, got.note))
		require.Equal(t, want.from(from), got)
	}
}

// Who looks back for the log times before its first record does not skip the batches there that
// cannot be read: only those from there on are told.
func TestBatchesThatAReaderLooksBackAtAreNotSkipped(t *testing.T) {
	t.Parallel()
	const topic = "events"
	tp := record.TopicPartition{Topic: topic}
	b, _, clock := startClocked(t, topic)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const gzip = 1 // which the records are not
	// The first batch is the latest, so that whoever begins behind it looks back at it.
	for i, second := range []int{60, 20, 30, 35, 40} {
		clock.set(noon.Add(time.Duration(second) * time.Second))
		attrs := map[bool]int16{true: gzip}[i == 1 || i == 3]
		answer := produceRaw(t, b.Addr(), map[string][]byte{topic: rawBatch(attrs)})[topic]
		require.NoError(t, kerr.ErrorForCode(answer.ErrorCode))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var skipped []int64
	settings := stream.DefaultConfig(b.Addr())
	settings.Skipped = func(u *record.Undecodable) { skipped = append(skipped, u.First) }
	conn, err := stream.Open(t.Context(), settings)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	at60 := noon.Add(time.Minute)
	for from, want := range map[int64][]int64{2: {2, 6}, 4: {6}, 8: nil} {
		skipped = nil
		// No reading of the same connection has ended there, so each looks back for itself.
		got := places{}
		require.NoError(t, conn.Read(ctx, tp, from, -1, got.note))
		for offset, at := range got {
			require.Equal(t, at60, at, "offset %d, from %d", offset, from)
		}
		require.Equal(t, want, skipped, "from %d", from)
	}
}

// What the log wrote itself stays known: it tells records apart for whoever reads them.
func TestTheOriginOfARaisedRecord(t *testing.T) {
	t.Parallel()
	b, _, clock := startClocked(t, "in")
	appendTimeTopic(t, b.Addr(), "g.misplaced", nil)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cl := client(t, b.Addr())
	for _, after := range []time.Duration{10 * time.Second, 0} {
		clock.set(noon.Add(after))
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "in"}).FirstErr())
	}
	conn, err := stream.Open(t.Context(), stream.DefaultConfig(b.Addr()))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	pub, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
	require.NoError(t, err)
	defer func() { require.NoError(t, pub.Close()) }()
	in, out := record.TopicPartition{Topic: "in"}, record.TopicPartition{Topic: "g.misplaced"}
	var origins []record.Origin
	require.NoError(t, conn.Read(t.Context(), in, 1, -1, func(r *record.Record) error {
		require.Equal(t, noon.Add(10*time.Second), r.LogTime())
		origins = append(origins, r.Origin())
		return pub.Emit(t.Context(), []record.Record{record.Forwarded(r, out, []byte("k"))})
	}))
	require.Len(t, origins, 1)
	require.Equal(t, noon, origins[0].Time)
	found := 0
	require.NoError(t, conn.Read(t.Context(), out, 0, -1, func(r *record.Record) error {
		o, err := record.OriginOf(r)
		require.NoError(t, err)
		require.Equal(t, origins[0], o)
		require.Equal(t, noon.Add(10*time.Second), r.LogTime())
		found++
		return nil
	}))
	require.Equal(t, 1, found)
}

// Before a topic had the broker's times it had those of producers, of which one was years ahead.
// That changes no time of the records behind it.
func TestTimesOfProducersRaiseNothing(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, addr, prefix string) {
		topic := prefix + "mixed"
		createTopic(t, client(t, addr), topic, 1, nil)
		cl := client(t, addr)
		now := time.Now().UTC().Truncate(time.Millisecond)
		var said []time.Time
		write := func(after time.Duration) {
			said = append(said, now.Add(after))
			require.NoError(t, cl.ProduceSync(
				t.Context(), &kgo.Record{Topic: topic, Timestamp: now.Add(after)},
			).FirstErr())
		}
		write(0)
		write(20 * time.Minute)
		write(-20 * time.Minute)
		alterTimes(t, addr, topic, "LogAppendTime")
		written := spanOf(func() { write(time.Minute); write(2 * time.Minute) })

		conn, err := stream.Open(t.Context(), stream.DefaultConfig(addr))
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		tp := record.TopicPartition{Topic: topic}
		all := places{}
		require.NoError(t, conn.Read(t.Context(), tp, 0, -1, all.note))
		require.Len(t, all, 5)
		for i := range 3 {
			require.Equal(t, said[i], all[int64(i)])
		}
		broker := []time.Time{all[3], all[4]}
		require.True(t, slices.IsSortedFunc(broker, time.Time.Compare))
		for _, at := range broker {
			require.False(t, at.Before(written.from) || at.After(written.to), at)
		}
		for from := range int64(5) {
			got := places{}
			require.NoError(t, conn.Read(t.Context(), tp, from, -1, got.note))
			require.Equal(t, all.from(from), got, "from %d", from)
		}
	})
}

// Until a time, a topic had the times of producers. Later ones are wrong, and count as of then.
func TestTimesOfProducersAreBounded(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, addr, prefix string) {
		topic := prefix + "before"
		createTopic(t, client(t, addr), topic, 1, nil)
		now := time.Now().UTC().Truncate(time.Millisecond)
		cl := client(t, addr)
		said := []time.Time{now.Add(-time.Hour), now.Add(20 * time.Minute), time.UnixMilli(0), now}
		for _, at := range said {
			require.NoError(t, cl.ProduceSync(
				t.Context(), &kgo.Record{Topic: topic, Timestamp: at},
			).FirstErr())
		}
		conn, err := stream.Open(t.Context(), stream.DefaultConfig(addr))
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		tp := record.TopicPartition{Topic: topic}
		read := func() (out []record.Record) {
			require.NoError(t, conn.Read(t.Context(), tp, 0, -1, func(r *record.Record) error {
				out = append(out, *r)
				return nil
			}))
			require.Len(t, out, len(said))
			return out
		}
		before := read()
		require.Equal(t, said[1], before[1].Time)
		conn.SetProducerTimes(map[string]time.Time{topic: now, "another": said[0]})
		after := read()
		for i, want := range []time.Time{said[0], now, {}, now} {
			require.Equal(t, want, after[i].Time, "record %d", i)
			require.Equal(t, before[i].Origin(), after[i].Origin(), "record %d", i)
			by := time.Time{}
			if want.IsZero() {
				by = now
			}
			require.Equal(t, by, after[i].TakenBy, "record %d", i)
		}
		require.Equal(t, places{0: said[0], 1: now, 2: {}, 3: now}, followed(t, conn, topic))
		out := record.Forwarded(&after[1], record.TopicPartition{Topic: "g.misplaced"}, nil)
		require.Equal(t, now, out.LogTime())
	})
}
