package app

import (
	"fmt"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Actions returns the table of actions: the built-in rules, and those that the configuration
// declares. Rules of a built-in name replace all of that name.
func Actions(cfg config.Config) (*schemas.Actions, error) {
	own := make(map[string]int)
	for i := range cfg.Actions {
		own[cfg.Actions[i].Name]++
	}
	var rules []schemas.Rule
	for _, r := range schemas.DefaultRules() {
		if own[string(r.Action)] == 0 {
			rules = append(rules, r)
		}
	}
	for i := range cfg.Actions {
		x := &cfg.Actions[i]
		rules = append(rules, rule(x, own[x.Name] == 1))
	}
	actions, err := schemas.NewActions(rules)
	if err != nil {
		return nil, fmt.Errorf("the setting actions: %w", err)
	}
	return actions, nil
}

// rule fills in what follows from the meaning. only says that the action has no other rule.
func rule(x *config.Action, only bool) schemas.Rule {
	m := schemas.Meaning(x.Meaning)
	r := schemas.Rule{
		Action: schemas.Action(x.Name), From: x.From, To: x.To,
		WithoutValue: orElse(x.WithoutValue, only), Meaning: m,
		Takes:   orElse(x.Takes, m.Good() || m == schemas.Doubt),
		Refuses: orElse(x.Refuses, m == schemas.Refusal),
		Verb:    x.Verb, Verbs: x.Verbs, Outcome: schemas.Outcome(x.Counts),
	}
	weights := map[schemas.Meaning]float64{
		schemas.Refusal: -1, schemas.Interest: 1, schemas.Love: 1.2,
	}
	r.Weight = orElse(x.Weight, weights[m])
	if r.To == 0 {
		r.To = schemas.MaxValue
	}
	switch {
	case r.Outcome != "":
	case m.Good():
		r.Outcome = schemas.OutcomeConversion
	case m == schemas.Refusal:
		r.Outcome = schemas.OutcomeRefusal
	default:
		r.Outcome = schemas.OutcomeNone
	}
	return r
}

func orElse[T any](p *T, otherwise T) T {
	if p != nil {
		return *p
	}
	return otherwise
}
