package clickhouse_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/clickhouse"
	"github.com/slipstream-rec/slipstream/stream/record"
)

var testDay = time.Date(2001, 3, 14, 12, 0, 0, 0, time.UTC)

// views returns n interactions, one month apart after every month-th.
func views(n, month int) sinks.InteractionRows {
	rows := make(sinks.InteractionRows, n)
	for i := range rows {
		rows[i] = sinks.InteractionRow{Interaction: schemas.Interaction{
			EventID: fmt.Sprint("e", i),
			Source:  "test", UserID: fmt.Sprint("u", i%7), ItemID: fmt.Sprint("i", i%5),
			Action: schemas.View, OccurredAt: testDay.AddDate(0, i/month, 0),
			RecommendationID: fmt.Sprint("r", i%3),
		}, Offset: int64(i), RecordedAt: time.Now().UTC()}
	}
	return rows
}

func rangeOf(n int) record.Range {
	return record.Range{LogID: "log", Topic: schemas.TopicInteractions, Last: int64(n - 1)}
}

func (e *engine) requireCounts(t *testing.T, rows, hours, days int) {
	t.Helper()
	c, err := e.CountInteractions(t.Context())
	require.NoError(t, err)
	require.Equal(
		t, sinks.Counts{Rows: int64(rows), ItemHours: int64(hours), UserDays: int64(days)}, c,
	)
}

// definition returns the statement that creates a table of the engine's database.
func (e *engine) definition(t *testing.T, name string) string {
	t.Helper()
	return e.query(t, "SELECT create_table_query FROM system.tables"+
		" WHERE database = currentDatabase() AND name = '"+name+"'")[0][0]
}

// TestRealCutOffViewIsFilledIn leaves out views during an insert, as a crash between a table and
// its views does; the repeat of the range fills in where it did not land and only there.
func TestRealCutOffViewIsFilledIn(t *testing.T) {
	e := setup(t)
	cut := []string{"interactions_to_user_days", "interactions_to_recommendation_sums"}
	create := make([]string, len(cut))
	for i, view := range cut {
		create[i] = e.definition(t, view)
		e.exec(t, "DROP VIEW "+e.cfg.Database+"."+view+" SYNC")
	}
	rows := views(100, 30)
	require.NoError(t, e.Insert(t.Context(), rangeOf(100), rows))
	e.requireCounts(t, 100, 100, 0)
	for _, c := range create {
		e.exec(t, c)
	}
	for range 2 {
		require.NoError(t, e.Insert(t.Context(), rangeOf(100), rows))
		e.requireCounts(t, 100, 100, 100)
		require.Equal(
			t, [][]string{{"3"}}, e.query(t, "SELECT count() FROM recommendation_outcomes"),
		)
	}
}

// TestRealCutOffSourceIsFilledIn lets a part of the months land before the crash, without views:
// the server writes one part per month.
func TestRealCutOffSourceIsFilledIn(t *testing.T) {
	e := setup(t)
	var create []string
	for _, view := range []string{
		"interactions_to_item_hours", "interactions_to_user_days",
		"interactions_to_recommendation_sums",
	} {
		create = append(create, e.definition(t, view))
		e.exec(t, "DROP VIEW "+e.cfg.Database+"."+view+" SYNC")
	}
	rows := views(100, 30)
	require.NoError(
		t, e.Insert(t.Context(), rangeOf(100), rows[:60]), "the first two of four months",
	)
	e.requireCounts(t, 60, 0, 0)
	for _, c := range create {
		e.exec(t, c)
	}
	for range 2 {
		require.NoError(t, e.Insert(t.Context(), rangeOf(100), rows))
		e.requireCounts(t, 100, 100, 100)
	}
}

