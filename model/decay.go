package model

import "math"

// Decay returns the weight of an event of the given age, which is 1 at age 0 and halves every
// halfLife (same unit). A negative age weighs 1. With a half-life of 0 or less every positive age
// weighs 0.
func Decay(age, halfLife float64) float64 {
	switch {
	case age <= 0:
		return 1
	case !(halfLife > 0):
		return 0
	}
	return math.Exp2(-age / halfLife)
}

// Decayed is a sum whose terms halve in weight every half-life: recent popularity. Adding commutes:
// the order in which terms arrive does not matter.
type Decayed struct {
	// Value is the sum as it stood at At.
	Value float64
	// At is the time of the latest term, in any unit, the same as the half-life's.
	At float64
}

// Add adds weight at time at.
func (d *Decayed) Add(weight, at, halfLife float64) {
	if at >= d.At {
		d.Value, d.At = d.Value*Decay(at-d.At, halfLife)+weight, at
		return
	}
	d.Value += weight * Decay(d.At-at, halfLife)
}

// Now returns the value of the sum at time at.
func (d Decayed) Now(at, halfLife float64) float64 { return d.Value * Decay(at-d.At, halfLife) }
