// Package neo4j keeps the friendship graph in Neo4j: the contract sinktest.Graph. Last write wins
// by the time of the event, ties by its id, in the statement itself, so that order and repetition
// do not matter.
package neo4j

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j/config"

	"github.com/slipstream-rec/slipstream/fault"
	infra "github.com/slipstream-rec/slipstream/infra/neo4j"
)

// Store is the friendship graph. Safe for concurrent use.
type Store struct {
	cfg       Config
	driver    driver.DriverWithContext
	bookmarks driver.BookmarkManager
	closed    atomic.Bool
}

const metaLogID = "log_id"

// Open connects to Neo4j and checks address, certificate and credentials. Constraints are created
// by Migrate, not here.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	tlsConfig, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	auth := driver.NoAuth()
	if cfg.Username != "" {
		auth = driver.BasicAuth(cfg.Username, cfg.Password, "")
	}
	d, err := driver.NewDriverWithContext(cfg.URI, auth, func(c *config.Config) {
		c.TlsConfig = tlsConfig
		c.MaxConnectionPoolSize = cfg.MaxConnections
		c.MaxTransactionRetryTime = cfg.RetryTime
		c.SocketConnectTimeout = cfg.ConnectTimeout
		c.ConnectionAcquisitionTimeout = cfg.ConnectTimeout
		c.UserAgent = "slipstream"
		c.TelemetryDisabled = true
	})
	if err != nil {
		return nil, fmt.Errorf("open neo4j: %w", err)
	}
	s := &Store{
		cfg: cfg, driver: d, bookmarks: driver.NewBookmarkManager(driver.BookmarkManagerConfig{}),
	}
	if err := s.Ping(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open neo4j: %w", err)
	}
	return s, nil
}

// Migrate runs the numbered files of infra/neo4j in order. Each is a no-op when it has been run
// before.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Glob(infra.Files, "*.cypher") // sorted
	if err != nil {
		return err
	}
	for _, name := range files {
		text, err := fs.ReadFile(infra.Files, name)
		if err != nil {
			return err
		}
		if err := s.write(ctx, "migrate "+name, string(text), nil); err != nil {
			return err
		}
	}
	return nil
}

// LogID implements sinktest.Store.
func (s *Store) LogID(ctx context.Context) (string, error) {
	rows, err := s.read(ctx, "read the log id", getMeta, map[string]any{"key": metaLogID})
	if err != nil || len(rows) == 0 {
		return "", err
	}
	id, _ := rows[0].Values[0].(string)
	return id, nil
}

// SetLogID implements sinktest.Store.
func (s *Store) SetLogID(ctx context.Context, id string) error {
	return s.write(ctx, "write the log id", setMeta, map[string]any{"key": metaLogID, "value": id})
}

// Ping returns nil when Neo4j answers and lets us in.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	return s.fail(ctx, "ping", s.driver.VerifyConnectivity(ctx))
}

// Close ends the connections; calls under way end with an error. Further calls are no-ops.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.ConnectTimeout)
	defer cancel()
	return s.driver.Close(ctx)
}

func (s *Store) session(ctx context.Context, mode driver.AccessMode) driver.SessionWithContext {
	// The bookmarks make a reader at a cluster wait for what this store has written.
	return s.driver.NewSession(
		ctx,
		driver.SessionConfig{
			AccessMode: mode, DatabaseName: s.cfg.Database, BookmarkManager: s.bookmarks,
		},
	)
}

// write runs one statement in one transaction; the driver repeats it after a deadlock or an
// election.
func (s *Store) write(ctx context.Context, what, statement string, params map[string]any) error {
	_, err := s.run(ctx, what, driver.AccessModeWrite, statement, params)
	return err
}

func (s *Store) read(
	ctx context.Context, what, statement string, params map[string]any,
) ([]*driver.Record, error) {
	return s.run(ctx, what, driver.AccessModeRead, statement, params)
}

func (s *Store) run(
	ctx context.Context, what string, mode driver.AccessMode, statement string,
	params map[string]any,
) (rows []*driver.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	session := s.session(ctx, mode)
	defer func() { err = errors.Join(err, s.fail(ctx, what, session.Close(ctx))) }()
	execute := session.ExecuteRead
	if mode == driver.AccessModeWrite {
		execute = session.ExecuteWrite
	}
	_, err = execute(ctx, func(tx driver.ManagedTransaction) (any, error) {
		result, err := tx.Run(ctx, named(statement, s.cfg.LabelPrefix), params)
		if err != nil {
			return nil, err
		}
		rows, err = result.Collect(ctx)
		return nil, err
	}, driver.WithTxTimeout(s.cfg.Timeout))
	return rows, s.fail(ctx, what, err)
}

func (s *Store) fail(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if s.closed.Load() {
		return &fault.Error{
			Class: fault.Canceled, Err: fmt.Errorf("neo4j %s: the store is closed: %w", what, err),
		}
	}
	return fmt.Errorf("neo4j %s: %w", what, classify(ctx, err))
}