// TestRealRejectedRowsAreFound lets the server itself refuse rows, by a constraint that the program
// knows nothing of.
func TestRealRejectedRowsAreFound(t *testing.T) {
	e := setup(t)
	e.exec(
		t,
		"ALTER TABLE "+e.cfg.Database+
			".interactions ADD CONSTRAINT no_spam CHECK session_id != 'spam'",
	)
	rows := views(200, 50)
	rows[3].SessionID, rows[4].SessionID, rows[199].SessionID = "spam", "spam", "spam"
	err := e.Insert(t.Context(), rangeOf(200), rows)
	var rejected *fault.Rejected
	require.ErrorAs(t, err, &rejected)
	require.True(t, rejected.Undone)
	var indexes []int
	for _, r := range rejected.Records {
		indexes = append(indexes, r.Index)
		require.ErrorContains(t, r.Err, "no_spam")
	}
	require.Equal(t, []int{3, 4, 199}, indexes)
	e.requireCounts(t, 0, 0, 0)
	require.Empty(
		t,
		e.query(
			t,
			"SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE "+
				"'scratch%'",
		),
	)
	good := append(append(sinks.InteractionRows{}, rows[:3]...), rows[5:199]...)
	for range 2 {
		require.NoError(t, e.Insert(t.Context(), rangeOf(200), good))
		e.requireCounts(t, 197, 197, 197)
	}
}

// TestRealThrowingViewPoisonsNothing has an operator's own view throw: the rows are healthy, the
// range stays uncertain and is completed when the view is gone.
func TestRealThrowingViewPoisonsNothing(t *testing.T) {
	e := setup(t)
	e.exec(
		t,
		"CREATE MATERIALIZED VIEW "+e.cfg.Database+
			".broken ENGINE = Memory AS SELECT throwIf(user_id != '', 'of the operator') AS x"+
			" FROM "+e.cfg.Database+".interactions",
	)
	rows := views(50, 50)
	err := e.Insert(t.Context(), rangeOf(50), rows)
	require.ErrorContains(t, err, "of the operator")
	require.Equal(t, fault.Unknown, fault.ClassOf(err))
	var rejected *fault.Rejected
	require.NotErrorAs(t, err, &rejected)
	e.exec(t, "DROP VIEW "+e.cfg.Database+".broken SYNC")
	require.NoError(t, e.Insert(t.Context(), rangeOf(50), rows))
	e.requireCounts(t, 50, 50, 50)
}

// cutter is a TCP proxy that, when armed, lets an insert through to the server and cuts the
// connection before the answer.
type cutter struct {
	addr  string
	armed atomic.Bool
	cuts  atomic.Int32
	wg    sync.WaitGroup
}

func cutting(t *testing.T, target string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{addr: l.Addr().String()}
	var open sync.Map
	c.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			open.Store(in, out)
			var mute atomic.Bool
			c.wg.Go(func() { c.upstream(in, out, &mute) })
			c.wg.Go(func() { downstream(in, out, &mute) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Range(
			func(in, out any) bool {
				_, _ = in.(net.Conn).Close(), out.(net.Conn).Close()
				return true
			},
		)
		c.wg.Wait()
	})
	return c
}

// upstream forwards to the server. Armed, it mutes the answers as soon as the block's first bytes
// are through, and closes when the block has been through for a while.
func (c *cutter) upstream(in, out net.Conn, mute *atomic.Bool) {
	defer in.Close()
	defer out.Close()
	buf := make([]byte, 1<<16)
	for total := 0; ; {
		if mute.Load() {
			_ = in.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		}
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		if c.armed.Load() {
			if total += n; total > 4<<10 && c.armed.CompareAndSwap(true, false) {
				c.cuts.Add(1)
				mute.Store(true)
			}
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return
		}
	}
}

func downstream(in, out net.Conn, mute *atomic.Bool) {
	buf := make([]byte, 1<<16)
	for {
		n, err := out.Read(buf)
		if err != nil {
			_ = in.Close()
			return
		}
		if mute.Load() {
			continue
		}
		if _, err := in.Write(buf[:n]); err != nil {
			_, _ = io.Copy(io.Discard, out)
			return
		}
	}
}

