package slipstream_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// maxMethods is how many methods an interface may declare. Larger sets embed smaller ones.
const maxMethods = 4

// TestInterfacesAreSmall holds every interface of the module to maxMethods of its own.
func TestInterfacesAreSmall(t *testing.T) {
	t.Parallel()
	files, seen := token.NewFileSet(), 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if i, ok := n.(*ast.InterfaceType); ok {
				seen++
				if methods := ownMethods(i); methods > maxMethods {
					t.Errorf(
						"%s: an interface of %d methods, want at most %d: split it and embed the "+
							"parts",
						files.Position(i.Pos()), methods, maxMethods,
					)
				}
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, seen, 20, "the walk has seen the module")
}

// ownMethods counts what an interface declares itself, embedded interfaces left out.
func ownMethods(i *ast.InterfaceType) int {
	methods := 0
	for _, field := range i.Methods.List {
		methods += len(field.Names)
	}
	return methods
}
