package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
)

// TestClassify makes the driver fail for real: each case returns the driver's own error.
func TestClassify(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		want fault.Class
		fail func(t *testing.T) error
		says string
	}{
		{"another program writes", fault.Transient, func(t *testing.T) error {
			db, path := raw(t)
			tx, err := db.Begin()
			require.NoError(t, err)
			defer func() { require.NoError(t, tx.Rollback()) }()
			other, err := sql.Open("sqlite", dsn(path, url.Values{"_busy_timeout": {"1"}}))
			require.NoError(t, err)
			defer other.Close()
			_, err = other.Exec("INSERT INTO t VALUES (1)")
			return err
		}, "SQLITE_BUSY"},
		{"a constraint is violated", fault.Permanent, func(t *testing.T) error {
			db, _ := raw(t)
			_, err := db.Exec("INSERT INTO t VALUES (1), (1)")
			return err
		}, "UNIQUE"},
		{"a value is missing", fault.Permanent, func(t *testing.T) error {
			s := openForTest(t)
			_, err := s.writer.Exec("INSERT INTO edges (a, b, removed, at) VALUES ('a', 'b', 0, 0)")
			return err
		}, "NOT NULL"},
		{"a value is too big", fault.Permanent, func(t *testing.T) error {
			db, _ := raw(t)
			_, err := db.Exec("INSERT INTO t VALUES (zeroblob(1 << 30 + 1))")
			return err
		}, "too big"},
		{"the disk is full", fault.Transient, func(t *testing.T) error {
			db, _ := raw(t)
			_, err := db.Exec("PRAGMA max_page_count = 5")
			require.NoError(t, err)
			_, err = db.Exec("INSERT INTO t VALUES (zeroblob(1000000))")
			return err
		}, "full"},
		{"the file may not be written", fault.Transient, func(t *testing.T) error {
			db, _ := raw(t)
			_, err := db.Exec("PRAGMA query_only = 1")
			require.NoError(t, err)
			_, err = db.Exec("INSERT INTO t VALUES (1)")
			return err
		}, "may this user write"},
		{"the folder is missing", fault.Transient, func(t *testing.T) error {
			db, err := sql.Open("sqlite", dsn(filepath.Join(t.TempDir(), "missing", "x.db"), nil))
			require.NoError(t, err)
			defer db.Close()
			return db.Ping()
		}, "unable to open"},
		{"the file is something else", fault.Transient, func(t *testing.T) error {
			path := filepath.Join(t.TempDir(), "x.db")
			require.NoError(
				t,
				os.WriteFile(
					path, []byte("this is a letter to my aunt, and quite a long one at that"),
					0o600,
				),
			)
			db, err := sql.Open("sqlite", dsn(path, url.Values{"_journal_mode": {"WAL"}}))
			require.NoError(t, err)
			defer db.Close()
			return db.Ping()
		}, "restore it"},
		{"there are no tables yet", fault.Transient, func(t *testing.T) error {
			db, _ := raw(t)
			_, err := db.Exec("INSERT INTO user_points (key) VALUES (1)")
			return err
		}, "slipstream migrate"},
		{"the statement is wrong", fault.Unknown, func(t *testing.T) error {
			db, _ := raw(t)
			_, err := db.Exec("INSRT INTO t VALUES (1)")
			return err
		}, "syntax error"},
		{"the store is closed", fault.Canceled, func(t *testing.T) error {
			db, _ := raw(t)
			require.NoError(t, db.Close())
			return db.Ping()
		}, "closed"},
		{"the call is canceled", fault.Canceled, func(t *testing.T) error {
			db, _ := raw(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return db.PingContext(ctx)
		}, "canceled"},
		{"the deadline is over", fault.Transient, func(t *testing.T) error {
			db, _ := raw(t)
			ctx, cancel := context.WithTimeout(t.Context(), 0)
			defer cancel()
			return db.PingContext(ctx)
		}, "deadline"},
		{
			"someone else's error", fault.Unknown,
			func(*testing.T) error { return errors.New("something") },
			"something",
		},
		{
			"an error with a class keeps it", fault.Permanent,
			func(*testing.T) error { return fault.Permanentf("as it was") },
			"as it was",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.fail(t)
			require.Error(t, err)
			got := classify(fmt.Errorf("wrapped: %w", err))
			require.Equal(t, c.want, fault.ClassOf(got), "%v", got)
			require.ErrorIs(t, got, err)
			require.ErrorContains(t, got, c.says)
		})
	}
	require.NoError(t, classify(nil))
}

// raw returns a connection of its own to a small file.
func raw(t *testing.T) (db *sql.DB, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "raw.db")
	db, err := sql.Open("sqlite", dsn(path, url.Values{"_txlock": {"immediate"}}))
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.Exec("CREATE TABLE t (x PRIMARY KEY)")
	require.NoError(t, err)
	return db, path
}
