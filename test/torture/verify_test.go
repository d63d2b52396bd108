//go:build linux

package torture

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

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
				s.ledger.acked(overKafka, "x")
			},
			func(v *Verdict) *finding { return &v.Lost },
		},
		{
			"a row is missing",
			func(t *testing.T, s *scene) {
				s.exec(t, "DELETE FROM interactions WHERE user_id = 'ann' AND log_offset = 1")
			},
			func(v *Verdict) *finding { return &v.Lost },
		},
		{
			"a row is there twice", func(t *testing.T, s *scene) {
				s.exec(
					t,
					"INSERT INTO interactions SELECT * FROM interactions WHERE event_id = 'ann2'",
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
						"log_topic, log_partition, 2, recorded_at, client_time, meaning, "+
						"outcome FROM interactions WHERE event_id = 'ann1'",
				)
			},
			func(v *Verdict) *finding { return &v.Undead },
		},
		{
			"a sum per item is too high",
			func(t *testing.T, s *scene) {
				s.exec(t, "UPDATE item_hours SET events = 9 WHERE item_id = 'i1'")
			},
			func(v *Verdict) *finding { return &v.HourSums },
		},
		{
			"a sum per user is too low",
			func(t *testing.T, s *scene) {
				s.exec(t, "UPDATE user_days SET events = 1 WHERE user_id = 'ann'")
			},
			func(v *Verdict) *finding { return &v.DaySums },
		},
		{
			"a list has no row",
			func(t *testing.T, s *scene) {
				s.exec(t, "DELETE FROM recommendations WHERE user_id = 'ann'")
			},
			func(v *Verdict) *finding { return &v.ListsLost },
		},
		{"the last change is not answered", func(_ *testing.T, s *scene) {
			lists := s.log.topics[schemas.TopicRecommendations]
			s.log.topics[schemas.TopicRecommendations] = slices.DeleteFunc(
				slices.Clone(lists), func(r record.Record) bool {
					return string(r.Key) == "ann"
				},
			)
			// Only what the log says is compared here.
			s.write((&schemas.Recommendation{
				UserID: "ann", RecommendationID: "ann-0", GeneratedAt: noon, Version: 1,
				CausedBy: schemas.CausedBy{Trigger: "event"},
			}).Message(schemas.TopicRecommendations))
		}, func(v *Verdict) *finding { return &v.Unanswered }},
		{"a forwarded event has caused no change", func(_ *testing.T, s *scene) {
			topic := schemas.TopicProfileChanges
			s.log.topics[topic] = slices.DeleteFunc(s.log.topics[topic],
				func(r record.Record) bool {
					c, err := schemas.DecodeProfileChanged(&r)
					return err == nil && c.UserID == "zoe" && c.Partition == 0
				},
			)
		}, func(v *Verdict) *finding { return &v.Unanswered }},
		{"a user has learned one event more", func(t *testing.T, s *scene) {
			x, err := expect(s.log)
			require.NoError(t, err)
			x.users["ann"].Events++
			require.NoError(t, s.putUser(t.Context(), "ann", x.users["ann"], 2))
		}, func(v *Verdict) *finding { return &v.WrongUsers }},
		{"a forwarded event is not learned", func(t *testing.T, s *scene) {
			x, err := expect(s.log)
			require.NoError(t, err)
			zoe := x.users["zoe"]
			zoe.Events--
			zoe.History = zoe.own
			require.NoError(t, s.putUser(t.Context(), "zoe", zoe, 2))
		}, func(v *Verdict) *finding { return &v.WrongUsers }},
		{"the order of a partition is lost", func(t *testing.T, s *scene) {
			x, err := expect(s.log)
			require.NoError(t, err)
			zoe := x.users["zoe"]
			zoe.History = []model.Taken{zoe.own[1], zoe.moved[0], zoe.own[0]}
			require.NoError(t, s.putUser(t.Context(), "zoe", zoe, 2))
		}, func(v *Verdict) *finding { return &v.WrongUsers }},
		{"an erased user's point", func(t *testing.T, s *scene) {
			x, err := expect(s.log)
			require.NoError(t, err)
			require.NoError(t, s.putUser(t.Context(), "eve", x.users["ann"], 1))
		}, func(v *Verdict) *finding { return &v.ErasedLeft }},
		{
			"an erased user's attributes", func(t *testing.T, s *scene) {
				require.NoError(t, s.store.Analytics().Insert(t.Context(), record.Range{
					LogID: "l", Topic: schemas.TopicUsers,
				}, sinks.UserRows{{
					User: schemas.User{
						UserID: "eve", OccurredAt: noon,
						Attributes: schemas.Attributes{"country": "ch"},
					}, RecordedAt: noon,
				}}))
			},
			func(v *Verdict) *finding { return &v.ErasedLeft },
		},
		{
			"a row has the time of a wrong clock", func(t *testing.T, s *scene) {
				s.exec(t, "UPDATE interactions SET occurred_at = client_time "+
					"WHERE client_time IS NOT NULL")
			},
			func(v *Verdict) *finding { return &v.WrongTimes },
		},
		{
			"a row has forgotten what the clock said", func(t *testing.T, s *scene) {
				s.exec(t, "UPDATE interactions SET client_time = NULL")
			},
			func(v *Verdict) *finding { return &v.WrongTimes },
		},
		{
			"an event of an aborted transaction is read", func(_ *testing.T, s *scene) {
				s.ledger.dropped("ann1")
			},
			func(v *Verdict) *finding { return &v.Aborted },
		},
		{
			"a misplaced event is not forwarded", func(_ *testing.T, s *scene) {
				topic := record.MisplacedTopic(schemas.GroupEmbed)
				s.log.topics[topic] = nil
			},
			func(v *Verdict) *finding { return &v.NotForwarded },
		},
		{
			"a misplaced item is not forwarded", func(_ *testing.T, s *scene) {
				topic := record.MisplacedTopic(schemas.GroupCatalog)
				s.log.topics[topic] = nil
			},
			func(v *Verdict) *finding { return &v.NotForwarded },
		},
		{
			"a repeated event is forwarded", func(_ *testing.T, s *scene) {
				s.write(record.Forwarded(
					&s.log.topics[schemas.TopicInteractions][2], record.TopicPartition{
						Topic: record.MisplacedTopic(schemas.GroupEmbed),
					}, []byte("ann"),
				))
			},
			func(v *Verdict) *finding { return &v.WronglyForwarded },
		},
		{
			"a batch that cannot be read is not on the log", func(_ *testing.T, s *scene) {
				s.ledger.bombs++
			},
			func(v *Verdict) *finding { return &v.Lost },
		},
		{
			"the dead letter of a batch ends too early", func(_ *testing.T, s *scene) {
				r := &s.log.topics[record.PoisonTopic(schemas.GroupGraph)][0]
				r.Headers[len(r.Headers)-1].Value = []byte("6")
			},
			func(v *Verdict) *finding { return &v.WronglyPoisoned },
		},
		{
			"an edge is of another time", func(t *testing.T, s *scene) {
				require.NoError(t, s.store.ApplyEdges(t.Context(), []sinks.Edge{{
					A: "ann", B: "bob", At: noon.Add(day), RecordedAt: noon, EventID: "f1",
				}}))
			},
			func(v *Verdict) *finding { return &v.WrongEdges },
		},
		{
			"analysts see an older title, of another partition", func(t *testing.T, s *scene) {
				s.exec(t, "UPDATE item_versions SET title = 'One'")
			},
			func(v *Verdict) *finding { return &v.WrongItems },
		},
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
						{Content: schemas.Item{ItemID: "i1", Title: "One"}, Version: 2, Count: 3},
					},
				),
			)
		}, func(v *Verdict) *finding { return &v.WrongItems }},
		{
			"a good record is poisoned", func(t *testing.T, s *scene) {
				s.bury(
					t, letter{schemas.GroupEmbed, position{schemas.TopicInteractions, 0, 0}}, 0,
				)
			},
			func(v *Verdict) *finding { return &v.WronglyPoisoned },
		},
		{"a bad record is not poisoned", func(t *testing.T, s *scene) {
			s.log.topics[record.PoisonTopic(schemas.GroupEmbed)] = nil
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

// What a person does behind an erasure counts, also in front of the marker.
func TestWhoComesBackBeforeTheMarkerIsExpected(t *testing.T) {
	t.Parallel()
	s := &scene{log: theLog{
		topics: make(map[string][]record.Record), partitions: 1, recentIDs: recentIDs,
	}}
	at := func(r record.Record, seconds int) record.Record {
		r.Time = noon.Add(time.Duration(seconds) * time.Second)
		return r
	}
	erased := schemas.User{
		EventID: "bye", Source: source, UserID: "eve", Erased: true,
		OccurredAt: noon.Add(time.Second),
	}.Message()
	s.write(at(liked("eve", 1, noon), 0))
	s.write(at(erased, 1))
	s.write(at(liked("eve", 2, noon.Add(2*time.Second)), 2))
	erased.Topic = schemas.TopicInteractions
	s.write(at(erased, 3))
	x, err := expect(s.log)
	require.NoError(t, err)
	require.Contains(t, x.users, "eve")
	require.EqualValues(t, 1, x.users["eve"].Events)
	require.Len(t, x.rows, 1)

	// Event and marker in one batch: embed asks for the list at the marker.
	unanswered := func() int {
		v := new(Verdict)
		verifyAnswered(v, s.log, x)
		return v.Unanswered.Count
	}
	require.Positive(t, unanswered())
	s.write((schemas.ProfileChanged{
		UserID: "eve", Topic: schemas.TopicInteractions, Offset: 2,
		OccurredAt: noon.Add(2 * time.Second), RecordedAt: noon.Add(2 * time.Second),
	}).Message())
	s.write((&schemas.Recommendation{
		UserID: "eve", RecommendationID: "eve-0", GeneratedAt: noon,
		Version: int64(sinks.PositionOf(sinks.FirstEpoch, 0)),
	}).Message(schemas.TopicRecommendations))
	require.Zero(t, unanswered())
}
