package slipstream_test

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// A retiredWord is a name or a turn of phrase that the project no longer uses.
type retiredWord struct {
	pattern string // matched without regard to case, at the borders of words
	instead string
	example string // a text in which it is found
	fine    string // a similar text in which nothing is found, if there is one
}

// retiredWords are searched for in the whole text of a file: names, comments, strings, prose. Names
// are split into their words first, so "set aside" also finds SetAside and set_aside.
var retiredWords = []retiredWord{
	{`befriend\w*`, "graph, as a group", `"befriend"`, ""},
	{`keepers?`, "log compactor", "the log's keeper", "KEEPER_EXCEPTION"},
	{`row ?checks?`, "rowvalidate", "package rowcheck", "a row is checked"},
	{`worth ?while`, "adaptive compression", "func worthwhile()", "worth it"},
	{`item.updates?`, "item-gradients", `topic = "item-updates"`, "items are updated"},
	{`stor(y|ies)`, "dead-letter headers", "with its story", "the history"},
	{`graves?`, "dead letter", "type grave struct{}", "engraved"},
	{`unwell`, "failing", "a store that is unwell", "works well"},
	{`guilty`, "offending", "the guilty record", ""},
	{`innocents?`, "healthy", "innocent events", ""},
	{`len(t|ds?|ding)`, "neighbours, or valid during the call", "vectors are lent", "blend"},
	{`shel(f|ves)`, "item set", "type shelf struct{}", ""},
	{`set(s|ting)? \w{0,8} ?aside`, "dead letter", "func SetAside()", "json set_aside_at"},
	{`wr(ites?|itten|iting|ote) \w{0,6} ?down`, "batch intent", "writeDown", "counted down"},
	{`in doubt`, "uncertain", "the range is in doubt", "doubtful"},
	{`cancell(ed|er|ing)`, "canceled", "was cancelled", "QUERY_WAS_CANCELLED"},
	{`catalogues?`, "catalog", "the catalogue", "the catalog"},
	{`time-outs?`, "timeout", "a time-out of 5 s", "the time out of hours"},
	{`mend(s|ed|ing)?`, "repair", "a replay mends it", "recommend"},
	{`for ever`, "forever, or how long", "waits for ever", "for every user"},
	{`in trouble`, "failing", "a record in trouble", ""},
}

// A retiredName is a name that is searched for in declarations only, because it has another meaning
// that is right, or is too vague for what it names.
type retiredName struct {
	pattern string // the whole name, or with word set one of the words that it is made of
	word    bool
	kinds   string // func, method (Type.Name), type, value (constants, variables, fields), file
	only    string // folders it is retired in; empty: all
	except  string // folders where the name is right
	instead string
}

var retiredNames = []retiredName{
	{`tail`, false, "type file", "", "", "follower"},
	{`(group)?aggregate`, false, "func type value", "", "", "analytics"},
	{`rows?`, false, "type", "", "sinks producers/datasets", "item factors"},
	{`alike`, true, "func type value file", "", "", "batched queries"},
	{`fold(s|ed|ing)?`, true, "func type value file", "", "", "replay"},
	{`circles?`, true, "func type value file", "", "", "social candidates"},
	{`pools?`, false, "func type", "", "", "candidate pool"},
	{`recall`, false, "func", "model processors", "", "seedNegatives"},
	{`flush`, false, "type", "", "", "periodic task"},
	{`embed\.flush`, false, "method", "", "", "recheckErasures"},
	{`settle(ment)?`, false, "func", "", "", "what is decided: verify, await, resolve"},
	{`take`, false, "func", "", "", "what is done: accept, receive, remove"},
	{`(?-i:private|public|open|of|all)`, false, "func", "", "", "a name that says which"},
	{`newqdrant`, false, "func type value", "", "sinks/qdrant", "qdrantRebuild"},
	{`collector`, false, "file", "", "", "gc.go"},
}

// maySay are the files in which retired words stand: decisions and the history are never rewritten,
// and one data file, with the tests of the upgrade, has the names that topics and groups once had
// on the broker. LISTS.md has titles of films.
var maySay = regexp.MustCompile(`^(CHANGELOG\.md|go\.sum|words_test\.go|wordcheck_test\.go)$` +
	`|^docs/((adr|bench|img)/|LISTS\.md$)|^schemas/renamed\.|(^|/)testdata/` +
	`|(^|/)renamed(_\w+)?_test\.go$`)

// wireNames are names that clients know: fields of JSON and values of labels keep theirs.
var wireNames = regexp.MustCompile(`\bset_aside(_at)?\b`)

