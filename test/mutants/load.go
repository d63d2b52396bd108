package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pkg is a package with its types.
type pkg struct {
	path  string
	fset  *token.FileSet
	files []*file
	info  *types.Info
	types *types.Package
	// imports finds the compiled form of every package that this one needs.
	imports types.Importer
}

// file is one source file of a package, without tests.
type file struct {
	path   string
	source []byte
	syntax *ast.File
}

// listed is what the go command says of a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	DepOnly                 bool
}

// load reads the packages of a pattern, with types. The go command compiles what they import.
func load(ctx context.Context, dir, pattern string) ([]*pkg, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-export", "-deps",
		"-json=ImportPath,Dir,Export,GoFiles,DepOnly", pattern)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w\n%s", pattern, err, stderr.String())
	}
	exports := make(map[string]string)
	var roots []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		exports[l.ImportPath] = l.Export
		if !l.DepOnly {
			roots = append(roots, l)
		}
	}
	packages := make([]*pkg, 0, len(roots))
	for _, l := range roots {
		p, err := parse(l, exports)
		if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
	return packages, nil
}

func parse(l listed, exports map[string]string) (*pkg, error) {
	p := &pkg{path: l.ImportPath, fset: token.NewFileSet()}
	p.imports = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	for _, name := range l.GoFiles {
		path := filepath.Join(l.Dir, name)
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		syntax, err := parser.ParseFile(p.fset, path, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, &file{path: path, source: source, syntax: syntax})
	}
	p.info = &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue), Uses: make(map[*ast.Ident]types.Object),
		Defs:       make(map[*ast.Ident]types.Object),
		Selections: make(map[*ast.SelectorExpr]*types.Selection),
	}
	var err error
	p.types, err = (&types.Config{Importer: p.imports}).Check(p.path, p.fset, p.syntax(), p.info)
	return p, err
}

func (p *pkg) offset(pos token.Pos) int { return p.fset.Position(pos).Offset }

func (p *pkg) syntax() []*ast.File {
	out := make([]*ast.File, len(p.files))
	for i, f := range p.files {
		out[i] = f.syntax
	}
	return out
}

// compiles tells whether the package still has right types, with no unused name, when the source of
// one file is another.
func (p *pkg) compiles(changed *file, source []byte) bool {
	syntax, err := parser.ParseFile(p.fset, changed.path, source, parser.SkipObjectResolution)
	if err != nil {
		return false
	}
	files := p.syntax()
	for i, f := range p.files {
		if f == changed {
			files[i] = syntax
		}
	}
	_, err = (&types.Config{Importer: p.imports}).Check(p.path, p.fset, files, nil)
	return err == nil
}

// unit returns the word that a file belongs to: the one its name begins with, or the type of that
// name whose declaration or methods it holds; so a file may be split or renamed.
func (f *file) unit(words []string) string {
	for _, word := range words {
		if strings.HasPrefix(filepath.Base(f.path), word) {
			return word
		}
	}
	for _, decl := range f.syntax.Decls {
		for _, word := range words {
			if declares(decl, word) {
				return word
			}
		}
	}
	return ""
}

// declares tells whether a declaration is a type of that name, in any case, or a method of it.
func declares(decl ast.Decl, word string) bool {
	switch d := decl.(type) {
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if t, ok := spec.(*ast.TypeSpec); ok && strings.EqualFold(t.Name.Name, word) {
				return true
			}
		}
	case *ast.FuncDecl:
		return strings.EqualFold(receiver(d), word)
	}
	return false
}

// receiver returns the name of a method's type, empty for a function.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return ""
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}
