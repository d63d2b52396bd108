package main

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
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	pb "github.com/qdrant/go-client/qdrant"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/config"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

// installation is a whole running Slipstream of a test.
type installation struct {
	*app
	base string
	// rows are the analysts' tables where they cannot be opened by their address.
	rows *sql.DB
	stop func()
}

// testConfig is the configuration of both kinds of installation: few partitions and short waits.
func testConfig() config.Config {
	cfg := config.Default()
	cfg.Topics.Partitions = 3
	cfg.Stream.InsertInterval = 200 * time.Millisecond
	cfg.Recommend.TrendingInterval = time.Second
	cfg.HTTP.Addr = "127.0.0.1:0"
	cfg.Stream.SessionTimeout, cfg.Stream.HeartbeatInterval = 20*time.Second, time.Second
	return cfg
}

// quiet is a logger for tests: warnings only, to the test's log.
func quiet(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// startEmbedded runs everything in one process on the data in dir. stop ends it cleanly.
func startEmbedded(t *testing.T, dir string, change func(*config.Config)) (in *installation, stop func()) {
	t.Helper()
	cfg := testConfig()
	if change != nil {
		change(&cfg)
	}
	bc := embedded.DefaultConfig(filepath.Join(dir, logFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", quiet(t)
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	cfg.Kafka.Brokers = []string{broker.Addr()}
	e, err := openEmbedded(t.Context(), dir)
	require.NoError(t, err)
	in, end := start(t, cfg, e, true)
	in.rows, err = sql.Open("sqlite", "file:"+filepath.Join(dir, storeFile)+"?mode=ro")
	require.NoError(t, err)
	t.Cleanup(func() { _ = in.rows.Close() })
	return in, func() { end(); require.NoError(t, broker.Close()) }
}

// startReal runs everything on the real engines, under names of its own.
func startReal(t *testing.T, change func(*config.Config)) *installation {
	t.Helper()
	cfg := testConfig()
	name := fmt.Sprintf("e2e%08x", rand.Uint32())
	cfg.Kafka.Brokers = strings.Split(enginetest.Addr(t, "KAFKA_BROKERS"), ",")
	cfg.Kafka.TopicPrefix = name + "."
	cfg.Qdrant.Addr, cfg.Qdrant.CollectionPrefix = enginetest.Addr(t, "QDRANT_ADDR"), name+"_"
	cfg.Neo4j.URI, cfg.Neo4j.Username, cfg.Neo4j.Password = enginetest.Addr(t, "NEO4J_URI"), enginetest.Env("NEO4J_USERNAME"), enginetest.Env("NEO4J_PASSWORD")
	cfg.Neo4j.LabelPrefix = name
	cfg.ClickHouse.Addr, cfg.ClickHouse.Database = enginetest.Addr(t, "CLICKHOUSE_ADDR"), name
	cfg.ClickHouse.Username, cfg.ClickHouse.Password = enginetest.Env("CLICKHOUSE_USERNAME"), enginetest.Env("CLICKHOUSE_PASSWORD")
	if change != nil {
		change(&cfg)
	}
	e, err := openReal(t.Context(), cfg)
	require.NoError(t, err)
	in, stop := start(t, cfg, e, false)
	t.Cleanup(func() { dropReal(t, cfg) })
	t.Cleanup(stop)
	return in
}

// dropReal removes what a test has made on the real engines.
func dropReal(t *testing.T, cfg config.Config) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dropTopics(ctx, t, cfg)
	dropCollections(ctx, t, cfg)

	g, err := openNeo4j(ctx, cfg)
	require.NoError(t, err)
	defer g.Close()
	require.NoError(t, g.Clear(ctx))

	db := openRows(t, cfg)
	for _, name := range []string{cfg.ClickHouse.Database, cfg.ClickHouse.Database + "_rebuild"} {
		_, err = db.ExecContext(ctx, "DROP DATABASE IF EXISTS "+name)
		require.NoError(t, err)
	}
}

func dropTopics(ctx context.Context, t *testing.T, cfg config.Config) {
	k, err := openKafka(ctx, cfg, nil)
	require.NoError(t, err)
	defer k.Close()
	var topics []string
	for _, x := range schemas.Topics(topicsConfig(cfg)) {
		topics = append(topics, cfg.Kafka.TopicPrefix+x.Name)
	}
	require.NoError(t, stream.DeleteTopics(ctx, k.conn, topics...))
}

func dropCollections(ctx context.Context, t *testing.T, cfg config.Config) {
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

// openRows opens the analysts' tables past all of our code.
func openRows(t *testing.T, cfg config.Config) *sql.DB {
	db := clickhouse.OpenDB(&clickhouse.Options{
		Addr: []string{cfg.ClickHouse.Addr},
		Auth: clickhouse.Auth{Database: cfg.ClickHouse.Database, Username: cfg.ClickHouse.Username, Password: cfg.ClickHouse.Password},
	})
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// rowsOf counts the rows that name a user in every table for analysts.
func (in *installation) rowsOf(t *testing.T, user string) map[string]int {
	t.Helper()
	db := in.rows
	if db == nil {
		db = openRows(t, in.cfg)
	}
	out := make(map[string]int)
	for _, table := range []string{"interactions", "recommendations", "user_days", "users"} {
		var n int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table+" WHERE user_id = ?", user).Scan(&n), table)
		out[table] = n
	}
	return out
}

func start(t *testing.T, cfg config.Config, e *engines, isEmbedded bool) (*installation, func()) {
	t.Helper()
	metrics := telemetry.NewMetrics("test")
	k, err := openKafka(t.Context(), cfg, metrics)
	require.NoError(t, err)
	a, err := newApp(t.Context(), cfg, quiet(t), k, e, metrics, processorNames(), isEmbedded)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	select {
	case <-a.ready:
	case err := <-done:
		t.Fatalf("the app ended before it was ready: %v", err)
	case <-time.After(60 * time.Second):
		t.Fatal("the app was not ready within a minute")
	}
	in := &installation{app: a, base: "http://" + a.address(t)}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			require.NoError(t, ignoreCanceled(err))
		case <-time.After(60 * time.Second):
			t.Fatal("the app did not stop within a minute")
		}
		require.NoError(t, a.Close())
	}
	t.Cleanup(stop)
	in.stop = stop
	return in, stop
}

