// Package clickhouse keeps rows and sums for analysts in ClickHouse, exactly once.
//
// An insert writes a whole range of the log as one block with a deduplication token made from the
// range. Every table it reaches, including the sums behind materialized views, remembers the
// tokens. So a repeated range is dropped where it was inserted and completed where a crash
// interrupted it. The tables are in infra/clickhouse.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/slipstream-rec/slipstream/fault"
)

// Store is a database of ClickHouse. Create it with Open; safe for concurrent use.
type Store struct {
	cfg  Config
	conn ch.Conn
	// erasing lets erasures take turns: several topics tell of the same one.
	erasing chan struct{}
	// uncertain holds the tokens of inserts that failed here and have not been verified since.
	uncertain sync.Map
	// live is the store that this one is beside, nil for the live one itself.
	live *Store
}

// Open connects to ClickHouse and checks that it answers. It creates nothing: call Migrate for
// that.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	o, err := cfg.options("")
	if err != nil {
		return nil, err
	}
	conn, err := ch.Open(o)
	if err != nil {
		return nil, fmt.Errorf("open clickhouse at %s: %w", cfg.Addr, err)
	}
	s := &Store{cfg: cfg, conn: conn, erasing: make(chan struct{}, 1)}
	if err := s.Ping(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

// Ping returns nil when the server answers.
func (s *Store) Ping(ctx context.Context) error {
	pctx, cancel := context.WithTimeout(ctx, s.cfg.DialTimeout)
	defer cancel()
	if err := s.conn.Ping(pctx); err != nil {
		return fmt.Errorf("ping clickhouse at %s: %w", s.cfg.Addr, classify(ctx, err))
	}
	return nil
}

// Close closes the connections. It may be called again. On a store that Beside returned it does
// nothing.
func (s *Store) Close() error {
	if s.live != nil {
		return nil
	}
	return s.conn.Close()
}

// LogID returns the id of the log whose events the store holds, or "" when it holds none.
func (s *Store) LogID(ctx context.Context) (string, error) {
	var id string
	err := s.queryRow(
		ctx, "SELECT argMax(value, at) FROM "+s.table(tableMeta)+" WHERE name = 'log_id'",
	).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("read the log id: %w", classify(ctx, err))
	}
	return id, nil
}

// SetLogID stores the id. Replacing another id is an error: the rows belong to that log. An empty
// id disowns the rows: the next start asks for a rebuild.
func (s *Store) SetLogID(ctx context.Context, id string) error {
	old, err := s.LogID(ctx)
	switch {
	case err != nil:
		return err
	case old == id:
		return nil
	case old != "" && id != "":
		return fault.Permanentf(
			"clickhouse database %s holds events of log %s, not of %s: use another database, or "+
				"drop it and rebuild",
			s.cfg.Database, old, id,
		)
	}
	if err := s.exec(
		ctx, s.cfg.QueryTimeout,
		"INSERT INTO "+s.table(tableMeta)+" (name, value) VALUES ('log_id', ?)", id,
	); err != nil {
		return fmt.Errorf("write the log id: %w", err)
	}
	return nil
}

// table qualifies a table's name.
func (s *Store) table(name string) string { return "`" + s.cfg.Database + "`.`" + name + "`" }

func (s *Store) exec(ctx context.Context, timeout time.Duration, query string, args ...any) error {
	qctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return classify(ctx, s.conn.Exec(qctx, query, args...))
}

// row is a result of one row together with the cancellation of its deadline.
type row struct {
	scan   func(dest ...any) error
	cancel context.CancelFunc
}

// Scan reads the row.
func (r row) Scan(dest ...any) error {
	defer r.cancel()
	return r.scan(dest...)
}

func (s *Store) queryRow(ctx context.Context, query string, args ...any) row {
	qctx, cancel := context.WithTimeout(ctx, s.cfg.QueryTimeout)
	return row{scan: s.conn.QueryRow(qctx, query, args...).Scan, cancel: cancel}
}