// TestRealLostAnswer cuts the connection between the insert and its answer: nobody knows whether it
// has landed, the same insert is repeated, and it counts once.
func TestRealLostAnswer(t *testing.T) {
	direct := setup(t)
	proxy := cutting(t, direct.cfg.Addr)
	cfg := direct.cfg
	cfg.Addr = proxy.addr
	s, err := clickhouse.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	for i := range 3 {
		r := rangeOf(3000)
		r.Partition = i
		proxy.armed.Store(true)
		require.NoError(t, s.Insert(t.Context(), r, views(3000, 3000)))
		direct.requireCounts(t, 3000*(i+1), 3000*(i+1), 3000*(i+1))
	}
	require.EqualValues(t, 3, proxy.cuts.Load(), "each insert lost its answer once")
}

func TestRealCanceledInsert(t *testing.T) {
	e := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(5*time.Millisecond, cancel)
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		r := rangeOf(1000)
		r.First, r.Last = int64(i*1000), int64(i*1000+999)
		err = e.Insert(ctx, r, views(1000, 1000))
	}
	require.Equal(t, fault.Canceled, fault.ClassOf(err), "%v", err)
}

func TestRealNotMigrated(t *testing.T) {
	e := setup(t)
	cfg := e.cfg
	cfg.Database += "_other"
	s, err := clickhouse.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	for _, err := range []error{
		s.Insert(t.Context(), rangeOf(1), views(1, 1)),
		s.SetProgress(t.Context(), []sinks.Progress{{Topic: "t"}}),
		func() error { _, err := s.LogID(t.Context()); return err }(),
		func() error { _, err := s.CountInteractions(t.Context()); return err }(),
	} {
		require.ErrorContains(t, err, "slipstream migrate")
		require.Equal(t, fault.Transient, fault.ClassOf(err), "no event is to blame")
	}
}

func TestRealTimeToLive(t *testing.T) {
	e := setup(t)
	ttl := func() string {
		return e.query(t, "SELECT extract(engine_full, 'toIntervalDay\\((\\d+)\\)')"+
			" FROM system.tables"+
			" WHERE database = currentDatabase() AND name = 'interactions'")[0][0]
	}
	require.Equal(t, "730", ttl())
	rows := views(2, 1)
	rows[0].RecordedAt = time.Now().AddDate(0, 0, -40).UTC()
	require.NoError(
		t, e.Insert(t.Context(), rangeOf(2), rows), "happened in 2001, recorded lately: it stays",
	)
	e.requireCounts(t, 2, 2, 2)
	cfg := e.cfg
	cfg.InteractionDays = 30
	s, err := clickhouse.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.Migrate(t.Context()))
	require.Equal(t, "30", ttl())
	e.exec(t, "OPTIMIZE TABLE "+e.cfg.Database+".interactions FINAL")
	e.requireCounts(t, 1, 2, 2)
	cfg.InteractionDays = 0
	forever, err := clickhouse.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = forever.Close() })
	require.NoError(t, forever.Migrate(t.Context()))
	require.Empty(t, ttl())
}

// TestRealEverythingIsExplained makes sure that an analyst finds words on every table and column.
func TestRealEverythingIsExplained(t *testing.T) {
	e := setup(t)
	require.Empty(
		t,
		e.query(
			t,
			`SELECT name FROM system.tables WHERE database = currentDatabase() AND comment = '' `+
				`AND engine != 'MaterializedView' AND name != 'schema_migrations'`,
		),
	)
	require.Empty(
		t,
		e.query(
			t,
			`SELECT table, name FROM system.columns WHERE database = currentDatabase()
			AND comment = ''
		AND table NOT IN (SELECT name FROM system.tables WHERE database = currentDatabase()
		AND engine = 'MaterializedView') AND table != 'schema_migrations'`,
		),
	)
	require.Empty(
		t,
		e.query(
			t,
			`SELECT name FROM system.tables WHERE database = currentDatabase()
			AND engine LIKE '%MergeTree' AND name NOT IN ('progress_rows', 'meta',
			'schema_migrations', 'item_audience_sums')
		AND engine_full NOT LIKE '%non_replicated_deduplication_window = 100000%'`,
		),
		"every table an insert reaches remembers tokens, but for sets",
	)
	for _, name := range clickhouse.StorageTables() {
		require.Len(
			t,
			e.query(
				t,
				"SELECT 1 FROM system.tables WHERE database = currentDatabase() AND name = '"+name+
					"'",
			),
			1, name,
		)
	}
}

