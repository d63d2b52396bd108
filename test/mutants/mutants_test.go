package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The module under test: one store, one processor that writes to it twice under a lease.
const (
	tallySource = `package tally

import (
	"context"
	"errors"
	"fmt"
)

// Store keeps numbers.
type Store interface {
	Put(ctx context.Context, n int64) error
	Emit(ctx context.Context, n int64) error
}

// Tally adds.
type Tally struct {
	store Store
	lease func() bool
	next  int64
}

func (t *Tally) checkLease() error {
	if t.lease() {
		return nil
	}
	return errors.New("lost")
}

// Handle adds those at or behind the next offset.
func (t *Tally) Handle(ctx context.Context, offsets []int64) error {
	sum := int64(0)
	for _, offset := range offsets {
		if offset < t.next || offset == 0 {
			continue
		}
		sum += offset
		t.next = offset + 1
	}
	if sum == 0 {
		return nil
	}
	if err := t.checkLease(); err != nil {
		return err
	}
	if err := t.store.Put(ctx, sum); err != nil {
		return fmt.Errorf("put %d: %w", sum+1, err)
	}
	if err := t.write(ctx, sum); err != nil {
		return err
	}
	return nil
}

// Total takes what has no name, and any number of numbers.
func (*Tally) Total(_ string, numbers ...int64) (sum int64) {
	for _, n := range numbers {
		sum += n
	}
	return sum
}

func (t *Tally) reset(context.Context) { t.next = 0 }

func (t *Tally) write(ctx context.Context, n int64) error { return t.store.Emit(ctx, n) }
`
	weakTest = `package tally

import (
	"context"
	"testing"
)

type log struct{ t *testing.T; got []int64 }

func (l *log) Put(_ context.Context, n int64) error { l.got = append(l.got, n); return nil }
func (l *log) Emit(_ context.Context, n int64) error { l.got = append(l.got, -n); return nil }

func TestOrder(t *testing.T) {
	l := &log{t: t}
	p := &Tally{store: l, lease: func() bool { return true }}
	if err := p.Handle(context.Background(), []int64{0, 5, 5, 6}); err != nil {
		t.Fatal(err)
	}
	if len(l.got) != 2 || l.got[0] != 11 || l.got[1] != -11 {
		t.Fatal(l.got)
	}
	p.reset(context.Background())
	if p.next != 0 || p.Total("", 1, 2) != 3 {
		t.Fatal(p)
	}
}
`
)

// tally writes the module into a folder.
func tally(t *testing.T, test string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module tally\n\ngo 1.26\n", "renamed.go": tallySource, "tally_test.go": test,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func mutantsOf(t *testing.T, dir string) []*mutant {
	t.Helper()
	packages, err := load(t.Context(), dir, "./...")
	require.NoError(t, err)
	require.Len(t, packages, 1)
	require.Equal(t, "tally", packages[0].files[0].unit([]string{"other", "tally"}),
		"the file is known by the type that it declares")
	return mutations(packages[0], packages[0].files[0])
}

func TestEveryKindOfChangeIsMade(t *testing.T) {
	t.Parallel()
	diffs := make(map[kind][]string)
	for _, m := range mutantsOf(t, tally(t, weakTest)) {
		diffs[m.kind] = append(diffs[m.kind], m.diff())
		require.NotEqual(t, string(m.file.source), string(m.source()), m.name())
	}
	for k, want := range map[kind]string{
		leaseDropped: "  - \tif err := t.checkLease(); err != nil {\n  - \t\treturn err\n  - \t}\n",
		effectsSwapped: "  - \tif err := t.store.Put(ctx, sum); err != nil {\n" +
			"  - \t\treturn fmt.Errorf(\"put %d: %w\", sum+1, err)\n  - \t}\n" +
			"  - \t}\n  + \t}\n  + if err := t.store.Put(ctx, sum); err != nil {\n" +
			"  + \t\treturn fmt.Errorf(\"put %d: %w\", sum+1, err)\n  + \t}\n",
		positionOff: "  - \t\tif offset < t.next || offset == 0 {\n" +
			"  + \t\tif offset < (t.next - 1) || offset == 0 {\n",
		conditionNegated: "  - \tif sum == 0 {\n  + \tif !(sum == 0) {\n",
		operandDropped: "  - \t\tif offset < t.next || offset == 0 {\n" +
			"  + \t\tif false || offset == 0 {\n",
		boundaryMoved: "  - \t\tif offset < t.next || offset == 0 {\n" +
			"  + \t\tif offset <= t.next || offset == 0 {\n",
		operatorSwapped:  "  - \t\tsum += offset\n  + \t\tsum -= offset\n",
		returnDropped:    "  - \t\treturn nil\n",
		jumpDropped:      "  - \t\t\tcontinue\n",
		statementDropped: "  - \t\tt.next = offset + 1\n",
		constantChanged:  "  - \t\tt.next = offset + 1\n  + \t\tt.next = offset + (1 + 1)\n",
	} {
		require.Contains(t, diffs[k], want, k)
	}
	require.Len(t, diffs[leaseDropped], 2)
	require.Len(t, diffs[effectsSwapped], 1)
	require.Len(t, diffs[errorIgnored], 2)
	for k, all := range diffs {
		for _, diff := range all {
			if k != effectsSwapped && k != errorIgnored {
				require.NotContains(t, diff, "fmt.Errorf", "texts of errors are left alone")
			}
		}
	}
}