// address waits until the API listens.
func (a *app) address(t *testing.T) string {
	t.Helper()
	select {
	case addr := <-a.listening:
		return addr
	case <-time.After(30 * time.Second):
		t.Fatal("the API did not listen within 30 s")
		return ""
	}
}

// eventually waits until check returns nil.
func eventually(t *testing.T, limit time.Duration, check func() error) {
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

// settle waits until every group has worked off the log and the index is up to date.
func (in *installation) settle(t *testing.T, limit time.Duration) {
	t.Helper()
	calm := 0
	eventually(t, limit, func() error {
		lags, err := stream.Lag(t.Context(), in.kafka.conn, in.kafka.groupTopics())
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
		if in.indexed != nil && !in.indexed() {
			return errors.New("not all items stand in the index")
		}
		return nil
	})
}

func (in *installation) call(t *testing.T, method, path string, body any) (int, []byte) {
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
	req, err := http.NewRequestWithContext(t.Context(), method, in.base+path, r)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, out
}

// latest reads a compacted topic: the latest value of each key, nil for a tombstone.
func (in *installation) latest(t *testing.T, topic string) map[string][]byte {
	t.Helper()
	out := make(map[string][]byte)
	n, err := in.kafka.conn.Partitions(t.Context(), in.kafka.prefix+topic)
	require.NoError(t, err)
	for p := range n {
		require.NoError(t, in.kafka.Read(t.Context(), topic, p, 0, -1, func(r *schemas.Record) error {
			out[string(r.Key)] = slices.Clone(r.Value)
			return nil
		}))
	}
	return out
}

// world is a small public-data-like history of our own making.
func (in *installation) world(t *testing.T, events int) {
	t.Helper()
	c := producers.DefaultSimulatorConfig()
	c.Users, c.Items, c.Rate, c.Limit, c.Warmup, c.Run = 40, 300, 0, events, 0, "e2e"
	sim, err := producers.NewSimulator(c, nil, now)
	require.NoError(t, err)
	require.NoError(t, sim.Run(t.Context(), in.kafka))
}

func TestEndToEndEmbedded(t *testing.T) {
	in, _ := startEmbedded(t, t.TempDir(), nil)
	everything(t, in)
}

func TestRealEndToEnd(t *testing.T) {
	everything(t, startReal(t, nil))
}

// everything walks through what users of the whole product do.
func everything(t *testing.T, in *installation) {
	in.world(t, 1500)
	t.Run("bad records go to the poison topic and the rest flows", func(t *testing.T) { badRecords(t, in) })
	in.settle(t, 90*time.Second)
	t.Run("rows and rollups are exact", func(t *testing.T) { exactRows(t, in) })
	t.Run("lists on the topic and over REST", func(t *testing.T) { lists(t, in) })
	t.Run("an event sent twice counts once", func(t *testing.T) { twice(t, in) })
	t.Run("friendships are last write wins", func(t *testing.T) { friendships(t, in) })
	t.Run("a new user is served after the first event", func(t *testing.T) { newUser(t, in) })
	t.Run("a new item can be recommended within a second", func(t *testing.T) { newItem(t, in) })
	t.Run("an erased user is gone and stays gone", func(t *testing.T) { erased(t, in) })
}

// countOnLog returns how many interactions stand on the log, each id once.
func (in *installation) countOnLog(t *testing.T) int64 {
	t.Helper()
	ids := make(map[string]struct{})
	for p := range in.cfg.Topics.Partitions {
		require.NoError(t, in.kafka.Read(t.Context(), schemas.TopicInteractions, p, 0, -1, func(r *schemas.Record) error {
			if x, err := schemas.DecodeInteraction(r); err == nil {
				ids[x.Source+"\x00"+x.EventID] = struct{}{}
			}
			return nil
		}))
	}
	return int64(len(ids))
}

func exactRows(t *testing.T, in *installation) {
	want := in.countOnLog(t)
	require.Positive(t, want)
	got, err := in.engines.analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: want, ItemHours: want, UserDays: want}, got)
}

