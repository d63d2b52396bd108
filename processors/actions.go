package processors

import (
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// decodeDeclared reads an interaction whose action is declared.
func decodeDeclared(r *record.Record, actions *schemas.Actions) (schemas.Interaction, error) {
	x, err := schemas.DecodeInteraction(r)
	if err != nil {
		return x, err
	}
	return x, actions.Check(&x)
}

// orBuiltIn returns the table of the built-in actions for nil.
func orBuiltIn(actions *schemas.Actions) *schemas.Actions {
	if actions == nil {
		return schemas.DefaultActions()
	}
	return actions
}

// rule returns what the interaction means. One that Actions.Check refuses means nothing.
func (p *Embed) rule(x *schemas.Interaction) *schemas.Rule {
	if r := p.cfg.Actions.Find(x.Action, x.Value); r != nil {
		return r
	}
	return new(schemas.Rule)
}
