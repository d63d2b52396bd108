package simulator_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/emittest"
	"github.com/slipstream-rec/slipstream/producers/simulator"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func simulate(
	t *testing.T,
	lists simulator.Lists,
	change func(*simulator.Config),
) (*simulator.Simulator, []record.Record) {
	t.Helper()
	cfg := simulator.DefaultConfig()
	cfg.Users, cfg.Items, cfg.Rate, cfg.Limit, cfg.Run = 60, 200, 0, 4000, "r"
	if change != nil {
		change(&cfg)
	}
	s, err := simulator.New(
		cfg, lists,
		func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) },
	)
	require.NoError(t, err)
	log := &emittest.Log{}
	require.NoError(t, s.Run(t.Context(), log))
	return s, log.Messages()
}

func interactions(t *testing.T, ms []record.Record) []schemas.Interaction {
	t.Helper()
	var out []schemas.Interaction
	for _, m := range ms {
		if m.Topic == schemas.TopicInteractions {
			x, err := schemas.DecodeInteraction(written(m))
			require.NoError(t, err)
			out = append(out, x)
		}
	}
	return out
}

func TestSimulatorIsReproducible(t *testing.T) {
	t.Parallel()
	_, first := simulate(t, nil, nil)
	_, again := simulate(t, nil, nil)
	require.Equal(t, first, again, "same seed, same run: same events")

	world := func(ms []record.Record) []record.Record { return ms[:200] }
	_, run := simulate(t, nil, func(c *simulator.Config) { c.Run = "another" })
	require.Equal(t, world(first), world(run), "another run in the same world")
	require.NotEqual(t, interactions(t, first)[:50], interactions(t, run)[:50])
	_, seed := simulate(t, nil, func(c *simulator.Config) { c.Seed = 2 })
	require.NotEqual(t, world(first), world(seed))
}

func TestSimulatorPlaysEverything(t *testing.T) {
	t.Parallel()
	_, ms := simulate(t, nil, func(c *simulator.Config) { c.Limit = 8000; c.Items = 600 })
	kinds, actions, ids := map[string]int{}, map[schemas.Action]int{}, map[string]bool{}
	for _, m := range ms {
		r := written(m)
		kinds[r.Header(schemas.HeaderType)]++
		require.False(t, ids[r.Header(schemas.HeaderID)], "ids are unique")
		ids[r.Header(schemas.HeaderID)] = true
		switch m.Topic {
		case schemas.TopicItems:
			x, err := schemas.DecodeItem(r)
			require.NoError(t, err)
			require.NotEmpty(t, x.Genres)
			require.NotEmpty(t, x.Actors)
			require.NotEmpty(t, x.Directors)
		case schemas.TopicFriendships:
			_, err := schemas.DecodeFriendship(r)
			require.NoError(t, err)
		}
	}
	for _, x := range interactions(t, ms) {
		actions[x.Action]++
		require.NotEmpty(t, x.SessionID)
	}
	require.Greater(t, kinds[string(schemas.KindItemUpdated)], 600, "new items appear")
	require.Greater(t, kinds[string(schemas.KindFriendshipAdded)], 100)
	require.Positive(t, kinds[string(schemas.KindFriendshipRemoved)])
	for _, a := range []schemas.Action{schemas.View, schemas.Watch, schemas.Rate, schemas.Like} {
		require.Greater(t, actions[a], 20, a)
	}
}

