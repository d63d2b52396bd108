//go:build linux

package torture

import (
	"context"
	"fmt"
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

func (s *scene) write(m record.Record) {
	s.log[m.Topic] = append(
		s.log[m.Topic],
		record.Record{
			Topic: m.Topic, Offset: int64(len(s.log[m.Topic])), Time: noon, Key: m.Key,
			Value: m.Value, Headers: m.Headers,
		},
	)
}

// newScene has ann, who likes two things, one of them sent twice, and has the friend bob, and eve,
// who was erased.
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
	s := &scene{log: make(theLog), ledger: newLedger(), store: st.users.(*sqlite.Store), stores: st}

	like := func(user string, n int, at time.Time) record.Record {
		return schemas.Interaction{
			EventID: fmt.Sprintf("%s%d", user, n), Source: source, UserID: user,
			ItemID: fmt.Sprintf("i%d", n), Action: schemas.Like, OccurredAt: at,
		}.Message()
	}
	s.write(like("ann", 1, noon))
	s.write(like("ann", 2, noon))
	s.write(like("ann", 1, noon))
	s.write(like("eve", 3, noon))
	erased := schemas.User{
		EventID: "bye", Source: source, UserID: "eve", Erased: true,
		OccurredAt: noon.Add(time.Second),
	}.Message()
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
	s.write(
		schemas.Item{
			EventID:    "it",
			Source:     source,
			ItemID:     "i1",
			Title:      "One",
			OccurredAt: noon,
		}.Message(),
	)
	s.write(
		(&schemas.Recommendation{
			UserID: "ann", RecommendationID: "r1", GeneratedAt: noon,
			CausedBy: schemas.CausedBy{
				Trigger: "event", Topic: schemas.TopicInteractions, Offset: 1,
			},
		}).Message(schemas.TopicRecommendations),
	)
	for id, topic := range map[string]string{
		"ann1": schemas.TopicInteractions, "ann2": schemas.TopicInteractions,
		"f1": schemas.TopicFriendships,
	} {
		s.ledger.sent(topic, id)
		s.ledger.acked(true, id)
	}
	s.fill(t)
	return s
}

// fill does by hand what the program would have done.
func (s *scene) fill(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	x, err := expect(s.log)
	require.NoError(t, err)
	require.Len(t, x.users, 1)
	require.Len(t, x.dead, 2)
	var rows sinks.InteractionRows
	for _, n := range []int{0, 1} {
		e, err := schemas.DecodeInteraction(&s.log[schemas.TopicInteractions][n])
		require.NoError(t, err)
		rows = append(
			rows, sinks.InteractionRow{Interaction: e, Offset: int64(n), RecordedAt: noon},
		)
	}
	require.NoError(
		t,
		s.store.Analytics().Insert(
			ctx, record.Range{LogID: "l", Topic: schemas.TopicInteractions, Last: 4}, rows,
		),
	)
	list, err := schemas.DecodeRecommendation(&s.log[schemas.TopicRecommendations][0])
	require.NoError(t, err)
	require.NoError(t, s.store.Analytics().Insert(ctx, record.Range{
		LogID: "l", Topic: schemas.TopicRecommendations,
	},
		sinks.RecommendationRows{{Recommendation: list, RecordedAt: noon}}))
	require.NoError(t, s.putUser(ctx, "ann", x, noon))
	require.NoError(
		t, s.store.ApplyEdges(ctx, []sinks.Edge{{A: "ann", B: "bob", At: noon, EventID: "f1"}}),
	)
	require.NoError(
		t,
		s.store.PutItems(
			ctx,
			[]sinks.Item{
				{
					Content: schemas.Item{ItemID: "i1", Title: "One"}, Version: 1,
					Count: float64(x.counts["i1"]),
				},
			},
		),
	)
	for key := range x.dead {
		s.bury(t, key)
	}
}

func (s *scene) putUser(ctx context.Context, id string, x *expected, at time.Time) error {
	return s.store.PutUsers(ctx, sinks.Source{Topic: schemas.TopicInteractions}, []sinks.User{
		{
			ID: id, State: x.users["ann"].Append(nil),
			Positions: map[string]sinks.Position{
				schemas.TopicInteractions: sinks.PositionOf(sinks.FirstEpoch, at.Unix()),
			},
			LastEventAt: noon, ChangedAt: noon,
		},
	})
}

