package neo4j

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	infra "github.com/slipstream-rec/slipstream/infra/neo4j"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/sinks"
)

func configForTest(t testing.TB) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.URI = enginetest.Addr(t, "NEO4J_URI")
	cfg.Username, cfg.Password = enginetest.Env("NEO4J_USERNAME"), enginetest.Env("NEO4J_PASSWORD")
	var b [6]byte
	_, err := rand.Read(b[:])
	require.NoError(t, err)
	cfg.LabelPrefix = "t" + hex.EncodeToString(b[:]) + "_"
	return cfg
}

// openForTest opens a graph of its own on the real engine, migrated and empty, and removes it
// afterwards.
func openForTest(t testing.TB) *Store {
	t.Helper()
	cfg := configForTest(t)
	s, err := Open(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		dropAll(t, cfg)
		require.NoError(t, s.Close())
	})
	require.NoError(t, s.Migrate(context.Background()))
	return s
}

// dropAll works on a connection of its own: the test may have closed the store's.
func dropAll(t testing.TB, cfg Config) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Open(ctx, cfg)
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	require.NoError(t, s.Clear(ctx))
	for _, statement := range []string{
		`MATCH (m:Meta) DETACH DELETE m`, `DROP CONSTRAINT user_id IF EXISTS`,
		`DROP CONSTRAINT meta_key IF EXISTS`,
	} {
		require.NoError(t, s.write(ctx, "clean up", statement, nil))
	}
}

// TestRealPlans holds that no statement reads every node to find one.
func TestRealPlans(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	params := map[string]any{
		"edges": []any{
			map[string]any{"a": "a", "b": "b", "at": 1, "event_id": "e", "removed": false},
		},
		"users": []any{
			map[string]any{"id": "a", "at": 1},
		},
		"user": "a", "n": 10, "via": 3, "limit": 10, "key": "k", "value": "v",
	}
	for name, tc := range map[string]struct {
		statement string
		// whole statements read every relationship of the type, by the index of types.
		whole bool
	}{
		"apply edges": {applyEdges, false}, "friends": {friends, false},
		"suggest friends": {suggestFriends, false}, "erase friends": {eraseFriends, false},
		"each edge": {eachEdge, true}, "count edges": {countEdges, true},
		"get meta": {getMeta, false}, "set meta": {setMeta, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			operators := explain(t, s, tc.statement, params)
			require.NotEmpty(t, operators)
			seeks := 0
			for _, op := range operators {
				require.NotContains(t, op, "AllNodesScan", "%v", operators)
				require.NotContains(t, op, "NodeByLabelScan", "%v", operators)
				require.NotContains(t, op, "AllRelationshipsScan", "%v", operators)
				require.NotContains(t, op, "CartesianProduct", "%v", operators)
				if !tc.whole {
					require.NotContains(t, op, "RelationshipTypeScan", "%v", operators)
				}
				if strings.Contains(op, "UniqueIndexSeek") {
					seeks++
				}
			}
			if !tc.whole {
				require.Positive(t, seeks, "%v", operators)
			}
		})
	}
}

var operatorPattern = regexp.MustCompile(`(?m)^\| [|\s]*\+(\w+)`)

func explain(t *testing.T, s *Store, statement string, params map[string]any) []string {
	t.Helper()
	session := s.session(t.Context(), driver.AccessModeRead)
	defer func() { require.NoError(t, session.Close(context.Background())) }()
	result, err := session.Run(t.Context(), "EXPLAIN "+named(statement, s.cfg.LabelPrefix), params)
	require.NoError(t, err)
	summary, err := result.Consume(t.Context())
	require.NoError(t, err)
	// Not Children: in driver 5.28 every child of an operator is the last one.
	table, _ := summary.Plan().Arguments()["string-representation"].(string)
	var operators []string
	for _, m := range operatorPattern.FindAllStringSubmatch(table, -1) {
		operators = append(operators, m[1])
	}
	return operators
}

