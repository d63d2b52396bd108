package schemas_test

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
)

// listen is an action of an application's own: a song that was played, and how much of it.
func listen() []schemas.Rule {
	return []schemas.Rule{
		{
			Action: "listen", To: 0.3, Meaning: schemas.Doubt, Takes: true,
			Outcome: schemas.OutcomeNone,
		},
		{
			Action: "listen", From: 0.3, To: 1, Meaning: schemas.Interest, Weight: 1,
			Takes: true, Verb: "listened to", Outcome: schemas.OutcomeConversion,
		},
	}
}

func withListen(t *testing.T) *schemas.Actions {
	t.Helper()
	a, err := schemas.NewActions(append(schemas.DefaultRules(), listen()...))
	require.NoError(t, err)
	return a
}

func TestDefaultActions(t *testing.T) {
	t.Parallel()
	a := schemas.DefaultActions()
	for _, tc := range []struct {
		action  schemas.Action
		value   float64 // below 0: none
		meaning schemas.Meaning
	}{
		{schemas.View, -1, schemas.Interest},
		{schemas.Like, -1, schemas.Love},
		{schemas.Dislike, -1, schemas.Refusal},
		{schemas.Rate, 0.5, schemas.Refusal},
		{schemas.Rate, 1, schemas.Refusal},
		{schemas.Rate, 2, schemas.Refusal},
		{schemas.Rate, 2.5, schemas.Doubt},
		{schemas.Rate, 3, schemas.Doubt},
		{schemas.Rate, 3.5, schemas.Interest},
		{schemas.Rate, 4, schemas.Love},
		{schemas.Rate, 5, schemas.Love},
		{schemas.Watch, -1, schemas.Interest},
		{schemas.Watch, 0, schemas.Doubt},
		{schemas.Watch, 0.02, schemas.Doubt},
		{schemas.Watch, 0.5, schemas.Interest},
		{schemas.Watch, 1, schemas.Interest},
		{schemas.Purchase, 49.9, schemas.Interest},
		{schemas.Hide, -1, schemas.Refusal},
		{schemas.Impression, -1, schemas.Nothing},
	} {
		value := &tc.value
		if tc.value < 0 {
			value = nil
		}
		r := a.Find(tc.action, value)
		require.NotNil(t, r, "%s %v", tc.action, tc.value)
		require.Equal(t, tc.meaning, r.Meaning, "%s %v", tc.action, tc.value)
		labeled := a.Labeled(r.Label())
		require.Equal(t, []any{r.Action, r.Meaning, r.Verb},
			[]any{labeled.Action, labeled.Meaning, labeled.Verb})
	}
	require.Nil(t, a.Labeled(0))
	for _, v := range []float64{0.4, 5.1, -1, math.NaN(), math.Inf(1)} {
		require.Nil(t, a.Find(schemas.Rate, &v), v)
	}
	require.Nil(t, a.Find(schemas.Rate, nil))
	require.Nil(t, a.Find("stare", nil))
}

// The label of a history tells what was done. One of an older version, which stands for action and
// meaning alone, says no more than is true of all that it may stand for. So does one whose verb the
// table no longer has.
func TestLabelsTellVerbsApart(t *testing.T) {
	t.Parallel()
	a := schemas.DefaultActions()
	for value, verb := range map[float64]string{
		0.2: "started", 0.3: "started", 0.5: "started", 0.69: "started", 0.7: "watched",
		1: "watched",
	} {
		require.Equal(t, verb, a.Labeled(a.Find(schemas.Watch, &value).Label()).Verb, value)
	}
	require.Equal(t, "watched", a.Labeled(a.Find(schemas.Watch, nil).Label()).Verb)

	require.Equal(t, "started", a.Labeled(uint32(schemas.Key("watch/interest"))).Verb)
	require.Equal(t, "liked", a.Labeled(uint32(schemas.Key("like/love"))).Verb)
	require.True(t, a.Labeled(uint32(schemas.Key("hide/refusal"))).Refuses)
	require.Nil(t, a.Labeled(uint32(schemas.Key("stare/love"))))

	before := schemas.Rule{Action: "watch", Meaning: schemas.Interest, Verb: "saw"}
	require.Equal(t, "started", a.Labeled(before.Label()).Verb)

	// What may return is told by the label, too.
	skim := schemas.Rule{
		Action: "read", To: 0.5, Meaning: schemas.Doubt, Refuses: true,
		Outcome: schemas.OutcomeNone,
	}
	read := skim
	read.From, read.To, read.Refuses, read.Takes = 0.5, 1, false, true
	own, err := schemas.NewActions([]schemas.Rule{skim, read})
	require.NoError(t, err)
	require.True(t, own.Labeled(skim.Label()).Refuses)
	require.False(t, own.Labeled(read.Label()).Refuses)
}

