package stream

import (
	"context"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestIntentExclusionsAreBounded(t *testing.T) {
	t.Parallel()
	r := record.Intent{First: 1 << 40, Last: 1<<40 + 5000}
	var all []int64
	for o := r.First; o <= r.Last; o++ {
		all = append(all, o)
	}
	_, err := without(r, all)
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	thousand, err := without(r, all[:1000])
	require.NoError(t, err)
	require.LessOrEqual(t, len(thousand.String()), maxMetadata)
	_, err = without(r, []int64{r.Last + 1})
	require.Error(t, err)
	again, err := without(thousand, all[:3])
	require.NoError(t, err)
	require.Equal(t, thousand, again, "excluding twice is excluding once")
}

// begun is when every batch of ranged begins.
var begun = time.UnixMilli(1_700_000_000_123).UTC()

// ranged is a group with intents.
func (e *engine) ranged(t testing.TB) SubscriberConfig {
	cfg := e.group(t)
	cfg.Intents, cfg.MaxRecords = true, 10
	cfg.Now = func() time.Time { return begun.Add(999 * time.Microsecond).Local() }
	return cfg
}

func values(b *record.Batch) []string {
	out := make([]string, len(b.Records))
	for i := range b.Records {
		out[i] = string(b.Records[i].Value)
	}
	return out
}

func TestIntentIsCommittedBeforeTheEffects(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, cfg := e.topic(t, 1), e.ranged(t)
		emit(t, e.publisher(t), topic, 0, 0, 25)
		out, stop := e.subscribe(t, cfg, topic)
		for _, want := range []string{
			"v2:0-9@1700000000123", "v2:10-19@1700000000123", "v2:20-24@1700000000123",
		} {
			m := receive(t, out)
			b := BatchOf(m)
			require.False(t, b.Repeat)
			require.Equal(t, begun, b.Begun)
			offset, metadata := e.committed(t, cfg.Group, topic, 0)
			require.Equal(t, want, metadata)
			require.Equal(t, b.First, offset)
			m.Ack()
		}
		eventually(t, "the idle partition is closed", func() bool {
			offset, metadata := e.committed(t, cfg.Group, topic, 0)
			return offset == 25 && metadata == ""
		})
		stop()
	})
}

func TestUncertainIntentIsRepeatedByTheNextOwner(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, cfg, p := e.topic(t, 1), e.ranged(t), e.publisher(t)
		emit(t, p, topic, 0, 0, 14)
		out, stop := e.subscribe(t, cfg, topic)
		receive(t, out).Ack()
		crashed := receive(t, out) // has effects, and is never acknowledged
		want := values(BatchOf(crashed))
		require.Len(t, want, 4)
		emit(t, p, topic, 0, 14, 30) // there is more now, and the next owner takes larger batches
		stop()
		require.Error(t, crashed.Context().Err())
		require.Equal(
			t, fault.Canceled, fault.ClassOf(BatchOf(crashed).CheckLease(t.Context())),
			"the lease has gone with the generation",
		)
		crashed.Ack() // too late: without effect
		_, metadata := e.committed(t, cfg.Group, topic, 0)
		require.Equal(t, "v2:10-13@1700000000123", metadata)

		cfg.MaxRecords = 100
		cfg.Now = func() time.Time { return begun.Add(time.Hour) }
		var seen []record.Assignment
		cfg.Assigned = func(_ context.Context, a []record.Assignment) error {
			seen = a
			return nil
		}
		out, stop = e.subscribe(t, cfg, topic)
		m := receive(t, out)
		b := BatchOf(m)
		require.True(t, b.Repeat)
		require.EqualValues(t, 10, b.First)
		require.EqualValues(t, 13, b.Last)
		require.Equal(t, want, values(b))
		require.Equal(t, &record.Intent{First: 10, Last: 13, Begun: begun}, seen[0].Repeat)
		require.Equal(t, begun, b.Begun, "the time of the first commit, not of the repeat")
		m.Nack()
		m = receive(t, out)
		require.Equal(t, begun, BatchOf(m).Begun)
		require.Equal(t, want, values(BatchOf(m)), "refused, and the same again")
		m.Ack()
		m = receive(t, out)
		require.False(t, BatchOf(m).Repeat)
		require.EqualValues(t, 14, BatchOf(m).First)
		require.Len(t, BatchOf(m).Records, 30)
		m.Ack()
		stop()
	})
}

