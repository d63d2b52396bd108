package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"

	"github.com/slipstream-rec/slipstream/fault"
	migrations "github.com/slipstream-rec/slipstream/infra/clickhouse"
)

// createRetries is how long Migrate repeats its first statement when a connection breaks.
const createRetries = 2 * time.Second

// Migrate creates the database and brings its tables and views up to date, then applies the times
// to live. It is a no-op when everything is there. Two at once are harmless: every statement is
// repeatable.
func (s *Store) Migrate(ctx context.Context) error {
	mctx, cancel := context.WithTimeout(ctx, s.cfg.MigrateTimeout)
	defer cancel()
	// The driver may hand out a connection that the end of an earlier context has just closed.
	waits, stop := context.WithTimeout(mctx, createRetries)
	defer stop()
	backoff := fault.Backoff{First: 50 * time.Millisecond, Max: time.Second}
	if err := fault.Retry(waits, backoff, func() error {
		return s.exec(
			mctx, s.cfg.MigrateTimeout,
			"CREATE DATABASE IF NOT EXISTS `"+s.cfg.Database+
				"` COMMENT 'Slipstream: what people did, what was recommended to them,"+
				" and sums of both.'",
		)
	}); err != nil {
		return fmt.Errorf("create clickhouse database %s: %w", s.cfg.Database, err)
	}
	if err := s.applyMigrations(mctx); err != nil {
		return fmt.Errorf("migrate clickhouse database %s: %w", s.cfg.Database, classify(ctx, err))
	}
	for table, days := range map[string]int{
		tableInteractions: s.cfg.InteractionDays, tableRecommendations: s.cfg.RecommendationDays,
		tableDeadLetters: s.cfg.DeadLetterDays,
	} {
		if err := s.applyTTL(mctx, table, days); err != nil {
			return fmt.Errorf("set the time to live of %s: %w", table, err)
		}
	}
	return nil
}

func (s *Store) applyMigrations(ctx context.Context) (err error) {
	o, err := s.cfg.options(s.cfg.Database)
	if err != nil {
		return err
	}
	o.MaxOpenConns, o.MaxIdleConns, o.ReadTimeout = 2, 1, s.cfg.MigrateTimeout
	db := ch.OpenDB(o)
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider(
		goose.DialectClickHouse, db, migrations.Migrations, goose.WithTableName(tableMigrations),
		goose.WithDisableGlobalRegistry(true),
	)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// ttlDays finds the days in a table's definition as the server prints it.
var ttlDays = regexp.MustCompile(`TTL toDateTime\(recorded_at\) \+ toIntervalDay\((\d+)\)`)

// applyTTL sets the time to live when it differs: setting it anew would make the server rewrite
// every part. It counts from recorded_at, the log's time: replayed histories are from the past.
func (s *Store) applyTTL(ctx context.Context, table string, days int) error {
	var definition string
	if err := s.queryRow(
		ctx, "SELECT engine_full FROM system.tables WHERE database = ? AND name = ?",
		s.cfg.Database, table,
	).Scan(&definition); err != nil {
		return classify(ctx, err)
	}
	now := 0
	if m := ttlDays.FindStringSubmatch(definition); m != nil {
		now, _ = strconv.Atoi(m[1])
	}
	switch {
	case now == days:
		return nil
	case days == 0:
		return s.exec(ctx, s.cfg.MigrateTimeout, "ALTER TABLE "+s.table(table)+" REMOVE TTL")
	}
	return s.exec(
		ctx, s.cfg.MigrateTimeout,
		fmt.Sprintf(
			"ALTER TABLE %s MODIFY TTL toDateTime(recorded_at) + toIntervalDay(%d)", s.table(table),
			days,
		),
	)
}

// Exchange swaps every table that holds rows with the table of the same name in another, migrated
// database, which a rebuild has filled from the log. The views and their names stay; readers see
// one table after the other change within milliseconds.
//
// Nothing may insert meanwhile, and no range may be uncertain: a view's tokens are its own, so the
// views of this database would not recognise a range that landed through those of the other, and
// would add it to the sums again. So exchange when every range is closed. Repeating a failed
// exchange would swap the first tables back: compare CountInteractions of both before.
func (s *Store) Exchange(ctx context.Context, other string) error {
	if !databaseName.MatchString(other) || other == s.cfg.Database {
		return fmt.Errorf(
			"exchange tables with database %q: not the name of another database", other,
		)
	}
	for _, name := range StorageTables() {
		if err := s.exec(
			ctx, s.cfg.QueryTimeout, "EXCHANGE TABLES "+s.table(name)+" AND `"+other+"`.`"+name+"`",
		); err != nil {
			return fmt.Errorf("exchange table %s with database %s: %w", name, other, err)
		}
	}
	return nil
}
