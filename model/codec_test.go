package model

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestUserSurvivesItsBinaryForm(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 50, 5, 500, now)
	for _, u := range append(w.users, &User{}) {
		data := u.Append(nil)
		var back User
		if err := back.Decode(data); err != nil {
			t.Fatal(err)
		}
		if got := back.Append(nil); !bytes.Equal(got, data) {
			t.Errorf("second form differs: %d bytes, %d bytes", len(got), len(data))
		}
		for i := range Index(w.table.Cap()) {
			if key := w.table.Key(i); back.Seen(key) != u.Seen(key) {
				t.Errorf("seen %q = %v after decoding", w.table.ID(i), back.Seen(key))
			}
		}
	}
}

func TestRowSurvivesItsBinaryForm(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 50, 5, 500, now)
	back := NewTable(small())
	for i := range Index(w.table.Cap()) {
		if _, err := back.LoadRow(w.table.ID(i), w.table.AppendRow(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if back.Len() != w.table.Len() || back.Total() != w.table.Total() {
		t.Errorf(
			"%d rows, total %v; want %d, %v", back.Len(), back.Total(), w.table.Len(),
			w.table.Total(),
		)
	}
	got, want := make([]float32, 17), make([]float32, 17)
	for i := range Index(w.table.Cap()) {
		j := back.Lookup(w.table.Key(i))
		back.Vector(j, got)
		w.table.Vector(i, want)
		if fmt.Sprint(got) != fmt.Sprint(want) || back.ID(j) != w.table.ID(i) ||
			back.IsFeature(j) != w.table.IsFeature(i) {
			t.Errorf("row %q differs after decoding", w.table.ID(i))
		}
	}
}

func TestRowOfAnotherModelIsRefused(t *testing.T) {
	t.Parallel()
	other := small()
	other.Dim = 24
	a, b := NewTable(small()), NewTable(other)
	if _, err := b.LoadRow("x", a.AppendRow(nil, a.Intern("x"))); err == nil ||
		b.Lookup(KeyOf("x")) != None {
		t.Errorf("err = %v, %d rows", err, b.Len())
	}
}

func TestSumsTravel(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		precision Precision
		tolerance float64
	}{"full": {Full, 1e-6}, "half": {Half, 1e-4}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(small(), 50, 5, 500, now)
			sums := NewSums(w.table)
			for range 40 {
				u, e := w.event()
				w.Gradients(u, e, sums)
			}
			owner := NewTable(small())
			for i := range Index(w.table.Cap()) {
				if _, err := owner.LoadRow(w.table.ID(i), w.table.AppendRow(nil, i)); err != nil {
					t.Fatal(err)
				}
			}
			merged := NewSums(owner)
			for part := range 3 { // three messages, by the last digit of the id
				message := sums.Pack(
					nil, tc.precision, func(id string) bool { return int(id[len(id)-1])%3 == part },
				)
				if err := merged.Merge(message); err != nil {
					t.Fatal(err)
				}
			}
			if merged.Len() != sums.Len() {
				t.Errorf("%d rows arrived of %d", merged.Len(), sums.Len())
			}
			w.table.Apply(sums)
			owner.Apply(merged)
			for i := range Index(w.table.Cap()) {
				j := owner.Lookup(w.table.Key(i))
				for k, want := range w.table.row(i) {
					if got := owner.row(j)[k]; math.Abs(float64(got-want)) > tc.tolerance {
						t.Fatalf("row %q [%d] = %v, want %v", w.table.ID(i), k, got, want)
					}
				}
			}
		})
	}
}

func TestBrokenSumsAddNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 50, 5, 500, now)
	sums := NewSums(w.table)
	for range 5 {
		u, e := w.event()
		w.Gradients(u, e, sums)
	}
	message := sums.Pack(nil, Full, nil)
	into := NewSums(NewTable(small()))
	for n := range message {
		if err := into.Merge(message[:n]); err == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(message))
		}
	}
	if made := into.table.Len() - len(into.table.units); into.Len() != 0 || made != 0 {
		t.Errorf("%d rows added, %d made", into.Len(), made)
	}
}

func seed(f *testing.F, name string) []byte {
	f.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		f.Fatal(err)
	}
	return data
}

func FuzzSumsMerge(f *testing.F) {
	w := newWorld(small(), 50, 2, 100, now)
	sums := NewSums(w.table)
	for range 3 {
		u, e := w.event()
		w.Gradients(u, e, sums)
	}
	f.Add(sums.Pack(nil, Full, nil))
	f.Add(sums.Pack(nil, Half, nil))
	f.Add(seed(f, "sums_full.v1.golden"))
	f.Add(seed(f, "sums_half.v1.golden"))
	f.Add([]byte{sumsVersion + 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		table := NewTable(small())
		sums := NewSums(table)
		if sums.Merge(data) != nil {
			return
		}
		table.Apply(sums)
		for _, i := range sums.Rows() {
			for _, x := range table.row(i) {
				if !finite(x) {
					t.Fatalf("row %q holds %v", table.ID(i), x)
				}
			}
		}
	})
}

func FuzzRowLoad(f *testing.F) {
	w := newWorld(small(), 50, 2, 100, now)
	f.Add(w.table.AppendRow(nil, 3))
	f.Add(w.table.AppendRow(nil, 3, Section{1000, []byte("future")}))
	f.Add(seed(f, "factors.v1.golden"))
	f.Add([]byte{rowVersion + 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		table := NewTable(small())
		i, err := table.LoadRow("x", data)
		if err != nil {
			return
		}
		if _, err := NewTable(small()).LoadRow("x", table.AppendRow(nil, i)); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

func TestMergeWhereLeavesTheRestOut(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 50, 5, 500, now)
	sums := NewSums(w.table)
	for range 20 {
		u, e := w.event()
		w.Gradients(u, e, sums)
	}
	want := func(id string) bool { return id[len(id)-1] == '3' }
	into, expect := NewSums(NewTable(small())), NewSums(NewTable(small()))
	wantCounted := func(id string, _ uint32) bool { return want(id) }
	if err := into.MergeWhere(sums.Pack(nil, Full, nil), wantCounted); err != nil {
		t.Fatal(err)
	}
	if err := expect.Merge(sums.Pack(nil, Full, want)); err != nil {
		t.Fatal(err)
	}
	equal := string(into.Pack(nil, Full, nil)) == string(expect.Pack(nil, Full, nil))
	if !equal || into.Len() == 0 {
		t.Errorf("%d rows merged, want %d, bytes equal: %v", into.Len(), expect.Len(), equal)
	}
}
