package processors_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// did is what a user did with a film; a value below 0 is none.
func did(user, film string, action schemas.Action, value float64) record.Record {
	x := schemas.Interaction{UserID: user, ItemID: film, Action: action, OccurredAt: noon}
	if value >= 0 {
		x.Value = &value
	}
	return x.Message()
}

// showing puts films into the store. Of each film there is another one that is like it, and like
// no other: "like Alien".
func (w *watched) showing(t *testing.T, films ...string) {
	t.Helper()
	dim := model.Default().Dim
	var items []sinks.Item
	for n, film := range films {
		for _, title := range []string{film, "like " + film} {
			v := make([]float32, dim+1)
			v[n] = 1
			items = append(items, sinks.Item{
				Content: schemas.Item{ItemID: title, Title: title, Genres: []string{"Film"}},
				Vector:  v, Version: 1, ChangedAt: noon,
			})
		}
	}
	require.NoError(t, w.store.PutItems(t.Context(), items))
}

// happens hands events to embed.
func (w *watched) happens(t *testing.T, events ...record.Record) {
	t.Helper()
	w.add(t, events...)
	b := w.span(schemas.TopicInteractions, 0, int64(len(events)-1))
	require.NoError(t, w.embed(t, 0).Handle(t.Context(), b))
}

// listFor makes a list of all films that there are, and returns the reason of each.
func (w *watched) listFor(
	t *testing.T, q recommend.Request, change func(*recommend.Config),
) (map[string]string, schemas.Recommendation) {
	t.Helper()
	cfg := recommend.DefaultConfig()
	cfg.Holdout, cfg.SimilarUsers = 0, 0
	if change != nil {
		change(&cfg)
	}
	r := recommend.New(
		recommend.Stores{Users: w.store, Items: w.store, Graph: w.store.Store},
		processors.NewErasures(), cfg, func() time.Time { return noon },
	)
	q.N = 100
	lists, err := r.Recommend(t.Context(), []recommend.Request{q})
	require.NoError(t, err)
	reasons := make(map[string]string)
	for _, x := range lists[0].Items {
		reasons[x.ItemID] = x.Reason
	}
	return reasons, lists[0]
}

func (w *watched) friends(t *testing.T, a, b string) {
	t.Helper()
	require.NoError(t, w.store.ApplyEdges(
		t.Context(), []sinks.Edge{{A: a, B: b, At: noon, EventID: a + b}},
	))
}

// Who gives one star, and who turns a film off after two minutes, is told of neither.
func TestReasonsNameWhatWasDone(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.showing(t, "The Exorcist", "The Shining", "Halloween", "Alien", "Heat", "Ran", "Up", "Brazil")
	w.happens(t,
		did("ann", "The Exorcist", schemas.Rate, 1), did("ann", "The Shining", schemas.Rate, 1.5),
		did("ann", "Halloween", schemas.Watch, 0.02), did("ann", "Alien", schemas.View, -1),
		did("ann", "Heat", schemas.Rate, 5), did("ann", "Ran", schemas.Watch, 1),
		did("ann", "Up", schemas.Purchase, 9.9),
		// she liked it once, and no longer does
		did("ann", "Brazil", schemas.Like, -1), did("ann", "Brazil", schemas.Hide, -1),
	)
	reasons, list := w.listFor(t, recommend.Request{UserID: "ann"}, nil)
	require.Equal(t, schemas.StrategyPersonal, list.Strategy)
	require.Equal(t, map[string]string{
		"like The Exorcist": "fits your taste", "like The Shining": "fits your taste",
		"like Halloween": "fits your taste", "like Brazil": "fits your taste",
		"like Alien": "because you viewed Alien", "like Heat": "because you liked Heat",
		"like Ran": "because you watched Ran", "like Up": "because you bought Up",
	}, reasons)
}

