// Package sqlite keeps users, items, friendships and aggregates in one SQLite file: the engine
// behind `slipstream dev`, which needs nothing installed, and the reference that the contracts of
// package sinks are tested against. It is pure Go.
//
// One process at a time opens a file, through one Store, which implements sinktest.Users,
// sinktest.Items and sinktest.Graph. Writes are serialized on one connection. Reads run
// concurrently on a pool, each on a snapshot. Vectors are mirrored in memory (index.go) and
// searched exactly.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver

	"github.com/slipstream-rec/slipstream/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config says where the file is.
type Config struct {
	// Path of the file; it and its folder are created when absent. Beside it stand its write-ahead
	// log (-wal, -shm) and its lock (.lock).
	Path string
	// Sync makes every write durable against a crash of the machine or a loss of power, at the cost
	// of one fsync a batch. Without it acknowledged writes survive any end of the process, SIGKILL
	// included. A crash of the machine may lose the last seconds, but never the file's integrity.
	// Default false, as in the embedded broker.
	Sync bool
}

// Validate tells what is wrong with c.
func (c Config) Validate() error {
	if c.Path == "" {
		return errors.New("sqlite: the path of the file is missing")
	}
	return nil
}

// Store is one open file. All methods are safe for concurrent use.
type Store struct {
	path string
	lock *fileLock
	// writer has one connection. Whoever uses it holds turn, so that a transaction and its change
	// of the mirrors are one step.
	writer *sql.DB
	reader *sql.DB
	turn   chan struct{}

	users *index[string]
	items *itemIndex
	// stale is set when a commit has failed in a way that leaves open what is in the file: the
	// mirrors are then loaded again before use.
	stale atomic.Bool

	closing  sync.Once
	closeErr error
}

// Open opens or creates the file and loads its vectors. It fails when another process has the file
// open. Call Migrate before use.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: find %s: %w", cfg.Path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("sqlite: create the folder of the file: %w", err)
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	s := &Store{
		path: path, lock: lock, turn: make(chan struct{}, 1),
		users: newIndex(func(id string) string { return id }), items: newItemIndex(),
	}
	if err := s.openFile(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) openFile(ctx context.Context, cfg Config) error {
	var err error
	if s.writer, err = sql.Open("sqlite", dsn(s.path, writerParams(cfg))); err != nil {
		return fmt.Errorf("sqlite: open %s: %w", s.path, err)
	}
	s.writer.SetMaxOpenConns(1)
	// The writer comes first: it creates the file and turns write-ahead logging on, which readers
	// cannot.
	if err := s.writer.PingContext(ctx); err != nil {
		return fmt.Errorf("sqlite: open %s: %w", s.path, classify(err))
	}
	if s.reader, err = sql.Open("sqlite", dsn(s.path, readerParams())); err != nil {
		return fmt.Errorf("sqlite: open %s: %w", s.path, err)
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	s.reader.SetMaxOpenConns(readers)
	s.reader.SetMaxIdleConns(readers)
	if err := s.checkVersion(ctx); err != nil {
		return err
	}
	return s.load(ctx)
}

// The driver applies _pragma in order of name and the other keys after them, whatever the order
// here.

func writerParams(cfg Config) url.Values {
	synchronous := "NORMAL"
	if cfg.Sync {
		synchronous = "FULL"
	}
	return url.Values{
		"_pragma": {
			// A statement of another program (sqlite3, a back-up) that holds the file briefly is
			// waited for.
			"busy_timeout(5000)",
			// Bigger pages than the default of 4,096: a user's row with its state fits into one.
			"page_size(8192)",
			// A long read can make the log grow; it shrinks back to 64 MB at the next checkpoint.
			"journal_size_limit(67108864)",
			// 32 MB of pages: bulk writes of random keys touch many leaves.
			"cache_size(-32000)",
			// Checkpoints at 32 MB of log instead of 8: a page that was written often meanwhile is
			// copied once.
			"wal_autocheckpoint(4000)",
			"temp_store(MEMORY)",
		},
		// Readers never wait for the writer nor it for them, and a commit is one sequential write.
		// (The page size has no effect once this is set.)
		"_journal_mode": {"WAL"},
		// In this mode NORMAL hands each commit to the system before it returns, which survives the
		// process, and syncs at checkpoints.
		"_synchronous": {synchronous},
		// A transaction takes the write lock at its start, not at its first write, where waiting
		// could be in vain.
		"_txlock": {"immediate"},
	}
}

func readerParams() url.Values {
	return url.Values{
		"_pragma":     {"busy_timeout(5000)", "cache_size(-8000)", "temp_store(MEMORY)"},
		"_query_only": {"1"},
	}
}

func dsn(path string, params url.Values) string {
	u := url.URL{
		Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: params.Encode(),
	}
	return u.String()
}

// Close waits for writes in flight and closes the file. It is idempotent.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
		var errs []error
		for _, db := range []*sql.DB{s.reader, s.writer} {
			if db != nil {
				errs = append(errs, db.Close())
			}
		}
		s.closeErr = errors.Join(append(errs, s.lock.release())...)
	})
	return s.closeErr
}

