package rebuild

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// picture is what the stores hold, as far as the log decides it: everything but the numbers of the
// vectors.
type picture struct {
	Users map[string]person
	Items map[string]uint64
	Edges []sinks.Edge
	// Rows and Sums are query results, one line each.
	Rows, Sums map[string][]string
}

type person struct {
	History   []model.Taken
	Seen      []model.Key
	Events    uint32
	Positions map[string]sinks.Position
	LastEvent time.Time
	HasVector bool
}

// picture takes the picture.
func pictureOf(t *testing.T, in *apptest.Installation) picture {
	t.Helper()
	ctx := t.Context()
	p := picture{
		Users: map[string]person{}, Items: map[string]uint64{}, Rows: map[string][]string{},
		Sums: map[string][]string{},
	}
	require.NoError(
		t,
		in.Engines().Users.(sinktest.UserLister).EachUser(ctx, func(u sinks.User) error {
			var m model.User
			require.NoError(t, m.Decode(u.State))
			p.Users[u.ID] = person{
				History: m.History, Seen: m.AppendSeen(nil), Events: m.Events,
				Positions: u.Positions,
				LastEvent: u.LastEventAt.UTC(), HasVector: len(u.Vector) > 0,
			}
			return nil
		}),
	)
	require.NoError(
		t,
		in.Engines().Items.ItemVersions(
			ctx,
			func(id string, v uint64) error { p.Items[id] = v; return nil },
		),
	)
	require.NoError(
		t,
		in.Engines().Graph.(sinktest.EdgeLister).EachEdge(
			ctx,
			func(e sinks.Edge) error { p.Edges = append(p.Edges, e); return nil },
		),
	)
	slices.SortFunc(
		p.Edges,
		func(a, b sinks.Edge) int {
			return cmp.Or(strings.Compare(a.A, b.A), strings.Compare(a.B, b.B))
		},
	)
	db := in.Rows
	if db == nil {
		db = apptest.OpenRows(t, in.Config())
	}
	for name, query := range map[string]string{
		"interactions": "SELECT log_topic, log_partition, log_offset, user_id, event_id FROM " +
			"interactions ORDER BY 1, 2, 3",
		"recommendations": "SELECT user_id, recommendation_id, log_offset FROM recommendations " +
			"ORDER BY 1, 2, 3",
		"items":        "SELECT item_id, title FROM items ORDER BY 1",
		"users":        "SELECT user_id FROM users ORDER BY 1",
		"dead_letters": "SELECT id, state, reason FROM dead_letters ORDER BY 1",
	} {
		p.Rows[name] = lines(t, db, query)
	}
	for name, query := range map[string]string{
		"item_hours": "SELECT item_id, action, sum(events) FROM item_hours GROUP BY item_id, " +
			"action ORDER BY 1, 2",
		"user_days": "SELECT user_id, action, sum(events) FROM user_days GROUP BY user_id, " +
			"action ORDER BY 1, 2",
		"strategy_days": "SELECT strategy, variant, sum(lists), sum(clicks), sum(impressions) " +
			"FROM strategy_days GROUP BY strategy, variant ORDER BY 1, 2",
	} {
		p.Sums[name] = lines(t, db, query)
	}
	return p
}

func lines(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err, query)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	var out []string
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		require.NoError(t, rows.Scan(into...))
		out = append(out, fmt.Sprint(values...))
	}
	require.NoError(t, rows.Err())
	return out
}

// rebuilt runs the command's own code.
func rebuilt(
	ctx context.Context,
	t *testing.T,
	cfg config.Config,
	store string,
	change ...func(*Options),
) error {
	t.Helper()
	o := Options{Store: store, Log: apptest.Quiet(t), Progress: func(done, total int64) {
		if done > total {
			t.Errorf("progress %d of %d", done, total)
		}
	}}
	o.Say = func(format string, args ...any) { t.Logf(store+": "+format, args...) }
	for _, f := range change {
		f(&o)
	}
	return Run(ctx, cfg, o)
}

