// Package apptest runs a whole Slipstream in tests, embedded or on real engines.
package apptest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	pb "github.com/qdrant/go-client/qdrant"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/producers/simulator"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Installation is a whole running Slipstream of a test.
type Installation struct {
	*app.App
	// Base is the address of the API.
	Base string
	// Rows are the analysts' tables where they cannot be opened by their address.
	Rows *sql.DB
	// Stop ends it cleanly. Calling it again does nothing.
	Stop func()
}

// Config is the configuration of both kinds of installation: few partitions and short waits.
func Config() config.Config {
	cfg := config.Default()
	cfg.Topics.Partitions = 3
	cfg.Stream.InsertInterval = 200 * time.Millisecond
	cfg.Stream.LearnInterval = 200 * time.Millisecond
	cfg.Recommend.TrendingInterval = time.Second
	cfg.HTTP.Addr, cfg.HTTP.DrainDelay = "127.0.0.1:0", 0
	cfg.Stream.SessionTimeout, cfg.Stream.HeartbeatInterval = 20*time.Second, time.Second
	return cfg
}

// Quiet is a logger for tests: warnings only, to the test's log.
func Quiet(t *testing.T) *slog.Logger {
	return slog.New(
		slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}),
	)
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// StartEmbedded runs everything in one process on the data in dir. stop ends it cleanly.
func StartEmbedded(
	t *testing.T,
	dir string,
	change func(*config.Config),
) (in *Installation, stop func()) {
	t.Helper()
	cfg := Config()
	if change != nil {
		change(&cfg)
	}
	bc := embedded.DefaultConfig(filepath.Join(dir, app.LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", Quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	t.Cleanup(func() { _ = broker.Close() }) // behind everything that uses it
	cfg.Kafka.Brokers = []string{broker.Addr()}
	cfg.DataDir = dir
	in = Start(t, cfg, true)
	end := in.Stop
	in.Rows, err = sql.Open("sqlite", "file:"+filepath.Join(dir, app.StoreFile)+"?mode=ro")
	require.NoError(t, err)
	t.Cleanup(func() { _ = in.Rows.Close() })
	return in, func() { end(); require.NoError(t, broker.Close()) }
}

// StartReal runs everything on the real engines, under names of its own.
func StartReal(t *testing.T, change func(*config.Config)) *Installation {
	t.Helper()
	return Start(t, RealConfig(t, change), false)
}

// RealConfig is the configuration of an installation on the real engines, under names of its own.
// What stands there under these names is removed when the test ends.
func RealConfig(t *testing.T, change func(*config.Config)) config.Config {
	t.Helper()
	cfg := Config()
	name := fmt.Sprintf("e2e%08x", rand.Uint32())
	cfg.Kafka.Brokers = strings.Split(enginetest.Addr(t, "KAFKA_BROKERS"), ",")
	cfg.Kafka.TopicPrefix = name + "."
	cfg.Qdrant.Addr, cfg.Qdrant.CollectionPrefix = enginetest.Addr(t, "QDRANT_ADDR"), name+"_"
	cfg.Neo4j.URI, cfg.Neo4j.LabelPrefix = enginetest.Addr(t, "NEO4J_URI"), name
	cfg.Neo4j.Username = enginetest.Env("NEO4J_USERNAME")
	cfg.Neo4j.Password = enginetest.Env("NEO4J_PASSWORD")
	cfg.ClickHouse.Addr, cfg.ClickHouse.Database = enginetest.Addr(t, "CLICKHOUSE_ADDR"), name
	cfg.ClickHouse.Username = enginetest.Env("CLICKHOUSE_USERNAME")
	cfg.ClickHouse.Password = enginetest.Env("CLICKHOUSE_PASSWORD")
	if change != nil {
		change(&cfg)
	}
	t.Cleanup(func() { dropReal(t, cfg) })
	return cfg
}

// dropReal removes what a test has made on the real engines.
func dropReal(t *testing.T, cfg config.Config) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	DropTopics(ctx, t, cfg)
	DropCollections(ctx, t, cfg)

	g, err := app.OpenNeo4j(ctx, cfg)
	require.NoError(t, err)
	defer g.Close()
	require.NoError(t, g.Clear(ctx))

	db := OpenRows(t, cfg)
	for _, name := range []string{cfg.ClickHouse.Database, cfg.ClickHouse.Database + "_rebuild"} {
		_, err = db.ExecContext(ctx, "DROP DATABASE IF EXISTS "+name)
		require.NoError(t, err)
	}
}

// DropTopics removes the topics of an installation.
func DropTopics(ctx context.Context, t *testing.T, cfg config.Config) {
	k, err := app.OpenKafka(ctx, cfg)
	require.NoError(t, err)
	defer k.Close()
	var topics []string
	for _, x := range processors.Topics(app.TopicsConfig(cfg)) {
		topics = append(topics, x.Name)
	}
	require.NoError(t, admin.DeleteTopics(ctx, k.Conn(), topics...))
}

// DropCollections removes the collections of an installation on the real Qdrant.
func DropCollections(ctx context.Context, t *testing.T, cfg config.Config) {
	host, port, err := net.SplitHostPort(cfg.Qdrant.Addr)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	v, err := pb.NewClient(&pb.Config{Host: host, Port: number, SkipCompatibilityCheck: true})
	require.NoError(t, err)
	defer v.Close()
	collections, err := v.ListCollections(ctx)
	require.NoError(t, err)
	for _, c := range collections {
		if strings.HasPrefix(c, cfg.Qdrant.CollectionPrefix) {
			require.NoError(t, v.DeleteCollection(ctx, c))
		}
	}
}

// OpenRows opens the analysts' tables past all of our code.
func OpenRows(t *testing.T, cfg config.Config) *sql.DB {
	db := clickhouse.OpenDB(&clickhouse.Options{
		Addr: []string{cfg.ClickHouse.Addr},
		Auth: clickhouse.Auth{
			Database: cfg.ClickHouse.Database, Username: cfg.ClickHouse.Username,
			Password: cfg.ClickHouse.Password,
		},
	})
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// RowsOf counts the rows that name a user in every table for analysts.
func (in *Installation) RowsOf(t *testing.T, user string) map[string]int {
	t.Helper()
	db := in.Rows
	if db == nil {
		db = OpenRows(t, in.Config())
	}
	out := make(map[string]int)
	for _, table := range []string{"interactions", "recommendations", "user_days", "users"} {
		var n int
		require.NoError(
			t,
			db.QueryRowContext(
				t.Context(), "SELECT count(*) FROM "+table+" WHERE user_id = ?", user,
			).Scan(&n),
			table,
		)
		out[table] = n
	}
	return out
}

// Start runs everything as cfg says. It ends with the test, or with Stop.
func Start(t *testing.T, cfg config.Config, isEmbedded bool) *Installation {
	t.Helper()
	a, err := app.Open(
		t.Context(), cfg, app.Options{Embedded: isEmbedded, Version: "test", Log: Quiet(t)},
	)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	select {
	case <-a.Ready():
	case err := <-done:
		t.Fatalf("the app ended before it was ready: %v", err)
	case <-time.After(60 * time.Second):
		t.Fatal("the app was not ready within a minute")
	}
	in := &Installation{App: a, Base: "http://" + address(t, a)}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			require.NoError(t, fault.IgnoreCanceled(err))
		case <-time.After(60 * time.Second):
			t.Fatal("the app did not stop within a minute")
		}
		require.NoError(t, a.Close())
	}
	t.Cleanup(stop)
	in.Stop = stop
	return in
}