// bury writes a dead letter and its row.
func (s *scene) bury(t *testing.T, key letter) {
	t.Helper()
	topic := record.PoisonTopic(key.group)
	id := fmt.Sprintf("%s/%s", key.group, key.at)
	s.write(record.Record{Topic: topic, Headers: []record.Header{
		{Key: record.HeaderID, Value: []byte(id)},
		{Key: record.HeaderGroup, Value: []byte(key.group)},
		{Key: record.HeaderTopic, Value: []byte(topicPrefix + key.at.topic)},
		{Key: record.HeaderPartition, Value: fmt.Append(nil, key.at.partition)},
		{Key: record.HeaderOffset, Value: fmt.Append(nil, key.at.offset)},
		{Key: record.HeaderReason, Value: []byte("unreadable")},
		{Key: record.HeaderClass, Value: []byte("permanent")},
	}})
	require.NoError(t, s.store.Analytics().Insert(t.Context(), record.Range{
		LogID: "l", Topic: topic, First: int64(len(s.log[topic])), Last: int64(len(s.log[topic])),
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

// TestVerifyNoticesEveryHarm harms what is right in one way at a time: the comparison must notice
// that, and nothing else.
func TestVerifyNoticesEveryHarm(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		harm func(*testing.T, *scene)
		want func(*Verdict) *finding
	}{
		{"nothing", func(*testing.T, *scene) {}, nil},
		{
			"an acknowledged event is not on the log",
			func(_ *testing.T, s *scene) {
				s.ledger.sent("interactions", "x")
				s.ledger.acked(true, "x")
			},
			func(v *Verdict) *finding { return &v.Lost },
		},
		{
			"a row is missing",
			func(t *testing.T, s *scene) {
				s.exec(t, "DELETE FROM interactions WHERE log_offset = 1")
			},
			func(v *Verdict) *finding { return &v.Lost },
		},
		{
			"a row is there twice", func(t *testing.T, s *scene) {
				s.exec(
					t, "INSERT INTO interactions SELECT * FROM interactions WHERE log_offset = 1",
				)
			},
			func(v *Verdict) *finding { return &v.Doubled },
		},
		{
			"a repeated event has a row", func(t *testing.T, s *scene) {
				s.exec(
					t,
					"INSERT INTO interactions SELECT event_id, source, user_id, item_id, "+
						"action, value, occurred_at, session_id, recommendation_id, context, "+
						"log_topic, log_partition, 2, recorded_at, client_time FROM "+
						"interactions WHERE log_offset = 0",
				)
			},
			func(v *Verdict) *finding { return &v.Undead },
		},
		{
			"a sum per item is too high",
			func(t *testing.T, s *scene) {
				s.exec(t, "UPDATE item_hours SET events = 2 WHERE item_id = 'i1'")
			},
			func(v *Verdict) *finding { return &v.HourSums },
		},
		{
			"a sum per user is too low",
			func(t *testing.T, s *scene) { s.exec(t, "UPDATE user_days SET events = 1") },
			func(v *Verdict) *finding { return &v.DaySums },
		},
		{
			"a list has no row",
			func(t *testing.T, s *scene) { s.exec(t, "DELETE FROM recommendations") },
			func(v *Verdict) *finding { return &v.ListsLost },
		},
		{"the last change is not answered", func(_ *testing.T, s *scene) {
			old := (&schemas.Recommendation{
				UserID: "ann", RecommendationID: "r1", GeneratedAt: noon,
				CausedBy: schemas.CausedBy{Trigger: "event", Topic: schemas.TopicInteractions},
			}).Message(schemas.TopicRecommendations)
			s.log[schemas.TopicRecommendations][0].Value = old.Value
		}, func(v *Verdict) *finding { return &v.Unanswered }},
		{"a user has learned one event more", func(t *testing.T, s *scene) {
			x, err := expect(s.log)
			require.NoError(t, err)
			x.users["ann"].Events++
			require.NoError(t, s.putUser(t.Context(), "ann", x, noon.Add(time.Second)))
		}, func(v *Verdict) *finding { return &v.WrongUsers }},
		{"an erased user's point", func(t *testing.T, s *scene) {
			x, err := expect(s.log)
			require.NoError(t, err)
			require.NoError(t, s.putUser(t.Context(), "eve", x, noon))
		}, func(v *Verdict) *finding { return &v.ErasedLeft }},
		{
			"an edge is missing",
			func(t *testing.T, s *scene) { s.exec(t, "DELETE FROM edges") },
			func(v *Verdict) *finding { return &v.WrongEdges },
		},
		{"an item is of yesterday", func(t *testing.T, s *scene) {
			require.NoError(
				t,
				s.store.PutItems(
					t.Context(),
					[]sinks.Item{
						{Content: schemas.Item{ItemID: "i1", Title: "Zero"}, Version: 2, Count: 1},
					},
				),
			)
		}, func(v *Verdict) *finding { return &v.WrongItems }},
		{
			"a good record is poisoned", func(t *testing.T, s *scene) {
				s.bury(t, letter{schemas.GroupEmbed, position{schemas.TopicInteractions, 0, 0}})
			},
			func(v *Verdict) *finding { return &v.WronglyPoisoned },
		},
		{"a bad record is not poisoned", func(t *testing.T, s *scene) {
			s.log[record.PoisonTopic(schemas.GroupEmbed)] = nil
			s.exec(t, "DELETE FROM dead_letter_rows WHERE consumer_group = 'embed'")
		}, func(v *Verdict) *finding { return &v.NotPoisoned }},
		{
			"a dead letter has no row",
			func(t *testing.T, s *scene) {
				s.exec(t, "DELETE FROM dead_letter_rows WHERE consumer_group = 'embed'")
			},
			func(v *Verdict) *finding { return &v.DeadLetterRows },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			tc.harm(t, s)
			x, err := expect(s.log)
			require.NoError(t, err)
			v, err := verify(t.Context(), s.ledger, s.log, x, s.stores)
			require.NoError(t, err)
			if tc.want == nil {
				require.Empty(t, v.Problems())
				return
			}
			require.Equal(t, 1, tc.want(v).Count, v.Problems())
			require.Len(t, v.Problems(), 1)
		})
	}
}
