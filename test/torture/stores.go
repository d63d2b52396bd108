//go:build linux

package torture

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/neo4j"
	"github.com/slipstream-rec/slipstream/sinks/qdrant"
	"github.com/slipstream-rec/slipstream/sinks/sqlite"
)

// userLister visits all users.
type userLister interface {
	EachUser(ctx context.Context, f func(sinks.User) error) error
}

// itemLister visits all items.
type itemLister interface {
	ItemVersions(ctx context.Context, f func(id string, version uint64) error) error
	GetItems(ctx context.Context, ids []string) ([]sinks.Item, error)
}

// edgeLister visits all friendships.
type edgeLister interface {
	EachEdge(ctx context.Context, f func(sinks.Edge) error) error
}

// stores are what is compared in the end.
type stores struct {
	users userLister
	items itemLister
	graph edgeLister
	db    *sql.DB
	// seconds turns a column of time into Unix seconds, text into text (microLayout), in the
	// store's SQL.
	seconds, text string
	// unlabeled leaves the labels out of histories: older versions write none.
	unlabeled bool
	close     []func() error
}

func (s *stores) Close() {
	for _, f := range s.close {
		_ = f()
	}
}

// names of what a run has in the engines.
const (
	labelPrefix = "Torture"
	database    = "torture"
	topicPrefix = "torture."
)

func (s *services) openStores(ctx context.Context) (*stores, error) {
	qc := qdrant.DefaultConfig()
	qc.Addr, qc.CollectionPrefix = s.direct[engineQdrant], database+"_"
	qc.Dim, qc.ContentDim = model.Default().Dim+1, model.DefaultContentDim
	q, err := qdrant.Open(ctx, qc)
	if err != nil {
		return nil, err
	}
	nc := neo4j.DefaultConfig()
	nc.URI, nc.LabelPrefix = "bolt://"+s.direct[engineNeo4j], labelPrefix
	nc.Username, nc.Password = "neo4j", neo4jPassword
	n, err := neo4j.Open(ctx, nc)
	if err != nil {
		_ = q.Close()
		return nil, err
	}
	db := ch.OpenDB(
		&ch.Options{
			Addr: []string{s.direct[engineClickHouse]},
			Auth: ch.Auth{Database: database, Username: "default"},
		},
	)
	return &stores{
		users: q.Users(), items: q.Items(), graph: n, db: db,
		seconds: "toInt64(toUnixTimestamp(toDateTime(%s, 'UTC')))",
		text:    "ifNull(toString(%s), '')",
		close:   []func() error{q.Close, n.Close, db.Close},
	}, nil
}

// openEmbedded opens the stores of slipstream dev, which must have ended.
func openEmbedded(ctx context.Context, dir string) (*stores, error) {
	path := filepath.Join(dir, "slipstream.db")
	s, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return &stores{
		users: s, items: s, graph: s, db: db, seconds: "CAST(strftime('%%s', %s) AS INTEGER)",
		text:  "ifnull(%s, '')",
		close: []func() error{db.Close, s.Close},
	}, nil
}

// placed is a row of ours: what it says and who it is about.
type placed struct{ id, user string }

// rows returns the rows of a table by their place on the log; a place that is there twice is
// counted in doubled.
func (s *stores) rows(
	ctx context.Context,
	table, id string,
) (out map[position]placed, doubled []string, err error) {
	rows, err := s.db.QueryContext(
		ctx, "SELECT log_topic, log_partition, log_offset, "+id+", user_id FROM "+table,
	)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", table, err)
	}
	defer rows.Close()
	out = make(map[position]placed)
	for rows.Next() {
		var p position
		var partition int64
		var x placed
		if err := rows.Scan(&p.topic, &partition, &p.offset, &x.id, &x.user); err != nil {
			return nil, nil, err
		}
		p.partition = int(partition)
		if _, ok := out[p]; ok {
			doubled = append(doubled, p.String())
		}
		out[p] = x
	}
	return out, doubled, rows.Err()
}

