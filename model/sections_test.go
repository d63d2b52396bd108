package model

import (
	"bytes"
	"errors"
	"testing"
)

func TestSectionsSurviveTheirBinaryForm(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte{7}, 300)
	w := BeginSections([]byte("before"))
	for tag, body := range [][]byte{{}, []byte("one"), long} {
		w.Begin(uint64(tag) * 1000)
		w.Buf = append(w.Buf, body...)
		w.End()
	}
	data, ok := bytes.CutPrefix(w.Buf, []byte("before"))
	if !ok {
		t.Fatalf("what stood before is gone: %q", w.Buf)
	}
	s, err := ParseSections(data)
	if err != nil || len(s) != 3 {
		t.Fatalf("%d sections, err = %v", len(s), err)
	}
	if body, err := s.Need(2000); err != nil || !bytes.Equal(body, long) {
		t.Errorf("section 2000: %d bytes, err = %v", len(body), err)
	}
	if body, ok := s.Get(0); !ok || len(body) != 0 {
		t.Errorf("section 0: %q, %v", body, ok)
	}
	if _, err := s.Need(3); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a section that is missing: err = %v", err)
	}

	rest := s.Except(1000)
	clear(data) // what is carried must not lie in the reader's buffer
	again := BeginSections(nil)
	again.Carry(rest)
	back, err := ParseSections(again.Buf)
	if err != nil || len(back) != 2 || back[0].Tag != 0 || back[1].Tag != 2000 {
		t.Fatalf("carried %v, err = %v", back, err)
	}
	if body, _ := back.Get(2000); !bytes.Equal(body, long) {
		t.Error("the carried body has changed")
	}
}

func TestBrokenSectionsAreCorrupt(t *testing.T) {
	t.Parallel()
	w := BeginSections(nil)
	w.Carry(Sections{{1, []byte("one")}, {200, []byte("two")}})
	for n := range w.Buf {
		if _, err := ParseSections(w.Buf[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d of %d bytes: err = %v", n, len(w.Buf), err)
		}
	}
	if _, err := ParseSections(append(bytes.Clone(w.Buf), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte too many: err = %v", err)
	}
	w.Carry(Sections{{1, nil}})
	if _, err := ParseSections(w.Buf); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a tag that stands twice: err = %v", err)
	}
}

func TestCheckVersionTellsNewerFromCorrupt(t *testing.T) {
	t.Parallel()
	v, body, err := CheckVersion([]byte{2, 9}, 3)
	if v != 2 || !bytes.Equal(body, []byte{9}) || err != nil {
		t.Errorf("an older version: %d, %v, %v", v, body, err)
	}
	for name, tc := range map[string]struct {
		data       []byte
		want, isnt error
	}{
		"newer":     {[]byte{4, 9}, ErrNewerFormat, ErrCorrupt},
		"version 0": {[]byte{0, 9}, ErrCorrupt, ErrNewerFormat},
		"empty":     {nil, ErrCorrupt, ErrNewerFormat},
	} {
		_, _, err := CheckVersion(tc.data, 3)
		if !errors.Is(err, tc.want) || errors.Is(err, tc.isnt) {
			t.Errorf("%s: err = %v", name, err)
		}
	}
}

func FuzzParseSections(f *testing.F) {
	w := BeginSections(nil)
	w.Carry(Sections{{1, []byte("one")}, {200, nil}})
	f.Add(w.Buf)
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSections(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("err = %v", err)
			}
			return
		}
		w := BeginSections(nil)
		w.Carry(s)
		back, err := ParseSections(w.Buf)
		if err != nil || len(back) != len(s) {
			t.Fatalf("%d sections back of %d, err = %v", len(back), len(s), err)
		}
		for i := range s {
			if back[i].Tag != s[i].Tag || !bytes.Equal(back[i].Body, s[i].Body) {
				t.Fatalf("section %d has changed", s[i].Tag)
			}
		}
	})
}
