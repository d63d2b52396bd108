package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// moving is an installation with a prefix whose group old becomes group now.
type moving struct {
	*engine
	conn *stream.Conn
	// topic is logical, full its name on the broker.
	topic, full string
	old, now    string
	prefix      string
}

func newMoving(t *testing.T, e *engine, partitions int) *moving {
	t.Helper()
	m := &moving{engine: e, prefix: e.newName() + "."}
	cfg := e.Conn.Config()
	cfg.Prefix = m.prefix
	conn, err := stream.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	m.conn, m.topic, m.full, m.old, m.now = conn, "in", m.prefix+"in", "before", "after"
	specs := []TopicSpec{{Name: m.topic, Partitions: partitions}}
	require.NoError(t, EnsureTopics(t.Context(), conn, specs))
	return m
}

func (m *moving) move(t *testing.T) error {
	return MoveGroup(t.Context(), m.conn, m.old, m.now, []string{m.topic, "not-made-yet"})
}

// commit commits for a group as a version before would have.
func (m *moving) commit(t *testing.T, group string, commits ...commit) {
	t.Helper()
	for i := range commits {
		commits[i].topic = m.full
	}
	require.NoError(t, commitAll(t.Context(), m.conn, group, commits))
}

func (m *moving) requireCommit(
	t *testing.T,
	group string,
	partition int,
	offset int64,
	metadata string,
) {
	t.Helper()
	o, md := m.Committed(t, m.prefix+group, m.full, partition)
	require.Equal(t, offset, o, "%s/%d", group, partition)
	require.Equal(t, metadata, md, "%s/%d", group, partition)
}

// requireMoved asserts what stands in the end, whichever way it came about.
func (m *moving) requireMoved(t *testing.T, intent string) {
	t.Helper()
	m.requireCommit(t, m.now, 0, 3, intent)
	m.requireCommit(t, m.now, 1, 2, "")
	m.requireCommit(t, m.now, 2, -1, "")
	for p := range 3 {
		m.requireCommit(t, m.old, p, movedOffset, "moved to group after")
	}
}

// A group that was renamed goes on where it was, with an uncertain intent byte for byte, and its
// old name is of no use any more.
func TestMoveGroup(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		m := newMoving(t, e, 3)
		require.NoError(t, m.move(t), "a new installation has nothing to move")
		m.requireCommit(t, m.old, 0, -1, "")
		m.requireCommit(t, m.now, 0, -1, "")

		const intent = "v1:3-7!1,2"
		m.commit(
			t, m.old, commit{partition: 0, offset: 3, metadata: intent},
			commit{partition: 1, offset: 2},
		)
		require.NoError(t, m.move(t))
		m.requireMoved(t, intent)

		// The new group goes on, and nothing is ever copied again, not even what it has lost.
		m.commit(t, m.now, commit{partition: 0, offset: 8})
		require.NoError(t, m.move(t))
		m.requireCommit(t, m.now, 0, 8, "")
		res, err := m.conn.Client().DeleteGroups(t.Context(), &kafka.DeleteGroupsRequest{
			GroupIDs: []string{m.prefix + m.now},
		})
		require.NoError(t, err)
		require.NoError(t, res.Errors[m.prefix+m.now])
		require.NoError(t, m.move(t))
		m.requireCommit(t, m.now, 0, -1, "")
	})
}

// The longest intent that fits into a commit is marked and copied as well.
func TestMoveGroupWithTheLongestIntent(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		m := newMoving(t, e, 3)
		const longest = 4096 // offset.metadata.max.bytes
		intent := "v1:3-90000!1"
		intent += strings.Repeat(",1", (longest-len(intent))/2)
		require.Len(t, intent, longest)
		m.commit(
			t, m.old, commit{partition: 0, offset: 3, metadata: intent},
			commit{partition: 1, offset: 2},
		)
		require.NoError(t, m.move(t))
		m.requireMoved(t, intent)
	})
}

