package model

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// requireGolden compares with a file of the newest version, which -update writes anew.
func requireGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := golden(t, name); !bytes.Equal(got, want) {
		t.Errorf("%s: the bytes have changed:\n%x, want\n%x", name, got, want)
	}
}

// The files of version 1 were written by the last program that wrote it, and nothing writes them
// anew: the log holds such factors.
func TestGoldenFactors(t *testing.T) {
	t.Parallel()
	ids := map[string]string{"factors": "item7", "factors_feature": FeatureID("genre:1")}
	for name, id := range ids {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, version := range []string{".v1.golden", ".v2.golden"} {
				data := golden(t, name+version)
				if data[0] != version[2]-'0' {
					t.Fatalf("%s is of version %d", version, data[0])
				}
				table := NewTable(small())
				i, err := table.LoadRow(id, data)
				if err != nil {
					t.Fatal(err)
				}
				again := table.AppendRow(nil, i)
				requireGolden(t, name+".v2.golden", again)
				old := golden(t, name+".v1.golden")
				sections, err := ParseSections(again[1:])
				if err != nil {
					t.Fatal(err)
				}
				numbers, _ := sections.Get(rowNumbers)
				features, _ := sections.Get(rowFeatures)
				if len(features) == 0 {
					features = []byte{0}
				}
				if !bytes.Equal(append(bytes.Clone(numbers), features...), old[1:]) {
					t.Error("version 2 holds other values than version 1")
				}
			}
		})
	}
}

func TestGoldenSums(t *testing.T) {
	t.Parallel()
	for name, precision := range map[string]Precision{"sums_full": Full, "sums_half": Half} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sums := NewSums(NewTable(small()))
			if err := sums.Merge(golden(t, "sums_full.v1.golden")); err != nil {
				t.Fatal(err)
			}
			packed := sums.Pack(nil, precision, nil)
			requireGolden(t, name+".v2.golden", packed)
			old := golden(t, name+".v1.golden")
			if rows, err := rowsOf(packed); err != nil || !bytes.Equal(rows, old[1:]) {
				t.Errorf("version 2 holds other rows than version 1: err = %v", err)
			}
			var read [][]byte
			for _, message := range [][]byte{old, packed} {
				into := NewSums(NewTable(small()))
				if err := into.Merge(message); err != nil {
					t.Fatal(err)
				}
				read = append(read, into.Pack(nil, Full, nil))
			}
			if !bytes.Equal(read[0], read[1]) {
				t.Error("version 2 reads other than version 1")
			}
		})
	}
}

// A newer program adds sections: a new kind of block, or something of its caller's. This one reads
// the rest as ever.
func TestUnknownSectionsAreSkipped(t *testing.T) {
	t.Parallel()
	plain, err := ParseSections(golden(t, "sums_full.v2.golden")[1:])
	if err != nil {
		t.Fatal(err)
	}
	for _, sections := range []Sections{
		append(Sections{{FirstCallerTag, []byte("where from")}, {9, []byte("blocks")}}, plain...),
		append(plain.Except(), Section{5000, nil}),
	} {
		w := BeginSections([]byte{sumsVersion})
		w.Carry(sections)
		into, want := NewSums(NewTable(small())), NewSums(NewTable(small()))
		old := golden(t, "sums_full.v1.golden")
		if err := errors.Join(into.Merge(w.Buf), want.Merge(old)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(into.Pack(nil, Full, nil), want.Pack(nil, Full, nil)) {
			t.Error("the sums differ")
		}
	}

	table := NewTable(small())
	i, err := table.LoadRow("item7", golden(t, "factors.v1.golden"))
	if err != nil {
		t.Fatal(err)
	}
	more := table.AppendRow(nil, i, Section{9, []byte("blocks")}, Section{FirstCallerTag, nil})
	other := NewTable(small())
	j, err := other.LoadRow("item7", more)
	if err != nil {
		t.Fatal(err)
	}
	if got := other.AppendRow(nil, j); !bytes.Equal(got, golden(t, "factors.v2.golden")) {
		t.Error("the factors differ")
	}
}

func TestPackEachFramesEveryMessage(t *testing.T) {
	t.Parallel()
	sums := NewSums(NewTable(small()))
	if err := sums.Merge(golden(t, "sums_full.v1.golden")); err != nil {
		t.Fatal(err)
	}
	frame := Frame{
		Prefix:   []byte("marker"),
		Sections: Sections{{FirstCallerTag + 3, []byte("where from")}},
	}
	owner := func(id string) int { return len(id) % 3 }
	into, messages := NewSums(NewTable(small())), 0
	for k, message := range sums.PackEach(Full, 4, owner, frame) {
		if message == nil {
			continue
		}
		messages++
		data, ok := bytes.CutPrefix(message, frame.Prefix)
		if !ok || data[0] != sumsVersion {
			t.Fatalf("message %d begins with %q", k, message[:8])
		}
		sections, err := ParseSections(data[1:])
		if err != nil {
			t.Fatal(err)
		}
		body, err := sections.Need(FirstCallerTag + 3)
		if err != nil || string(body) != "where from" {
			t.Errorf("message %d: %q, err = %v", k, body, err)
		}
		if err := into.Merge(data); err != nil {
			t.Fatal(err)
		}
		if room := cap(message) - len(message); room > 8*len(sums.Rows())+64 {
			t.Errorf("message %d: %d bytes, %d to spare", k, len(message), room)
		}
	}
	if messages < 2 || into.Len() != sums.Len() {
		t.Errorf("%d messages with %d rows, want %d", messages, into.Len(), sums.Len())
	}
}

func TestUnreadableFormsHaveAClass(t *testing.T) {
	t.Parallel()
	decoders := map[string]func([]byte) error{
		"sums_full": func(b []byte) error { return NewSums(NewTable(small())).Merge(b) },
		"factors": func(b []byte) error {
			_, err := NewTable(small()).LoadRow("item7", b)
			return err
		},
	}
	for name, decode := range decoders {
		for _, version := range []string{".v1.golden", ".v2.golden"} {
			data := golden(t, name+version)
			for n := range data {
				if err := decode(data[:n]); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%s%s: %d of %d bytes: err = %v", name, version, n, len(data), err)
				}
			}
			if err := decode(append(bytes.Clone(data), 1)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s%s: a byte too many: err = %v", name, version, err)
			}
			newer := append([]byte{3}, data[1:]...)
			err := decode(newer)
			if !errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrCorrupt) ||
				!strings.Contains(err.Error(), "version 3") {
				t.Errorf("%s: a newer version: err = %v", name, err)
			}
		}
	}
	// The rows of a message hold V, P and T, or it is of a newer version.
	rows, err := rowsOf(golden(t, "sums_full.v2.golden"))
	if err != nil {
		t.Fatal(err)
	}
	const precision, firstID = 0, 3
	for at, b := range map[int]byte{precision: 2, firstID + 1 + int(rows[firstID]): 8} {
		broken := bytes.Clone(rows)
		broken[at] = b
		w := BeginSections([]byte{sumsVersion})
		w.Carry(Sections{{sumsRows, broken}})
		if err := decoders["sums_full"](w.Buf); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d is %d: err = %v", at, b, err)
		}
	}
}