// fill gives the installation something of everything: interactions, lists, friendships, bad
// records, a person who was erased and came back.
func fill(t *testing.T, in *apptest.Installation) {
	t.Helper()
	in.World(t, 1500)
	in.AwaitIdle(t, 90*time.Second)
	bad := record.Record{
		Topic: schemas.TopicInteractions, Partition: record.AnyPartition, Key: []byte("bad"),
		Value: []byte("{not json"),
	}
	require.NoError(t, in.Kafka().Emit(t.Context(), []record.Record{bad}))
	for _, x := range []struct{ method, path, body string }{
		{http.MethodPut, "/v1/users/user-1/friends/user-2", ""},
		{http.MethodPut, "/v1/users/user-3/friends/user-2", ""},
		{http.MethodPut, "/v1/users/user-4", `{"attributes":{"country":"FR"}}`},
		{
			http.MethodPost, "/v1/events",
			`{"event_id":"same","source":"t","user_id":"user-5",` +
				`"item_id":"film-1","action":"like"}`,
		},
		{
			http.MethodPost, "/v1/events",
			`{"event_id":"same","source":"t","user_id":"user-5",` +
				`"item_id":"film-1","action":"like"}`,
		},
	} {
		code, out := in.Call(t, x.method, x.path, orNil(x.body))
		require.Less(t, code, 300, string(out))
	}
	in.AwaitIdle(t, 60*time.Second)
	code, out := in.Call(t, http.MethodDelete, "/v1/users/user-1", nil)
	require.Less(t, code, 300, string(out))
	in.AwaitIdle(t, 60*time.Second)
	code, out = in.Call(
		t, http.MethodPost, "/v1/events", `{"user_id":"user-1","item_id":"film-9","action":"like"}`,
	)
	require.Less(t, code, 300, string(out))
	in.AwaitIdle(t, 60*time.Second)
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// more sends events after a rebuild and checks that each counts once.
func more(t *testing.T, in *apptest.Installation, run string) {
	t.Helper()
	before, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	var batch []record.Record
	for i := range 300 {
		batch = append(batch, schemas.Interaction{
			EventID: fmt.Sprintf("%s-%d", run, i/2), Source: "more",
			UserID: fmt.Sprintf("user-%d", 2+i/2%20), ItemID: fmt.Sprintf("film-%d", 1+i/2%30),
			Action: schemas.View, OccurredAt: time.Now().UTC(),
		}.Message())
	}
	require.NoError(t, in.Kafka().Emit(t.Context(), batch))
	in.AwaitIdle(t, 60*time.Second)
	after, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(
		t,
		sinks.Counts{
			Rows: before.Rows + 150, ItemHours: before.ItemHours + 150,
			UserDays: before.UserDays + 150,
		},
		after,
	)
}

func TestRebuildEmbedded(t *testing.T) {
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, nil)
	cfg := in.Config()
	cfg.DataDir = dir
	fill(t, in)
	before := pictureOf(t, in)
	require.Error(t, rebuilt(t.Context(), t, cfg, "embedded"), "dev is running")
	stop()

	require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
	in, stop = apptest.StartEmbedded(t, dir, nil)
	require.Equal(t, before, pictureOf(t, in))
	more(t, in, "a")
	before = pictureOf(t, in)
	stop()

	// Wiped, and an attempt that was interrupted.
	files, err := filepath.Glob(filepath.Join(dir, app.StoreFile+"*"))
	require.NoError(t, err)
	for _, name := range files {
		require.NoError(t, os.Remove(name))
	}
	ctx, cancel := context.WithCancel(t.Context())
	require.Error(
		t,
		rebuilt(
			ctx, t, cfg, "embedded",
			func(o *Options) {
				o.Progress = func(done, _ int64) { cancelWhen(cancel, done > 500) }
			},
		),
	)
	require.NoFileExists(t, filepath.Join(dir, app.StoreFile))
	require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
	in, _ = apptest.StartEmbedded(t, dir, nil)
	require.Equal(t, before, pictureOf(t, in))
	more(t, in, "b")
}