// While somebody works under the old name, nothing is moved, and waiting helps.
func TestMoveGroupWaitsForMembers(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		m := newMoving(t, e, 3)
		p := e.Publisher(t)
		streamtest.Emit(t, p, m.full, 0, 0, 3)
		streamtest.Emit(t, p, m.full, 1, 0, 2)
		cfg := e.Group(t)
		cfg.Group = m.prefix + m.old
		var c counter
		stop := e.count(t, cfg, m.full, &c)
		streamtest.Eventually(t, "the commits", func() bool {
			first, _ := m.Committed(t, cfg.Group, m.full, 0)
			second, _ := m.Committed(t, cfg.Group, m.full, 1)
			return first == 3 && second == 2
		})
		err := m.move(t)
		require.ErrorContains(t, err, "stop them")
		require.Equal(t, fault.Transient, fault.ClassOf(err))
		m.requireCommit(t, m.now, 0, -1, "")
		m.requireCommit(t, m.old, 0, 3, "")
		// One that joins between the look and the marks is refused by the broker.
		err = commitAll(t.Context(), m.conn, m.old, []commit{{topic: m.full, offset: 1}})
		require.ErrorIs(t, err, ErrGroupActive)
		stop()
		streamtest.Eventually(t, "the move", func() bool { return m.move(t) == nil })
		m.requireCommit(t, m.now, 0, 3, "")
		m.requireCommit(t, m.now, 1, 2, "")
		m.requireCommit(t, m.old, 0, movedOffset, "moved to group after")
	})
}

// A process that starts under the old name stops at every partition, with intents and without.
func TestMovedGroupIsRefused(t *testing.T) {
	t.Parallel()
	for _, intents := range []bool{true, false} {
		t.Run(fmt.Sprintf("intents %v", intents), func(t *testing.T) {
			t.Parallel()
			onEngines(t, func(t *testing.T, e *engine) {
				m := newMoving(t, e, 3)
				m.commit(t, m.old, commit{partition: 0, offset: 0, metadata: "v1:0-0"})
				require.NoError(t, m.move(t))
				streamtest.Emit(t, e.Publisher(t), m.full, 0, 0, 3)
				streamtest.Emit(t, e.Publisher(t), m.full, 1, 0, 3)
				cfg := e.Group(t)
				cfg.Group, cfg.Intents = m.prefix+m.old, intents
				var mu sync.Mutex
				stopped := map[int]error{}
				cfg.Hooks.PartitionStopped = func(tp record.TopicPartition, err error) {
					mu.Lock()
					defer mu.Unlock()
					stopped[tp.Partition] = err
				}
				var c counter
				stop := e.count(t, cfg, m.full, &c)
				streamtest.Eventually(t, "all partitions to be stopped", func() bool {
					mu.Lock()
					defer mu.Unlock()
					return len(stopped) == 3
				})
				stop()
				require.Zero(t, c.n.Load())
				for _, err := range stopped {
					if intents {
						assert.ErrorContains(t, err, "moved to group after")
					} else {
						assert.ErrorIs(t, err, stream.ErrOffsetBeyondEnd)
					}
				}
			})
		})
	}
}

// A move that is cut short after any number of its commits comes to the same end.
func TestMoveGroupCutShort(t *testing.T) {
	t.Parallel()
	const requests = 3 // mark, copy, mark
	for allowed := range requests {
		for _, done := range []bool{false, true} { // whether the broker did what it did not answer
			t.Run(
				fmt.Sprintf("after %d commits, the next done %v", allowed, done),
				func(t *testing.T) {
					t.Parallel()
					e := fakeEngine(t)
					m := newMoving(t, e, 3)
					const intent = "v1:3-7"
					m.commit(t, m.old,
						commit{partition: 0, offset: 3, metadata: intent}, commit{
							partition: 1, offset: 2,
						})
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					left := allowed
					e.Fake.ControlKey(
						int16(kmsg.OffsetCommit),
						func(kmsg.Request) (kmsg.Response, error, bool) {
							e.Fake.KeepControl()
							if left--; left >= 0 {
								return nil, nil, false
							}
							cancel()
							if done {
								return nil, nil, false
							}
							return nil, errors.New("cut"), true
						},
					)
					require.Error(t, MoveGroup(ctx, m.conn, m.old, m.now, []string{m.topic}))
					left = 1 << 30
					offset, metadata := e.Committed(t, m.prefix+m.now, m.full, 0)
					if offset >= 0 { // nobody goes on under the old name from what was copied
						require.Equal(t, intent, metadata)
						_, metadata = e.Committed(t, m.prefix+m.old, m.full, 0)
						_, err := record.ParseIntent(metadata)
						require.Error(t, err)
					}
					require.NoError(t, m.move(t))
					m.requireMoved(t, intent)
				},
			)
		}
	}
}

