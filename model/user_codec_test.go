package model

import (
	"bytes"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files of the newest formats anew")

// goldenUser is the user in testdata/user.v*.golden.
func goldenUser() *User {
	u := &User{
		History: []Taken{
			{Key: KeyOf("film-1"), Weight: 1, At: 1_700_000_000},
			{Key: KeyOf("film-2"), Weight: 0.25},
			{Key: KeyOf("film-1"), Weight: 4.5, At: 1_700_000_060},
		},
		W: []float32{0.5, -0.25, 1e-7, 3}, AccW: 0.75, Events: 300,
	}
	for _, id := range []string{"film-1", "film-2", "film-9"} {
		u.MarkSeen(KeyOf(id), 100)
	}
	return u
}

func golden(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The files of version 1 were written by the last program that wrote it, and nothing writes them
// anew: stores hold such states.
func TestGoldenUsers(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]*User{"user": goldenUser(), "user_empty": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if *update {
				data := want.Append(nil)
				file := filepath.Join("testdata", name+".v2.golden")
				if err := os.WriteFile(file, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			newest := golden(t, name+".v2.golden")
			if got := want.Append(nil); !bytes.Equal(got, newest) {
				t.Errorf("the bytes have changed:\n%x, want\n%x", got, newest)
			}
			for _, version := range []string{".v1", ".v2"} {
				var got User
				if err := got.Decode(golden(t, name+version+".golden")); err != nil {
					t.Fatal(version, err)
				}
				if !reflect.DeepEqual(got.History, want.History) ||
					!reflect.DeepEqual(got.W, want.W) ||
					got.AccW != want.AccW ||
					got.Events != want.Events ||
					!reflect.DeepEqual(got.AppendSeen(nil), want.AppendSeen(nil)) {
					t.Errorf("%s is %+v, want %+v", version, got, *want)
				}
				if again := got.Append(nil); !bytes.Equal(again, newest) {
					t.Errorf("%s is written as\n%x, want\n%x", version, again, newest)
				}
			}
		})
	}
}

// A newer program adds a section. This one learns from an event and writes the state back: the
// section must be there still.
func TestUnknownSectionSurvivesLearning(t *testing.T) {
	t.Parallel()
	const tag = 1000
	w := newWorld(small(), 50, 1, 100, now)
	w.users[0].unknown = Sections{{tag, []byte("from the future")}}
	data := w.users[0].Append(nil)
	u := &User{}
	if err := u.Decode(data); err != nil {
		t.Fatal(err)
	}
	clear(data)
	sums := NewSums(w.table)
	before := u.Events
	w.Gradients(u, Event{Item: w.table.Lookup(KeyOf("item3")), Strength: 1, Takes: true}, sums)
	if u.Events != before+1 {
		t.Fatalf("%d events, want %d", u.Events, before+1)
	}
	sections, err := ParseSections(u.Append(nil)[1:])
	if err != nil {
		t.Fatal(err)
	}
	if body, ok := sections.Get(tag); !ok || string(body) != "from the future" {
		t.Errorf("the section is %q, %v", body, ok)
	}
}

func TestUndecodableUserHasAClass(t *testing.T) {
	t.Parallel()
	good := goldenUser().Append(nil)
	sections, err := ParseSections(good[1:])
	if err != nil {
		t.Fatal(err)
	}
	form := func(s Sections) []byte {
		w := BeginSections([]byte{userVersion})
		w.Carry(s)
		return w.Buf
	}
	cases := map[string]struct {
		data []byte
		want error
	}{
		"newer":   {append([]byte{userVersion + 1}, good[1:]...), ErrNewerFormat},
		"newest":  {[]byte{math.MaxUint8}, ErrNewerFormat},
		"nothing": {nil, ErrCorrupt},
		"zero":    {make([]byte, 40), ErrCorrupt},
		"text":    {[]byte("\x01undefined"), ErrCorrupt},
	}
	for _, tag := range []uint64{userCounters, userHistory, userSeen} {
		cases["without "+string(rune('0'+tag))] = struct {
			data []byte
			want error
		}{form(sections.Except(tag)), ErrCorrupt}
	}
	for i, s := range sections {
		broken := append(Sections(nil), sections...)
		broken[i].Body = append(bytes.Clone(s.Body), 1)
		cases["long "+string(rune('0'+s.Tag))] = struct {
			data []byte
			want error
		}{form(broken), ErrCorrupt}
		broken = append(Sections(nil), sections...)
		broken[i].Body = s.Body[:len(s.Body)-1]
		cases["short "+string(rune('0'+s.Tag))] = struct {
			data []byte
			want error
		}{form(broken), ErrCorrupt}
	}
	for name, tc := range cases {
		u := goldenUser()
		if err := u.Decode(tc.data); !errors.Is(err, tc.want) {
			t.Errorf("%s: err = %v, want %v", name, err, tc.want)
		}
		if !bytes.Equal(u.Append(nil), good) {
			t.Errorf("%s: the user has changed", name)
		}
	}
	for _, data := range [][]byte{good, golden(t, "user.v1.golden")} {
		for n := range data {
			if err := (&User{}).Decode(data[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d of %d bytes of version %d: err = %v", n, len(data), data[0], err)
			}
		}
	}
}

func FuzzUserDecode(f *testing.F) {
	w := newWorld(small(), 50, 2, 100, now)
	f.Add(w.users[0].Append(nil))
	f.Add((&User{}).Append(nil))
	f.Add((&User{unknown: Sections{{1000, []byte("future")}}}).Append(nil))
	f.Add([]byte{userVersion + 1, 0})
	for _, name := range []string{"user.v1.golden", "user_empty.v1.golden"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		u := &User{}
		if err := u.Decode(data); err != nil {
			if errors.Is(err, ErrNewerFormat) == errors.Is(err, ErrCorrupt) {
				t.Fatalf("an error of no class, or of two: %v", err)
			}
			return
		}
		again := u.Append(nil)
		var back User
		if err := back.Decode(again); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !bytes.Equal(back.Append(nil), again) {
			t.Fatal("the second form differs")
		}
		w := newWorld(small(), 50, 0, 0, now)
		w.Step(u, Event{Item: 1, Strength: 1, Takes: true})
		q := make([]float32, w.cfg.Dim+1)
		w.Query(u, q)
		if !finite(dotGo(q, q)) {
			t.Fatalf("query %v", q)
		}
	})
}

// Labels stand beside the history that they were written with. An older program changes the history
// and carries them along: then they say nothing.
func TestLabelsOfTheHistory(t *testing.T) {
	t.Parallel()
	u := goldenUser()
	u.History[0].Label, u.History[2].Label = 7, 1<<31
	data := u.Append(nil)
	var got User
	if err := got.Decode(data); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.History, u.History) {
		t.Errorf("the history is %+v, want %+v", got.History, u.History)
	}
	if again := got.Append(nil); !bytes.Equal(again, data) {
		t.Errorf("it is written as\n%x, want\n%x", again, data)
	}

	sections, err := ParseSections(data[1:])
	if err != nil {
		t.Fatal(err)
	}
	labels, ok := sections.Get(userLabels)
	if !ok {
		t.Fatal("there are no labels")
	}
	older := goldenUser()
	older.History = older.History[1:]
	older.History = append(older.History, Taken{Key: KeyOf("film-3"), Weight: 1})
	older.unknown = Sections{{userLabels, labels}}
	got = User{}
	if err := got.Decode(older.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.History, older.History) {
		t.Errorf("the history is %+v, want %+v", got.History, older.History)
	}
	if len(got.unknown) != 0 {
		t.Error("the labels of another history are carried along")
	}
}

