package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// versionBefore leaves on the real engines what the version before has left there: topics and
// groups under its names.
type versionBefore struct {
	cfg   config.Config
	conn  *stream.Conn // knows no renamed topics
	pub   *stream.Publisher
	logID string
}

func newVersionBefore(t *testing.T, cfg config.Config) *versionBefore {
	t.Helper()
	v := &versionBefore{cfg: cfg}
	c := stream.DefaultConfig(cfg.Kafka.Brokers...)
	c.Prefix = cfg.Kafka.TopicPrefix
	var err error
	v.conn, err = stream.Open(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = v.conn.Close() })
	v.pub, err = stream.NewPublisher(v.conn, stream.DefaultPublisherConfig())
	require.NoError(t, err)
	t.Cleanup(func() { _ = v.pub.Close() })
	var specs []admin.TopicSpec
	for _, topic := range processors.Topics(app.TopicsConfig(cfg)) {
		specs = append(specs, admin.TopicSpec{
			Name: oldTopic(topic.Name), Partitions: topic.Partitions, Compact: topic.Compact,
		})
	}
	require.NoError(t, admin.EnsureTopics(t.Context(), v.conn, specs))
	v.logID, err = admin.LogID(t.Context(), v.conn, v.pub, schemas.TopicMeta, true)
	require.NoError(t, err)
	return v
}

// oldTopic returns the name that a topic had.
func oldTopic(name string) string {
	for old, now := range schemas.Renamed().Topics {
		if now == name {
			return old
		}
	}
	for old, now := range schemas.Renamed().Groups {
		if own, ok := strings.CutPrefix(name, now+"."); ok {
			return old + "." + own
		}
	}
	return name
}

// emit writes events to one partition; replayed ones carry the headers of a dead letter.
func (v *versionBefore) emit(t *testing.T, topic string, partition, from, n int) {
	t.Helper()
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	out := make([]record.Record, n)
	for i := range out {
		x := schemas.Interaction{
			EventID: fmt.Sprintf("%s-%d", topic, from+i), Source: "test", Action: schemas.Like,
			UserID: fmt.Sprintf("%s-%d", topic, partition), ItemID: "film-1", OccurredAt: at,
		}
		out[i] = x.Message()
		out[i].Topic, out[i].Partition = topic, partition
		if topic != schemas.TopicInteractions {
			h := deadletter.Headers{
				Group: v.conn.FullGroup("aggregate"), Handler: "aggregate", Reason: "test",
				Subscriber: v.conn.FullGroup("aggregate"), Class: fault.Permanent,
				Origin: record.Position{TopicPartition: record.TopicPartition{
					Topic: v.conn.Full(schemas.TopicInteractions), Partition: 2,
				}, Offset: int64(1000 + i)},
			}
			out[i].Headers = h.On(out[i].Headers)
		}
	}
	require.NoError(t, v.pub.Emit(t.Context(), out))
}

// insert has the effects of a range of aggregate: its rows are stored.
func (v *versionBefore) insert(
	t *testing.T,
	e *app.Engines,
	topic string,
	partition int,
	in record.Intent,
) {
	t.Helper()
	var rows sinks.InteractionRows
	tp := record.TopicPartition{Topic: topic, Partition: partition}
	require.NoError(
		t,
		v.conn.Read(t.Context(), tp, in.First, in.Last+1, func(r *record.Record) error {
			x, err := schemas.DecodeInteraction(r)
			rows = append(
				rows, sinks.InteractionRow{Interaction: x, Offset: r.Offset, RecordedAt: r.Time},
			)
			return err
		}),
	)
	r := record.Range{
		LogID: v.logID, Topic: topic, Partition: partition, First: in.First, Last: in.Last,
	}
	require.NoError(t, e.Analytics.Insert(t.Context(), r, rows))
}