func TestWhatDoesNotCompileIsNoticed(t *testing.T) {
	t.Parallel()
	all := mutantsOf(t, tally(t, weakTest))
	i := slices.IndexFunc(all, func(m *mutant) bool {
		return m.kind == returnDropped && m.fn == "Tally.Handle"
	})
	require.GreaterOrEqual(t, i, 0)
	require.True(t, all[i].pkg.compiles(all[i].file, all[i].source()))
	unused := bytes.Replace(all[i].file.source, []byte("sum += offset"), nil, 1)
	unused = bytes.Replace(unused, []byte("sum := int64(0)"), []byte("sum, more := int64(0), 1"), 1)
	require.False(t, all[i].pkg.compiles(all[i].file, unused), "a name that nobody uses")
}

func TestChoiceIsTheSameForASeed(t *testing.T) {
	t.Parallel()
	packages, err := load(t.Context(), tally(t, weakTest), "./...")
	require.NoError(t, err)
	names := func(seed uint64) []string {
		chosen, _, err := choose(packages, options{units: []string{"tally"}, seed: seed, count: 14})
		require.NoError(t, err)
		require.Len(t, chosen, 14)
		out := make([]string, len(chosen))
		for i, m := range chosen {
			out[i] = m.name()
		}
		return out
	}
	first := names(1)
	require.Equal(t, first, names(1))
	require.NotEqual(t, first, names(2))
	_, _, err = choose(packages, options{units: []string{"tally"}, seed: 1, count: 1000})
	require.ErrorContains(t, err, "are wanted")
	_, _, err = choose(packages, options{units: []string{"gone"}, seed: 1, count: 1})
	require.ErrorContains(t, err, "nothing to mutate")
}

func TestWeakTestsAreFoundOut(t *testing.T) {
	t.Parallel()
	dir := tally(t, weakTest)
	opt := options{
		pattern: "./...", units: []string{"tally"}, seed: 1, count: 14, share: 1,
		timeout: time.Minute,
	}
	opt.only = "lease check dropped"
	var out bytes.Buffer
	require.ErrorIs(t, run(t.Context(), dir, opt, &out), errSurvived)
	require.Contains(t, out.String(), "SURVIVED  renamed.go:42 Tally.Handle: lease check dropped\n")
	require.Contains(t, out.String(),
		"survivors:\n\nrenamed.go:42 Tally.Handle: lease check dropped\n"+
			"  - \tif err := t.checkLease(); err != nil {\n")
	require.Contains(t, out.String(), "0 of 1 mutants killed (0 by the time limit), 1 survived")

	opt.only, opt.count, opt.share = "", 30, 0.5 // all at once, each on its own
	out.Reset()
	require.NoError(t, run(t.Context(), dir, opt, &out))
	require.Contains(t, out.String(), "Tally.Total: operator swapped: += → -=  by TestOrder\n")
	require.Contains(t, out.String(),
		"Tally.reset: constant changed: 0 → (0 + 1)  by TestOrder\n")
	require.Contains(t, out.String(), "SURVIVED  renamed.go:42 Tally.Handle: lease check dropped\n")
	opt.count, opt.share = 14, 1

	opt.only = "two effects swapped"
	out.Reset()
	require.NoError(t, run(t.Context(), dir, opt, &out))
	require.Contains(t, out.String(), "two effects swapped (moved behind line 50)  by TestOrder\n")
	left, err := os.ReadFile(filepath.Join(dir, "renamed.go"))
	require.NoError(t, err)
	require.Equal(t, tallySource, string(left), "the tree is not touched")
}

func TestFailingTestsKillNoMutants(t *testing.T) {
	t.Parallel()
	failing := "package tally\n\nimport \"testing\"\n\n" +
		"func TestFails(t *testing.T) { t.Fatal(\"broken\") }\n"
	opt := options{
		pattern: "./...", units: []string{"tally"}, count: 14, share: 1, timeout: time.Minute,
	}
	err := run(t.Context(), tally(t, failing), opt, &bytes.Buffer{})
	require.ErrorContains(t, err, "the tests fail without a mutant")
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	failed := &exec.ExitError{}
	for output, want := range map[string]verdict{
		"--- FAIL: TestX (0.00s)\nFAIL\n":                          killed,
		"panic: index out of range\n\ngoroutine 1\n":               killed,
		"fatal error: all goroutines are asleep - deadlock!\n":     killed,
		"panic: test timed out after 1m0s\nrunning tests:\nFAIL\n": timedOut,
	} {
		got, err := judge(failed, false, []byte(output))
		require.NoError(t, err)
		require.Equal(t, want, got, output)
	}
	got, err := judge(nil, false, nil)
	require.NoError(t, err)
	require.Equal(t, survived, got)
	got, err = judge(failed, true, nil)
	require.NoError(t, err)
	require.Equal(t, timedOut, got, "ended from outside")
	_, err = judge(failed, false, []byte("usage: ..."))
	require.Error(t, err, "an end that says nothing of the tests")
	_, err = judge(errors.New("no such file"), false, nil)
	require.Error(t, err)
}
