//go:build linux

package torture

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// scene is a small log and stores that hold just what it says.
type scene struct {
	log    theLog
	ledger *ledger
	store  *sqlite.Store
	stores *stores
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// write appends to the partition that the key chooses, or that m names, and returns the offset.
func (s *scene) write(m record.Record) int64 {
	if m.Partition < 0 {
		m.Partition = record.PartitionOf(m.Key, s.log.partitions)
	}
	if m.Time.IsZero() {
		m.Time = noon
	}
	records := s.log.topics[m.Topic]
	m.Offset = 0
	for i := range records {
		if records[i].Partition == m.Partition {
			m.Offset++
		}
	}
	records = append(records, m)
	slices.SortStableFunc(records, func(a, b record.Record) int {
		return cmp.Compare(a.Partition, b.Partition)
	})
	s.log.topics[m.Topic] = records
	return m.Offset
}

func liked(user string, n int, at time.Time) record.Record {
	return schemas.Interaction{
		EventID: fmt.Sprintf("%s%d", user, n), Source: source, UserID: user,
		ItemID: fmt.Sprintf("i%d", n), Action: schemas.Like, OccurredAt: at,
	}.Message()
}

func inPartition(n int, m record.Record) record.Record {
	m.Partition = n
	return m
}

// newScene has ann, who likes two things, one of them sent twice, and has the friend bob, and eve,
// who was erased. Then there is zoe, whose events belong in partition 1. One stands in partition 0,
// from a clock that is a day fast, and one with the same id, which counts as well, where it
// belongs. A newer title of item i1 stands in the wrong partition, and a batch of friendships
// cannot be read. A transaction was aborted.
func newScene(t *testing.T) *scene {
	t.Helper()
	dir := t.TempDir()
	first, err := sqlite.Open(t.Context(), sqlite.Config{Path: dir + "/slipstream.db"})
	require.NoError(t, err)
	require.NoError(t, first.Migrate(t.Context()))
	require.NoError(t, first.Close())
	st, err := openEmbedded(t.Context(), dir)
	require.NoError(t, err)
	t.Cleanup(st.Close)
	s := &scene{
		log: theLog{
			topics: make(map[string][]record.Record), partitions: 2, recentIDs: recentIDs,
		},
		ledger: newLedger(), store: st.users.(*sqlite.Store), stores: st,
	}
	s.write(liked("ann", 1, noon))
	s.write(liked("ann", 2, noon))
	s.write(liked("ann", 1, noon))
	s.write(liked("eve", 3, noon))
	erased := schemas.User{
		EventID: "bye", Source: source, UserID: "eve", Erased: true,
		OccurredAt: noon.Add(time.Second),
	}.Message()
	erased.Time = noon.Add(time.Second)
	s.write(erased)
	erased.Topic = schemas.TopicInteractions
	s.write(erased)
	s.write(
		record.Record{
			Topic: schemas.TopicInteractions, Value: []byte("{"),
			Headers: []record.Header{{Key: plantedHeader, Value: []byte(plants()[0].name)}},
		},
	)
	s.write(
		schemas.Friendship{
			EventID: "f1", Source: source, UserID: "ann", FriendID: "bob", OccurredAt: noon,
		}.Message(),
	)
	s.write(schemas.User{
		EventID: "u1", Source: source, UserID: "ann", OccurredAt: noon,
		Attributes: schemas.Attributes{"country": "ch"},
	}.Message())
	s.zoe()
	s.items()
	s.log.unreadable = []record.Undecodable{{
		TopicPartition: record.TopicPartition{Topic: schemas.TopicFriendships, Partition: 1},
		First:          5, Last: 7,
	}}
	s.answer("ann", 0, 1)
	for id, topic := range map[string]string{
		"ann1": schemas.TopicInteractions, "ann2": schemas.TopicInteractions,
		"f1": schemas.TopicFriendships, "zoe1": schemas.TopicInteractions,
	} {
		s.ledger.sent(topic, id)
		s.ledger.acked(overHTTP, id)
	}
	s.ledger.sent(schemas.TopicInteractions, "aborted")
	s.ledger.dropped("aborted")
	s.ledger.bombs = 1
	s.fill(t)
	return s
}

func (s *scene) zoe() {
	s.write(inPartition(0, liked("zoe", 1, noon.Add(day)))) // offset 6
	s.write(liked("zoe", 2, noon))
	s.write(liked("zoe", 1, noon))
	for i := range s.log.topics[schemas.TopicInteractions] {
		if r := &s.log.topics[schemas.TopicInteractions][i]; r.Partition == 0 && r.Offset == 6 {
			s.write(record.Forwarded(r, record.TopicPartition{
				Topic: record.MisplacedTopic(schemas.GroupEmbed), Partition: 1,
			}, []byte("zoe")))
		}
	}
	s.answer("zoe", 1, 1)
	s.answer("zoe", 0, 6)
}

func (s *scene) items() {
	item := func(id, title string, at time.Time) record.Record {
		m := schemas.Item{
			EventID: id, Source: source, ItemID: "i1", Title: title, OccurredAt: noon,
		}.Message()
		m.Time = at
		return m
	}
	s.write(inPartition(0, item("it1", "One", noon)))
	s.write(inPartition(1, item("it2", "Uno", noon.Add(time.Second))))
	last := len(s.log.topics[schemas.TopicItems]) - 1
	s.write(record.Forwarded(&s.log.topics[schemas.TopicItems][last], record.TopicPartition{
		Topic: record.MisplacedTopic(schemas.GroupCatalog),
	}, []byte("i1")))
}

// answer writes a change of a profile and the list that answers it.
func (s *scene) answer(user string, partition int, offset int64) {
	at := s.write((schemas.ProfileChanged{
		UserID: user, Topic: schemas.TopicInteractions, Partition: partition, Offset: offset,
		OccurredAt: noon, RecordedAt: noon,
	}).Message())
	s.write((&schemas.Recommendation{
		UserID: user, RecommendationID: fmt.Sprintf("%s-%d", user, at), GeneratedAt: noon,
		Version: int64(sinks.PositionOf(sinks.FirstEpoch, at)),
		CausedBy: schemas.CausedBy{
			Trigger: "event", Topic: schemas.TopicInteractions, Partition: partition,
			Offset: offset,
		},
	}).Message(schemas.TopicRecommendations))
}

// fill does by hand what the program would have done.
func (s *scene) fill(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	x, err := expect(s.log)
	require.NoError(t, err)
	require.Len(t, x.users, 2)
	require.Len(t, x.rows, 5, "the id zoe1 counts in both partitions")
	require.Len(t, x.dead, 3)
	require.Equal(t, "Uno", x.items["i1"].title)
	insert := func(topic string, partition int, last int64, rows sinks.Rows) {
		require.NoError(t, s.store.Analytics().Insert(ctx, record.Range{
			LogID: "l", Topic: topic, Partition: partition, Last: last,
		}, rows))
	}
	var rows [2]sinks.InteractionRows
	for _, r := range s.log.topics[schemas.TopicInteractions] {
		want, ok := x.rows[at(&r)]
		if !ok {
			continue
		}
		e, err := schemas.DecodeInteraction(&r)
		require.NoError(t, err)
		e.OccurredAt, e.ClientTime = want.at, want.client
		rows[r.Partition] = append(
			rows[r.Partition],
			sinks.InteractionRow{Interaction: e, Offset: r.Offset, RecordedAt: noon},
		)
	}
	insert(schemas.TopicInteractions, 0, 6, rows[0])
	insert(schemas.TopicInteractions, 1, 1, rows[1])
	for _, r := range s.log.topics[schemas.TopicRecommendations] {
		list, err := schemas.DecodeRecommendation(&r)
		require.NoError(t, err)
		require.NoError(t, s.store.Analytics().Insert(ctx, record.Range{
			LogID: "l", Topic: r.Topic, Partition: r.Partition, First: r.Offset, Last: r.Offset,
		}, sinks.RecommendationRows{
			{Recommendation: list, Offset: r.Offset, RecordedAt: noon},
		}))
	}
	insert(schemas.TopicItems, 1, 0, sinks.ItemRows{
		{Item: schemas.Item{ItemID: "i1", Title: "Uno", OccurredAt: noon}, RecordedAt: noon},
	})
	for id, p := range x.users {
		require.NoError(t, s.putUser(ctx, id, p, 1))
	}
	require.NoError(t, s.store.ApplyEdges(ctx, []sinks.Edge{
		{A: "ann", B: "bob", At: noon, RecordedAt: noon, EventID: "f1"},
	}))
	require.NoError(t, s.store.PutItems(ctx, []sinks.Item{{
		Content: schemas.Item{ItemID: "i1", Title: "Uno"}, Version: 1,
		Count: float64(x.counts["i1"]),
	}}))
	for key := range x.dead {
		s.bury(t, key, x.last[key])
	}
}

// putUser writes a point. version is its place among those of the user.
func (s *scene) putUser(ctx context.Context, id string, p *person, version int64) error {
	return s.store.PutUsers(ctx, sinks.Source{Topic: schemas.TopicInteractions}, []sinks.User{
		{
			ID: id, State: p.Append(nil),
			Positions: map[string]sinks.Position{
				schemas.TopicInteractions: sinks.PositionOf(sinks.FirstEpoch, version),
			},
			LastEventAt: noon, ChangedAt: noon,
		},
	})
}

// bury writes a dead letter and its row. It is that of a batch up to last, unless last is 0.
func (s *scene) bury(t *testing.T, key letter, last int64) {
	t.Helper()
	topic := record.PoisonTopic(key.group)
	id := fmt.Sprintf("%s/%s", key.group, key.at)
	headers := []record.Header{
		{Key: record.HeaderID, Value: []byte(id)},
		{Key: record.HeaderGroup, Value: []byte(key.group)},
		{Key: record.HeaderTopic, Value: []byte(topicPrefix + key.at.topic)},
		{Key: record.HeaderPartition, Value: fmt.Append(nil, key.at.partition)},
		{Key: record.HeaderOffset, Value: fmt.Append(nil, key.at.offset)},
		{Key: record.HeaderReason, Value: []byte("unreadable")},
		{Key: record.HeaderClass, Value: []byte("permanent")},
	}
	if last > 0 {
		headers = append(headers, record.Header{
			Key: record.HeaderLastOffset, Value: fmt.Append(nil, last),
		})
	}
	offset := s.write(record.Record{Topic: topic, Headers: headers})
	require.NoError(t, s.store.Analytics().Insert(t.Context(), record.Range{
		LogID: "l", Topic: topic, First: offset, Last: offset,
	},
		sinks.DeadLetterRows{
			{
				ID: id, Group: key.group, Topic: key.at.topic, State: "open", FirstFailedAt: noon,
				LastFailedAt: noon, RecordedAt: noon,
			},
		}))
}

func (s *scene) exec(t *testing.T, statement string) {
	t.Helper()
	_, err := s.stores.db.ExecContext(t.Context(), statement)
	require.NoError(t, err)
}
