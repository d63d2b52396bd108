package admin

import (
	"maps"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// newName returns a name that no other test uses, and that is cleaned up on a real broker.
func TestEnsureTopics(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		specs := []TopicSpec{
			{Name: e.newName(), Partitions: 3, RetentionMs: -1, RetentionBytes: 1 << 30},
			{
				Name:       e.newName(),
				Partitions: 1,
				Compact:    true,
				Config:     map[string]string{"max.message.bytes": "2000000"},
			},
		}
		// Several at once, as when several processes start.
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { assert.NoError(t, EnsureTopics(t.Context(), e.Conn, specs)) })
		}
		wg.Wait()
		// Usable at once, without another attempt.
		p := e.Publisher(t)
		require.NoError(
			t,
			p.Emit(
				t.Context(),
				[]record.Record{
					{Topic: specs[0].Name, Partition: 2, Value: []byte("v")},
					{Topic: specs[1].Name, Partition: 0, Key: []byte("k"), Value: []byte("v")},
				},
			),
		)

		// What differs is brought in line, what is not named stays.
		specs[0].RetentionBytes = 1 << 29
		specs[1].Config = map[string]string{"min.cleanable.dirty.ratio": "0.1"}
		if e.Fake != nil {
			specs[1].Config = map[string]string{"delete.retention.ms": "1000"}
		}
		require.NoError(t, EnsureTopics(t.Context(), e.Conn, specs))
		for i, want := range []map[string]string{
			{"retention.bytes": "536870912", "retention.ms": "-1"},
			{"cleanup.policy": "compact", "max.message.bytes": "2000000"},
		} {
			maps.Copy(want, specs[i].Config)
			// a broker learns of it from the controller
			streamtest.Eventually(t, "the configuration", func() bool {
				is := e.configs(t, specs[i].Name)
				for name, value := range want {
					if is[name] != value {
						return false
					}
				}
				return true
			})
		}

		// Another number of partitions is refused, with what to do; and whatever is wrong is said
		// before anything is done.
		specs[0].Partitions = 4
		never := e.newName()
		err := EnsureTopics(
			t.Context(), e.Conn, append(specs, TopicSpec{Name: never, Partitions: 1}),
		)
		require.ErrorContains(t, err, "has 3 partitions, not 4")
		assert.Equal(t, fault.Permanent, fault.ClassOf(err))
		_, err = e.Conn.Partitions(t.Context(), never)
		require.ErrorIs(t, err, kafka.UnknownTopicOrPartition, "nothing was done")
		require.ErrorContains(
			t, EnsureTopics(t.Context(), e.Conn, []TopicSpec{{Name: "x"}}),
			"at least one partition",
		)
		require.NoError(t, EnsureTopics(t.Context(), e.Conn, nil))

		require.NoError(
			t, DeleteTopics(t.Context(), e.Conn, specs[0].Name, specs[1].Name, e.newName()),
		)
		require.NoError(t, DeleteTopics(t.Context(), e.Conn))
		// Gone for good: the same names with another shape.
		require.NoError(
			t, EnsureTopics(t.Context(), e.Conn, []TopicSpec{{Name: specs[0].Name, Partitions: 4}}),
		)
	})
}

func (e *engine) configs(t *testing.T, topic string) map[string]string {
	t.Helper()
	res, err := e.Conn.Client().
		DescribeConfigs(
			t.Context(),
			&kafka.DescribeConfigsRequest{
				Resources: []kafka.DescribeConfigRequestResource{
					{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic},
				},
			},
		)
	require.NoError(t, err)
	out := map[string]string{}
	for _, c := range res.Resources[0].ConfigEntries {
		out[c.ConfigName] = c.ConfigValue
	}
	return out
}

func TestTopicSpecConfigs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		spec TopicSpec
		want map[string]string
	}{
		{"plain", TopicSpec{}, map[string]string{}},
		{"compact", TopicSpec{Compact: true}, map[string]string{"cleanup.policy": "compact"}},
		{
			"compact for a while",
			TopicSpec{Compact: true, RetentionMs: 5},
			map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "5"},
		},
		{
			"compact for good",
			TopicSpec{Compact: true, RetentionMs: -1},
			map[string]string{"cleanup.policy": "compact", "retention.ms": "-1"},
		},
		{
			"the broker's time",
			TopicSpec{LogAppendTime: true},
			map[string]string{"message.timestamp.type": "LogAppendTime"},
		},
		{
			"the last word",
			TopicSpec{RetentionBytes: 7, Config: map[string]string{"retention.bytes": "8"}},
			map[string]string{"retention.bytes": "8"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.want, tc.spec.configs())
		})
	}
	assert.True(t, sameConfig("delete,compact", "compact,delete"))
	assert.False(t, sameConfig("compact", "compact,delete"))
}