// A third of a film is started, not watched, in each locale, and of friends, too.
func TestReasonsSayStartedOfWhatWasStarted(t *testing.T) {
	t.Parallel()
	for value, verbs := range map[float64][2]string{
		0.2: {"started", "angefangen"}, 0.3: {"started", "angefangen"},
		0.69: {"started", "angefangen"}, 0.7: {"watched", "gesehen"}, -1: {"watched", "gesehen"},
	} {
		w := watch(t)
		w.showing(t, "Ran", "Up")
		w.friends(t, "ann", "bob")
		w.happens(t,
			did("ann", "Ran", schemas.Watch, value), did("bob", "Up", schemas.Watch, value),
		)
		reasons, _ := w.listFor(t, recommend.Request{UserID: "ann"}, nil)
		require.Equal(t, "because you "+verbs[0]+" Ran", reasons["like Ran"], value)
		reasons, _ = w.listFor(t, recommend.Request{UserID: "ann", Locale: "de"}, nil)
		require.Equal(t, "weil du Ran "+verbs[1]+" hast", reasons["like Ran"], value)
		reasons, _ = w.listFor(
			t, recommend.Request{UserID: "ann", Scenario: recommend.ScenarioFriends}, nil,
		)
		require.Equal(t, "a friend "+verbs[0]+" it", reasons["Up"], value)
	}
}

func TestFriendsAreSaidToHaveDoneWhatTheyDid(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.showing(t, "Jaws", "Up", "Ran", "Heat", "Alien")
	w.friends(t, "ann", "bob")
	w.friends(t, "ann", "cid")
	w.happens(t,
		did("ann", "Alien", schemas.Like, -1),
		did("bob", "Jaws", schemas.Rate, 0.5), did("cid", "Jaws", schemas.Rate, 3),
		// one friend, two events
		did("bob", "Up", schemas.Watch, 1), did("bob", "Up", schemas.Rate, 4.5),
		did("cid", "Ran", schemas.Watch, 0.9),
		did("bob", "Heat", schemas.Like, -1), did("cid", "Heat", schemas.Rate, 4),
	)
	reasons, _ := w.listFor(
		t, recommend.Request{UserID: "ann", Scenario: recommend.ScenarioFriends}, nil,
	)
	require.Equal(t, map[string]string{
		"Up": "a friend liked it", "Ran": "a friend watched it", "Heat": "2 friends liked it",
	}, reasons)
}

func TestWhoHasOnlyFriendsIsToldSo(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.showing(t, "Alien", "Heat")
	w.friends(t, "ann", "bob")
	w.happens(t, did("bob", "Alien", schemas.Rate, 1), did("bob", "Heat", schemas.Rate, 5))
	reasons, list := w.listFor(t, recommend.Request{UserID: "ann"}, nil)
	require.Equal(t, schemas.StrategyPersonal, list.Strategy)
	require.Equal(t, "fits the taste of your friends", reasons["like Alien"])
	for _, reason := range reasons {
		require.NotContains(t, reason, "your taste")
	}
}

// Where taken items may return, refused ones do not, also those that were liked before.
func TestRefusedItemsDoNotReturn(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.showing(t, "Alien", "Heat", "Ran")
	w.happens(t,
		did("ann", "Alien", schemas.Like, -1), did("ann", "Heat", schemas.Like, -1),
		did("ann", "Heat", schemas.Hide, -1), did("ann", "Ran", schemas.Rate, 5),
		did("ann", "Ran", schemas.Rate, 1), did("ann", "Ran", schemas.Like, -1),
	)
	reasons, _ := w.listFor(
		t, recommend.Request{UserID: "ann"}, func(c *recommend.Config) { c.TakenReturn = true },
	)
	require.Contains(t, reasons, "Alien")
	require.NotContains(t, reasons, "Heat")
	require.Contains(t, reasons, "Ran", "the newest word counts")
}