// TestSimulatedTastesCanBeLearned predicts the ratings of the second half from each user's mean
// rating by genre in the first half.
func TestSimulatedTastesCanBeLearned(t *testing.T) {
	t.Parallel()
	s, ms := simulate(t, nil, func(c *simulator.Config) { c.Limit = 20_000; c.Items = 600 })
	genres := map[string][]string{}
	for _, m := range ms {
		if m.Topic == schemas.TopicItems {
			x, err := schemas.DecodeItem(written(m))
			require.NoError(t, err)
			genres[x.ItemID] = x.Genres
		}
	}
	type mean struct{ sum, n float64 }
	learned := map[string]*mean{}
	var predicted, rated, truth []float64
	all := interactions(t, ms)
	for i, x := range all {
		if x.Action != schemas.Rate {
			continue
		}
		score, n := 0.0, 0.0
		for _, g := range genres[x.ItemID] {
			l := learned[x.UserID+g]
			if l == nil {
				l = &mean{sum: 3, n: 1}
				learned[x.UserID+g] = l
			}
			score += l.sum / l.n
			n++
			if i < len(all)/2 {
				l.sum += *x.Value
				l.n++
			}
		}
		if i >= len(all)/2 {
			predicted, rated, truth = append(predicted, score/n), append(rated, *x.Value), append(
				truth, s.Affinity(x.UserID, x.ItemID),
			)
		}
	}
	require.Greater(t, len(rated), 500)
	t.Logf(
		"correlation of ratings with what was learned %.2f, with the truth %.2f",
		correlation(predicted, rated), correlation(truth, rated),
	)
	require.Greater(t, correlation(predicted, rated), 0.3)
	require.Greater(t, correlation(truth, rated), 0.7)
}

func correlation(a, b []float64) float64 {
	var sa, sb, saa, sbb, sab float64
	for i := range a {
		sa, sb = sa+a[i], sb+b[i]
		saa, sbb, sab = saa+a[i]*a[i], sbb+b[i]*b[i], sab+a[i]*b[i]
	}
	n := float64(len(a))
	return (n*sab - sa*sb) / math.Sqrt((n*saa-sa*sa)*(n*sbb-sb*sb))
}

// listsFunc is a Lists.
type listsFunc func(userID string) (*schemas.Recommendation, error)

func (f listsFunc) Latest(_ context.Context, userID string) (*schemas.Recommendation, error) {
	return f(userID)
}

func TestSimulatedUsersLookAtTheirLists(t *testing.T) {
	t.Parallel()
	var oracle *simulator.Simulator
	list := func(better bool) simulator.Lists {
		return listsFunc(func(userID string) (*schemas.Recommendation, error) {
			r := &schemas.Recommendation{UserID: userID, RecommendationID: "for " + userID}
			for i := 1; i <= 200 && len(r.Items) < 10; i++ {
				id := "film-" + strconv.Itoa(i)
				if (oracle.Affinity(userID, id) > 0.5) == better {
					r.Items = append(r.Items, schemas.RecommendedItem{ItemID: id})
				}
			}
			return r, nil
		})
	}
	clicks := func(better bool) float64 {
		cfg := simulator.DefaultConfig()
		cfg.Users, cfg.Items, cfg.Rate, cfg.Limit, cfg.Run = 60, 200, 0, 3000, "r"
		var err error
		oracle, err = simulator.New(cfg, nil, nil)
		require.NoError(t, err)
		_, ms := simulate(t, list(better), func(c *simulator.Config) { c.Limit = 3000 })
		n := map[schemas.Action]float64{}
		for _, x := range interactions(t, ms) {
			if x.RecommendationID != "" {
				require.Equal(t, "for "+x.UserID, x.RecommendationID)
				n[x.Action]++
			}
		}
		require.Greater(t, n[schemas.Impression], 200.0)
		return n[schemas.Click] / n[schemas.Impression]
	}
	good, bad := clicks(true), clicks(false)
	t.Logf("click-through of good lists %.3f, of bad ones %.3f", good, bad)
	require.Greater(t, good, 1.5*bad, "better lists are clicked more")

	_, ms := simulate(
		t,
		listsFunc(func(string) (*schemas.Recommendation, error) { return nil, errors.New("down") }),
		nil,
	)
	require.NotEmpty(t, interactions(t, ms), "without lists people browse")
}

func TestSimulatorKeepsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &emittest.Log{}
		cfg := simulator.DefaultConfig()
		cfg.Users, cfg.Items, cfg.Rate, cfg.Duration, cfg.Warmup = 20, 50, 40, 10*time.Second, 300
		s, err := simulator.New(cfg, nil, nil)
		require.NoError(t, err)
		started := time.Now()
		down := 0
		log.Plan = func(context.Context, []record.Record) error {
			if time.Since(started) > 5*time.Second && down < 3 {
				down++
				return fault.Transientf("no leader")
			}
			return nil
		}
		require.NoError(t, s.Run(t.Context(), log))
		require.InDelta(t, 10, time.Since(started).Seconds(), 0.1)
		n := len(log.Messages()) - len(s.World()) - 300
		require.InDelta(t, 400, n, 25)
		for i, x := range interactions(t, log.Messages()) {
			if i < 250 {
				require.True(t, x.OccurredAt.Before(started), "the warm-up happened before")
			}
		}
	})
}

func TestSimulatorEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	log := &emittest.Log{
		Plan: func(context.Context, []record.Record) error {
			cancel()
			return fault.Transientf("down")
		},
	}
	s, err := simulator.New(simulator.DefaultConfig(), nil, nil)
	require.NoError(t, err)
	require.NoError(t, s.Run(ctx, log))
	require.Zero(t, s.Affinity("nobody", "film-1"))
	_, err = simulator.New(simulator.Config{}, nil, nil)
	require.ErrorContains(t, err, "at least 2 users and 20 items")
}

func written(m record.Record) *record.Record {
	return &record.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers}
}

// Nobody chooses, or refuses, an item twice, also where there is nothing left.
func TestNobodyMeetsAnItemTwice(t *testing.T) {
	t.Parallel()
	all := listsFunc(func(userID string) (*schemas.Recommendation, error) {
		r := &schemas.Recommendation{UserID: userID, RecommendationID: "for " + userID}
		for i := range 40 {
			r.Items = append(r.Items, schemas.RecommendedItem{ItemID: "film-" + strconv.Itoa(i+1)})
		}
		return r, nil
	})
	_, ms := simulate(t, all, func(c *simulator.Config) { c.Users, c.Items = 5, 40 })
	met := map[[2]string]schemas.Action{}
	for _, x := range interactions(t, ms) {
		meets := []schemas.Action{schemas.View, schemas.Click, schemas.Hide, schemas.Skip}
		if slices.Contains(meets, x.Action) {
			pair := [2]string{x.UserID, x.ItemID}
			require.Empty(t, met[pair], "%s of %v", x.Action, pair)
			met[pair] = x.Action
		}
	}
	require.Greater(t, len(met), 5*40*3/4)
}

// A click is the likelier the higher the place and the better the item.
func TestClicksFollowPlaceAndTaste(t *testing.T) {
	t.Parallel()
	cfg := simulator.DefaultConfig()
	cfg.Users, cfg.Items, cfg.Rate, cfg.Limit, cfg.Run = 60, 200, 0, 4000, "r"
	oracle, err := simulator.New(cfg, nil, nil)
	require.NoError(t, err)
	n := 0
	some := listsFunc(func(userID string) (*schemas.Recommendation, error) {
		n++
		r := &schemas.Recommendation{UserID: userID, RecommendationID: strconv.Itoa(n)}
		for i := range 6 {
			id := "film-" + strconv.Itoa(1+(31*n+i)%200)
			r.Items = append(r.Items, schemas.RecommendedItem{ItemID: id})
		}
		return r, nil
	})
	_, ms := simulate(t, some, func(c *simulator.Config) { c.Limit = 20_000 })
	var shown, clicked [3][2]float64 // by place, and whether the item is liked
	places := map[string]int{}
	for _, x := range interactions(t, ms) {
		liked := 0
		if oracle.Affinity(x.UserID, x.ItemID) > 0.3 {
			liked = 1
		}
		list := x.RecommendationID + x.ItemID
		if x.Action == schemas.Impression {
			places[list] = places[x.RecommendationID]
			places[x.RecommendationID]++
			shown[places[list]/2][liked]++
		}
		if x.Action == schemas.Click {
			clicked[places[list]/2][liked]++
		}
	}
	for place := range shown {
		bad, good := clicked[place][0]/shown[place][0], clicked[place][1]/shown[place][1]
		t.Logf("places from %d: %.3f of what is not liked, %.3f of what is", 2*place, bad, good)
		require.Greater(t, good, 3*bad)
		if place > 0 {
			require.Less(t, good, clicked[place-1][1]/shown[place-1][1])
		}
	}
}