func lists(t *testing.T, in *installation) {
	current := in.latest(t, schemas.TopicRecommendationsCurrent)
	var users []string
	require.NoError(t, in.engines.users.EachUser(t.Context(), func(u sinks.User) error { users = append(users, u.ID); return nil }))
	require.NotEmpty(t, users)
	for _, u := range users {
		require.Contains(t, current, u, "every user has a list")
		var list schemas.Recommendation
		require.NoError(t, json.Unmarshal(current[u], &list))
		require.NotEmpty(t, list.Items, string(current[u]))
		require.Equal(t, u, list.UserID)
		require.Equal(t, "event", list.CausedBy.Trigger)
		for i, x := range list.Items {
			require.Equal(t, i+1, x.Rank)
			require.NotEmpty(t, x.Reason)
			require.NotEmpty(t, x.Title)
		}
	}
	code, body := in.call(t, http.MethodGet, "/v1/users/nobody-yet/recommendations?n=5", nil)
	require.Equal(t, http.StatusOK, code, string(body))
	var list schemas.Recommendation
	require.NoError(t, json.Unmarshal(body, &list))
	require.Equal(t, schemas.StrategyTrending, list.Strategy)
	require.Len(t, list.Items, 5)
}

func twice(t *testing.T, in *installation) {
	before, err := in.engines.analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	event := `{"event_id":"twice-1","source":"test","user_id":"twin","item_id":"film-1","action":"like"}`
	for range 3 {
		code, body := in.call(t, http.MethodPost, "/v1/events", event)
		require.Equal(t, http.StatusAccepted, code, string(body))
	}
	in.settle(t, 30*time.Second)
	after, err := in.engines.analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, before.Rows+1, after.Rows)
	points, err := in.engines.users.GetUsers(t.Context(), []string{"twin"})
	require.NoError(t, err)
	require.Len(t, points, 1)
	require.Equal(t, []model.Key{model.KeyOf("film-1")}, in.history(t, "twin"))
}

func friendships(t *testing.T, in *installation) {
	rng := rand.New(rand.NewPCG(7, 7))
	people := []string{"fa", "fb", "fc", "fd", "fe", "ff"}
	type last struct {
		at      time.Time
		id      string
		removed bool
	}
	want := make(map[[2]string]last)
	var batch []schemas.Message
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 300 {
		a, b := people[rng.IntN(len(people))], people[rng.IntN(len(people))]
		if a == b {
			continue
		}
		f := schemas.Friendship{EventID: fmt.Sprintf("f%03d", i), Source: "test", UserID: a, FriendID: b, Removed: rng.IntN(3) == 0, OccurredAt: base.Add(time.Duration(rng.IntN(50)) * time.Minute)}
		low, high := f.Pair()
		x := last{f.OccurredAt, f.EventID, f.Removed}
		if old, ok := want[[2]string{low, high}]; !ok || x.at.After(old.at) || x.at.Equal(old.at) && x.id > old.id {
			want[[2]string{low, high}] = x
		}
		batch = append(batch, f.Message())
	}
	require.NoError(t, in.kafka.Emit(t.Context(), batch))
	in.settle(t, 30*time.Second)
	got := make(map[[2]string]bool)
	require.NoError(t, in.engines.graph.EachEdge(t.Context(), func(e sinks.Edge) error {
		if slices.Contains(people, e.A) {
			got[[2]string{e.A, e.B}] = true
		}
		return nil
	}))
	for pair, x := range want {
		require.Equal(t, !x.removed, got[pair], "%v", pair)
	}
}