func TestNewestWordOnAnItem(t *testing.T) {
	t.Parallel()
	w := newWorld(small(), 50, 1, 100, now)
	u := &User{}
	item := w.table.Lookup(KeyOf("item3"))
	learn := func(e Event) {
		e.Item = item
		w.Gradients(u, e, NewSums(w.table))
	}
	labels := func() (out []uint32) {
		for _, h := range u.History {
			out = append(out, h.Label)
		}
		return out
	}
	learn(Event{Strength: 0.5, Label: 1})
	if u.Seen(KeyOf("item3")) {
		t.Error("an event that does not take the item hides it")
	}
	learn(Event{Strength: 1, Takes: true, Label: 2})
	if got := labels(); !reflect.DeepEqual(got, []uint32{1, 2}) || !u.Seen(KeyOf("item3")) {
		t.Errorf("labels %v, seen %v", got, u.Seen(KeyOf("item3")))
	}
	learn(Event{Strength: 0, Takes: true, Label: 3, Retracts: true})
	if got := labels(); !reflect.DeepEqual(got, []uint32{3, 3}) || u.Events != 2 {
		t.Errorf("labels %v, %d events", got, u.Events)
	}
	learn(Event{Strength: 1, Takes: true, Label: 4})
	if got := labels(); !reflect.DeepEqual(got, []uint32{3, 3, 4}) {
		t.Errorf("labels %v", got)
	}
}