// One that was left behind without its last step does not take the new group back.
func TestMoveGroupLate(t *testing.T) {
	t.Parallel()
	e := fakeEngine(t)
	m := newMoving(t, e, 3)
	m.commit(t, m.old,
		commit{partition: 0, offset: 3, metadata: "mv:3-7"}, commit{
			partition: 1, offset: 2, metadata: "mv:",
		})
	m.commit(t, m.now, commit{partition: 0, offset: 20, metadata: "v1:20-29"})
	require.NoError(t, m.move(t))
	m.requireCommit(t, m.now, 0, 20, "v1:20-29")
	m.requireCommit(t, m.now, 1, 2, "")
	m.requireCommit(t, m.old, 0, movedOffset, "moved to group after")
}

// A topic that stands on the broker under its old name keeps it: it is read, written, followed and
// committed under the new name, and a group's dead letters keep the id that they would have had.
func TestOldTopicNames(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		cfg := e.Conn.Config()
		cfg.Prefix = e.newName() + "."
		open := func() *stream.Conn {
			conn, err := stream.Open(t.Context(), cfg)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, conn.Close()) })
			return conn
		}
		before := open()
		specs := []TopicSpec{
			{Name: "old-topic", Partitions: 1},
			{Name: "before.poison", Partitions: 1},
			{Name: "both", Partitions: 1},
			{Name: "old-both", Partitions: 1},
		}
		require.NoError(t, EnsureTopics(t.Context(), before, specs))
		cfg.Renamed = record.Renamed{
			Topics: map[string]string{"old-topic": "topic", "old-both": "both", "never": "made"},
			Groups: map[string]string{"before": "after"},
		}
		conn := open()
		specs = []TopicSpec{
			{Name: "topic", Partitions: 1, RetentionMs: -1},
			{Name: "after.poison", Partitions: 1},
			{Name: "after.replay", Partitions: 1},
			{Name: "made", Partitions: 1},
			{Name: "both", Partitions: 1},
		}
		require.NoError(t, EnsureTopics(t.Context(), conn, specs))
		exists := func(name string) bool {
			ok, err := before.Exists(t.Context(), name)
			require.NoError(t, err)
			return ok
		}
		for _, name := range []string{"after.replay", "made", "old-topic", "before.poison"} {
			require.True(t, exists(name), name)
		}
		for _, name := range []string{"topic", "after.poison", "before.replay"} {
			require.False(t, exists(name), name)
		}
		names := conn.Names()
		require.Equal(t, cfg.Prefix+"before", names.LetterGroup("after"))
		require.Equal(t, cfg.Prefix+"other", names.LetterGroup("other"))
		require.Equal(t, "after.retry", names.GroupOfHeader(cfg.Prefix+"before.retry"))
		require.Equal(t, cfg.Prefix+"both", names.Topic("both"), "the new one is there")
		require.Equal(t, "old-both", names.OfStoredTopic("old-both"))

		p, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.Close()) })
		streamtest.Emit(t, p, "topic", 0, 0, 3)
		group := e.Group(t)
		group.Group, group.Intents = "after", true
		s, err := stream.NewSubscriber(conn, group)
		require.NoError(t, err)
		out, err := s.Subscribe(t.Context(), "topic")
		require.NoError(t, err)
		msg := streamtest.Receive(t, out)
		require.Equal(t, "topic", stream.BatchOf(msg).Topic)
		require.Len(t, stream.BatchOf(msg).Records, 3)
		msg.Ack()
		streamtest.Eventually(t, "the commit", func() bool {
			offset, _ := e.Committed(t, cfg.Prefix+"after", cfg.Prefix+"old-topic", 0)
			return offset == 3
		})
		require.NoError(t, s.Close())
		lags, err := Lag(t.Context(), conn, map[string][]string{"after": {"topic"}})
		require.NoError(t, err)
		require.Len(t, lags, 1)
		require.Equal(t, "topic/0", lags[0].String())
		require.Equal(t, int64(3), lags[0].Committed)

		n := 0
		tp := record.TopicPartition{Topic: "topic"}
		require.NoError(t, conn.Read(t.Context(), tp, 0, -1, func(r *record.Record) error {
			n++
			require.Equal(t, "topic", r.Topic)
			return nil
		}))
		require.Equal(t, 3, n)
	})
}
