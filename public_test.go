package slipstream_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPublicSignaturesNameNoInternalPackage: whoever uses a public package from another module must
// be able to name what it takes and returns. Public is what is not under internal, cmd or test.
func TestPublicSignaturesNameNoInternalPackage(t *testing.T) {
	t.Parallel()
	files := 0
	for file, source := range goFiles(t) {
		if !isPublic(filepath.ToSlash(file)) {
			continue
		}
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, file, source, parser.SkipObjectResolution)
		require.NoError(t, err)
		if syntax.Name.Name == "main" {
			continue
		}
		files++
		for _, found := range internalMentions(fset, syntax) {
			t.Error(found)
		}
	}
	require.Greater(t, files, 50, "files were looked at")
}

func isPublic(file string) bool {
	if strings.HasSuffix(file, "_test.go") || within(file, "cmd") || within(file, "test") {
		return false
	}
	return !strings.Contains("/"+file, "/internal/")
}

func TestInternalPackagesInSignaturesAreNoticed(t *testing.T) {
	t.Parallel()
	const imports = `package x
import (
	"context"
	"example.com/internal/hidden"
	other "example.com/stream/internal/wire"
	. "example.com/public"
)
`
	for decl, bad := range map[string]bool{
		"func F(x hidden.T)":                          true,
		"func F() (*hidden.T, error)":                 true,
		"func F(f func(map[string][]other.T))":        true,
		"func F[T hidden.C](x T)":                     true,
		"func (t *T) M(x ...hidden.T)":                true,
		"func (t T[K]) M() chan other.T":              true,
		"type T struct { X hidden.T }":                true,
		"type T struct { hidden.T }":                  true,
		"type T struct { X struct { Y *hidden.T } }":  true,
		"type T interface { M(hidden.T) }":            true,
		"type T interface { hidden.T }":               true,
		"type T = hidden.T":                           true,
		"type T hidden.T":                             true,
		"type T[K hidden.C] struct{}":                 true,
		"var X hidden.T":                              true,
		"var X = hidden.New()":                        true,
		"const X = hidden.X":                          true,
		"func f(x hidden.T)":                          false,
		"func (t *t) M(x hidden.T)":                   false,
		"func F(ctx context.Context) { hidden.Do() }": false,
		"type T struct { x hidden.T }":                false,
		"type T interface { m(hidden.T) }":            false,
		"type t struct { X hidden.T }":                false,
		"var x hidden.T":                              false,
		"var _ hidden.T = F":                          false,
		"var X = func() int { return hidden.N }":      false,
	} {
		fset := token.NewFileSet()
		source := imports + decl + "\n"
		syntax, err := parser.ParseFile(fset, "x.go", source, parser.SkipObjectResolution)
		require.NoError(t, err, decl)
		require.Equal(t, bad, len(internalMentions(fset, syntax)) > 0, decl)
	}
	for file, want := range map[string]bool{
		"stream/x.go": true, "sinks/sinktest/x.go": true, "stream/internal/wire/x.go": false,
		"internal/x/x.go": false, "cmd/slipstream/x.go": false, "test/bench/x.go": false,
		"stream/x_test.go": false,
	} {
		require.Equal(t, want, isPublic(file), file)
	}
}

// internalMentions returns where exported declarations of a file name a package under internal.
func internalMentions(fset *token.FileSet, f *ast.File) []string {
	hidden := make(map[string]string) // path by name in this file
	for _, spec := range f.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		if strings.Contains("/"+p+"/", "/internal/") {
			name := path.Base(p)
			if spec.Name != nil {
				name = spec.Name.Name
			}
			hidden[name] = p
		}
	}
	c := mentions{fset: fset, hidden: hidden}
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d.Recv.List[0].Type)) {
				c.walk(d.Name.Name, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				c.spec(spec)
			}
		}
	}
	return c.found
}

type mentions struct {
	fset   *token.FileSet
	hidden map[string]string
	found  []string
}

func (c *mentions) spec(spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() {
			if s.TypeParams != nil {
				c.walk(s.Name.Name, s.TypeParams)
			}
			c.walk(s.Name.Name, s.Type)
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if !name.IsExported() {
				continue
			}
			if s.Type != nil {
				c.walk(name.Name, s.Type)
			}
			for _, v := range s.Values {
				c.walk(name.Name, v)
			}
		}
	}
}

// walk looks for hidden packages in a type, but not in what others cannot see of it: unexported
// fields and methods, and bodies.
func (c *mentions) walk(name string, root ast.Node) {
	ast.Inspect(root, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BlockStmt:
			return false
		case *ast.StructType:
			c.fields(name, n.Fields)
			return false
		case *ast.InterfaceType:
			c.fields(name, n.Methods)
			return false
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && c.hidden[x.Name] != "" {
				c.found = append(c.found, fmt.Sprintf("%s: the exported %s mentions %s of %s",
					c.fset.Position(n.Pos()), name, n.Sel.Name, c.hidden[x.Name]))
			}
		}
		return true
	})
}

func (c *mentions) fields(name string, list *ast.FieldList) {
	for _, f := range list.List {
		if len(f.Names) == 0 {
			c.walk(name, f.Type) // embedded
		}
		for _, n := range f.Names {
			if n.IsExported() {
				c.walk(name+"."+n.Name, f.Type)
			}
		}
	}
}

func exportedReceiver(t ast.Expr) bool {
	switch t := t.(type) {
	case *ast.StarExpr:
		return exportedReceiver(t.X)
	case *ast.IndexExpr:
		return exportedReceiver(t.X)
	case *ast.IndexListExpr:
		return exportedReceiver(t.X)
	case *ast.Ident:
		return t.IsExported()
	}
	return false
}
