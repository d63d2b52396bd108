package clickhouse_test

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/sinks/clickhouse"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
)

// engine is a store in a database of its own, and a plain connection to it.
type engine struct {
	*clickhouse.Store
	conn ch.Conn
	cfg  clickhouse.Config
}

// setup creates a database for the test and drops it afterwards.
func setup(t testing.TB) *engine {
	t.Helper()
	cfg := clickhouse.DefaultConfig()
	cfg.InsertTimeout = time.Minute // 300 months are 900 parts, and the machine may be busy
	cfg.Addr = enginetest.Addr(t, "CLICKHOUSE_ADDR")
	cfg.Username = enginetest.Env("CLICKHOUSE_USERNAME")
	cfg.Password = enginetest.Env("CLICKHOUSE_PASSWORD")
	cfg.Database = "slipstream_test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	s, err := clickhouse.Open(t.Context(), cfg)
	require.NoError(t, err)
	conn, err := ch.Open(
		&ch.Options{
			Addr: []string{cfg.Addr}, Auth: ch.Auth{Username: cfg.Username, Password: cfg.Password},
			DialTimeout: 5 * time.Second,
		},
	)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = s.Close()
		require.NoError(t, conn.Exec(ctx, "DROP DATABASE IF EXISTS "+cfg.Database+" SYNC"))
		require.NoError(t, conn.Close())
	})
	require.NoError(t, s.Migrate(t.Context()))
	return &engine{Store: s, conn: conn, cfg: cfg}
}

func (e *engine) exec(t testing.TB, query string) {
	t.Helper()
	require.NoError(t, e.conn.Exec(e.in(), query))
}

// in is a context for statements that name tables without their database.
func (e *engine) in() context.Context {
	return ch.Context(context.Background(), ch.WithSettings(ch.Settings{"join_use_nulls": 0}))
}

// query runs a statement in the database and returns its values as text.
func (e *engine) query(t *testing.T, query string) [][]string {
	t.Helper()
	conn, err := ch.Open(
		&ch.Options{
			Addr: []string{e.cfg.Addr},
			Auth: ch.Auth{
				Database: e.cfg.Database, Username: e.cfg.Username, Password: e.cfg.Password,
			},
			MaxOpenConns: 1,
		},
	)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	rows, err := conn.Query(t.Context(), query)
	require.NoError(t, err, query)
	defer func() { require.NoError(t, rows.Close()) }()
	var out [][]string
	for rows.Next() {
		dest := make([]any, len(rows.Columns()))
		for i, c := range rows.ColumnTypes() {
			dest[i] = reflect.New(c.ScanType()).Interface()
		}
		require.NoError(t, rows.Scan(dest...))
		line := make([]string, len(dest))
		for i := range dest {
			line[i] = text(reflect.ValueOf(dest[i]).Elem())
		}
		out = append(out, line)
	}
	require.NoError(t, rows.Err(), query)
	return out
}

func text(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "NULL"
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case bool:
		return map[bool]string{true: "1", false: "0"}[x]
	case float64:
		return strconv.FormatFloat(math.Round(x*1e9)/1e9, 'g', -1, 64)
	case time.Time:
		return strings.TrimSuffix(x.UTC().Format("2006-01-02 15:04:05.999999"), " 00:00:00")
	}
	return fmt.Sprint(v.Interface())
}

func TestRealAnalytics(t *testing.T) {
	enginetest.Addr(t, "CLICKHOUSE_ADDR")
	sinktest.TestAnalytics(t, func(t *testing.T) sinktest.AnalyticsEngine {
		e := setup(t)
		return sinktest.AnalyticsEngine{Store: e.Store, Query: e.query}
	})
}