func newUser(t *testing.T, in *installation) {
	code, body := in.call(t, http.MethodPost, "/v1/events", `{"user_id":"newcomer","item_id":"film-3","action":"like"}`)
	require.Equal(t, http.StatusAccepted, code, string(body))
	eventually(t, 10*time.Second, func() error {
		value := in.latest(t, schemas.TopicRecommendationsCurrent)["newcomer"]
		if value == nil {
			return errors.New("no list yet")
		}
		var list schemas.Recommendation
		require.NoError(t, json.Unmarshal(value, &list))
		if list.Strategy != schemas.StrategyPersonal {
			return fmt.Errorf("the list is %s", list.Strategy)
		}
		return nil
	})
}

func newItem(t *testing.T, in *installation) {
	fastest := time.Hour
	for i := range 3 { // a busy machine may be slow once
		genre := fmt.Sprintf("Brand New Genre %d", i)
		sent := time.Now()
		code, body := in.call(t, http.MethodPut, fmt.Sprintf("/v1/items/brand-new-%d", i), map[string]any{"title": "A brand new film", "genres": []string{genre}})
		require.Less(t, code, 300, string(body))
		eventually(t, 10*time.Second, func() error {
			hits, err := in.engines.items.SearchItems(t.Context(), []sinks.ItemQuery{{Vector: make([]float32, in.cfg.Model.Dim+1), N: 10, Genres: []string{genre}}})
			if err != nil {
				return err
			}
			if len(hits[0]) != 1 {
				return errors.New("not found yet")
			}
			return nil
		})
		fastest = min(fastest, time.Since(sent))
	}
	t.Logf("found by search after %v", fastest.Round(time.Millisecond))
	require.Less(t, fastest, time.Second)
}

