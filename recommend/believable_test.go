package recommend_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// did is what a person did with a film.
type did struct {
	film   string
	action schemas.Action
	value  *float64
}

// acts has a person act whose vector likes what is popular.
func (c *cinema) acts(t *testing.T, id string, history ...did) {
	t.Helper()
	cfg := recommend.DefaultConfig()
	learner := model.NewLearner(model.NewTable(cfg.Model))
	var user model.User
	for _, x := range history {
		rule := schemas.DefaultActions().Find(x.action, x.value)
		learner.Step(&user, model.Event{
			Item: learner.Table().Intern(x.film), Strength: float32(rule.Weight),
			Takes: rule.Takes || rule.Refuses, Label: rule.Label(), At: newYear.Unix(),
			Retracts: rule.Meaning.Bad(),
		})
	}
	vector := make([]float32, cfg.Model.Dim+1)
	vector[0], vector[cfg.Model.Dim] = 1, model.BiasScale
	require.NoError(t, c.store.PutUsers(
		t.Context(), sinks.Source{Topic: schemas.TopicInteractions}, []sinks.User{{
			ID: id, Vector: vector, State: user.Append(nil), LastEventAt: newYear,
			ChangedAt: newYear, Positions: map[string]sinks.Position{
				schemas.TopicInteractions: sinks.PositionOf(sinks.FirstEpoch, 1),
			},
		}},
	))
}

// asks returns the list for a request, by id.
func (c *cinema) asks(
	t *testing.T, q recommend.Request,
) map[string]schemas.RecommendedItem {
	t.Helper()
	lists, err := c.Recommend(t.Context(), []recommend.Request{q})
	require.NoError(t, err)
	byID := make(map[string]schemas.RecommendedItem)
	for _, x := range lists[0].Items {
		byID[x.ItemID] = x
	}
	return byID
}

// Reasons say what a person believes.
func TestReasonsArePlausible(t *testing.T) {
	t.Parallel()
	c := newCinema(t, nil)
	c.put(
		// Its vector is like that of Halloween, as any vector is like some other one.
		filmOf("Grizzly Man", 500, schemas.Item{Genres: []string{"Documentary"}}),
		filmOf("Ring", 500, schemas.Item{Genres: []string{"Horror"}}),
	)
	old := filmOf("Nosferatu", 0, schemas.Item{
		Genres: []string{"Horror"}, PublishedAt: newYear.AddDate(-100, 0, 0),
	})
	some := filmOf("The Ward", 3, schemas.Item{Genres: []string{"Horror"}})
	c.adds(t, &old, newYear)
	c.adds(t, &some, newYear)
	weak := func(id string) { // hardly anything is known of it
		x := filmOf(id, 500, schemas.Item{Genres: []string{"Documentary"}})
		x.Count, x.Version = 6, 2
		c.put(x)
	}
	weak("Grizzly Man")
	list := c.asks(t, recommend.Request{UserID: "ann", N: 200})
	require.Equal(t, "because you liked The Exorcist", list["Ring"].Reason)
	require.Equal(t, "something different for you", list["Grizzly Man"].Reason)
	require.Equal(t, "more Horror", list["Nosferatu"].Reason, "it is a hundred years old")
	require.Equal(t, "more Horror", list["The Ward"].Reason, "some have taken it")

	c.acts(t, "nils", did{"Halloween", schemas.Hide, nil})
	list = c.asks(t, recommend.Request{UserID: "nils"})
	require.Equal(t, "something different for you", list["Grizzly Man"].Reason,
		"nobody knows the taste of who has only refused")
}