func cancelWhen(cancel func(), yes bool) {
	if yes {
		cancel()
	}
}

// restart runs everything again on the real engines under the same names.
func restart(t *testing.T, cfg config.Config) *apptest.Installation {
	t.Helper()
	return apptest.Start(t, cfg, false)
}

// refused checks that a start names the command that helps.
func refused(t *testing.T, cfg config.Config, store string) {
	t.Helper()
	_, err := app.Open(t.Context(), cfg, app.Options{Log: apptest.Quiet(t)})
	require.ErrorContains(t, err, "slipstream rebuild --store "+store)
}

func TestRealRebuild(t *testing.T) {
	in := apptest.StartReal(t, nil)
	cfg := in.Config()
	fill(t, in)
	before := pictureOf(t, in)
	in.Stop()

	wipe := map[string]func(){
		"qdrant": func() { apptest.DropCollections(t.Context(), t, cfg) },
		"neo4j": func() {
			g, err := app.OpenNeo4j(t.Context(), cfg)
			require.NoError(t, err)
			defer g.Close()
			require.NoError(t, g.SetLogID(t.Context(), ""))
			require.NoError(t, g.Clear(t.Context()))
		},
		"clickhouse": func() {
			_, err := apptest.OpenRows(t, cfg).ExecContext(
				t.Context(), "DROP DATABASE "+cfg.ClickHouse.Database,
			)
			require.NoError(t, err)
		},
	}
	for _, store := range []string{"qdrant", "neo4j", "clickhouse"} {
		wipe[store]()
		refused(t, cfg, store)
		ctx, cancel := context.WithCancel(t.Context())
		require.Error(
			t,
			rebuilt(
				ctx, t, cfg, store,
				func(o *Options) {
					o.Progress = func(done, total int64) {
						cancelWhen(cancel, done > 0 || total == 0)
					}
				},
			),
			"interrupted",
		)
		refused(t, cfg, store)
		require.NoError(t, rebuilt(t.Context(), t, cfg, store))
	}
	in = restart(t, cfg)
	require.Equal(t, before, pictureOf(t, in))
	more(t, in, "wiped")

	t.Log("beside the live system, under load")
	in = underLoad(t, in)
	t.Log("offsets expired")
	in = withoutOffsets(t, in)
	t.Log("another log")
	in.Stop()
	other := cfg
	other.Kafka.TopicPrefix = cfg.Kafka.TopicPrefix + "second."
	t.Cleanup(func() { apptest.DropTopics(context.WithoutCancel(t.Context()), t, other) })
	for _, store := range []string{"qdrant", "neo4j", "clickhouse"} {
		refused(t, other, store)
		require.NoError(t, rebuilt(t.Context(), t, other, store))
	}
	in = restart(t, other)
	require.Empty(t, pictureOf(t, in).Users)
	more(t, in, "other")
	in.Stop()
}

