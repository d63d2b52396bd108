package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// withPoison starts an installation with dead letters of the values, one of embed and one of
// analytics for each. poison runs a command line on it.
func withPoison(t *testing.T, values ...string) (
	in *apptest.Installation, poison func(args ...string) (out, errOut string, err error),
) {
	t.Helper()
	in, _ = apptest.StartEmbedded(t, t.TempDir(), nil)
	makePoison(t, in, values...)
	return in, func(args ...string) (string, string, error) {
		line := append([]string{"poison"}, args...)
		return runLine(t, append(line, "--brokers", in.Config().Kafka.Brokers[0])...)
	}
}

// makePoison writes events and waits until they are dead letters.
func makePoison(t *testing.T, in *apptest.Installation, values ...string) {
	t.Helper()
	for _, v := range values {
		require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{{
			Topic: schemas.TopicInteractions, Partition: record.AnyPartition, Key: []byte("ann"),
			Value: []byte(v),
		}}))
	}
	d := in.Kafka().DeadLetters()
	apptest.Eventually(t, time.Minute, func() error {
		open, err := d.Open(t.Context())
		if err == nil && open["embed"]+open["analytics"] < 2*len(values) {
			err = errors.New("not all are dead letters yet")
		}
		return err
	})
}

const liked = `{"event_id":"e-1","source":"shop","user_id":"ann","item_id":"i","action":"liked"}`

// shellWords splits a command line as a shell does.
var shellWords = regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`)

// TestPoisonExamplesMatch: the reasons in the examples of the help and of the guide are such as
// stand in dead letters.
func TestPoisonExamplesMatch(t *testing.T) {
	in, poison := withPoison(t, liked, `{"item_id":"i","action":"like"}`)
	help, _, err := runLine(t, "poison", "replay", "--help")
	require.NoError(t, err)
	ran := 0
	for line := range strings.Lines(help) {
		args, ok := strings.CutPrefix(strings.TrimSpace(line), "slipstream poison replay ")
		if !ok || !strings.Contains(args, "--reason") {
			continue
		}
		ran++
		words := []string{"replay", "--dry-run"}
		for _, m := range shellWords.FindAllStringSubmatch(args, -1) {
			words = append(words, m[1]+m[2]+m[3])
		}
		out, _, err := poison(words...)
		require.NoError(t, err, line)
		require.Contains(t, out, "would replay 2 dead letters", line)
	}
	require.Positive(t, ran, "examples with --reason in the help")

	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", "operators.md"))
	require.NoError(t, err)
	calls := regexp.MustCompile(`(/v1/poison/(?:replay|drop)) -d '(\{"reason".*\})'`).
		FindAllStringSubmatch(string(guide), -1)
	require.Len(t, calls, 2, "calls by reason in the guide")
	for _, call := range calls {
		var body map[string]any
		require.NoError(t, json.Unmarshal([]byte(call[2]), &body))
		body["dry_run"] = true
		code, answer := in.Call(t, http.MethodPost, call[1], body)
		require.Equal(t, http.StatusOK, code, string(answer))
		require.Contains(t, string(answer), `"count":2`, call[0])
	}
}

// TestPoisonSaysThatNothingMatches: a number of 0 may be what a script expects, so it is no error,
// but a person may have mistaken the words.
func TestPoisonSaysThatNothingMatches(t *testing.T) {
	_, poison := withPoison(t, liked)
	for _, line := range [][]string{
		{"replay", "--reason", `action "liked"`},
		{"replay", "--reason", "lik", "--dry-run"},
		{"drop", "--because", "test", "--reason", `action "liked"`},
	} {
		out, said, err := poison(line...)
		require.NoError(t, err)
		require.Contains(t, out, " 0 dead letters", line)
		require.Contains(t, said, "no open dead letter matches", line)
		require.Contains(t, said, "side by side", line)
	}
	_, said, err := poison("replay", "--class", "unknown")
	require.NoError(t, err)
	require.Contains(t, said, "no open dead letter matches")
	require.NotContains(t, said, "side by side", "no reason was given")
	for _, line := range [][]string{
		{"replay", "zzzz"},
		{"drop", "zzzz", "--because", "test"},
		{"replay", "--all", "--patch", "[1]"},
	} {
		out, _, err := poison(line...)
		require.Error(t, err, line)
		require.Empty(t, out, "the error says it all")
	}
	out, said, err := poison("replay", "--reason", `"action" "liked"`, "--dry-run")
	require.NoError(t, err)
	require.Contains(t, out, "would replay 2 dead letters")
	require.Empty(t, said)
}

// TestPoisonCorrectionsKeepTheIdentity: another id is refused, with the reason. Another user is
// fine: the event counts for that one, once.
func TestPoisonCorrectionsKeepTheIdentity(t *testing.T) {
	in, poison := withPoison(t, liked)
	const patch = `{"action":"like","user_id":"bob"}`
	for _, more := range [][]string{{"--dry-run"}, {}} {
		for field, wrong := range map[string]string{
			"event_id": `{"action":"like","event_id":"other"}`,
			"source":   `{"action":"like","source":"other"}`,
		} {
			line := append([]string{"replay", "--all", "--patch", wrong}, more...)
			_, _, err := poison(line...)
			require.ErrorContains(t, err, `"`+field+`" would be "other"`)
			require.ErrorContains(t, err, "a correction is the same event")
		}
	}
	out, _, err := poison("replay", "--all", "--patch", patch)
	require.NoError(t, err)
	require.Contains(t, out, "replayed 2 dead letters")
	in.AwaitIdle(t, time.Minute)
	require.Equal(t, 1, in.RowsOf(t, "bob")["interactions"])
	require.Zero(t, in.RowsOf(t, "ann")["interactions"])
	users, err := in.Engines().Users.GetUsers(t.Context(), []string{"ann", "bob"})
	require.NoError(t, err)
	require.Len(t, users, 1)
	require.Equal(t, "bob", users[0].ID)
}

// TestDevShowsOpenDeadLetters: those of an earlier start, too.
func TestDevShowsOpenDeadLetters(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	in, stop := apptest.StartEmbedded(t, data, func(c *config.Config) {
		c.Topics.Partitions = 4 // like dev
	})
	makePoison(t, in, liked)
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := program(ctx, nil, "dev", "--data", data, "--http", "127.0.0.1:0", "--kafka",
		"127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var lines []string
	for s := bufio.NewScanner(out); s.Scan(); {
		lines = append(lines, s.Text())
		if strings.Contains(s.Text(), "dead letters ") {
			break
		}
	}
	cancel()
	_ = cmd.Wait()
	require.NotEmpty(t, lines)
	require.Contains(t, lines[len(lines)-1], "dead letters 2")
}
