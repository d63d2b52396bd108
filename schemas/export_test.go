package schemas

import "github.com/slipstream-rec/slipstream/stream/record"

// Registered is what tests see of the registry, in its order.
type Registered struct {
	Kind   Kind
	Topics []string
	// Decode is nil for the binary kinds.
	Decode func(r *record.Record) (any, error)
}

// Registry returns the registered kinds.
func Registry() []Registered {
	var kinds []Registered
	for _, d := range definitions() {
		kinds = append(kinds, Registered{d.kind, d.topics, d.decode})
	}
	return kinds
}