// TestRealLateWriterWaits holds that of two transactions at one edge the one that waited for the
// other compares with what the other wrote.
func TestRealLateWriterWaits(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	at := func(sec int64) time.Time { return time.Unix(sec, 0).UTC() }
	edge := func(sec int64, removed bool) sinks.Edge {
		return sinks.Edge{A: "a", B: "b", At: at(sec), EventID: "e", Removed: removed}
	}
	require.NoError(t, s.ApplyEdges(t.Context(), []sinks.Edge{edge(5, false)}))

	session := s.session(t.Context(), driver.AccessModeWrite)
	defer func() { require.NoError(t, session.Close(context.Background())) }()
	tx, err := session.BeginTransaction(t.Context())
	require.NoError(t, err)
	first := map[string]any{
		"edges": []any{
			map[string]any{
				"a": "a", "b": "b", "at": nanos(at(10)), "event_id": "e", "removed": true,
			},
		},
	}
	result, err := tx.Run(t.Context(), named(applyEdges, s.cfg.LabelPrefix), first)
	require.NoError(t, err)
	_, err = result.Consume(t.Context())
	require.NoError(t, err)

	second := make(chan error, 1)
	go func() { second <- s.ApplyEdges(t.Context(), []sinks.Edge{edge(8, false)}) }()
	require.Eventually(
		t,
		func() bool { return blocked(t, s) },
		10*time.Second, 20*time.Millisecond, "the second writer never waited",
	)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-second)

	n, err := s.CountEdges(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "the removal at 10 was undone by an addition at 8")
}

// blocked tells whether a transaction of this test's graph waits for a lock.
func blocked(t *testing.T, s *Store) bool {
	rows, err := s.read(
		t.Context(), "list transactions",
		`SHOW TRANSACTIONS YIELD currentQuery, status WHERE currentQuery CONTAINS $prefix AND `+
			`status STARTS WITH 'Blocked' RETURN count(*) AS n`,
		map[string]any{"prefix": s.cfg.LabelPrefix},
	)
	require.NoError(t, err)
	n, _ := rows[0].Values[0].(int64)
	return n > 0
}

// TestRealConcurrentHistories lets several writers apply parts of one history over few people, in
// different orders and twice, erasures of others between them; deadlocks are certain. The end must
// be that of the history in order.
func TestRealConcurrentHistories(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	const people, changes, writers = 8, 400, 6
	var history []sinks.Edge
	last := map[[2]int]sinks.Edge{}
	for i := range changes {
		a, b := i%people, (i*i+3*i+1)%people
		if a == b {
			continue
		}
		e := sinks.Edge{
			A: fmt.Sprint("p", a), B: fmt.Sprint("p", b), At: time.Unix(int64(1000+i/3), 0).UTC(),
			EventID: fmt.Sprintf("e%04d", i), Removed: i%3 == 0,
		}
		history = append(history, e)
		last[[2]int{min(a, b), max(a, b)}] = e
	}
	var wg sync.WaitGroup
	errs := make(chan error, writers*2)
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			part := make([]sinks.Edge, 0, len(history))
			for i := range history {
				part = append(part, history[(i*(2*w+7)+w)%len(history)]) // another order for each
			}
			part = append(part, history...)
			for len(part) > 0 {
				n := min(40, len(part))
				if err := s.ApplyEdges(t.Context(), part[:n]); err != nil {
					errs <- err
					return
				}
				part = part[n:]
			}
			errs <- s.EraseFriends(
				t.Context(),
				[]sinks.Erasure{{UserID: fmt.Sprint("stranger", w), At: time.Unix(1e6, 0)}},
			)
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	got := map[string]sinks.Edge{}
	require.NoError(
		t, s.EachEdge(t.Context(), func(e sinks.Edge) error { got[e.A+" "+e.B] = e; return nil }),
	)
	want := 0
	for _, e := range last {
		if e.Removed {
			continue
		}
		want++
		if e.A > e.B {
			e.A, e.B = e.B, e.A
		}
		require.Equal(t, e, got[e.A+" "+e.B])
	}
	require.Len(t, got, want)
}