// microLayout is how stores write times.
const microLayout = "2006-01-02 15:04:05.000000"

// eventTimes are what a row says of the time of an event.
type eventTimes struct{ at, client time.Time }

// times returns those of the rows of interactions.
func (s *stores) times(ctx context.Context) (map[position]eventTimes, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT log_topic, log_partition, log_offset, "+
		fmt.Sprintf(s.text, "occurred_at")+", "+fmt.Sprintf(s.text, "client_time")+
		" FROM interactions")
	if err != nil {
		return nil, fmt.Errorf("read times: %w", err)
	}
	defer rows.Close()
	out := make(map[position]eventTimes)
	for rows.Next() {
		var p position
		var partition int64
		var at, client string
		if err := rows.Scan(&p.topic, &partition, &p.offset, &at, &client); err != nil {
			return nil, err
		}
		var x eventTimes
		if x.at, err = time.Parse(microLayout, at); err != nil {
			return nil, err
		}
		if client != "" {
			if x.client, err = time.Parse(microLayout, client); err != nil {
				return nil, err
			}
		}
		p.partition = int(partition)
		out[p] = x
	}
	return out, rows.Err()
}

// titles returns those of the items that analysts see, by id.
func (s *stores) titles(ctx context.Context) (map[string]string, error) {
	return s.pairs(ctx, "SELECT item_id, title FROM items")
}

// names returns the users whose attributes analysts see.
func (s *stores) names(ctx context.Context) (map[string]string, error) {
	return s.pairs(ctx, "SELECT user_id, attributes FROM users")
}

func (s *stores) pairs(ctx context.Context, query string) (map[string]string, error) {
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	defer rows.Close()
	out := make(map[string]string)
	for rows.Next() {
		var id, value string
		if err := rows.Scan(&id, &value); err != nil {
			return nil, err
		}
		out[id] = value
	}
	return out, rows.Err()
}

// sums returns the sums of a rollup.
func (s *stores) sums(ctx context.Context, table, id, start string) (map[sumKey]uint64, error) {
	rows, err := s.db.QueryContext(
		ctx, "SELECT "+id+", action, "+fmt.Sprintf(s.seconds, start)+", events FROM "+table,
	)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	defer rows.Close()
	out := make(map[sumKey]uint64)
	for rows.Next() {
		var k sumKey
		var n uint64
		if err := rows.Scan(&k.id, &k.action, &k.start, &n); err != nil {
			return nil, err
		}
		out[k] += n
	}
	return out, rows.Err()
}

// letters counts the dead letters that analysts see, by id.
func (s *stores) letters(ctx context.Context) (map[string]int, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id FROM dead_letters")
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	defer rows.Close()
	out := make(map[string]int)
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		out[id]++
	}
	return out, rows.Err()
}

type point struct {
	model  model.User
	vector []float32
}

func (s *stores) points(ctx context.Context) (map[string]*point, error) {
	out := make(map[string]*point)
	err := s.users.EachUser(ctx, func(u sinks.User) error {
		p := &point{vector: u.Vector}
		if err := p.model.Decode(u.State); err != nil {
			return err
		}
		if s.unlabeled {
			p.model.History = unlabeled(p.model.History)
		}
		out[u.ID] = p
		return nil
	})
	return out, err
}

func (s *stores) friendships(ctx context.Context) (map[[2]string]sinks.Edge, error) {
	out := make(map[[2]string]sinks.Edge)
	err := s.graph.EachEdge(ctx, func(e sinks.Edge) error {
		out[[2]string{e.A, e.B}] = e
		return nil
	})
	return out, err
}

func (s *stores) catalog(ctx context.Context) (map[string]sinks.Item, error) {
	var ids []string
	if err := s.items.ItemVersions(
		ctx,
		func(id string, _ uint64) error { ids = append(ids, id); return nil },
	); err != nil {
		return nil, err
	}
	found, err := s.items.GetItems(ctx, ids)
	out := make(map[string]sinks.Item, len(found))
	for _, x := range found {
		out[x.Content.ItemID] = x
	}
	return out, err
}
