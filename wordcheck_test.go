package slipstream_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// report fails with one message per word: how often it was found, and each place.
func report(t *testing.T, found []finding) {
	t.Helper()
	byWord := make(map[string][]string)
	for _, f := range found {
		byWord[f.word] = append(byWord[f.word], strings.TrimSpace(f.place+"  "+f.text))
	}
	for _, word := range slices.Sorted(maps.Keys(byWord)) {
		places := byWord[word]
		t.Errorf("%s: %d\n  %s", word, len(places), strings.Join(places, "\n  "))
	}
}

// tracked returns the repository's files with slashes, without what .gitignore excludes.
func tracked(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(".gitignore")
	require.NoError(t, err)
	ignored := strings.Fields(string(text))
	var out []string
	err = filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		name = filepath.ToSlash(name)
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" || gitIgnores(ignored, name, d.IsDir()):
			if d.IsDir() {
				return filepath.SkipDir
			}
		case d.Type().IsRegular():
			out = append(out, name)
		}
		return nil
	})
	require.NoError(t, err)
	return out
}

// gitIgnores handles the patterns that .gitignore uses: /folder/, /file and *.suffix.
func gitIgnores(patterns []string, name string, dir bool) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if rooted, ok := strings.CutPrefix(p, "/"); ok {
			folder, isFolder := strings.CutSuffix(rooted, "/")
			return folder == name && dir == isFolder
		}
		match, err := path.Match(p, path.Base(name))
		return match && err == nil && !dir
	})
}

// expressions are the patterns of retiredWords. A space also stands for the end of a line in a
// comment. Each begins with letters, which makes the search fast.
var expressions = func() (out []*regexp.Regexp) {
	spaces := strings.NewReplacer(" ?", `[\s/#*]*`, " ", `[\s/#*]+`)
	for _, w := range retiredWords {
		out = append(out, regexp.MustCompile(spaces.Replace(w.pattern)+`\b`))
	}
	return out
}()

// splitNames separates the words of names: SetAside, setAside and set_aside become set aside.
func splitNames(text string) string {
	var out strings.Builder
	out.Grow(len(text) + len(text)/8)
	before := rune(0)
	for i, c := range text {
		switch {
		case c == '_' && !unicode.IsUpper(before): // names in capitals are other programs'
			out.WriteByte(' ')
			before = c
			continue
		case unicode.IsUpper(c) && i > 0:
			next, _ := utf8.DecodeRuneInString(text[i+utf8.RuneLen(c):])
			if unicode.IsLower(before) || unicode.IsUpper(before) && unicode.IsLower(next) {
				out.WriteByte(' ')
			}
		}
		out.WriteRune(unicode.ToLower(c))
		before = c
	}
	return out.String()
}

// wordsIn returns the retired words in a text.
func wordsIn(name, text string) []finding {
	var out []finding
	lines := strings.Split(text, "\n")
	split := splitNames(wireNames.ReplaceAllString(text, ""))
	for i, w := range retiredWords {
		for _, m := range expressions[i].FindAllStringIndex(split, -1) {
			last, _ := utf8.DecodeLastRuneInString(split[:m[0]])
			if unicode.IsLetter(last) || unicode.IsDigit(last) || last == '_' {
				continue // the end of a longer word
			}
			line := strings.Count(split[:m[0]], "\n")
			out = append(out, finding{
				fmt.Sprintf("%s (say %s)", w.pattern, w.instead), fmt.Sprint(name, ":", line+1),
				strings.TrimSpace(lines[line]),
			})
		}
	}
	return out
}

// namesIn returns the retired names that a Go file declares or has.
func namesIn(name string, source []byte) ([]finding, error) {
	files := token.NewFileSet()
	syntax, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var out []finding
	check := func(kind, declared string, line int) {
		for _, r := range retiredNames {
			if r.matches(kind, declared, path.Dir(name)) {
				out = append(out, finding{
					fmt.Sprintf("%s %s (say %s)", kind, r.pattern, r.instead),
					fmt.Sprint(name, ":", line), declared,
				})
			}
		}
	}
	check("file", strings.TrimSuffix(strings.TrimSuffix(path.Base(name), ".go"), "_test"), 1)
	ast.Inspect(syntax, func(n ast.Node) bool {
		line := func() int { return files.Position(n.Pos()).Line }
		switch n := n.(type) {
		case *ast.FuncDecl:
			check("func", n.Name.Name, line())
			if n.Recv != nil && len(n.Recv.List) == 1 {
				check("method", receiver(n.Recv.List[0].Type)+"."+n.Name.Name, line())
			}
		case *ast.TypeSpec:
			check("type", n.Name.Name, line())
		case *ast.ValueSpec:
			for _, id := range n.Names {
				check("value", id.Name, line())
			}
		case *ast.InterfaceType:
			for _, m := range n.Methods.List {
				for _, id := range m.Names {
					check("func", id.Name, files.Position(id.Pos()).Line)
				}
			}
		case *ast.Field:
			for _, id := range n.Names {
				check("value", id.Name, line())
			}
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					check("value", id.Name, line())
				}
			}
		}
		return true
	})
	return out, nil
}

// receiver returns the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

var wholeNames = func() map[string]*regexp.Regexp {
	out := make(map[string]*regexp.Regexp)
	for _, r := range retiredNames {
		out[r.pattern] = regexp.MustCompile(`(?i)^(?:` + r.pattern + `)$`)
	}
	return out
}()

// matches says whether the rule forbids the name for a declaration of that kind in a folder.
func (r retiredName) matches(kind, name, folder string) bool {
	if !slices.Contains(strings.Fields(r.kinds), kind) ||
		r.only != "" && !inOneOf(folder, r.only) || inOneOf(folder, r.except) {
		return false
	}
	whole := wholeNames[r.pattern]
	if !r.word {
		return whole.MatchString(name)
	}
	return slices.ContainsFunc(strings.Fields(splitNames(name)), whole.MatchString)
}

// inOneOf says whether a folder is one of those listed, or below one.
func inOneOf(folder, list string) bool {
	return slices.ContainsFunc(strings.Fields(list), func(f string) bool {
		return folder == f || strings.HasPrefix(folder, f+"/")
	})
}

// unbreakable lines are as long as what they hold: a link, a struct tag, a directive.
var unbreakable = regexp.MustCompile("https?://|`\\w+:\"|^//go:(embed|generate)")

// wideLines returns the numbers of the lines that are wider than 100 columns, a tab being four.
func wideLines(text string) []int {
	var out []int
	for i, line := range strings.Split(text, "\n") {
		column := 0
		for _, c := range line {
			if c == '\t' {
				column += 4 - column%4
				continue
			}
			column++
		}
		if column > 100 && !unbreakable.MatchString(line) {
			out = append(out, i+1)
		}
	}
	return out
}
