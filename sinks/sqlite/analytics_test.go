package sqlite_test

import (
	"database/sql"
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/sinks/sinktest"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
)

func TestAnalytics(t *testing.T) {
	sinktest.Analytics(t, func(t *testing.T) sinktest.AnalyticsEngine {
		path := filepath.Join(t.TempDir(), "slipstream.db")
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		require.NoError(t, err)
		require.NoError(t, s.Migrate(t.Context()))
		return sinktest.AnalyticsEngine{Store: s.Analytics(), Query: func(t *testing.T, query string) [][]string { return ask(t, path, query) }}
	})
}

var toString = regexp.MustCompile(`toString\((\w+)\)`)

// ask reads the file as an analyst does: with another connection, read only.
func ask(t *testing.T, path, query string) [][]string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?mode=ro")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	rows, err := db.QueryContext(t.Context(), toString.ReplaceAllString(query, "$1"))
	require.NoError(t, err, query)
	defer func() { require.NoError(t, rows.Close()) }()
	columns, err := rows.Columns()
	require.NoError(t, err)
	var out [][]string
	for rows.Next() {
		values, dest := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		require.NoError(t, rows.Scan(dest...))
		line := make([]string, len(columns))
		for i, v := range values {
			switch x := v.(type) {
			case nil:
				line[i] = "NULL"
			case float64:
				line[i] = strconv.FormatFloat(math.Round(x*1e9)/1e9, 'g', -1, 64)
			default:
				line[i] = fmt.Sprint(x)
			}
		}
		out = append(out, line)
	}
	require.NoError(t, rows.Err(), query)
	return out
}
