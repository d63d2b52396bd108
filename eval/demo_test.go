package eval_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/eval"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/producers/simulator"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

const (
	// demoMinutes is how long the audience is watched.
	demoMinutes = 5
	// demoHoldout is the share of people in the hold-out, as slipstream dev --demo has it.
	demoHoldout = 0.2
	// releases bounds the films that appear on the way.
	releases = 100
	// demoList is the length of the lists made, and commonList that of the lists compared between
	// people.
	demoList, commonList = 20, 10
)

// viewers are the simulated audience of slipstream dev --demo before the recommender of eval, which
// learns each event before the next one. In the hold-out people get what is popular.
type viewers struct {
	t       *testing.T
	sim     *simulator.Simulator
	data    *eval.Data
	full    *eval.Full
	popular *eval.Popularity
	actions *schemas.Actions
	ideal   bool // makes lists of what people like in truth

	start  time.Time
	films  int // known so far
	events int
	taken  map[[2]int32]bool
	lists  []bool // whether each list is one of the hold-out
	people map[bool]map[string]*clicks
	latest map[string][]int32 // the last list of each person, but for the hold-out
}

// clicks is what became of the places that a person was shown, by minute.
type clicks [demoMinutes]struct{ shown, clicked float64 }

// watch plays the demo for some minutes of a clock that needs no time.
func watch(t *testing.T, seed uint64, ideal bool) *viewers {
	t.Helper()
	cfg := simulator.DefaultConfig()
	cfg.Seed, cfg.Run, cfg.Duration = seed, "r", demoMinutes*time.Minute
	cfg.Warmup = 2000 // as slipstream dev --demo has it
	a := &viewers{
		t: t, data: &eval.Data{}, actions: schemas.DefaultActions(), ideal: ideal,
		taken: make(map[[2]int32]bool), latest: make(map[string][]int32),
		people: map[bool]map[string]*clicks{false: {}, true: {}},
	}
	var err error
	a.sim, err = simulator.New(cfg, a, nil)
	require.NoError(t, err)
	for u := range cfg.Users {
		a.data.User("user-" + strconv.Itoa(u+1))
	}
	a.data.Friends = make([][]int32, cfg.Users)
	for _, r := range a.sim.World() {
		switch read := written(&r); r.Topic {
		case schemas.TopicItems:
			x, err := schemas.DecodeItem(read)
			require.NoError(t, err)
			a.data.SetFeatures(a.data.Item(x.ItemID), eval.Features(&x))
		case schemas.TopicFriendships:
			x, err := schemas.DecodeFriendship(read)
			require.NoError(t, err)
			one, two := a.data.User(x.UserID), a.data.User(x.FriendID)
			a.data.Friends[one] = append(a.data.Friends[one], two)
			a.data.Friends[two] = append(a.data.Friends[two], one)
		}
	}
	for n := range releases {
		a.data.Item("film-" + strconv.Itoa(cfg.Items+n+1))
	}
	a.full = eval.NewFull(a.data, model.Default(), model.DefaultBlend())
	a.popular = eval.NewPopularity(a.data, 5000)
	a.start = time.Now()
	require.NoError(t, a.sim.Run(t.Context(), a))
	return a
}

func written(r *record.Record) *record.Record {
	return &record.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers}
}

// Emit learns what happens.
func (a *viewers) Emit(_ context.Context, batch []record.Record) error {
	for i := range batch {
		switch read := written(&batch[i]); read.Topic {
		case schemas.TopicItems:
			a.films = max(a.films, int(a.data.Item(string(read.Key)))+1)
		case schemas.TopicInteractions:
			x, err := schemas.DecodeInteraction(read)
			require.NoError(a.t, err)
			a.count(&x)
			a.learn(&x)
		}
	}
	return nil
}

func (a *viewers) learn(x *schemas.Interaction) {
	a.events++
	e := eval.Event{
		User: a.data.User(x.UserID), Item: a.data.Item(x.ItemID), At: x.OccurredAt.Unix(),
		Action: string(x.Action),
	}
	if x.Value != nil {
		e.Value, e.Valued = *x.Value, true
	}
	rule := a.actions.Find(x.Action, x.Value)
	if rule.Takes || rule.Refuses {
		a.taken[[2]int32{e.User, e.Item}] = true
	}
	if rule.Teaches() {
		a.full.Learn(e, uint64(a.events))
	}
	if rule.Meaning.Good() {
		a.popular.Learn(e, uint64(a.events))
	}
}

// count counts what becomes of lists.
func (a *viewers) count(x *schemas.Interaction) {
	n, err := strconv.Atoi(x.RecommendationID)
	if err != nil {
		return
	}
	people := a.people[a.lists[n]]
	if people[x.UserID] == nil {
		people[x.UserID] = new(clicks)
	}
	minute := min(int(time.Since(a.start)/time.Minute), demoMinutes-1)
	at := &people[x.UserID][minute]
	if x.Action == schemas.Impression {
		at.shown++
	}
	if x.Action == schemas.Click {
		at.clicked++
	}
}

