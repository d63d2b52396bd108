package slipstream_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// leakFree are packages that start goroutines and have no tests of their own to end with goleak.
var leakFree = map[string]string{
	"sinks/sinktest":      "its suites run in the tests of the engines",
	"internal/apptest":    "the tests of app and rebuild, which have goleak, use it",
	"internal/enginetest": "its proxies run in the tests of stream and of the engines",
	"test/bench":          "a program that measures: a process of its own, without tests",
	"test/librdkafka":     "a program that writes to Kafka: a process of its own, without tests",
}

// TestPackagesWithGoroutinesLookForLeaks demands goleak of every package whose code starts
// goroutines.
func TestPackagesWithGoroutinesLookForLeaks(t *testing.T) {
	t.Parallel()
	starts, looks := make(map[string]bool), make(map[string]bool)
	for path, source := range goFiles(t) {
		syntax := parsed(t, path, source)
		folder := filepath.ToSlash(filepath.Dir(path))
		if strings.HasSuffix(path, "_test.go") {
			looks[folder] = looks[folder] || looksForLeaks(syntax)
		} else {
			starts[folder] = starts[folder] || startsGoroutines(syntax)
		}
	}
	found := 0
	for folder, yes := range starts {
		switch {
		case !yes:
			require.Empty(t, leakFree[folder], "%s needs no exception", folder)
		case leakFree[folder] == "" && !looks[folder]:
			t.Errorf("%s starts goroutines: end its tests with goleak.VerifyTestMain", folder)
		case leakFree[folder] != "" && looks[folder]:
			t.Errorf("%s has goleak: no exception is needed", folder)
		default:
			found++
		}
	}
	require.Greater(t, found, 5, "packages were looked at")
}

func TestGoroutinesAreRecognised(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		"go f()": true, "wg.Go(f)": true, "group.Go(func() error { return nil })": true,
		"time.AfterFunc(1, f)": true, "defer context.AfterFunc(ctx, f)()": true,
		"f()": false, "x.Going(f)": false, "x.Go()": false,
	} {
		syntax, err := parser.ParseFile(token.NewFileSet(), "x.go",
			"package x\nfunc g() { "+body+" }\n", parser.SkipObjectResolution)
		require.NoError(t, err)
		require.Equal(t, want, startsGoroutines(syntax), body)
	}
	for body, want := range map[string]bool{
		"goleak.VerifyTestMain(m)": true, "err := goleak.Find()": true, "os.Exit(m.Run())": false,
		"goleak.IgnoreCurrent()": false,
	} {
		syntax, err := parser.ParseFile(token.NewFileSet(), "x_test.go",
			"package x\nfunc TestMain(m *testing.M) { "+body+" }\n", parser.SkipObjectResolution)
		require.NoError(t, err)
		require.Equal(t, want, looksForLeaks(syntax), body)
	}
}

// startsGoroutines tells whether code has a go statement, or calls what has one for it.
func startsGoroutines(f *ast.File) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.CallExpr:
			s, ok := n.Fun.(*ast.SelectorExpr)
			found = found ||
				ok && (s.Sel.Name == "Go" && len(n.Args) == 1 || s.Sel.Name == "AfterFunc")
		}
		return !found
	})
	return found
}

func looksForLeaks(f *ast.File) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return !found
		}
		x, ok := s.X.(*ast.Ident)
		found = found || ok && x.Name == "goleak" &&
			(s.Sel.Name == "VerifyTestMain" || s.Sel.Name == "Find")
		return !found
	})
	return found
}

// notCode are folders without code of ours.
var notCode = []string{".git", ".slipstream", "bin", "data", "testdata"}

func parsed(t *testing.T, path string, source []byte) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
	require.NoError(t, err)
	return f
}

// goFiles returns the repository's Go files with their text, those of the benchmarks' module too.
func goFiles(t *testing.T) map[string][]byte {
	t.Helper()
	out := make(map[string][]byte)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(notCode, d.Name()):
			return filepath.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		out[path], err = os.ReadFile(path)
		return err
	})
	require.NoError(t, err)
	require.Contains(t, out, "goroutines_test.go")
	return out
}
