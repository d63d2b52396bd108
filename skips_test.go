package slipstream_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// maySkip are the functions outside internal/enginetest that skip, none for want of an engine.
var maySkip = map[string]string{
	"app sharedData":                       "the public data sets are not part of the repository",
	"test/torture movieLens":               "the public data sets are not part of the repository",
	"test/torture buildClient":             "librdkafka needs a C compiler and its module",
	"test/torture buildBefore":             "a shallow clone has no version before",
	"producers/datasets TestDownloaded":    "the public data sets are not part of the repository",
	"sinks/neo4j TestRealErrors":           "a server without passwords takes none for wrong",
	"schemas FuzzDecodersAgreeWithSchemas": "an input whose meaning is not defined",
}

// engineVariables give the addresses of engines. Only enginetest reads them, so that a missing
// engine fails the test when engines are required.
var engineVariables = []string{
	"KAFKA_BROKERS", "QDRANT_ADDR", "NEO4J_URI", "CLICKHOUSE_ADDR", "SLIPSTREAM_SERVICES",
	"PROMETHEUS", "REQUIRE_ENGINES",
}

// TestNoTestSkipsForWantOfAnEngine: with REQUIRE_ENGINES a missing engine fails the test.
// enginetest.Addr sees to that, and nothing else may skip.
func TestNoTestSkipsForWantOfAnEngine(t *testing.T) {
	t.Parallel()
	used := make(map[string]bool)
	for path, source := range goFiles(t) {
		folder := filepath.ToSlash(filepath.Dir(path))
		if folder == "internal/enginetest" || folder == "test/bench" { // a program, no test
			continue
		}
		syntax := parsed(t, path, source)
		skips, reads := gates(syntax)
		for _, fn := range skips {
			used[folder+" "+fn] = true
			require.NotEmpty(t, maySkip[folder+" "+fn],
				"%s: %s skips by itself: use enginetest.Addr or enginetest.Chosen", path, fn)
		}
		require.Empty(t, reads, "%s reads the address of an engine: use enginetest.Addr", path)
	}
	for place := range maySkip {
		require.True(t, used[place], "%s does not skip: no exception is needed", place)
	}
}

func TestSkipsAreRecognised(t *testing.T) {
	t.Parallel()
	syntax, err := parser.ParseFile(token.NewFileSet(), "x_test.go", `package x
func TestA(t *testing.T) { t.Run("", func(t *testing.T) { t.Skip("no engine") }) }
func (s suite) TestB() { s.t.Skipf("no %s", "engine") }
func BenchmarkC(b *testing.B) { b.SkipNow() }
func TestD(t *testing.T) { lines.Skip(3); if os.Getenv("QDRANT_ADDR") == "" { return } }
func TestE(t *testing.T) { _, ok := os.LookupEnv("KAFKA_BROKERS"); _ = os.Getenv("TORTURE") }
`, parser.SkipObjectResolution)
	require.NoError(t, err)
	skips, reads := gates(syntax)
	require.Equal(t, []string{"TestA", "TestB", "BenchmarkC"}, skips)
	require.Equal(t, []string{"QDRANT_ADDR", "KAFKA_BROKERS"}, reads)
}

// TestLongTestsAreNamedSo: make test-long finds them by their name.
func TestLongTestsAreNamedSo(t *testing.T) {
	t.Parallel()
	found := 0
	for path, source := range goFiles(t) {
		syntax := parsed(t, path, source)
		for _, fn := range chosenLong(syntax) {
			found++
			require.True(t, strings.HasPrefix(fn, "TestLong"),
				"%s: make test-long passes over %s: its name must begin with TestLong", path, fn)
		}
	}
	require.Positive(t, found)
}

// chosenLong returns the functions of a file that run with SLIPSTREAM_LONG only.
func chosenLong(f *ast.File) []string {
	var out []string
	for _, decl := range f.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 3 {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			lit, literal := call.Args[1].(*ast.BasicLit)
			if ok && literal && s.Sel.Name == "Chosen" && lit.Value == `"SLIPSTREAM_LONG"` {
				out = append(out, fn.Name.Name)
			}
			return true
		})
	}
	return out
}

// gates returns the functions of a file that skip, and the addresses of engines that it reads.
func gates(f *ast.File) (skips, reads []string) {
	for _, decl := range f.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch s.Sel.Name {
			case "Skip", "Skipf", "SkipNow":
				if isTest(s.X) && !slices.Contains(skips, fn.Name.Name) {
					skips = append(skips, fn.Name.Name)
				}
			case "Getenv", "LookupEnv":
				if lit, ok := call.Args[0].(*ast.BasicLit); ok {
					name, _ := strconv.Unquote(lit.Value)
					if slices.Contains(engineVariables, name) {
						reads = append(reads, name)
					}
				}
			}
			return true
		})
	}
	return skips, reads
}

// isTest tells whether an expression is a test by its name: t, b, tb, f, or a field of that name.
func isTest(x ast.Expr) bool {
	if s, ok := x.(*ast.SelectorExpr); ok {
		x = s.Sel
	}
	name, ok := x.(*ast.Ident)
	return ok && slices.Contains([]string{"t", "b", "tb", "f"}, strings.ToLower(name.Name))
}