func TestUndeclaredActionsAreRefused(t *testing.T) {
	t.Parallel()
	own := withListen(t)
	v, err := schemas.NewValidator(own)
	require.NoError(t, err)
	read := func(v *schemas.Validator, value string) error {
		_, _, err := v.ReadJSON([]byte(value))
		return err
	}
	const song = `{"user_id":"u","item_id":"i","action":"listen","value":0.4}`
	require.NoError(t, read(v, song))
	require.ErrorContains(
		t, read(v, `{"user_id":"u","item_id":"i","action":"listen"}`), `"value" is missing`,
	)
	require.ErrorContains(
		t, read(v, `{"user_id":"u","item_id":"i","action":"listen","value":2}`),
		`"value" is 2, want at most 1`,
	)
	require.ErrorContains(t, read(validator(t), song), `"action" is "listen", want one of "view"`)

	x := schemas.Interaction{UserID: "u", ItemID: "i", Action: "stare"}
	require.NoError(t, x.Validate(), "its form is that of an action")
	require.EqualError(t, own.Check(&x), `"action" "stare" is not one of view, click, like, `+
		"dislike, rate, add_to_cart, purchase, watch, skip, hide, impression, listen")
	x.Action = ""
	require.ErrorContains(t, own.Check(&x), `"action" is missing: one of view, click`)
	x.Action = schemas.Rate
	require.EqualError(t, own.Check(&x), `"value" is missing: a rate needs one between 0.5 and 5`)
	x.Value = new(7.0)
	require.EqualError(t, own.Check(&x), `"value" 7 of a rate is not between 0.5 and 5`)
}

// The JSON Schema in the repository is the one of the built-in actions, and own actions change what
// it says of them only.
func TestJSONSchemaOfActions(t *testing.T) {
	t.Parallel()
	file, ok := schemas.JSONSchema(schemas.KindInteraction)
	require.True(t, ok)
	got, ok := schemas.DefaultActions().JSONSchema(schemas.KindInteraction)
	require.True(t, ok)
	require.JSONEq(t, string(file), string(got))
	require.Equal(t, string(file), string(got), "also in the order of its fields")

	got, ok = withListen(t).JSONSchema(schemas.KindInteraction)
	require.True(t, ok)
	var doc struct {
		Required   []string
		Properties map[string]struct{ Enum []string }
	}
	require.NoError(t, json.Unmarshal(got, &doc))
	require.Equal(t, []string{"user_id", "item_id", "action"}, doc.Required)
	require.Contains(t, doc.Properties["action"].Enum, "listen")

	_, ok = schemas.DefaultActions().JSONSchema(schemas.KindProfileChanged)
	require.False(t, ok)
	same, ok := withListen(t).JSONSchema(schemas.KindItemUpdated)
	file, _ = schemas.JSONSchema(schemas.KindItemUpdated)
	require.True(t, ok)
	require.Equal(t, string(file), string(same))
}

func TestDecoderAndSchemaAgreeOnOwnActions(t *testing.T) {
	t.Parallel()
	own := withListen(t)
	v, err := schemas.NewValidator(own)
	require.NoError(t, err)
	accepted := 0
	for _, name := range append(slices.Clone(own.Names()), "stare", "") {
		for _, value := range []any{nil, 0.0, 0.1, 0.3, 0.5, 1.0, 1.0001, 5.0, 5.1, 1e9, 1.1e9} {
			b, err := json.Marshal(map[string]any{
				"user_id": "u", "item_id": "i", "action": name, "value": value,
			})
			require.NoError(t, err)
			bySchema := v.Validate(schemas.KindInteraction, b)
			_, _, byDecoder := v.ReadJSON(b)
			require.Equal(t, bySchema == nil, byDecoder == nil, "%s: %v", b, bySchema)
			if bySchema == nil {
				accepted++
			}
		}
	}
	require.Greater(t, accepted, 60)
}

func TestWrongRulesAreNamed(t *testing.T) {
	t.Parallel()
	good := schemas.Rule{
		Action: "listen", To: 1, WithoutValue: true, Meaning: schemas.Interest, Weight: 1,
		Takes: true, Verb: "listened to", Outcome: schemas.OutcomeConversion,
	}
	_, err := schemas.NewActions([]schemas.Rule{good})
	require.NoError(t, err)
	type rule = schemas.Rule
	for want, change := range map[string]func(r *rule){
		"a name is a lower-case letter":              func(r *rule) { r.Action = "Listen" },
		`the meaning "joy" is not one of`:            func(r *rule) { r.Meaning = "joy" },
		`the outcome "sale" is not one of`:           func(r *rule) { r.Outcome = "sale" },
		"values from 1 to 1 are not a range":         func(r *rule) { r.From = 1 },
		"values from NaN to 1 are not a range":       func(r *rule) { r.From = math.NaN() },
		"the weight 11 is not from -10 to 10":        func(r *rule) { r.Weight = 11 },
		"the weight NaN is not from -10 to 10":       func(r *rule) { r.Weight = math.NaN() },
		"the weight -1 contradicts the meaning":      func(r *rule) { r.Weight = -1 },
		"takes (true) and refuses (true) contradict": func(r *rule) { r.Refuses = true },
		"interest needs a verb":                      func(r *rule) { r.Verb = "" },
		"the weight 1 contradicts the meaning nothing": func(r *rule) {
			r.Meaning = schemas.Nothing
		},
	} {
		r := good
		change(&r)
		_, err := schemas.NewActions([]schemas.Rule{r})
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "action ")
	}
	gap := good
	gap.From, gap.To = 1.5, 2
	_, err = schemas.NewActions([]schemas.Rule{gap, good})
	require.ErrorContains(t, err, "after values to 1 come values from 1.5: ranges must adjoin")
	gap.From = 1
	_, err = schemas.NewActions([]schemas.Rule{gap, good})
	require.ErrorContains(t, err, "2 rules are for events without a value")
	_, err = schemas.NewActions(nil)
	require.ErrorContains(t, err, "no actions are declared")
}