func TestRealErrors(t *testing.T) {
	t.Parallel()
	cfg := configForTest(t)
	open := func(t *testing.T, change func(*Config)) error {
		t.Helper()
		c := cfg
		change(&c)
		s, err := Open(t.Context(), c)
		if err == nil {
			defer func() { _ = s.Close() }()
			_, err = s.CountEdges(t.Context())
		}
		return err
	}
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		if cfg.Password == "" {
			t.Skip("NEO4J_PASSWORD is not set: the server asks for none")
		}
		err := open(t, func(c *Config) { c.Password = "not this one" })
		require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
		require.ErrorContains(t, err, "password")
	})
	t.Run("unknown database", func(t *testing.T) {
		t.Parallel()
		err := open(t, func(c *Config) { c.Database = "nowhere" })
		require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
		require.ErrorContains(t, err, "database")
	})
	s := openForTest(t)
	t.Run("statement that cannot work", func(t *testing.T) {
		t.Parallel()
		err := s.write(t.Context(), "divide", `RETURN 1/$n`, map[string]any{"n": 0})
		require.Equal(t, fault.Permanent, fault.ClassOf(err), "%v", err)
	})
	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.CountEdges(ctx)
		require.Equal(t, fault.Canceled, fault.ClassOf(err), "%v", err)
	})
	t.Run("out of time", func(t *testing.T) {
		t.Parallel()
		c := cfg
		c.Timeout = 300 * time.Millisecond
		slow := &Store{cfg: c, driver: s.driver, bookmarks: s.bookmarks}
		_, err := slow.read(
			t.Context(), "count long", `UNWIND range(1, 1000000000) AS x RETURN count(x)`, nil,
		)
		require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		c, err := Open(t.Context(), cfg)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
		_, err = c.CountEdges(t.Context())
		require.Equal(t, fault.Canceled, fault.ClassOf(err), "%v", err)
	})
}

// TestRealConstraints holds that the files create what statements rely on, and that running them
// again changes nothing.
func TestRealConstraints(t *testing.T) {
	t.Parallel()
	s := openForTest(t)
	require.NoError(t, s.Migrate(t.Context()))
	rows, err := s.read(
		t.Context(), "list constraints",
		`SHOW CONSTRAINTS YIELD name WHERE name STARTS WITH $prefix RETURN collect(name) AS names`,
		map[string]any{"prefix": s.cfg.LabelPrefix},
	)
	require.NoError(t, err)
	require.ElementsMatch(
		t, []string{s.cfg.LabelPrefix + "user_id", s.cfg.LabelPrefix + "meta_key"},
		texts(rows[0], "names"),
	)
	entries, err := infra.Files.ReadDir(".")
	require.NoError(t, err)
	require.Len(t, entries, len(texts(rows[0], "names")))
}

// TestRealClear empties a graph of more users than one transaction takes, and leaves others' graphs
// and the log id.
func TestRealClear(t *testing.T) {
	t.Parallel()
	s, other := openForTest(t), openForTest(t)
	edges := make([]sinks.Edge, 1500)
	for i := range edges {
		edges[i] = sinks.Edge{
			A: fmt.Sprint("a", i), B: fmt.Sprint("b", i), At: time.Unix(1, 0), Removed: i%2 == 0,
		}
	}
	require.NoError(t, s.ApplyEdges(t.Context(), edges))
	require.NoError(t, other.ApplyEdges(t.Context(), edges[:3]))
	require.NoError(t, s.SetLogID(t.Context(), "log-1"))
	require.NoError(t, s.Clear(t.Context()))
	rows, err := s.read(t.Context(), "count users", `MATCH (u:User) RETURN count(u)`, nil)
	require.NoError(t, err)
	require.EqualValues(t, 0, rows[0].Values[0])
	id, err := s.LogID(t.Context())
	require.NoError(t, err)
	require.Equal(t, "log-1", id)
	n, err := other.CountEdges(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.NoError(t, s.ApplyEdges(t.Context(), edges[:2]), "an older addition counts again")
}