// TestRealConcurrentMigrations lets several instances start at once.
func TestRealConcurrentMigrations(t *testing.T) {
	e := setup(t)
	e.exec(t, "DROP DATABASE "+e.cfg.Database+" SYNC")
	var (
		wg   sync.WaitGroup
		errs [3]error
	)
	for i := range errs {
		wg.Go(func() { errs[i] = e.Migrate(t.Context()) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, e.Insert(t.Context(), rangeOf(10), views(10, 10)))
	e.requireCounts(t, 10, 10, 10)
}

// TestRealErasureSurvivesMerges merges everything after an erasure: the bytes go, the counts stay,
// and the user may come back.
func TestRealErasureSurvivesMerges(t *testing.T) {
	e := setup(t)
	for i := range 5 {
		r := rangeOf(70)
		r.First, r.Last = int64(i*70), int64(i*70+69)
		require.NoError(t, e.Insert(t.Context(), r, views(70, 35)))
	}
	e.exec(t, "OPTIMIZE TABLE "+e.cfg.Database+".user_day_sums FINAL")
	for i := 5; i < 7; i++ {
		r := rangeOf(70)
		r.First, r.Last = int64(i*70), int64(i*70+69)
		require.NoError(t, e.Insert(t.Context(), r, views(70, 35)))
	}
	gone := []sinks.Erasure{{UserID: "u3", At: time.Now()}}
	require.NoError(t, e.EraseUsers(t.Context(), gone))
	e.requireCounts(t, 7*60, 7*70, 7*60)
	for _, table := range []string{"interactions", "user_day_sums"} {
		e.exec(t, "OPTIMIZE TABLE "+e.cfg.Database+"."+table+" FINAL")
		require.Equal(
			t, [][]string{{"0"}},
			e.query(
				t,
				"SELECT count() FROM "+table+
					" WHERE user_id = 'u3' SETTINGS apply_patch_parts = 0, apply_deleted_mask = 0",
			),
			"the bytes are gone",
		)
	}
	e.requireCounts(t, 7*60, 7*70, 7*60)
	r := rangeOf(70)
	r.Partition = 1
	require.NoError(t, e.Insert(t.Context(), r, views(70, 35)))
	e.requireCounts(t, 8*60+10, 8*70, 8*60+10)
	require.NoError(t, e.EraseUsers(t.Context(), gone))
	e.requireCounts(t, 8*60, 8*70, 8*60)
}

// TestRealExchange fills a second database, as a rebuild does, and swaps: the views of the first go
// on with the rows of the second.
func TestRealExchange(t *testing.T) {
	live, rebuilt := setup(t), setup(t)
	at := func(i int) record.Range {
		r := rangeOf(100)
		r.First, r.Last = int64(i*100), int64(i*100+99)
		return r
	}
	require.NoError(t, live.Insert(t.Context(), at(0), views(100, 50)))
	for i := range 2 {
		require.NoError(t, rebuilt.Insert(t.Context(), at(i), views(100, 50)))
	}
	require.NoError(t, rebuilt.SetLogID(t.Context(), "rebuilt"))
	require.Error(t, live.Exchange(t.Context(), live.cfg.Database))
	require.NoError(t, live.Exchange(t.Context(), rebuilt.cfg.Database))
	live.requireCounts(t, 200, 200, 200)
	rebuilt.requireCounts(t, 100, 100, 100)
	id, err := live.LogID(t.Context())
	require.NoError(t, err)
	require.Equal(t, "rebuilt", id)
	live.exec(t, "DROP DATABASE "+rebuilt.cfg.Database+" SYNC")
	for range 2 {
		require.NoError(t, live.Insert(t.Context(), at(2), views(100, 50)))
		live.requireCounts(t, 300, 300, 300)
	}
	require.Equal(t, [][]string{{"60"}}, live.query(t, "SELECT events FROM top_items LIMIT 1"))
	require.NoError(
		t, live.EraseUsers(t.Context(), []sinks.Erasure{{UserID: "u0", At: time.Now()}}),
	)
	live.requireCounts(t, 255, 300, 255)
}
