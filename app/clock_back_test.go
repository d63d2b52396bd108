package app_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// The broker's clock steps back by ten seconds. Of a key that stands in two partitions the newest
// is the same in every store, also after a restart in between.
func TestTheNewestOfAKeyThoughTheBrokersClockStepsBack(t *testing.T) {
	t.Parallel()
	c := newClockBack(t)
	c.cfg = apptest.Config()
	c.cfg.Kafka.Brokers, c.cfg.DataDir = []string{c.broker.Addr()}, c.dir
	c.embedded = true
	c.check(t)
}

// As above, in ClickHouse and Qdrant: the clock of a real broker cannot be set.
func TestRealTheNewestOfAKeyThoughTheBrokersClockStepsBack(t *testing.T) {
	c := newClockBack(t)
	c.cfg = apptest.RealConfig(t, func(cfg *config.Config) {
		cfg.Kafka.Brokers = []string{c.broker.Addr()}
	})
	c.check(t)
}

// clockBack is an installation on a broker whose clock is set.
type clockBack struct {
	dir      string
	broker   *embedded.Broker
	now      atomic.Int64 // in milliseconds
	began    time.Time
	cfg      config.Config
	embedded bool
	in       *apptest.Installation
}

func newClockBack(t *testing.T) *clockBack {
	t.Helper()
	c := &clockBack{dir: t.TempDir(), began: time.Now().UTC().Truncate(time.Millisecond)}
	c.now.Store(c.began.UnixMilli())
	bc := embedded.DefaultConfig(filepath.Join(c.dir, app.LogFolder))
	bc.Addr, bc.Log = "127.0.0.1:0", apptest.Quiet(t)
	bc.Clock = func() time.Time { return time.UnixMilli(c.now.Load()) }
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	c.broker = broker
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	return c
}

func (c *clockBack) restart(t *testing.T) {
	t.Helper()
	if c.in != nil {
		c.in.AwaitIdle(t, time.Minute)
		c.in.Stop()
	}
	c.in = apptest.Start(t, c.cfg, c.embedded)
}

// put writes a version of an item and of a user's attributes at a second of the broker's clock, to
// the partitions that their keys choose, or to the ones behind these.
func (c *clockBack) put(t *testing.T, second int, id, title string, behind bool) {
	t.Helper()
	c.now.Store(c.began.Add(time.Duration(second) * time.Second).UnixMilli())
	batch := []record.Record{
		schemas.Item{ItemID: id, Title: title}.Message(),
		schemas.User{UserID: id, Attributes: map[string]any{"title": title}}.Message(),
	}
	for i := range batch {
		batch[i].Partition = record.PartitionOf([]byte(id), c.cfg.Topics.Partitions)
		if behind {
			batch[i].Partition = (batch[i].Partition + 1) % c.cfg.Topics.Partitions
		}
	}
	require.NoError(t, c.in.Kafka().Emit(t.Context(), batch))
}

// like returns an id whose partition is so many behind that of id.
func (c *clockBack) like(id string, behind int) string {
	n := c.cfg.Topics.Partitions
	want := (record.PartitionOf([]byte(id), n) + behind) % n
	for i := 0; ; i++ {
		other := fmt.Sprintf("other-%d", i)
		if record.PartitionOf([]byte(other), n) == want {
			return other
		}
	}
}

// rows opens the tables of analysts.
func (c *clockBack) rows(t *testing.T) *sql.DB {
	t.Helper()
	if !c.embedded {
		return apptest.OpenRows(t, c.cfg)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(c.dir, app.StoreFile)+"?mode=ro")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// newest checks which version every store holds.
func (c *clockBack) newest(t *testing.T, id, want string) {
	t.Helper()
	c.in.AwaitIdle(t, time.Minute)
	items, err := c.in.Engines().Items.GetItems(t.Context(), []string{id})
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.Equal(t, want, items[0].Content.Title, "catalog")
	db := c.rows(t)
	var title, attributes string
	require.NoError(t, db.QueryRowContext(
		t.Context(), "SELECT title FROM items WHERE item_id = '"+id+"'",
	).Scan(&title))
	require.Equal(t, want, title, "the items of analysts")
	require.NoError(t, db.QueryRowContext(
		t.Context(), "SELECT attributes FROM users WHERE user_id = '"+id+"'",
	).Scan(&attributes))
	require.JSONEq(t, `{"title":"`+want+`"}`, attributes, "the users of analysts")
}

func (c *clockBack) check(t *testing.T) {
	const id = "film-x"
	beside, behind := c.like(id, 0), c.like(id, 1)
	c.restart(t)
	c.put(t, 0, id, "One", false)
	c.put(t, 20, beside, "Beside", false)
	c.put(t, 10, id, "Two", false) // counts as of second 20
	c.restart(t)
	c.put(t, 11, id, "Three", false) // likewise
	c.put(t, 15, id, "From before", true)
	c.newest(t, id, "Three")
	c.put(t, 40, behind, "Beside the other", false)
	c.put(t, 30, id, "Stray", true) // counts as of second 40, also when it is forwarded
	c.put(t, 35, id, "From before, too", false)
	c.newest(t, id, "Stray")
	c.restart(t)
	c.put(t, 36, id, "Before that, too", false)
	c.newest(t, id, "Stray")
	c.put(t, 41, id, "Last", false)
	c.newest(t, id, "Last")
}
