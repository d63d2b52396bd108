package model

import (
	"fmt"
	"maps"
	"slices"
)

// Signals maps actions to training signals. The keys are the names of actions in events.
type Signals struct {
	// Weight of each action: positive for interest, negative for refusal, 0 for an action that
	// teaches nothing (an impression). Weights scale gradients, and positive ones the place of the
	// item in the user's history; they lie in [-10, 10]. An action that is not listed weighs Other.
	Weight map[string]float64
	Other  float64
	// Rated is the action whose value counts, and its scale. A value at or below RatedLow weighs
	// RatedLowWeight, one at or above RatedHigh weighs as Weight says, linearly between. An event
	// without a value weighs as Weight says.
	Rated          string
	RatedLow       float64
	RatedHigh      float64
	RatedLowWeight float64
}

// DefaultSignals returns weights for the actions of package schemas. Actions that take more effort
// weigh more.
func DefaultSignals() Signals {
	return Signals{
		Weight: map[string]float64{
			"view": 0.7, "click": 0.8, "watch": 1, "rate": 1, "like": 1.2, "add_to_cart": 1.2,
			"purchase":   1.5,
			"impression": 0, "skip": -0.3, "dislike": -1, "hide": -1,
		},
		Other: 0.5,
		Rated: "rate", RatedLow: 1, RatedHigh: 4, RatedLowWeight: 0.8,
	}
}

// Strength returns the signal of an action with an optional value: above 0 is interest, below 0
// refusal, 0 no signal. The result is finite for any value.
func (s Signals) Strength(action string, value float64, valued bool) float32 {
	weight, known := s.Weight[action]
	if !known {
		weight = s.Other
	}
	if valued && action == s.Rated && value == value && s.RatedHigh > s.RatedLow {
		share := min(max((value-s.RatedLow)/(s.RatedHigh-s.RatedLow), 0), 1)
		weight = s.RatedLowWeight + share*(weight-s.RatedLowWeight)
	}
	return float32(weight)
}

func (s Signals) validate() (errs []error) {
	bad := func(w float64) bool { return !(w >= -10 && w <= 10) }
	for _, action := range slices.Sorted(maps.Keys(s.Weight)) {
		if w := s.Weight[action]; bad(w) {
			errs = append(
				errs, fmt.Errorf("model: weight of action %q is %v: want -10 to 10", action, w),
			)
		}
	}
	if bad(s.Other) || bad(s.RatedLowWeight) {
		errs = append(
			errs,
			fmt.Errorf(
				"model: weights other (%v) and rated low (%v): want -10 to 10", s.Other,
				s.RatedLowWeight,
			),
		)
	}
	if s.Rated != "" && !(s.RatedHigh > s.RatedLow) {
		errs = append(
			errs,
			fmt.Errorf(
				"model: ratings from %v to %v: want the first below the second", s.RatedLow,
				s.RatedHigh,
			),
		)
	}
	return errs
}