func TestExcludedRecordsStayExcluded(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, cfg := e.topic(t, 1), e.ranged(t)
		emit(t, e.publisher(t), topic, 0, 0, 6)
		out, stop := e.subscribe(t, cfg, topic)
		m := receive(t, out)
		b := BatchOf(m)
		require.NoError(t, b.Exclude(m.Context(), 1, 4))
		require.Equal(t, []string{"0", "2", "3", "5"}, values(b))
		require.EqualValues(t, 5, b.Last)
		m.Nack()
		m = receive(t, out)
		b = BatchOf(m)
		require.Equal(t, []string{"0", "2", "3", "5"}, values(b))
		require.True(t, b.Repeat)
		require.NoError(t, b.Exclude(m.Context(), 5))
		_, metadata := e.committed(t, cfg.Group, topic, 0)
		require.Equal(t, "v2:0-5@1700000000123!1,3,1", metadata)
		stop() // unacknowledged

		out, stop = e.subscribe(t, cfg, topic)
		m = receive(t, out)
		require.Equal(t, []string{"0", "2", "3"}, values(BatchOf(m)))
		require.EqualValues(t, 5, BatchOf(m).Last)
		m.Ack()
		eventually(t, "the range is closed", func() bool {
			offset, metadata := e.committed(t, cfg.Group, topic, 0)
			return offset == 6 && metadata == ""
		})
		stop()
	})
}

func TestExpelledMemberIsFenced(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, cfg := e.topic(t, 1), e.ranged(t)
		emit(t, e.publisher(t), topic, 0, 0, 5)
		out, stop := e.subscribe(t, cfg, topic)
		defer stop()
		m := receive(t, out)
		b := BatchOf(m)
		g := b.Lease.(*batchLease).p.g
		res, err := e.conn.client.LeaveGroup(t.Context(), &kafka.LeaveGroupRequest{
			GroupID: cfg.Group, Members: []kafka.LeaveGroupRequestMember{{ID: g.member}},
		})
		require.NoError(t, err)
		require.NoError(t, res.Error)
		// The member notices by its next heartbeat, and comes back as another one.
		select {
		case <-m.Context().Done():
		case <-time.After(10 * time.Second):
			t.Fatal("the message's context did not end")
		}
		require.Equal(t, fault.Canceled, fault.ClassOf(b.CheckLease(t.Context())))
		require.Error(t, b.Exclude(t.Context(), 2), "a stale member cannot change the range")
		m.Ack() // without effect
		again := receive(t, out)
		require.True(t, BatchOf(again).Repeat)
		require.Equal(t, values(b), values(BatchOf(again)))
		require.NoError(t, BatchOf(again).CheckLease(t.Context()))
		again.Ack()
		eventually(t, "the range is closed", func() bool {
			offset, _ := e.committed(t, cfg.Group, topic, 0)
			return offset == 5
		})
	})
}

func TestLeaseNeedsAYoungHeartbeat(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic, cfg := e.topic(t, 1), e.ranged(t)
	// none during the test
	cfg.SessionTimeout, cfg.HeartbeatInterval = 30*time.Second, 9*time.Second
	emit(t, e.publisher(t), topic, 0, 0, 5)
	out, stop := e.subscribe(t, cfg, topic)
	defer stop()
	m := receive(t, out)
	b := BatchOf(m)
	l := b.Lease.(*batchLease).p.g.lease
	age := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.renewed = time.Now().Add(-cfg.SessionTimeout)
	}
	age()
	require.NoError(t, b.CheckLease(t.Context()), "a fresh heartbeat renews it")
	require.Less(t, l.age(), time.Second)
	age()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, fault.Canceled, fault.ClassOf(b.CheckLease(ended)), "no heartbeat, no lease")
	require.NoError(t, b.CheckLease(t.Context()))
	m.Ack()
}

