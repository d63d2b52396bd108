package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/eval"
)

// walk writes a small stream in which everybody goes through the items in order.
func walk(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("user,item,timestamp,value\n")
	for n := range 3000 {
		user := n % 50
		fmt.Fprintf(&b, "u%d,i%d,%d,%d\n", user, (user*7+n/50)%90, 1_000_000+n*60, 1+n%5)
	}
	path := filepath.Join(t.TempDir(), "events.csv")
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	return path
}

func TestEvalPrequentialCommand(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	lists := filepath.Join(t.TempDir(), "lists.csv")
	root := newRoot(&out, &errOut)
	root.SetArgs(
		[]string{
			"eval", "prequential", "--format", "csv", "--path", walk(t), "--methods",
			"model,popularity", "--lists", lists, "--json", "-k", "5",
		},
	)
	require.NoError(t, root.ExecuteContext(context.Background()), errOut.String())
	var report eval.Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &report))
	require.Equal(t, 3000, report.Events)
	require.Equal(t, 5, report.K)
	require.Equal(
		t, 2700, report.Prequential[0].Judged,
		"with --lists every event after the first tenth is judged",
	)
	require.Greater(t, report.Prequential[0].Recall, 0.5, "the next item follows from the last")
	f, err := os.Open(lists)
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"user", "item", "timestamp", "list"}, rows[0])
	require.Len(t, rows, 2701)
	require.Len(t, strings.Fields(rows[2700][3]), 5)
}

func TestEvalSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no path": {[]string{"prequential"}, "path"},
		"no file": {
			[]string{"leave-one-out", "--train", "nowhere", "--test", "nowhere"}, "nowhere",
		},
		"bad method": {[]string{"prequential", "--path", walk(t), "--methods", "magic"}, "magic"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			root := newRoot(&out, &out)
			root.SetArgs(append([]string{"eval"}, tc.args...))
			require.ErrorContains(t, root.ExecuteContext(context.Background()), tc.want)
		})
	}
}