// Latest implements simulator.Lists.
func (a *viewers) Latest(_ context.Context, id string) (*schemas.Recommendation, error) {
	if a.events == 0 {
		return nil, nil
	}
	user, scores := a.data.User(id), make([]float32, len(a.data.Items))
	allowed := func(i int32) bool {
		return int(i) < a.films && !a.taken[[2]int32{user, i}]
	}
	holdout := float64(schemas.Key("holdout:"+id)%10_000) < demoHoldout*10_000
	var list []int32
	switch {
	case holdout:
		a.popular.Score(user, scores)
		list = best(scores, allowed)
	case a.ideal:
		for i := range scores[:a.films] {
			scores[i] = float32(a.sim.Affinity(id, a.data.Items[i]))
		}
		list = best(scores, allowed)
	default:
		a.full.Score(user, scores)
		list = a.full.List(user, demoList, scores, allowed)
	}
	r := &schemas.Recommendation{UserID: id, RecommendationID: strconv.Itoa(len(a.lists))}
	for _, i := range list {
		r.Items = append(r.Items, schemas.RecommendedItem{ItemID: a.data.Items[i]})
	}
	a.lists = append(a.lists, holdout)
	if !holdout {
		a.latest[id] = list[:min(len(list), commonList)]
	}
	return r, nil
}

// best returns the items with the highest scores.
func best(scores []float32, allowed func(int32) bool) (list []int32) {
	for i := range scores {
		if allowed(int32(i)) {
			list = append(list, int32(i))
		}
	}
	slices.SortStableFunc(list, func(x, y int32) int {
		return int(math.Copysign(1, float64(scores[y]-scores[x])))
	})
	return list[:min(len(list), demoList)]
}

// clickThrough is the share of places shown that were clicked, person by person.
type clickThrough struct{ people, mean, variance float64 }

// until returns the click-through of what happened in the first minutes.
func (a *viewers) until(minutes int, holdout bool) (c clickThrough) {
	var squares float64
	for _, x := range a.people[holdout] {
		var shown, clicked float64
		for _, minute := range x[:minutes] {
			shown, clicked = shown+minute.shown, clicked+minute.clicked
		}
		if shown > 0 {
			c.people++
			c.mean += clicked / shown
			squares += clicked / shown * clicked / shown
		}
	}
	c.mean /= c.people
	c.variance = (squares/c.people - c.mean*c.mean) / (c.people - 1)
	return c
}

// uplift returns how much more often lists of the recommender are clicked than those of the
// hold-out, and half of the interval of 95 % confidence.
func (a *viewers) uplift(minutes int) (uplift, half float64) {
	personal, holdout := a.until(minutes, false), a.until(minutes, true)
	return personal.mean - holdout.mean,
		1.96 * math.Sqrt(personal.variance+holdout.variance)
}

// mostCommon returns the share of lists that the film which stands in most of them stands in.
func (a *viewers) mostCommon() float64 {
	lists, most := make(map[int32]int), 0
	for _, list := range a.latest {
		for _, i := range list {
			lists[i]++
			most = max(most, lists[i])
		}
	}
	return float64(most) / float64(len(a.latest))
}

// The demo shows what the README says that it shows: people click more often on lists of their own
// than on what is popular, and not all get the same film. The figures are those of docs/QUALITY.md.
func TestTheDemoShowsUplift(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 3; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := watch(t, seed, false)
				line := fmt.Sprintf("seed %d:", seed)
				for minutes, least := range map[int]float64{2: 0, demoMinutes: 0.1} {
					uplift, half := a.uplift(minutes)
					line += fmt.Sprintf(
						" %d min %.3f %.3f %+.3f ±%.3f,", minutes, a.until(minutes, false).mean,
						a.until(minutes, true).mean, uplift, half,
					)
					require.Greater(t, uplift-half, least)
				}
				t.Logf("%s most common film %.2f", line, a.mostCommon())
				require.Less(t, a.mostCommon(), 0.35)
			})
		})
	}
}

// Lists made of what people like in truth say what can be reached at most, and how often one film
// stands in them.
func TestListsOfTrueTastesAreClickedMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		learned, ideal := watch(t, 1, false), watch(t, 1, true)
		most := ideal.until(demoMinutes, false).mean
		reached := learned.until(demoMinutes, false).mean
		t.Logf("click-through %.3f of %.3f, most common film %.2f of %.2f", reached, most,
			learned.mostCommon(), ideal.mostCommon())
		require.Greater(t, most, reached)
		require.Greater(t, reached, 0.5*most)
		require.Less(t, learned.mostCommon(), 2*ideal.mostCommon())
	})
}
