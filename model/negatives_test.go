package model

import (
	"slices"
	"testing"
)

// The ring of recent positives holds each event once, whether it was learned here or told of by the
// item's count.
func TestPositivesOfAnyone(t *testing.T) {
	t.Parallel()
	cfg := Default()
	owner, here := NewTable(cfg), NewTable(cfg)
	l := NewLearner(here)
	sums := NewSums(here)
	var u User
	a, b := here.Intern("a"), here.Intern("b")
	tell := func(id string, n uint32) {
		i := owner.Intern(id)
		owner.addCount(i, n)
		if _, err := here.LoadRow(id, owner.AppendRow(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when string, ring ...Index) {
		t.Helper()
		if got := here.negatives.ring; !slices.Equal(got, ring) {
			t.Fatalf("%s: the ring is %v, want %v", when, got, ring)
		}
	}
	l.Gradients(&u, Event{Item: a, Strength: 1, Takes: true}, sums)
	want("learned here", a)
	tell("a", 1)
	want("the owner has counted it", a)
	tell("b", 2)
	want("others took b twice", a, b, b)
	tell("a", 1)
	want("others took a", a, b, b, a)
	l.Step(&u, Event{Item: b, Strength: 1, Takes: true})
	want("learned and counted at once", a, b, b, a, b)
	here.AddNegative(a)
	want("seeded", a, b, b, a, b, a)

	here.FillNegatives(1)
	n := len(here.negatives.ring)
	if n != int(here.Total()) {
		t.Fatalf("filled with %d, want one for each of %v events", n, here.Total())
	}
}