// A finding is a place with a retired word.
type finding struct{ word, place, text string }

// TestRetiredWordsStayAway holds the vocabulary that CONTRIBUTING.md asks for.
func TestRetiredWordsStayAway(t *testing.T) {
	t.Parallel()
	var found []finding
	files := tracked(t)
	require.Greater(t, len(files), 300, "files were looked at")
	for _, name := range files {
		if maySay.MatchString(name) {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		if !utf8.Valid(text) {
			continue // a picture
		}
		found = append(found, wordsIn(name, string(text))...)
		if path.Ext(name) == ".go" {
			names, err := namesIn(name, text)
			require.NoError(t, err)
			found = append(found, names...)
		}
	}
	report(t, found)
}

// TestLinesFitBesideEachOther is the linter's rule for lines, without its exclusions for tests.
func TestLinesFitBesideEachOther(t *testing.T) {
	t.Parallel()
	var found []finding
	for _, name := range tracked(t) {
		if path.Ext(name) != ".go" {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, line := range wideLines(string(text)) {
			place := fmt.Sprint(name, ":", line)
			found = append(found, finding{"wider than 100 columns", place, ""})
		}
	}
	report(t, found)
}

// TestRetiredWordsAreFound: each word is found where it stands, and not in words that contain it.
func TestRetiredWordsAreFound(t *testing.T) {
	t.Parallel()
	for _, w := range retiredWords {
		found := wordsIn("a.md", "first line\n"+w.example)
		require.Len(t, found, 1, w.example)
		require.Equal(t, "a.md:2", found[0].place)
		require.Contains(t, found[0].word, w.pattern)
		require.Empty(t, wordsIn("a.md", w.fine), w.fine)
	}
}

func TestRetiredNamesAreFound(t *testing.T) {
	t.Parallel()
	for source, where := range map[string]string{
		"type Tail struct{}":                 "stream/a.go",
		"const Aggregate = 1":                "schemas/a.go",
		"const groupAggregate = 1":           "app/a.go",
		"type Rows struct{}":                 "processors/a.go",
		"func sendAlike() {}":                "sinks/qdrant/a.go",
		"type FoldConfig struct{}":           "processors/b.go",
		"func a() { foldWorkers := 1 }":      "processors/c.go",
		"type a struct { circle []int }":     "recommend/a.go",
		"type pool struct{}":                 "recommend/b.go",
		"func (n *Negatives) Recall() {}":    "model/a.go",
		"type flush func()":                  "app/b.go",
		"func (e *Embed[T]) Flush() {}":      "processors/d.go",
		"func (p *part) settle() {}":         "stream/b.go",
		"type a interface { Take(n int) }":   "stream/c.go",
		"func open() {}":                     "app/c.go",
		"var newQdrant = 1":                  "rebuild/a.go",
		"var a = 1 // the file's name is it": "stream/tail_test.go",
		"var b = 1 // and here":              "sinks/clickhouse/collector.go",
	} {
		found, err := namesIn(where, []byte("package a\n"+source))
		require.NoError(t, err)
		require.Len(t, found, 1, source)
		require.Contains(t, found[0].place, where+":")
	}
	fine, err := namesIn("sinks/a.go", []byte(`package sinks
type Rows struct{ all, open, private, pool, tail int }
func Open() { rows := strings.EqualFold(folder, holder); of := taken; tail(pool) }
func (c *Catalog) Flush() {}
func recall() float64 { return recallAt(10) }
`))
	require.NoError(t, err)
	require.Empty(t, fine)
}

func TestWideLinesAreFound(t *testing.T) {
	t.Parallel()
	wide := strings.Repeat("ä", 97)
	require.Equal(t, []int{2, 5}, wideLines(strings.Join([]string{
		"\t" + wide[:2*96], "\t" + wide, "// https://" + wide, "a string `json:\"" + wide + "\"`",
		"aa\t" + wide, "//go:embed " + wide,
	}, "\n")))
}

func TestIgnoredFilesAreNotLookedAt(t *testing.T) {
	t.Parallel()
	patterns := []string{"/bin/", "*.prof", "/test/bench/bench"}
	for name, ignored := range map[string]bool{
		"bin/": true, "cmd/bin/": false, "a/cpu.prof": true, "test/bench/bench": true,
		"test/bench/": false, "bin": false,
	} {
		base, dir := strings.CutSuffix(name, "/")
		require.Equal(t, ignored, gitIgnores(patterns, base, dir), name)
	}
}
