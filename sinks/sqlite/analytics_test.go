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
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestAnalytics(t *testing.T) {
	sinktest.TestAnalytics(t, func(t *testing.T) sinktest.AnalyticsEngine {
		path := filepath.Join(t.TempDir(), "slipstream.db")
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		require.NoError(t, err)
		require.NoError(t, s.Migrate(t.Context()))
		return sinktest.AnalyticsEngine{
			Store: s.Analytics(),
			Query: func(t *testing.T, query string) [][]string { return ask(t, path, query) },
		}
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

// TestAnalyticsRemembersRanges repeats ranges after the file was closed and opened: landed ranges
// are in the file, and those too old to be uncertain are dropped.
func TestAnalyticsRemembersRanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "slipstream.db")
	took := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	insert := func(firsts ...int64) sinks.Counts {
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		require.NoError(t, s.Migrate(t.Context()))
		a := s.Analytics()
		for _, first := range firsts {
			rows := sinks.InteractionRows{
				{
					Interaction: schemas.Interaction{
						EventID: "e", UserID: "u", ItemID: "i", Action: schemas.View,
						OccurredAt: took,
					},
					Offset: first, RecordedAt: took,
				},
			}
			require.NoError(
				t,
				a.Insert(
					t.Context(),
					record.Range{LogID: "l", Topic: "interactions", First: first, Last: first + 9},
					rows,
				),
			)
		}
		c, err := a.CountInteractions(t.Context())
		require.NoError(t, err)
		return c
	}
	two := sinks.Counts{Rows: 2, ItemHours: 2, UserDays: 2}
	require.Equal(t, two, insert(0, 10))
	require.Equal(t, two, insert(0, 10))
	require.Equal(t, sinks.Counts{Rows: 3, ItemHours: 3, UserDays: 3}, insert(5_000_000))
	require.Equal(
		t, [][]string{{"5000000"}}, ask(t, path, "SELECT first_offset FROM landed_ranges"),
	)
}

// BenchmarkInsertInteractions inserts ranges of 1,000 events with their sums.
func BenchmarkInsertInteractions(b *testing.B) {
	s, err := sqlite.Open(
		b.Context(), sqlite.Config{Path: filepath.Join(b.TempDir(), "slipstream.db")},
	)
	require.NoError(b, err)
	defer s.Close()
	require.NoError(b, s.Migrate(b.Context()))
	const size = 1000
	rows := make(sinks.InteractionRows, size)
	var first int64
	for b.Loop() {
		for i := range rows {
			n := first + int64(i)
			rows[i] = sinks.InteractionRow{Interaction: schemas.Interaction{
				EventID: fmt.Sprintf("0190b2c8-%012d", n),
				Source:  "bench", UserID: fmt.Sprint("user-", n*7919%943),
				ItemID: fmt.Sprint("item-", n*104729%1682),
				Action: schemas.View, OccurredAt: time.Unix(1_700_000_000+n/10, 0),
			}, Offset: n, RecordedAt: time.Unix(1_800_000_000, 0)}
		}
		r := record.Range{
			LogID: "bench", Topic: schemas.TopicInteractions, First: first, Last: first + size - 1,
		}
		require.NoError(b, s.Analytics().Insert(b.Context(), r, rows))
		first += size
	}
	b.ReportMetric(float64(first)/b.Elapsed().Seconds(), "events/s")
}