// Migrate creates the tables or upgrades them.
func (s *Store) Migrate(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	defer s.release()
	if err := s.checkVersion(ctx); err != nil {
		return err
	}
	p, err := provider(s.writer)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("sqlite: migrate %s: %w", s.path, classify(err))
	}
	return nil
}

func provider(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("sqlite: read the migrations: %w", err)
	}
	p, err := goose.NewProvider(
		goose.DialectSQLite3, db, dir, goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
	)
	if err != nil {
		return nil, fmt.Errorf("sqlite: read the migrations: %w", err)
	}
	return p, nil
}

// checkVersion rejects a file that a newer program has migrated: its tables may have changed.
func (s *Store) checkVersion(ctx context.Context) error {
	there, err := s.hasTable(ctx, goose.DefaultTablename)
	if err != nil || !there {
		return err
	}
	var found int64
	if err := s.reader.QueryRowContext(
		ctx, "SELECT max(version_id) FROM "+goose.DefaultTablename,
	).Scan(
		&found,
	); err != nil {
		return fmt.Errorf("sqlite: read the version of %s: %w", s.path, classify(err))
	}
	p, err := provider(s.writer)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	if known := sources[len(sources)-1].Version; found > known {
		return fault.Transientf(
			"sqlite: %s has version %d, this program knows versions up to %d: use a newer "+
				"slipstream, or go back to this one with \"slipstream rebuild --store embedded "+
				"--data %s\", which fills a new file from the log",
			s.path, found, known, filepath.Dir(s.path),
		)
	}
	return nil
}

func (s *Store) hasTable(ctx context.Context, name string) (bool, error) {
	var n int
	if err := s.reader.QueryRowContext(
		ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", name,
	).Scan(&n); err != nil {
		return false, fmt.Errorf("sqlite: read the schema of %s: %w", s.path, classify(err))
	}
	return n > 0, nil
}

// Ping returns nil when the file can be read.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.reader.QueryRowContext(ctx, "SELECT 1").Scan(&one); err != nil {
		return s.failed(ctx, "ping", err)
	}
	return nil
}

const logIDName = "log_id"

// LogID returns the id of the log whose events the file holds. It is one for all contracts: they
// share the file.
func (s *Store) LogID(ctx context.Context) (string, error) {
	var id string
	err := s.reader.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = ?", logIDName).Scan(
		&id,
	)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", s.failed(ctx, "read the log id", err)
	}
	return id, nil
}

// SetLogID writes the log id down.
func (s *Store) SetLogID(ctx context.Context, id string) error {
	return s.write(ctx, "write the log id", nil, func(tx *sql.Tx) error {
		_, err := tx.Exec(
			`INSERT INTO meta (name, value) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
			logIDName, id,
		)
		return err
	})
}

// write runs f in a transaction, alone, and commits it. landed, if not nil, is called after the
// commit and before any other write: it brings the mirrors up to date. what says what was
// attempted, for the error.
//
// Inside f use statements without a context and look at ctx between rows: a context on each
// statement costs a goroutine a row.
func (s *Store) write(
	ctx context.Context, what string, landed func(), f func(tx *sql.Tx) error,
) error {
	if err := s.acquire(ctx); err != nil {
		return s.failed(ctx, what, err)
	}
	defer s.release()
	if err := s.refresh(ctx); err != nil {
		return s.failed(ctx, what, err)
	}
	// The transaction outlives a canceled context, so that there is no commit of which nobody knows
	// whether it took place.
	tx, err := s.writer.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return s.failed(ctx, what, err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback()
		return s.failed(ctx, what, err)
	}
	if err := tx.Commit(); err != nil {
		s.stale.Store(true)
		return s.failed(ctx, what, err)
	}
	if landed != nil {
		landed()
	}
	return nil
}

// acquire waits for the writer's turn.
func (s *Store) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) release() { <-s.turn }

// fresh makes sure that the mirrors agree with the file; searches call it.
func (s *Store) fresh(ctx context.Context) error {
	if err := ctx.Err(); err != nil || !s.stale.Load() {
		return err
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	return s.refresh(ctx)
}

// refresh loads the mirrors again if they are stale. The caller has the turn.
func (s *Store) refresh(ctx context.Context) error {
	if !s.stale.Load() {
		return nil
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	s.stale.Store(false)
	return nil
}

// load reads all vectors into the mirrors.
func (s *Store) load(ctx context.Context) error {
	there, err := s.hasTable(ctx, "edges")
	if err != nil || !there {
		return err
	}
	if err := s.loadUsers(ctx); err != nil {
		return fmt.Errorf("sqlite: load the users' vectors: %w", classify(err))
	}
	if err := s.loadItems(ctx); err != nil {
		return fmt.Errorf("sqlite: load the items' vectors: %w", classify(err))
	}
	return nil
}

// failed gives err its class and says what was attempted.
func (s *Store) failed(ctx context.Context, what string, err error) error {
	if cause := ctx.Err(); cause != nil && interrupted(err) {
		err = cause
	}
	return fmt.Errorf("sqlite: %s: %w", what, classify(err))
}
