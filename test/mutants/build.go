package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Building each mutant would take ten times as long as testing it. So all are in one test binary:
// each mutant is a copy of its function, which the function calls when the environment names the
// mutant's number.

// variable names the mutant that is alive, by its number from 1; without it none is.
const variable = "MUTANT"

const chooser = `package %s

import (
	"os"
	"strconv"
)

var mutantAlive = func() int { n, _ := strconv.Atoi(os.Getenv(%q)); return n }()
`

// build compiles the tests of packages with all mutants in them, into dir. The tree is not touched:
// the go command reads the changed files through an overlay.
func build(
	ctx context.Context, root, dir string, packages []*pkg, chosen []*mutant,
) ([]testBinary, error) {
	replace := make(map[string]string)
	write := func(path string, source []byte) error {
		copied := filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		replace[path] = copied
		return os.WriteFile(copied, source, 0o600)
	}
	var binaries []testBinary
	for i, p := range packages {
		folder := filepath.Dir(p.files[0].path)
		name := filepath.Join(folder, "mutant_alive.go")
		if err := write(name, fmt.Appendf(nil, chooser, p.types.Name(), variable)); err != nil {
			return nil, err
		}
		for _, f := range p.files {
			if err := write(f.path, p.instrument(f, chosen)); err != nil {
				return nil, err
			}
		}
		binaries = append(binaries, testBinary{filepath.Join(dir, strconv.Itoa(i)+".test"), folder})
	}
	v, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return nil, err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, v, 0o600); err != nil {
		return nil, err
	}
	for i, p := range packages {
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off",
			"-overlay", overlay, "-o", binaries[i].path, p.path)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the tests of %s with mutants: %w\n%s", p.path, err, out)
		}
	}
	return slices.DeleteFunc(binaries, func(b testBinary) bool {
		_, err := os.Stat(b.path)
		return errors.Is(err, fs.ErrNotExist) // a package without tests
	}), nil
}

// instrument returns a file with its mutants among those chosen.
func (p *pkg) instrument(f *file, chosen []*mutant) []byte {
	byFunc := make(map[*ast.FuncDecl][]int)
	for i, m := range chosen {
		if m.file == f {
			byFunc[m.decl] = append(byFunc[m.decl], i)
		}
	}
	var edits []edit
	var copies bytes.Buffer
	for decl, indexes := range byFunc {
		call, named := p.call(decl)
		edits = append(edits, named...)
		var choice strings.Builder
		choice.WriteString("\nswitch mutantAlive {\n")
		for _, i := range indexes {
			name := fmt.Sprintf("%sMutant%d", decl.Name.Name, i+1)
			fmt.Fprintf(&choice, "case %d:\n%s\n", i+1, fmt.Sprintf(call, name))
			copies.WriteString("\n")
			copies.Write(p.copied(f, decl, name, chosen[i].edits))
			copies.WriteString("\n")
		}
		choice.WriteString("}\n")
		at := p.offset(decl.Body.Lbrace) + 1
		edits = append(edits, edit{at, at, choice.String()})
	}
	return append(apply(f.source, edits), copies.Bytes()...)
}

// copied returns a function under another name, with edits, whose places count from the start of
// the file.
func (p *pkg) copied(f *file, decl *ast.FuncDecl, name string, edits []edit) []byte {
	from, to := p.offset(decl.Pos()), p.offset(decl.End())
	moved := []edit{{p.offset(decl.Name.Pos()) - from, p.offset(decl.Name.End()) - from, name}}
	for _, e := range edits {
		moved = append(moved, edit{e.start - from, e.end - from, e.text})
	}
	return apply(f.source[from:to], moved)
}

// call returns the statements by which a function hands its own call on, with %s for the name, and
// the edits that name what has no name among its parameters.
func (p *pkg) call(decl *ast.FuncDecl) (string, []edit) {
	var args, receivers []string
	var edits []edit
	collect := func(list *ast.FieldList, names *[]string) {
		for _, field := range list.List {
			rest := ""
			if _, ok := field.Type.(*ast.Ellipsis); ok {
				rest = "..."
			}
			if len(field.Names) == 0 {
				name := fmt.Sprintf("mutantArg%d", p.offset(field.Pos()))
				at := p.offset(field.Type.Pos())
				edits = append(edits, edit{at, at, name + " "})
				*names = append(*names, name+rest)
			}
			for _, n := range field.Names {
				name := n.Name
				if name == "_" {
					name = fmt.Sprintf("mutantArg%d", p.offset(n.Pos()))
					edits = append(edits, edit{p.offset(n.Pos()), p.offset(n.End()), name})
				}
				*names = append(*names, name+rest)
			}
		}
	}
	call := "%s"
	if decl.Recv != nil {
		collect(decl.Recv, &receivers)
		call = receivers[0] + ".%s"
	}
	collect(decl.Type.Params, &args)
	call += "(" + strings.Join(args, ", ") + ")"
	if decl.Type.Results != nil {
		return "return " + call, edits
	}
	return call + "\nreturn", edits
}

// apply makes edits that do not overlap, in any order.
func apply(source []byte, edits []edit) []byte {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(out, source[at:e.start]...)
		out = append(out, e.text...)
		at = e.end
	}
	return append(out, source[at:]...)
}
