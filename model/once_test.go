package model

import (
	"bytes"
	"fmt"
	"testing"
)

// counts returns what the sums count of an item, and how often it stands among the negatives.
func counts(l *Learner, sums *Sums, item Index) (counted, negatives int) {
	for n, i := range sums.rows {
		if i == item {
			counted = int(sums.parts[n].count)
		}
	}
	for _, i := range l.table.negatives.ring {
		if i == item {
			negatives++
		}
	}
	return counted, negatives
}

// What one person does a thousand times with an item counts once, whatever else is done between.
func TestOnePersonIsCountedOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		others int
		before []Event
	}{
		"at once":      {0, nil},
		"among others": {100, nil},
		"after it was met and left, and refused": {3, []Event{
			{Strength: 0, Takes: true}, {Strength: -1, Takes: true},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := NewLearner(NewTable(Default()))
			sums, item := NewSums(l.table), l.table.Intern("bought")
			for n := range 50 { // of other people
				l.Gradients(
					&User{}, Event{Item: l.table.Intern(fmt.Sprint(n)), Strength: 1, Takes: true},
					sums,
				)
			}
			u := &User{}
			for _, e := range tc.before {
				e.Item = item
				l.Gradients(u, e, sums)
			}
			if counted, negatives := counts(l, sums, item); counted != 0 || negatives != 0 {
				t.Fatalf("counted %d times, %d times a negative before", counted, negatives)
			}
			for n := range 1000 {
				l.Gradients(u, Event{Item: item, Strength: 1, Takes: true, Seed: uint64(n)}, sums)
				for k := range tc.others {
					l.Gradients(u, Event{
						Item: l.table.Intern(fmt.Sprint("other ", k)), Strength: 1, Takes: true,
					}, sums)
				}
				if n%100 == 50 { // the state is stored and read in between
					data := u.Append(nil)
					*u = User{}
					if err := u.Decode(data); err != nil {
						t.Fatal(err)
					}
					if again := u.Append(nil); !bytes.Equal(again, data) {
						t.Fatalf("read and written again: %x, want %x", again, data)
					}
				}
			}
			if counted, negatives := counts(l, sums, item); counted != 1 || negatives != 1 {
				t.Errorf("counted %d times, %d times a negative", counted, negatives)
			}
			if got := int(u.Events); got != 1000*(1+tc.others) {
				t.Errorf("the user has %d events", got)
			}
		})
	}
}

// Events that do not take the item, as of music, are told by the history.
func TestOnePersonWhoListensAgainIsCountedOnce(t *testing.T) {
	t.Parallel()
	l := NewLearner(NewTable(Default()))
	item, u := l.table.Intern("song"), &User{}
	for range 1000 {
		l.Step(u, Event{Item: item, Strength: 1})
	}
	if n := l.table.Count(item); n != 1 {
		t.Errorf("counted %d times", n)
	}
	if n := len(l.table.negatives.ring); n != 1 {
		t.Errorf("%d times a negative", n)
	}
}

// What was positive once needs no mark, and a state without marks is as before.
func TestMarksOfWhatIsNotCounted(t *testing.T) {
	t.Parallel()
	l := NewLearner(NewTable(Default()))
	a, b, u := l.table.Intern("a"), l.table.Intern("b"), &User{}
	const tag = 6 // userUncounted
	marks := func() int {
		sections, err := ParseSections(u.Append(nil)[1:])
		if err != nil {
			t.Fatal(err)
		}
		body, _ := sections.Get(tag)
		return len(body)
	}
	for _, x := range []struct {
		e     Event
		marks int
	}{
		{Event{Item: a, Strength: 1, Takes: true}, 0},
		{Event{Item: a, Strength: -1, Takes: true}, 0},
		{Event{Item: b, Strength: -1, Takes: true}, 9},
		{Event{Item: b, Strength: -1, Takes: true}, 9},
		{Event{Item: b, Strength: 1, Takes: true}, 0},
	} {
		l.Step(u, x.e)
		if got := marks(); got != x.marks {
			t.Errorf("after %+v: %d bytes, want %d", x.e, got, x.marks)
		}
	}
	if l.table.Count(a) != 1 || l.table.Count(b) != 1 {
		t.Errorf("counts %d and %d", l.table.Count(a), l.table.Count(b))
	}
}