func TestOwnActionsAreLearnedAndExplained(t *testing.T) {
	t.Parallel()
	actions, err := schemas.NewActions(append(
		schemas.DefaultRules(),
		schemas.Rule{
			Action: "listen", To: 0.3, Meaning: schemas.Doubt, Takes: true,
			Outcome: schemas.OutcomeNone,
		},
		schemas.Rule{
			Action: "listen", From: 0.3, To: 1, Meaning: schemas.Interest, Weight: 1, Takes: true,
			Verb: "listened to", Verbs: map[string]string{"de": "gehört"},
			Outcome: schemas.OutcomeConversion,
		},
	))
	require.NoError(t, err)
	w := watch(t)
	w.showing(t, "Help", "Money")
	w.add(t, did("ann", "Help", "listen", 0.9), did("ann", "Money", "listen", 0.1),
		did("ann", "Help", "stare", -1), did("ann", "Help", "listen", 2))
	b := w.span(schemas.TopicInteractions, 0, 3)
	cfg := processors.DefaultEmbedConfig(1)
	cfg.Actions = actions
	e, _ := w.embedKnowing(t, 0, cfg)
	err = e.Handle(t.Context(), b)
	var rejected *fault.Rejected
	require.ErrorAs(t, err, &rejected)
	require.Len(t, rejected.Records, 2)
	require.Equal(t, 2, rejected.Records[0].Index)
	require.ErrorContains(
		t, rejected.Records[0].Err, `"stare" is not one of view, click, like, dislike, rate`,
	)
	require.ErrorContains(t, rejected.Records[0].Err, "impression, listen")
	require.ErrorContains(
		t, rejected.Records[1].Err, `"value" 2 of a listen is not between 0 and 1`,
	)

	known := func(c *recommend.Config) { c.Actions = actions }
	reasons, _ := w.listFor(t, recommend.Request{UserID: "ann"}, known)
	require.Equal(t, map[string]string{
		"like Help": "because you listened to Help", "like Money": "fits your taste",
	}, reasons)
	reasons, _ = w.listFor(t, recommend.Request{UserID: "ann", Locale: "de-AT"}, known)
	require.Equal(t, map[string]string{
		"like Help": "weil du Help gehört hast", "like Money": "passt zu deinem Geschmack",
	}, reasons)
	// A process whose table lacks the action says nothing of it.
	reasons, _ = w.listFor(t, recommend.Request{UserID: "ann"}, nil)
	require.Equal(t, "fits your taste", reasons["like Help"])

	// analytics refuses the same events.
	a := processors.NewAnalytics(
		w.store.Analytics(), w.log, processors.NewErasures(), actions, 100,
	)
	require.NoError(t, a.Assign(t.Context(), assigned(0, schemas.TopicInteractions)))
	err = a.Handle(t.Context(), b)
	require.ErrorAs(t, err, &rejected)
	require.Len(t, rejected.Records, 2)
	require.ErrorContains(t, rejected.Records[0].Err, "impression, listen")
}

// codes returns the codes of a list's notes.
func codes(list *schemas.Recommendation) string {
	var out []string
	for _, n := range list.Notes {
		out = append(out, n.Code)
	}
	return strings.Join(out, " ")
}

func TestListsSayWhyTheyAreNotAsExpected(t *testing.T) {
	t.Parallel()
	w := watch(t)
	_, list := w.listFor(t, recommend.Request{UserID: "ann"}, nil)
	require.Empty(t, list.Items)
	require.Equal(t, schemas.NoteEmptyCatalog, codes(&list))

	w.showing(t, "Alien", "Heat")
	_, list = w.listFor(t, recommend.Request{UserID: "ann"}, nil)
	require.NotEmpty(t, list.Items)
	require.Empty(t, list.Notes)

	_, list = w.listFor(t, recommend.Request{UserID: "ann", Genres: []string{"Horor"}}, nil)
	require.Empty(t, list.Items)
	require.Equal(t, schemas.NoteUnknownGenre, codes(&list))
	require.Contains(t, list.Notes[0].Message, `"Horor"`)

	w.happens(t, did("ann", "Alien", schemas.Like, -1))
	_, list = w.listFor(t, recommend.Request{UserID: "ann", Genres: []string{"Horor"}}, nil)
	require.Equal(t, schemas.NoteUnknownGenre, codes(&list))
	_, list = w.listFor(t, recommend.Request{
		UserID: "ann", Genres: []string{"Film"},
		Exclude: []string{"Heat", "like Heat", "like Alien"},
	}, nil)
	require.Empty(t, list.Items)
	require.Equal(t, schemas.NoteNothingLeft, codes(&list))

	_, list = w.listFor(
		t, recommend.Request{UserID: "ann"}, func(c *recommend.Config) { c.Holdout = 1 },
	)
	require.NotEmpty(t, list.Items)
	require.Equal(t, schemas.NoteHoldout, codes(&list))
}
