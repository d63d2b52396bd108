package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/schemas"
)

func TestOwnActions(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Actions = []config.Action{
		{Name: "listen", To: 0.3, Meaning: "doubt"},
		{Name: "listen", From: 0.3, To: 1, Meaning: "love", Verb: "listened to"},
		{Name: "block", Meaning: "refusal", Counts: "none"},
		{Name: "view", Meaning: "nothing"},
		{
			Name: "save", Meaning: "interest", Weight: new(0.4), Takes: new(false), Verb: "saved",
			Verbs: map[string]string{"de": "gespeichert"},
		},
	}
	a, err := app.Actions(cfg)
	require.NoError(t, err)
	require.Contains(t, a.Names(), schemas.Rate, "the built-in ones stay")

	require.Nil(t, a.Find("listen", nil), "two ranges: a value is required")
	r := a.Find("listen", new(0.2))
	require.Equal(t, schemas.Doubt, r.Meaning)
	require.True(t, r.Takes)
	require.Zero(t, r.Weight)
	r = a.Find("listen", new(0.3))
	require.Equal(t, schemas.Love, r.Meaning)
	require.InDelta(t, 1.2, r.Weight, 0)
	require.Equal(t, schemas.OutcomeConversion, r.Outcome)

	r = a.Find("block", nil)
	require.True(t, r.Refuses)
	require.InDelta(t, -1.0, r.Weight, 0)
	require.Equal(t, schemas.OutcomeNone, r.Outcome)

	require.Len(t, a.Rules(schemas.View), 1)
	require.False(t, a.Find(schemas.View, nil).Teaches(), "it replaces the built-in rule")

	r = a.Find("save", new(12.5))
	require.InDelta(t, 0.4, r.Weight, 0)
	require.False(t, r.Takes)
	require.Equal(t, "gespeichert", r.Verbs["de"])

	cfg.Actions = []config.Action{{Name: "listen", Meaning: "joy"}}
	_, err = app.Actions(cfg)
	require.ErrorContains(t, err, `the setting actions: action "listen": the meaning "joy"`)
}