func TestLag(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, group := e.Topic(t, 2), e.newName()
		p := e.Publisher(t)
		streamtest.Emit(t, p, topic, 0, 0, 10)
		streamtest.Emit(t, p, topic, 1, 0, 4)
		// a fresh coordinator is not available for a moment
		streamtest.Eventually(t, "the commit", func() bool {
			res, err := e.Conn.Client().
				OffsetCommit(
					t.Context(),
					&kafka.OffsetCommitRequest{
						GroupID: group, GenerationID: -1,
						Topics: map[string][]kafka.OffsetCommit{
							topic: {
								{
									Partition: 0, Offset: 7,
									Metadata: record.Intent{First: 7, Last: 8}.String(),
								},
							},
						},
					},
				)
			return err == nil && res.Topics[topic][0].Error == nil
		})
		want := PartitionLag{
			Group: group, TopicPartition: record.TopicPartition{Topic: topic, Partition: 0},
			End: 10, HighWatermark: 10, Committed: 7, Lag: 3, Metadata: "v1:7-8",
		}
		never := PartitionLag{
			Group: group, TopicPartition: record.TopicPartition{Topic: topic, Partition: 1},
			End: 4, HighWatermark: 4, Committed: -1, Lag: 4,
		}
		got, err := Lag(t.Context(), e.Conn, map[string][]string{group: {topic}})
		require.NoError(t, err)
		assert.Equal(t, []PartitionLag{want, never}, got)
		got, err = Lag(t.Context(), e.Conn, map[string][]string{group: nil})
		require.NoError(t, err)
		assert.Equal(t, []PartitionLag{want}, got)
		got, err = Lag(t.Context(), e.Conn, nil)
		require.NoError(t, err)
		assert.Empty(t, got)
	})
}

func TestResetOffsets(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		topic, cfg := e.Topic(t, 2), e.Group(t)
		cfg.Intents = true
		p := e.Publisher(t)
		streamtest.Emit(t, p, topic, 0, 0, 10)
		var store counter
		run := func() func() { return e.count(t, cfg, topic, &store) }
		to := map[record.TopicPartition]int64{
			{Topic: topic, Partition: 0}: 4, {Topic: topic, Partition: 1}: 0,
		}
		stop := run()
		streamtest.Eventually(t, "the records", func() bool { return store.n.Load() == 10 })
		err := ResetOffsets(t.Context(), e.Conn, cfg.Group, to)
		require.ErrorIs(t, err, ErrGroupActive)
		require.ErrorContains(t, err, "stop every process")
		stop()
		require.NoError(t, ResetOffsets(t.Context(), e.Conn, cfg.Group, to))
		lags, err := Lag(t.Context(), e.Conn, map[string][]string{cfg.Group: {topic}})
		require.NoError(t, err)
		assert.Equal(t, []int64{4, 0}, []int64{lags[0].Committed, lags[1].Committed})
		assert.Empty(t, lags[0].Metadata)
		run()
		streamtest.Eventually(t, "the records from there on", func() bool {
			return store.n.Load() == 16
		})
		require.NoError(t, ResetOffsets(t.Context(), e.Conn, "nobody", nil))
	})
}

func TestLogID(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		meta := e.newName()
		require.NoError(
			t,
			EnsureTopics(
				t.Context(), e.Conn, []TopicSpec{{Name: meta, Partitions: 1, Compact: true}},
			),
		)
		p := e.Publisher(t)
		_, err := LogID(t.Context(), e.Conn, p, meta, false)
		require.ErrorContains(t, err, "run migrate")
		assert.Equal(t, fault.Permanent, fault.ClassOf(err))
		// Several processes make one at once: all have the same.
		ids := make([]string, 4)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				var err error
				ids[i], err = LogID(t.Context(), e.Conn, p, meta, true)
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		require.NotEmpty(t, ids[0])
		for _, id := range ids {
			assert.Equal(t, ids[0], id)
		}
		// And compaction, which keeps the last, agrees with everyone, who took the first.
		again, err := LogID(t.Context(), e.Conn, p, meta, false)
		require.NoError(t, err)
		assert.Equal(t, ids[0], again)
		written, err := Meta{Conn: e.Conn, Emitter: p, Topic: meta}.values(t.Context(), logIDKey)
		require.NoError(t, err)
		assert.Equal(t, ids[0], written[len(written)-1])
	})
}
