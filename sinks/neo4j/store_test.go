package neo4j

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	server := func(code string) error {
		return &driver.Neo4jError{Code: code, Msg: "as the server says"}
	}
	for _, tc := range []struct {
		name string
		err  error
		want fault.Class
		says string
	}{
		{
			"deadlock", server("Neo.TransientError.Transaction.DeadlockDetected"), fault.Transient,
			"as the server says",
		},
		{
			"out of memory for transactions",
			server("Neo.TransientError.General.MemoryPoolOutOfMemoryError"), fault.Transient, "",
		},
		{
			"database is starting", server("Neo.TransientError.General.DatabaseUnavailable"),
			fault.Transient, "",
		},
		{"not the leader", server("Neo.ClientError.Cluster.NotALeader"), fault.Transient, ""},
		{
			"read-only follower", server("Neo.ClientError.General.ForbiddenOnReadOnlyDatabase"),
			fault.Transient, "",
		},
		{
			"timeout at the server", server("Neo.ClientError.Transaction.TransactionTimedOut"),
			fault.Transient, "",
		},
		{"terminated", server("Neo.TransientError.Transaction.Terminated"), fault.Transient, ""},
		{
			"wrong password", server("Neo.ClientError.Security.Unauthorized"), fault.Transient,
			"password",
		},
		{
			"too many attempts", server("Neo.ClientError.Security.AuthenticationRateLimit"),
			fault.Transient, "password",
		},
		{
			"no such database", server("Neo.ClientError.Database.DatabaseNotFound"),
			fault.Transient, "create the database",
		},
		{
			"deleted meanwhile", server("Neo.ClientError.Statement.EntityNotFound"),
			fault.Transient, "",
		},
		{
			"disk", server("Neo.DatabaseError.Transaction.TransactionCommitFailed"),
			fault.Transient, "",
		},
		{"old server", server("Neo.ClientError.Statement.SyntaxError"), fault.Transient, "5.23"},
		{
			"constraint", server("Neo.ClientError.Schema.ConstraintValidationFailed"),
			fault.Unknown, "",
		},
		{"argument", server("Neo.ClientError.Statement.ArgumentError"), fault.Permanent, ""},
		{"type", server("Neo.ClientError.Statement.TypeError"), fault.Permanent, ""},
		{
			"gave up on deadlocks",
			&driver.TransactionExecutionLimit{
				Cause:  "timeout",
				Errors: []error{server("Neo.TransientError.Transaction.DeadlockDetected")},
			},
			fault.Transient, "",
		},
		{
			"gave up on the last",
			&driver.TransactionExecutionLimit{
				Cause: "timeout",
				Errors: []error{
					server("Neo.TransientError.Transaction.DeadlockDetected"),
					server("Neo.ClientError.Statement.TypeError"),
				},
			},
			fault.Permanent, "",
		},
		{
			"gave up on nothing", &driver.TransactionExecutionLimit{Cause: "timeout"},
			fault.Transient, "",
		},
		{
			"connection", &driver.ConnectivityError{Inner: errors.New("broken pipe")},
			fault.Transient, "broken pipe",
		},
		{
			"no handshake",
			errors.New(
				"server did not accept any of the requested Bolt versions " +
					"([4]bolt.protocolVersion{})",
			),
			fault.Transient, "Bolt port",
		},
		{"misuse", &driver.UsageError{Message: "?"}, fault.Unknown, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := classify(t.Context(), tc.err)
			require.Equal(t, tc.want, fault.ClassOf(err), "%v", err)
			require.ErrorContains(t, err, tc.says)
			require.ErrorIs(t, err, tc.err)
		})
	}
	require.NoError(t, classify(t.Context(), nil))
}

func TestOpenUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := DefaultConfig()
	cfg.URI, cfg.RetryTime = "bolt://"+l.Addr().String(), 0
	require.NoError(t, l.Close())
	_, err = Open(t.Context(), cfg)
	require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
	require.ErrorContains(t, err, "connection refused")
}

func TestOpenSilent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	cfg := DefaultConfig()
	cfg.URI, cfg.RetryTime, cfg.Timeout = "bolt://"+l.Addr().String(), 0, 50*time.Millisecond
	_, err = Open(t.Context(), cfg)
	require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
}

func TestNamed(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		applyEdges, friends, suggestFriends, eraseFriends, clearUsers, eachEdge, countEdges,
		getMeta, setMeta,
	} {
		require.Equal(t, statement, named(statement, ""))
		got := named(statement, "x_")
		for _, name := range []string{":User", ":FRIEND", ":Meta"} {
			require.NotContains(t, got, name)
			require.Equal(t, strings.Count(statement, name), strings.Count(got, ":x_"+name[1:]))
		}
	}
	require.Equal(
		t, "CREATE CONSTRAINT x_user_id IF NOT EXISTS FOR (u:x_User)",
		named("CREATE CONSTRAINT user_id IF NOT EXISTS FOR (u:User)", "x_"),
	)
}

