package slipstream_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documents returns the repository's Markdown files with their text, without fenced code.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", ".slipstream", "bin", "data":
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		out[path] = string(text)
		return err
	})
	require.NoError(t, err)
	require.Contains(t, out, "README.md")
	return out
}

var (
	fenced   = regexp.MustCompile("(?ms)^```.*?^```")
	codeSpan = regexp.MustCompile("`[^`\n]*`")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the names that a document's headings can be linked by, as GitHub makes them.
func anchors(text string) map[string]bool {
	out := make(map[string]bool)
	for _, h := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		anchor := noAnchor.ReplaceAllString(strings.ToLower(h[1]), "")
		out[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	return out
}

func TestLinksInDocumentsResolve(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	links := 0
	for path, text := range docs {
		prose := codeSpan.ReplaceAllString(fenced.ReplaceAllString(text, ""), "")
		for _, m := range link.FindAllStringSubmatch(prose, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
				continue
			}
			if anchor != "" && filepath.Ext(target) == ".md" && !anchors(docs[target])[anchor] {
				t.Errorf("%s links to %s, and %s has no such heading", path, m[1], target)
			}
		}
	}
	require.Greater(t, links, 20, "links were looked at")
}

func TestMakeTargetsInDocumentsExist(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	targets := make(map[string]bool)
	target := regexp.MustCompile(`(?m)^([a-z-]+):`)
	for _, m := range target.FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	// A command stands in a code span or begins a line of a code block.
	named := regexp.MustCompile("(?m)(?:`|^ {4,}|^\\$ )make ([a-z-]+)")
	found := 0
	for path, text := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			found++
			if !targets[m[1]] {
				t.Errorf("%s names make %s, which the Makefile does not have", path, m[1])
			}
		}
	}
	require.Greater(t, found, 3, "README.md names targets")
}

// TestNamesInDocumentsExist looks for the files, the tests and the methods that documents name.
func TestNamesInDocumentsExist(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" {
			var text []byte
			text, err = os.ReadFile(path)
			source.Write(text)
		}
		return err
	})
	require.NoError(t, err)
	defined := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func (?:\(\w* ?\*?(\w+)(?:\[\w+\])?\) )?(\w+)`)
	for _, m := range function.FindAllStringSubmatch(source.String(), -1) {
		defined[m[2]] = true
		defined[m[1]+"."+m[2]] = true
	}
	var (
		file = regexp.MustCompile(
			`\b(?:api|app|cmd|docs|eval|fault|infra|internal|model|processors|producers|rebuild|` +
				`recommend|schemas|sinks|stream|test)/[\w/.-]*\.(?:go|s|sql|cypher|ya?ml|json)\b`,
		)
		test   = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
		method = regexp.MustCompile("`([A-Za-z]+\\.[A-Za-z]+)`")
		types  = regexp.MustCompile(`(?m)^(?:type )?\t?(\w+) (?:struct|interface)\b`)
		known  = make(map[string]bool)
		found  = 0
	)
	for _, m := range types.FindAllStringSubmatch(source.String(), -1) {
		known[m[1]] = true
	}
	for path, text := range documents(t) {
		prose := fenced.ReplaceAllString(text, "")
		for _, name := range file.FindAllString(prose, -1) {
			found++
			if _, err := os.Stat(name); err != nil && !strings.Contains(name, "<") {
				t.Errorf("%s names the file %s, which is not there", path, name)
			}
		}
		for _, name := range test.FindAllString(prose, -1) {
			found++
			if !defined[name] {
				t.Errorf("%s names %s, which is not there", path, name)
			}
		}
		for _, m := range method.FindAllStringSubmatch(prose, -1) {
			of, _, _ := strings.Cut(m[1], ".")
			if !known[of] {
				continue // a setting, a package, a file
			}
			found++
			field := regexp.MustCompile(`(?m)^\t+` + strings.TrimPrefix(m[1], of+".") + `\b`)
			if !defined[m[1]] && !field.MatchString(source.String()) {
				t.Errorf("%s names %s, which is not there", path, m[1])
			}
		}
	}
	require.Greater(t, found, 100, "names were looked at")
}
