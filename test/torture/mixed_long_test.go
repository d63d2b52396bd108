//go:build linux

package torture_test

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
	"github.com/slipstream-rec/slipstream/test/torture"
)

// TestLongMixedProducers sends MovieLens 100k to slipstream dev, half of each user's events over
// HTTP and half by librdkafka with its default partitioner, and kills dev on the way.
func TestLongMixedProducers(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_LONG", "test-long")
	cfg := torture.MixedConfig{
		Data: movieLens(t), Kills: 6, LateKills: 4, Timeout: 10 * time.Minute,
	}
	dir, diary := folder(t)
	cfg.Client = buildClient(t, dir)
	m, err := torture.RunMixed(
		t.Context(), cfg, torture.Paths{Binary: build(t, dir), Dir: dir}, diary,
	)
	require.NoError(t, err, "diary and logs of the instance: %s", dir)
	t.Cleanup(m.Close)
	t.Log(m)
	require.Empty(t, m.Problems(), "diary and logs of the instance: %s", dir)

	require.Equal(t, 943, m.Users)
	require.InDelta(t, 102_475, m.Sent, 50, "100,000, and one of forty again")
	require.InDelta(t, m.Sent/2, m.OverHTTP, 1000)
	require.Equal(t, cfg.Kills+cfg.LateKills, m.Kills)
	require.Greater(t, m.Misplaced, 25_000, "most of what librdkafka has written")
	require.Zero(t, m.ForwardedTwice)
	require.Greater(t, m.Ahead, 1900)
	require.Greater(t, m.Repeats, 200)
	require.Greater(t, m.Twice, 200)

	// Each harm is found.
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "dev", "slipstream.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	for _, harm := range []string{
		"DELETE FROM interactions WHERE rowid = (SELECT max(rowid) FROM interactions)",
		`UPDATE item_hours SET events = events + 1
		 WHERE (hour, item_id) IN (SELECT hour, item_id FROM item_hours LIMIT 1)`,
		`UPDATE user_days SET events = events + 1
		 WHERE (user_id, day) IN (SELECT user_id, day FROM user_days LIMIT 1)`,
		`UPDATE user_points SET state = (SELECT state FROM user_points WHERE id = '1')
		 WHERE id = '2'`,
		"UPDATE item_points SET count = count + 1 WHERE id = '50'",
	} {
		_, err := db.ExecContext(t.Context(), harm)
		require.NoError(t, err, harm)
	}
	v, err := m.Again(t.Context())
	require.NoError(t, err)
	require.Len(t, v.Problems(), 5, strings.Join(v.Problems(), "\n"))
	require.Equal(
		t, []int{1, 1, 1, 1, 1},
		[]int{
			v.Lost.Count, v.HourSums.Count, v.DaySums.Count, v.WrongUsers.Count, v.WrongItems.Count,
		},
	)
}

// TestLongPartitionerOfLibrdkafka: with the setting that the developers' guide names librdkafka
// chooses partitions as Kafka's Java client does, and without it others.
func TestLongPartitionerOfLibrdkafka(t *testing.T) {
	enginetest.Chosen(t, "SLIPSTREAM_LONG", "test-long")
	program := buildClient(t, t.TempDir())
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", "developers.md"))
	require.NoError(t, err)
	setting := ""
	named := regexp.MustCompile(`partitioner"?(?:=|: ["'])(\w+)`)
	for _, m := range named.FindAllSubmatch(guide, -1) {
		require.Contains(t, []string{"", string(m[1])}, setting, "one setting, everywhere")
		setting = string(m[1])
	}

	const partitions = 12
	bc := embedded.DefaultConfig(t.TempDir())
	bc.Addr = "127.0.0.1:0"
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	conn, err := stream.Open(t.Context(), stream.DefaultConfig(broker.Addr()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	require.NoError(t, admin.EnsureTopics(
		t.Context(), conn, []admin.TopicSpec{{Name: "keys", Partitions: partitions}},
	))
	var keys []string
	for i := range 300 {
		keys = append(keys, fmt.Sprint("user-", i), fmt.Sprintf("Zoë|%d", i))
	}
	misplaced := func(settings ...string) (n int) {
		chosen, err := torture.PartitionsOf(
			t.Context(), program, broker.Addr(), "keys", keys, settings...,
		)
		require.NoError(t, err)
		require.Len(t, chosen, len(keys))
		for i, p := range chosen {
			if p != record.PartitionOf([]byte(keys[i]), partitions) {
				n++
			}
		}
		return n
	}
	require.Zero(t, misplaced("partitioner="+setting))
	require.Greater(t, misplaced(), 400, "of 600")
}

// movieLens is the path of MovieLens 100k beside the repository, or skips.
func movieLens(t *testing.T) string {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", "ml-100k")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no data set at %s: the public data sets are not part of the repository", path)
	}
	return path
}

// buildClient builds test/librdkafka, a module of its own. It skips where there is no C compiler,
// and where the module cannot be had.
func buildClient(t *testing.T, dir string) string {
	t.Helper()
	folder := filepath.Join("..", "librdkafka")
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = folder, append(os.Environ(), "CGO_ENABLED=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	cc, err := run("env", "CC")
	require.NoError(t, err)
	if _, err := exec.LookPath(strings.Fields(cc)[0]); err != nil {
		t.Skipf("no C compiler to link librdkafka: %v", err)
	}
	out, err := run("mod", "download", "github.com/confluentinc/confluent-kafka-go/v2")
	if err != nil {
		t.Skipf("confluent-kafka-go cannot be fetched: %s", out)
	}
	program, err := filepath.Abs(filepath.Join(dir, "librdkafka"))
	require.NoError(t, err)
	out, err = run("build", "-o", program, ".")
	require.NoError(t, err, out)
	return program
}
