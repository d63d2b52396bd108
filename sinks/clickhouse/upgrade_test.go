package clickhouse_test

import (
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	migrations "github.com/slipstream-rec/slipstream/infra/clickhouse"
)

// setupAt is setup with the tables and views of an older version.
func setupAt(t *testing.T, version int64) *engine {
	t.Helper()
	e := setup(t)
	e.exec(t, "DROP DATABASE "+e.cfg.Database+" SYNC")
	e.exec(t, "CREATE DATABASE "+e.cfg.Database)
	db := ch.OpenDB(&ch.Options{
		Addr: []string{e.cfg.Addr}, ReadTimeout: time.Minute,
		Auth: ch.Auth{
			Database: e.cfg.Database, Username: e.cfg.Username, Password: e.cfg.Password,
		},
	})
	defer func() { require.NoError(t, db.Close()) }()
	p, err := goose.NewProvider(
		goose.DialectClickHouse, db, migrations.Migrations,
		goose.WithTableName("schema_migrations"), goose.WithDisableGlobalRegistry(true),
	)
	require.NoError(t, err)
	_, err = p.UpTo(t.Context(), version)
	require.NoError(t, err)
	// This version writes two columns more (0011), which the views of the older one do not read.
	e.exec(t, "ALTER TABLE "+e.cfg.Database+".interactions"+
		" ADD COLUMN IF NOT EXISTS meaning LowCardinality(String) AFTER action,"+
		" ADD COLUMN IF NOT EXISTS outcome LowCardinality(String) AFTER meaning")
	return e
}

// reload detaches and attaches the views, as a restart of the server does.
func (e *engine) reload(t *testing.T) {
	t.Helper()
	for _, view := range e.query(t, "SELECT name FROM system.tables"+
		" WHERE database = currentDatabase() AND engine = 'MaterializedView'") {
		e.exec(t, "DETACH TABLE "+e.cfg.Database+"."+view[0])
		e.exec(t, "ATTACH TABLE "+e.cfg.Database+"."+view[0])
	}
}

// TestRealViewsKeepTheirTokens: a range that is repeated after an upgrade, or after a restart that
// follows one, counts once. The views before 0008 leave no witness rows of users, those before 0010
// none of lists.
func TestRealViewsKeepTheirTokens(t *testing.T) {
	for _, from := range []int64{7, 8, 9} {
		e := setupAt(t, from)
		if from == 8 {
			e.reload(t)
		}
		rows, old := feedback(60), rangeOf(60)
		require.NoError(t, e.Insert(t.Context(), old, rows))
		e.requireCounts(t, 60, 60, 60)
		require.NoError(t, e.Migrate(t.Context()))
		old.Repeat = true
		require.NoError(t, e.Insert(t.Context(), old, rows))
		e.requireCounts(t, 60, 60, 60)
		e.requireClicks(t, "60")

		next := rangeOf(60)
		next.First, next.Last = 60, 119
		require.NoError(t, e.Insert(t.Context(), next, rows))
		e.requireCounts(t, 120, 120, 120)
		e.reload(t)
		require.NoError(t, e.Insert(t.Context(), next, rows))
		require.NoError(t, e.Insert(t.Context(), old, rows))
		e.requireCounts(t, 120, 120, 120)
		e.requireClicks(t, "120")
	}
}
