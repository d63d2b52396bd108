package recommend_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// A state that cannot be decoded concerns the list of its user. It must not make anybody else's
// poorer than by what this user would have added.
func TestUndecodableStateConcernsItsUser(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	cfg := recommend.DefaultConfig()
	cfg.Holdout, cfg.SimilarUsers = 0, 1
	for name, tc := range map[string]struct {
		state []byte
		want  error
	}{
		"newer":   {[]byte("\xf0from the future"), model.ErrNewerFormat},
		"corrupt": {[]byte("\x02undefined"), model.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := openStore(t)
			learner := model.NewLearner(model.NewTable(cfg.Model))
			var items []sinks.Item
			for n := range 6 {
				id := fmt.Sprintf("i%d", n)
				learner.Table().Intern(id)
				v := make([]float32, cfg.Model.Dim+1)
				v[n] = 1
				items = append(
					items,
					sinks.Item{
						Content:   schemas.Item{ItemID: id, Title: id, OccurredAt: noon},
						Vector:    v,
						Version:   1,
						ChangedAt: noon,
					},
				)
			}
			require.NoError(t, store.PutItems(t.Context(), items))
			// ann and bob are alike, and far from carl, who is a friend of bob.
			user := func(id, item string, axis int, state []byte) sinks.User {
				var u model.User
				learner.Step(
					&u,
					model.Event{
						Item:     learner.Table().Lookup(model.KeyOf(item)),
						Strength: 1,
						Takes:    true,
						At:       noon.Unix(),
					},
				)
				v := make([]float32, cfg.Model.Dim+1)
				v[axis], v[cfg.Model.Dim] = 1, model.BiasScale
				if state == nil {
					state = u.Append(nil)
				}
				return sinks.User{
					ID:          id,
					Vector:      v,
					State:       state,
					LastEventAt: noon,
					ChangedAt:   noon,
				}
			}
			version := int64(0)
			put := func(users ...sinks.User) {
				t.Helper()
				version++
				for i := range users {
					users[i].Positions = map[string]sinks.Position{
						schemas.TopicInteractions: sinks.PositionOf(sinks.FirstEpoch, version),
					}
				}
				src := sinks.Source{Topic: schemas.TopicInteractions}
				require.NoError(t, store.PutUsers(t.Context(), src, users))
			}
			put(user("ann", "i0", 0, nil), user("bob", "i1", 0, nil), user("carl", "i2", 5, nil))
			require.NoError(
				t,
				store.ApplyEdges(
					t.Context(),
					[]sinks.Edge{{A: "bob", B: "carl", At: noon, EventID: "1"}},
				),
			)
			answers := func() map[string]recommend.Answer {
				t.Helper()
				r := recommend.New(
					recommend.Stores{Users: store, Items: store, Graph: store},
					processors.NewErasures(),
					cfg,
					func() time.Time { return noon },
				)
				got, err := r.Answers(
					t.Context(),
					[]recommend.Request{{UserID: "ann"}, {UserID: "bob"}, {UserID: "carl"}},
				)
				require.NoError(t, err)
				out := make(map[string]recommend.Answer)
				for _, a := range got {
					out[a.List.UserID] = a
				}
				return out
			}
			const trending = recommend.DegradedTrending
			sound := answers()
			for id, a := range sound {
				require.NoError(t, a.StateErr)
				require.Equal(t, schemas.StrategyPersonal, a.List.Strategy, id)
				require.Empty(t, a.List.Degraded, id)
			}

			put(user("ann", "i0", 0, tc.state))
			got := answers()
			require.ErrorIs(t, got["ann"].StateErr, tc.want)
			require.Equal(t, schemas.StrategyTrending, got["ann"].List.Strategy)
			require.Equal(
				t,
				[]string{trending, recommend.DegradedVectors},
				got["ann"].List.Degraded,
			)
			require.NoError(t, got["bob"].StateErr)
			require.Equal(t, schemas.StrategyPersonal, got["bob"].List.Strategy)
			require.Equal(
				t,
				[]string{recommend.DegradedSimilar},
				got["bob"].List.Degraded,
				"whom ann is like",
			)

			put(user("ann", "i0", 0, nil), user("carl", "i2", 5, tc.state))
			got = answers()
			require.Equal(t, schemas.StrategyPersonal, got["bob"].List.Strategy)
			require.Equal(
				t,
				[]string{recommend.DegradedFriends},
				got["bob"].List.Degraded,
				"whose friend carl is",
			)
			require.Empty(t, got["ann"].List.Degraded)
			require.Equal(t, sound["ann"].List.Items, got["ann"].List.Items)
		})
	}
}
