// Package eval measures recommendations on streams, event by event: test, then learn. It uses the
// model code that serves, and compares it with baselines.
package eval

// Method is something that recommends and learns from a stream.
type Method interface {
	// Name is how tables call the method.
	Name() string
	// Score writes how well each item suits the user now into out, one number per item, higher is
	// better. out comes filled with -Inf, which stands for "cannot be ranked". Score does not
	// change what the method has learned.
	Score(user int32, out []float32)
	// Learn learns from the event. seed is the event's index in the stream.
	Learn(e Event, seed uint64)
}

// Lister is a Method that makes its lists itself, from scores and more: the whole recommender.
type Lister interface {
	Method
	// List returns the best n items that allowed allows, best first. scores are what Score gave.
	List(user int32, n int, scores []float32, allowed func(item int32) bool) []int32
}
