package api

import (
	"bytes"
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipstream-rec/slipstream/stream/deadletter"
)

// Plan is what a dry run tells. An answer to what was done has none of its fields.
type Plan struct {
	DryRun   bool      `json:"dry_run" required:"false" doc:"Nothing was done. count is how many it would be done to."`
	Reasons  []Reasons `json:"reasons" required:"false" nullable:"false" doc:"Why the chosen dead letters failed, the most frequent first."`
	Refused  int       `json:"refused" required:"false" doc:"How many it cannot be done to. With a correction, none is replayed then."`
	Problems []string  `json:"problems" required:"false" nullable:"false" doc:"Why not, of the first."`
	Changes  []Change  `json:"changes" required:"false" nullable:"false" doc:"What a correction makes of the first."`
}

// Reasons are dead letters that failed for the same reason.
type Reasons struct {
	Group   string `json:"group"`
	Class   string `json:"class"`
	Reason  string `json:"reason"`
	Count   int    `json:"count"`
	Example string `json:"example" doc:"The id of one of them."`
}

// Change is the value of a dead letter, and what a correction makes of it.
type Change struct {
	ID        string `json:"id"`
	Before    any    `json:"before,omitempty" doc:"The value, when it is JSON."`
	BeforeHex string `json:"before_hex,omitempty" doc:"The value in hexadecimal, when it is not JSON."`
	After     any    `json:"after,omitempty"`
}

func showPlan(p *deadletter.Plan) *Plan {
	out := &Plan{
		DryRun: true, Reasons: []Reasons{}, Refused: p.Refused, Problems: []string{},
		Changes: []Change{},
	}
	for _, r := range p.Reasons {
		out.Reasons = append(out.Reasons, Reasons(r))
	}
	for _, err := range p.Problems {
		out.Problems = append(out.Problems, err.Error())
	}
	for _, c := range p.Changes {
		shown := Change{ID: c.ID}
		shown.Before, shown.BeforeHex = shownValue(c.Before)
		shown.After, _ = shownValue(c.After)
		out.Changes = append(out.Changes, shown)
	}
	return out
}

// jsonValue is any JSON value, byte for byte, also null. raw is nil if it was not given.
type jsonValue struct{ raw json.RawMessage }

// UnmarshalJSON keeps the value.
func (v *jsonValue) UnmarshalJSON(b []byte) error {
	v.raw = bytes.Clone(b)
	return nil
}

// Schema says that it may be anything.
func (jsonValue) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

// jsonPatch is a JSON merge patch, byte for byte.
type jsonPatch struct{ jsonValue }

// Schema says that it is an object.
func (jsonPatch) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}