// address waits until the API listens.
func address(t *testing.T, a *app.App) string {
	t.Helper()
	select {
	case addr := <-a.Listening():
		return addr
	case <-time.After(30 * time.Second):
		t.Fatal("the API did not listen within 30 s")
		return ""
	}
}

// Eventually waits until check returns nil.
func Eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", limit, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// AwaitIdle waits until the lag of every group is 0 and the index is up to date.
func (in *Installation) AwaitIdle(t *testing.T, limit time.Duration) {
	t.Helper()
	calm := 0
	Eventually(t, limit, func() error {
		lags, err := admin.Lag(t.Context(), in.Kafka().Conn(), in.Kafka().GroupTopics())
		if err != nil {
			return err
		}
		for _, l := range lags {
			if l.Lag > 0 {
				calm = 0
				return fmt.Errorf("%s is %d behind on %s", l.Group, l.Lag, l.TopicPartition)
			}
		}
		if calm++; calm < 8 { // processors emit to one another
			return errors.New("not calm yet")
		}
		if !in.Indexed() {
			return errors.New("not all items stand in the index")
		}
		return nil
	})
}

// Call asks the API and returns the status and the body of its answer.
func (in *Installation) Call(t *testing.T, method, path string, body any) (int, []byte) {
	t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		raw, err := json.Marshal(body)
		require.NoError(t, err)
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, in.Base+path, r)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, out
}

// Latest reads a compacted topic: the latest value of each key, nil for a tombstone.
func (in *Installation) Latest(t *testing.T, topic string) map[string][]byte {
	t.Helper()
	out := make(map[string][]byte)
	n, err := in.Kafka().Conn().Partitions(t.Context(), topic)
	require.NoError(t, err)
	for p := range n {
		require.NoError(
			t,
			in.Kafka().Read(t.Context(), topic, p, 0, -1, func(r *record.Record) error {
				out[string(r.Key)] = slices.Clone(r.Value)
				return nil
			}),
		)
	}
	return out
}

// World is a small public-data-like history of our own making.
func (in *Installation) World(t *testing.T, events int) {
	t.Helper()
	c := simulator.DefaultConfig()
	c.Users, c.Items, c.Rate, c.Limit, c.Warmup, c.Run = 40, 300, 0, events, 0, "e2e"
	sim, err := simulator.New(c, nil, time.Now)
	require.NoError(t, err)
	require.NoError(t, sim.Run(t.Context(), in.Kafka()))
}