// underLoad makes the stores anew while events come in.
func underLoad(t *testing.T, in *apptest.Installation) *apptest.Installation {
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	k, err := app.OpenKafka(t.Context(), in.Config())
	require.NoError(t, err)
	defer k.Close()
	load.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_ = k.Emit(ctx, []record.Record{
				schemas.Interaction{
					EventID: fmt.Sprint("load-", i), Source: "load",
					UserID: fmt.Sprint("user-", 2+i%30), ItemID: fmt.Sprint("film-", 1+i%50),
					Action: schemas.Like, OccurredAt: time.Now().UTC(),
				}.Message(),
				schemas.Friendship{
					EventID: fmt.Sprint("f-", i), Source: "load",
					UserID: fmt.Sprint("user-", 2+i%30), FriendID: fmt.Sprint("user-", 40+i%7),
					Removed: i%5 == 0, OccurredAt: time.Now().UTC(),
				}.Message(),
			})
			select {
			case <-ctx.Done():
			case <-time.After(3 * time.Millisecond):
			}
		}
	})
	defer load.Wait()
	defer cancel()
	require.NoError(t, rebuilt(t.Context(), t, in.Config(), "neo4j"), "nothing has to stop")
	for _, store := range []string{"qdrant", "clickhouse"} {
		group := map[string]string{
			"qdrant": schemas.GroupEmbed, "clickhouse": schemas.GroupAnalytics,
		}[store]
		require.ErrorContains(
			t, rebuilt(t.Context(), t, in.Config(), store), "these processors are running: "+group,
		)
		asked, done := make(chan struct{}), make(chan error, 1)
		var once sync.Once
		go func() {
			done <- rebuilt(t.Context(), t, in.Config(), store, func(o *Options) {
				say := o.Say
				o.Wait, o.Say = true, func(format string, args ...any) {
					say(format, args...)
					if strings.Contains(fmt.Sprintf(format, args...), "stop "+group) {
						once.Do(func() { close(asked) })
					}
				}
			})
		}()
		select {
		case <-asked:
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(3 * time.Minute):
			t.Fatal("it did not ask to stop the processors within three minutes")
		}
		in.Stop()
		require.NoError(t, <-done)
		in = restart(t, in.Config())
	}
	cancel()
	load.Wait()
	in.AwaitIdle(t, 60*time.Second)
	before := pictureOf(t, in)
	in.Stop()
	for _, store := range []string{"qdrant", "neo4j", "clickhouse"} {
		require.NoError(t, rebuilt(t.Context(), t, in.Config(), store))
	}
	in = restart(t, in.Config())
	in.AwaitIdle(t, 60*time.Second)
	require.Equal(
		t, before, pictureOf(t, in),
		"the store switched to under load equals a replay of the whole log",
	)
	return in
}

// withoutOffsets deletes what the groups have committed.
func withoutOffsets(t *testing.T, in *apptest.Installation) *apptest.Installation {
	before := pictureOf(t, in)
	in.Stop()
	k, err := app.OpenKafka(t.Context(), in.Config())
	require.NoError(t, err)
	defer k.Close()
	var groups []string
	for _, g := range []string{schemas.GroupAnalytics, schemas.GroupEmbed} {
		groups = append(groups, k.Conn().Config().Prefix+g)
	}
	res, err := k.Conn().Client().DeleteGroups(
		t.Context(), &kafkago.DeleteGroupsRequest{GroupIDs: groups},
	)
	require.NoError(t, err)
	for g, err := range res.Errors {
		require.NoError(t, err, g)
	}
	in = restart(t, in.Config())
	apptest.Eventually(t, 30*time.Second, func() error {
		err := in.Degraded()
		if err == nil {
			return errors.New("nothing is wrong yet")
		}
		if !strings.Contains(err.Error(), "slipstream rebuild --store clickhouse") {
			return fmt.Errorf("the command is not named: %w", err)
		}
		return nil
	})
	in.Stop()
	for _, store := range []string{"clickhouse", "qdrant"} {
		require.NoError(t, rebuilt(t.Context(), t, in.Config(), store))
	}
	in = restart(t, in.Config())
	in.AwaitIdle(t, 60*time.Second)
	after := pictureOf(t, in)
	// A group that begins anew makes lists due once more: none is lost, and what comes twice has
	// another version.
	require.Subset(t, after.Rows["recommendations"], before.Rows["recommendations"])
	for _, p := range []picture{before, after} {
		delete(p.Rows, "recommendations")
		delete(p.Sums, "strategy_days")
	}
	require.Equal(t, before.Rows, after.Rows)
	require.Equal(t, before.Sums, after.Sums)
	require.Equal(t, before.Users, after.Users)
	more(t, in, "offsets")
	return in
}