func badRecords(t *testing.T, in *installation) {
	bad := map[string]string{"undecodable": "{not json", "schema": `{"user_id":"u","item_id":"i","action":"teleport"}`, "type": `{"user_id":7,"item_id":"i","action":"like"}`}
	var batch []schemas.Message
	for key, value := range bad {
		batch = append(batch, schemas.Message{Topic: schemas.TopicInteractions, Partition: schemas.AnyPartition, Key: []byte(key), Value: []byte(value)})
	}
	require.NoError(t, in.kafka.Emit(t.Context(), batch))
	code, body := in.call(t, http.MethodPost, "/v1/events", `{"user_id":"u","item_id":"i","action":"teleport"}`)
	require.Equal(t, http.StatusBadRequest, code, string(body))
	code, body = in.call(t, http.MethodPost, "/v1/events", `{"user_id":"u","item_id":"i","action":"view","note":"`+strings.Repeat("x", 9<<20)+`"}`)
	require.Equal(t, http.StatusRequestEntityTooLarge, code, string(body[:min(len(body), 300)]))
	in.settle(t, 60*time.Second)
	open := func() []stream.DeadLetter {
		found, err := in.kafka.deadLetters().List(t.Context(), stream.DeadLetterFilter{State: stream.DeadLetterOpen})
		require.NoError(t, err)
		return found
	}
	letters := open()
	require.Len(t, letters, 2*len(bad), "each of embed and aggregate sets it aside")
	for _, l := range letters {
		require.Equal(t, bad[string(l.Key)], string(l.Value))
		require.Equal(t, "permanent", l.Class.String())
	}
	n, err := in.kafka.deadLetters().Drop(t.Context(), stream.DeadLetterFilter{IDs: []string{letters[0].ID}}, "test")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = in.kafka.deadLetters().Replay(t.Context(), stream.DeadLetterFilter{IDs: []string{letters[1].ID}}, stream.ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	in.settle(t, 30*time.Second)
	require.Len(t, open(), 2*len(bad)-1, "the dropped one is not open any more, the replayed one failed again")
}

// history returns the keys of a user's latest items, latest last.
func (in *installation) history(t *testing.T, user string) (keys []model.Key) {
	t.Helper()
	points, err := in.engines.users.GetUsers(t.Context(), []string{user})
	require.NoError(t, err)
	require.Len(t, points, 1)
	var u model.User
	require.NoError(t, u.Decode(points[0].State))
	for _, h := range u.History {
		keys = append(keys, h.Key)
	}
	return keys
}

func erased(t *testing.T, in *installation) {
	const who = "user-1"
	befriend := func(friend string) {
		code, body := in.call(t, http.MethodPut, "/v1/users/"+who+"/friends/"+friend, nil)
		require.Less(t, code, 300, string(body))
	}
	befriend("user-2")
	code, body := in.call(t, http.MethodPut, "/v1/users/"+who, map[string]any{"attributes": map[string]any{"country": "FR"}})
	require.Less(t, code, 300, string(body))
	in.settle(t, 30*time.Second)
	points, err := in.engines.users.GetUsers(t.Context(), []string{who})
	require.NoError(t, err)
	require.Len(t, points, 1)
	for table, n := range in.rowsOf(t, who) {
		require.Positive(t, n, table)
	}
	code, body = in.call(t, http.MethodDelete, "/v1/users/"+who, nil)
	require.Less(t, code, 300, string(body))
	in.settle(t, 30*time.Second)
	// What happened before and comes late must not bring the person back.
	past := time.Now().Add(-24 * time.Hour).UTC()
	late := []schemas.Message{
		schemas.Interaction{EventID: "late-1", Source: "test", UserID: who, ItemID: "film-1", Action: schemas.Like, OccurredAt: past}.Message(),
		schemas.Friendship{EventID: "late-2", Source: "test", UserID: who, FriendID: "user-3", OccurredAt: past}.Message(),
		schemas.User{EventID: "late-3", Source: "test", UserID: who, OccurredAt: past, Attributes: map[string]any{"country": "FR"}}.Message(),
	}
	require.NoError(t, in.kafka.Emit(t.Context(), late))
	in.settle(t, 30*time.Second)
	points, err = in.engines.users.GetUsers(t.Context(), []string{who})
	require.NoError(t, err)
	require.Empty(t, points)
	require.NoError(t, in.engines.graph.EachEdge(t.Context(), func(e sinks.Edge) error {
		require.NotContains(t, []string{e.A, e.B}, who)
		return nil
	}))
	require.Equal(t, map[string]int{"interactions": 0, "recommendations": 0, "user_days": 0, "users": 0}, in.rowsOf(t, who))
	require.Nil(t, in.latest(t, schemas.TopicRecommendationsCurrent)[who])
	for key := range in.latest(t, schemas.TopicErasures) {
		require.NotContains(t, key, who)
	}
}

// sharedData is the path of a data set beside the repository, or skips.
func sharedData(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no data set at %s: the public data sets are not part of the repository", path)
	}
	return path
}

// movieLens replays MovieLens 100k and checks what every store holds.
func movieLens(t *testing.T, in *installation) {
	path := sharedData(t, "ml-100k")
	set, err := datasets.Open(t.Context(), datasets.Config{Path: path})
	require.NoError(t, err)
	for range 2 { // the second time must change nothing
		_, err = producers.Replay(t.Context(), set, in.kafka, producers.ReplayOptions{})
		require.NoError(t, err)
	}
	in.settle(t, 8*time.Minute)
	got, err := in.engines.analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(t, sinks.Counts{Rows: 100_000, ItemHours: 100_000, UserDays: 100_000}, got)
	users, err := in.engines.users.CountUsers(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 943, users)
	items, err := in.engines.items.CountItems(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1682, items)
	require.Len(t, in.latest(t, schemas.TopicRecommendationsCurrent), 943)
}

func TestLongMovieLensEmbedded(t *testing.T) {
	if os.Getenv("SLIPSTREAM_LONG") == "" {
		t.Skip("SLIPSTREAM_LONG is not set: make test-long runs it")
	}
	in, _ := startEmbedded(t, t.TempDir(), nil)
	movieLens(t, in)
}

func TestRealMovieLens(t *testing.T) {
	movieLens(t, startReal(t, nil))
}
