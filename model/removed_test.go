package model

import "testing"

// Sums of a row that was removed must not move the row that has its index now.
func TestSumsOfARemovedRowAreNotThoseOfTheNext(t *testing.T) {
	t.Parallel()
	table := NewTable(small())
	sums := NewSums(table)
	old := table.Intern("old")
	sums.addCount(old, 3)
	table.Remove(old)
	next := table.Intern("next")
	if next != old {
		t.Fatal("the index is not reused")
	}
	if b := sums.Pack(nil, Full, nil); b != nil {
		t.Errorf("%d bytes of the removed row were packed", len(b))
	}
	table.Apply(sums)
	if n := table.Count(next); n != 0 {
		t.Errorf("the next row has %d events of the removed one", n)
	}
	sums.addCount(next, 1)
	table.Apply(sums)
	if n := table.Count(next); n != 1 {
		t.Errorf("the next row has %d events, want its own", n)
	}
}
