package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"go/ast"
	"hash/fnv"
	"path/filepath"
	"slices"
	"strings"
)

// edit replaces the bytes from start to end of a file.
type edit struct {
	start, end int
	text       string
}

// mutant is a file of a package with one change, which may be several edits.
type mutant struct {
	pkg   *pkg
	file  *file
	unit  string // the word of the file
	fn    string // the function that is changed
	decl  *ast.FuncDecl
	kind  kind
	edits []edit // in order, apart from each other
	key   uint64 // orders the mutants
}

// kind names a change.
type kind string

const (
	leaseDropped     kind = "lease check dropped"
	effectsSwapped   kind = "two effects swapped"
	positionOff      kind = "position off by one"
	conditionNegated kind = "condition negated"
	operandDropped   kind = "part of a condition dropped"
	boundaryMoved    kind = "boundary moved"
	operatorSwapped  kind = "operator swapped"
	returnDropped    kind = "early return removed"
	errorIgnored     kind = "error ignored"
	jumpDropped      kind = "continue or break dropped"
	statementDropped kind = "statement dropped"
	constantChanged  kind = "constant changed"
)

// line is where the change begins, counted from 1.
func (m *mutant) line() int { return m.file.line(m.edits[0].start) }

func (f *file) line(offset int) int { return 1 + strings.Count(string(f.source[:offset]), "\n") }

func (m *mutant) name() string {
	file := filepath.Base(m.file.path)
	return fmt.Sprintf("%s:%d %s: %s%s", file, m.line(), m.fn, m.kind, m.detail())
}

// detail tells mutants of one kind and line apart.
func (m *mutant) detail() string {
	e := m.edits[0]
	old := string(m.file.source[e.start:e.end])
	switch {
	case len(m.edits) > 1:
		return fmt.Sprintf(" (moved behind line %d)", m.file.line(m.edits[1].start))
	case strings.Contains(old+e.text, "\n"):
		return ""
	case e.text == "":
		return ": " + old
	default:
		return fmt.Sprintf(": %s → %s", old, e.text)
	}
}

// source returns the changed file.
func (m *mutant) source() []byte { return apply(m.file.source, m.edits) }

// diff shows the changed lines, those before with a minus and those after with a plus.
func (m *mutant) diff() string {
	var out strings.Builder
	for _, e := range m.edits {
		source := string(m.file.source)
		from := strings.LastIndex(source[:e.start], "\n") + 1
		to := len(source)
		if n := strings.Index(source[e.end:], "\n"); n >= 0 {
			to = e.end + n
		}
		show(&out, "- ", source[from:to])
		show(&out, "+ ", source[from:e.start]+e.text+source[e.end:to])
	}
	return out.String()
}

func show(out *strings.Builder, mark, lines string) {
	for line := range strings.SplitSeq(lines, "\n") {
		if strings.TrimSpace(line) != "" {
			fmt.Fprintf(out, "  %s%s\n", mark, strings.TrimRight(line, " \t"))
		}
	}
}

// demanded are the kinds of which every mutant runs, up to a share of the count.
var demanded = []struct {
	kind  kind
	share float64
}{{leaseDropped, 0.1}, {effectsSwapped, 0.15}, {positionOff, 0.2}}

// choose returns mutants that compile, and how many it passed over that do not. The demanded kinds
// come first; the rest is drawn from the words in turn, so that a long file does not count for all.
func choose(packages []*pkg, opt options) (chosen []*mutant, broken int, err error) {
	byKind := make(map[kind][]*mutant)
	byUnit := make(map[string][]*mutant)
	taken := make(map[*mutant]bool)
	for _, p := range packages {
		for _, f := range p.files {
			if unit := f.unit(opt.units); unit != "" {
				for _, m := range mutations(p, f) {
					m.unit = unit
					byKind[m.kind] = append(byKind[m.kind], m)
					byUnit[unit] = append(byUnit[unit], m)
				}
			}
		}
	}
	for _, unit := range opt.units {
		if len(byUnit[unit]) == 0 {
			return nil, 0, fmt.Errorf("nothing to mutate in %q", unit)
		}
		order(byUnit[unit], opt.seed)
	}
	take := func(m *mutant) bool {
		if taken[m] {
			return false
		}
		taken[m] = true
		if !m.pkg.compiles(m.file, m.source()) {
			broken++
			return false
		}
		chosen = append(chosen, m)
		return true
	}
	for _, d := range demanded {
		all := byKind[d.kind]
		order(all, opt.seed)
		left := int(d.share * float64(opt.count))
		for _, m := range all {
			if left > 0 && take(m) {
				left--
			}
		}
		if left == int(d.share*float64(opt.count)) && left > 0 {
			return nil, broken, fmt.Errorf("no mutant is a %s: has the code changed?", d.kind)
		}
	}
	for more := true; more && len(chosen) < opt.count; {
		more = false
		for _, unit := range opt.units {
			for len(byUnit[unit]) > 0 && len(chosen) < opt.count {
				m := byUnit[unit][0]
				byUnit[unit] = byUnit[unit][1:]
				if take(m) {
					more = true
					break
				}
			}
		}
	}
	if len(chosen) < opt.count {
		return nil, broken, fmt.Errorf("%d mutants compile, %d are wanted", len(chosen), opt.count)
	}
	return chosen, broken, nil
}

// order sorts mutants by a hash of the seed and of what they change, not of where it stands.
func order(all []*mutant, seed uint64) {
	same := make(map[uint64]uint64)
	for _, m := range all {
		h := fnv.New64a()
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, seed))
		_, _ = fmt.Fprint(h, m.fn, "\x00", m.kind)
		for _, e := range m.edits {
			_, _ = fmt.Fprint(h, "\x00", string(m.file.source[e.start:e.end]), "\x00", e.text)
		}
		// The same change at two places of a function: the second goes elsewhere.
		sum := h.Sum64()
		m.key = scatter(sum + same[sum])
		same[sum]++
	}
	slices.SortStableFunc(all, func(a, b *mutant) int { return cmp.Compare(a.key, b.key) })
}

// scatter spreads neighbouring numbers (the finaliser of splitmix64).
func scatter(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