func TestConflate(t *testing.T) {
	t.Parallel()
	at := func(n int64) time.Time { return time.Unix(n, 0).UTC() }
	history := []sinks.Edge{
		{A: "b", B: "a", At: at(1), EventID: "1"},
		{A: "a", B: "b", At: at(3), EventID: "2", Removed: true},
		{A: "a", B: "b", At: at(2), EventID: "3"},
		{A: "c", B: "d", At: at(1), EventID: "5"},
		{A: "d", B: "c", At: at(1), EventID: "4", Removed: true},
	}
	want := []sinks.Edge{
		{A: "a", B: "b", At: at(3), EventID: "2", Removed: true},
		{A: "c", B: "d", At: at(1), EventID: "5"},
	}
	for range history {
		before := slices.Clone(history)
		got, err := conflate(history)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, before, history, "the caller's slice was changed")
		history = append(history[1:], history[0])
	}
	for _, bad := range []sinks.Edge{{A: "a", B: "a"}, {A: "a"}, {A: "a", B: "\xff"}} {
		_, err := conflate([]sinks.Edge{bad})
		require.Equal(t, fault.Permanent, fault.ClassOf(err), "%v", err)
	}
}

func TestNanos(t *testing.T) {
	t.Parallel()
	exact := time.Date(2026, 2, 3, 4, 5, 6, 789012345, time.UTC)
	require.Equal(t, exact, timeOf(nanos(exact)))
	require.True(t, timeOf(nanos(time.Time{})).IsZero())
	require.Less(t, nanos(time.Time{}), nanos(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)))
	require.Greater(t, nanos(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), nanos(exact))
}

func TestConfig(t *testing.T) {
	t.Parallel()
	ok := DefaultConfig()
	ok.URI, ok.Username, ok.Password = "bolt://localhost:7687", "neo4j", "secret"
	require.NoError(t, ok.Validate())
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(noPEM, []byte("x"), 0o600))
	for _, tc := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"no URI", func(c *Config) { c.URI = "" }, "missing"},
		{"no scheme", func(c *Config) { c.URI = "localhost:7687" }, "bolt://"},
		{"http", func(c *Config) { c.URI = "http://localhost:7474" }, "scheme"},
		{
			"user in the URI",
			func(c *Config) { c.URI = "bolt://neo4j:secret@localhost" },
			"user name",
		},
		{"CA without TLS", func(c *Config) { c.CAFile = noPEM }, "bolt+s://"},
		{"password alone", func(c *Config) { c.Username = "" }, "username"},
		{"prefix", func(c *Config) { c.LabelPrefix = "a-b" }, "prefix"},
		{"connections", func(c *Config) { c.MaxConnections = 0 }, "connections"},
		{"timeout", func(c *Config) { c.Timeout = 0 }, "timeouts"},
		{"retry time", func(c *Config) { c.RetryTime = -1 }, "retry time"},
		{"write batch", func(c *Config) { c.WriteBatch = 0 }, "write batch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := ok
			tc.change(&c)
			err := c.Validate()
			require.ErrorContains(t, err, tc.says)
			require.NotContains(t, err.Error(), "secret")
		})
	}
	c := ok
	c.URI, c.CAFile = "bolt+s://localhost:7687", noPEM
	_, err := Open(t.Context(), c)
	require.ErrorContains(t, err, "no certificate")
}

func TestLatin1(t *testing.T) {
	t.Parallel()
	ids := []string{"", "a", "ab", "b", "é", "～", "😀", "\xfe", "\xff"}
	for i, id := range ids {
		require.Equal(t, id, fromLatin1(asLatin1(id)))
		if i > 0 {
			require.Less(t, asLatin1(ids[i-1]), asLatin1(id))
			require.Negative(
				t,
				slices.Compare(
					utf16.Encode([]rune(asLatin1(ids[i-1]))), utf16.Encode([]rune(asLatin1(id))),
				),
			)
		}
	}
	require.Equal(t, "0190-plain", asLatin1("0190-plain"))
}

// A connection that ends before the handshake is what a starting server or a proxy without one
// gives.
func TestOpenClosed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	cfg := DefaultConfig()
	cfg.URI, cfg.RetryTime, cfg.Timeout = "bolt://"+l.Addr().String(), 0, time.Second
	_, err = Open(t.Context(), cfg)
	require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
}