func TestRangesOverCompactedGaps(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic := e.topic(
		t, 1, kafka.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "compact"},
		kafka.ConfigEntry{ConfigName: "segment.bytes", ConfigValue: "1000"},
		kafka.ConfigEntry{ConfigName: "min.cleanable.dirty.ratio", ConfigValue: "0"},
	)
	cfg, p := e.ranged(t), e.publisher(t)
	for range 3 {
		for i := range 40 { // one batch each, so that whole batches disappear
			emit(t, p, topic, 0, i, 1)
		}
	}
	out, stop := e.subscribe(t, cfg, topic)
	first := BatchOf(receive(t, out)) // offsets 0 to 9, uncertain
	require.EqualValues(t, 9, first.Last)
	stop()
	e.fake.Compact()
	b, err := e.conn.Offsets(t.Context(), topic)
	require.NoError(t, err)
	require.EqualValues(t, 120, b[record.TopicPartition{Topic: topic, Partition: 0}].HighWatermark)

	cfg.OffsetPolicy = GoToFirst // kfake's compaction raises the first offset
	out, stop = e.subscribe(t, cfg, topic)
	seen := map[string]int64{}
	last := int64(-1)
	for last < 119 {
		m := receive(t, out)
		b := BatchOf(m)
		require.Greater(t, b.First, last)
		require.GreaterOrEqual(t, b.Last, b.First)
		for _, r := range b.Records {
			require.Greater(t, r.Offset, last)
			last = r.Offset
			seen[string(r.Value)] = r.Offset
		}
		m.Ack()
	}
	require.Len(t, seen, 40)
	eventually(t, "the range is closed", func() bool {
		offset, metadata := e.committed(t, cfg.Group, topic, 0)
		return offset == 120 && metadata == ""
	})
	stop()
}

// TestRangesWithNothingLeftAtTheEnd: the newest records of a compacted topic were tombstones, and
// are gone. Nobody may wait for them.
func TestRangesWithNothingLeftAtTheEnd(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	topic := e.topic(
		t, 1, kafka.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "compact"},
	)
	for i := range 15 { // a batch each
		emit(t, e.publisher(t), topic, 0, i, 1)
	}
	// The broker never removes its last records itself: from offset 10 on this one answers as Kafka
	// does when they are gone.
	e.fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		req := r.(*kmsg.FetchRequest)
		if req.Topics[0].Partitions[0].FetchOffset < 10 {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.FetchResponse)
		part := kmsg.NewFetchResponseTopicPartition()
		part.HighWatermark, part.LastStableOffset = 15, 15
		tp := kmsg.NewFetchResponseTopic()
		tp.Topic, tp.Partitions = req.Topics[0].Topic, []kmsg.FetchResponseTopicPartition{part}
		res.Topics = append(res.Topics, tp)
		return res, nil, true
	})
	read := 0
	require.NoError(
		t,
		e.conn.Read(
			t.Context(), record.TopicPartition{Topic: topic, Partition: 0}, 0, -1,
			func(*record.Record) error { read++; return nil },
		),
	)
	require.Positive(t, read)

	follower := NewFollower(e.conn, topic, testLogger(t), func(*record.Record) error { return nil })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- follower.Run(ctx) }()
	require.NoError(t, follower.WaitCaughtUp(t.Context()))
	cancel()
	require.NoError(t, <-done)

	cfg := e.ranged(t)
	_, err := e.conn.client.OffsetCommit(
		t.Context(),
		&kafka.OffsetCommitRequest{
			GroupID:      cfg.Group,
			GenerationID: -1,
			Topics: map[string][]kafka.OffsetCommit{
				topic: {
					{Partition: 0, Offset: 3, Metadata: record.Intent{First: 3, Last: 14}.String()},
				},
			},
		},
	)
	require.NoError(t, err)
	out, stop := e.subscribe(t, cfg, topic)
	m := receive(t, out)
	b := BatchOf(m)
	require.True(t, b.Repeat)
	require.EqualValues(t, 14, b.Last, "the bounds are those that were committed")
	m.Ack()
	eventually(t, "the range is closed", func() bool {
		offset, metadata := e.committed(t, cfg.Group, topic, 0)
		return offset == 15 && metadata == ""
	})
	stop()
}

func TestEndGap(t *testing.T) {
	t.Parallel()
	var g wire.EndGap
	require.EqualValues(t, 5, g.Next(5, 9, false), "others have filled the answer")
	require.EqualValues(t, 5, g.Next(5, 9, true))
	require.EqualValues(t, 5, g.Next(5, 10, true), "the log has grown in between")
	require.EqualValues(t, 10, g.Next(5, 10, true))
	require.EqualValues(t, 10, g.Next(10, 10, true), "at the end there is no gap")
	require.EqualValues(t, 10, g.Next(10, 12, true))
	require.EqualValues(t, 11, g.Next(11, 12, false))
}
