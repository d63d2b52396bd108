//go:build unix

package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// crashPath, when set, makes the test binary the child of TestAcknowledgedWritesSurviveSIGKILL.
const crashPath = "SLIPSTREAM_SQLITE_CRASH_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		if err := writeUntilKilled(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1) // it is killed before it gets here
	}
	os.Exit(m.Run())
}

// writeUntilKilled puts a user, an item and an edge a round, and prints the round when all three
// are acknowledged.
func writeUntilKilled(path string) error {
	ctx := context.Background()
	s, err := Open(ctx, Config{Path: path})
	if err != nil {
		return err
	}
	if err := s.Migrate(ctx); err != nil {
		return err
	}
	first, err := s.CountItems(ctx)
	if err != nil {
		return err
	}
	for round := first; ; round++ {
		id := strconv.FormatInt(round, 10)
		last := userAt("last", round)
		if err := s.PutUsers(ctx, testSource, []sinks.User{userAt(id, 1), last}); err != nil {
			return err
		}
		if err := s.ApplyEdges(ctx, []sinks.Edge{{A: "hub", B: id, EventID: id}}); err != nil {
			return err
		}
		if err := s.PutItems(
			ctx,
			[]sinks.Item{
				{
					Content: schemas.Item{ItemID: id}, Vector: []float32{float32(round), 1},
					Version: 1,
				},
			},
		); err != nil {
			return err
		}
		fmt.Println(id)
	}
}

func TestAcknowledgedWritesSurviveSIGKILL(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	for life := range 4 {
		acknowledged := killAfter(t, path, 40+life*35)
		s, err := Open(t.Context(), Config{Path: path})
		require.NoError(t, err, "the lock went with the process")
		requireAcknowledged(t, s, acknowledged)
		require.NoError(t, s.Close())
	}
}

// killAfter starts a child that writes, kills it after it has acknowledged so many rounds, and
// returns the last round it acknowledged.
func killAfter(t *testing.T, path string, rounds int) int64 {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), crashPath+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	last := int64(-1)
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == rounds {
			require.NoError(t, child.Process.Kill())
		}
		last, err = strconv.ParseInt(lines.Text(), 10, 64)
		require.NoError(t, err)
	}
	require.Error(t, child.Wait(), "killed")
	require.GreaterOrEqual(t, last, int64(rounds))
	return last
}

func requireAcknowledged(t *testing.T, s *Store, last int64) {
	t.Helper()
	ctx := t.Context()
	for _, count := range []func(context.Context) (int64, error){
		s.CountUsers, s.CountItems, s.CountEdges,
	} {
		n, err := count(ctx)
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, last+1)
	}
	users, err := s.GetUsers(ctx, []string{"last", strconv.FormatInt(last, 10)})
	require.NoError(t, err)
	require.Len(t, users, 2)
	hits, err := s.SearchItems(ctx, []sinks.ItemQuery{{Vector: []float32{1, 0}, N: 1}})
	require.NoError(t, err)
	require.GreaterOrEqual(
		t, hits[0][0].Score, float64(last), "the mirror holds what the file holds",
	)
	friends, err := s.Friends(ctx, []string{"hub"}, 1_000_000)
	require.NoError(t, err)
	require.Contains(t, friends["hub"], strconv.FormatInt(last, 10))
	var verdict string
	require.NoError(t, s.reader.QueryRow("PRAGMA integrity_check").Scan(&verdict))
	require.Equal(t, "ok", verdict)
}