// commit commits for a group without members.
func (v *versionBefore) commit(
	t *testing.T,
	group string,
	commits map[string][]kafka.OffsetCommit,
) {
	t.Helper()
	req := &kafka.OffsetCommitRequest{GroupID: v.conn.FullGroup(group), GenerationID: -1}
	req.Topics = make(map[string][]kafka.OffsetCommit)
	for topic, parts := range commits {
		req.Topics[v.conn.Full(topic)] = parts
	}
	apptest.Eventually(t, 20*time.Second, func() error { // a fresh coordinator is away for a moment
		res, err := v.conn.Client().OffsetCommit(t.Context(), req)
		if err != nil {
			return err
		}
		for _, parts := range res.Topics {
			for _, p := range parts {
				if p.Error != nil {
					return p.Error
				}
			}
		}
		return nil
	})
}

// An installation on the real engines is upgraded while ranges of aggregate are uncertain: one on a
// replay topic whose rows are stored, one on interactions whose rows are, and one whose rows are
// not. Every event counts once.
func TestRealUpgradeOfRenamedTopicsAndGroups(t *testing.T) {
	t.Parallel()
	cfg := apptest.RealConfig(t, nil)
	v := newVersionBefore(t, cfg)
	const replay = "aggregate.replay"
	v.emit(t, schemas.TopicInteractions, 0, 0, 30)
	v.emit(t, schemas.TopicInteractions, 1, 30, 30)
	v.emit(t, replay, 1, 0, 5)

	e, err := app.OpenReal(t.Context(), cfg)
	require.NoError(t, err)
	defer e.Close()
	require.NoError(t, e.Migrate(t.Context()))
	for _, s := range e.Stores {
		require.NoError(t, s.SetLogID(t.Context(), v.logID))
	}
	v.insert(t, e, schemas.TopicInteractions, 0, record.Intent{First: 0, Last: 9})
	v.insert(t, e, schemas.TopicInteractions, 0, record.Intent{First: 10, Last: 16})
	v.insert(t, e, replay, 1, record.Intent{First: 0, Last: 1})
	v.insert(t, e, replay, 1, record.Intent{First: 2, Last: 3})
	v.commit(t, "aggregate", map[string][]kafka.OffsetCommit{
		schemas.TopicInteractions: {
			{Partition: 0, Offset: 10, Metadata: "v1:10-16"},
			{Partition: 1, Offset: 0, Metadata: "v1:0-11"},
		},
		replay: {{Partition: 1, Offset: 2, Metadata: "v1:2-3"}},
	})
	v.commit(
		t, "befriend", map[string][]kafka.OffsetCommit{schemas.TopicFriendships: {{Partition: 0}}},
	)

	migrate(t, cfg)
	in := renamedInstallation{apptest.Start(t, cfg, false)}
	in.AwaitIdle(t, 90*time.Second)
	require.NoError(t, in.Degraded())
	const want = 30 + 30 + 5
	got, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: want, ItemHours: want, UserDays: want}, got)
	byTopic := make(map[string]int)
	rows, err := apptest.OpenRows(t, cfg).QueryContext(t.Context(),
		"SELECT log_topic, toInt64(count()) FROM interactions GROUP BY log_topic")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var topic string
		var n int64
		require.NoError(t, rows.Scan(&topic, &n))
		byTopic[topic] = int(n)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, map[string]int{schemas.TopicInteractions: 60, replay: 5}, byTopic)
	for _, topic := range []string{schemas.TopicInteractions, replay, "embed.poison"} {
		res, err := v.conn.Client().OffsetFetch(t.Context(), &kafka.OffsetFetchRequest{
			GroupID: v.conn.FullGroup("aggregate"),
			Topics:  map[string][]int{v.conn.Full(topic): {0}},
		})
		require.NoError(t, err)
		require.NoError(t, res.Error)
		require.Equal(t, "moved to group analytics", res.Topics[v.conn.Full(topic)][0].Metadata)
	}
}
