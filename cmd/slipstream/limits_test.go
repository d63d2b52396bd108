package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runLine runs a command line in this process. No broker is there.
func runLine(t *testing.T, line ...string) (out, errOut string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	root := newRoot(&o, &e)
	root.SetArgs(line)
	err = root.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

// A value that makes no sense is refused by its flag, before anything is asked or written.
func TestNegativeValuesAreRefused(t *testing.T) {
	t.Parallel()
	path := walk(t)
	for _, line := range []string{
		"replay " + path + " --rate=-5",
		"replay " + path + " --rate=NaN",
		"replay " + path + " --limit=-5",
		"simulate --users=-1",
		"simulate --rate=-1",
		"simulate --duration=-1s",
		"status --interval=-1s",
		"trace x --since=-5h0m0s",
		"poison list --limit=-1",
		"poison replay --all --rate=-1",
		"dev --demo-rate=-1",
		"recommend ann --number=-1",
		"recommend ann --timeout=-1s",
		"health --timeout=-1s",
		"eval prequential --path " + path + " --sample=-1",
		"eval prequential --path " + path + " --k=-1",
		"eval leave-one-out --train x --test x --model-dim=-8",
	} {
		words := strings.Fields(line)
		flag, value, _ := strings.Cut(words[len(words)-1], "=")
		out, _, err := runLine(t, words...)
		require.EqualError(t, err, flag+" is "+value+": want 0 or more", line)
		require.Empty(t, out, line)
	}
	for _, line := range []string{
		"poison list", "poison replay", "poison drop --because=test",
	} {
		words := append(strings.Fields(line), "--since=-2h", "--brokers=127.0.0.1:1")
		_, _, err := runLine(t, words...)
		require.ErrorContains(t, err, `--since: the age "-2h" is negative`, line)
	}
}

func TestAnEmptyIDIsRefused(t *testing.T) {
	t.Parallel()
	for _, line := range [][]string{{"trace"}, {"recommend"}, {"poison", "show"}} {
		_, _, err := runLine(t, append(line, "")...)
		require.EqualError(t, err, "the id is empty", "%s", line)
	}
}
