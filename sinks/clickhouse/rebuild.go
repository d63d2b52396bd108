package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/slipstream-rec/slipstream/fault"
)

// besideSuffix makes the name of the database that a rebuild fills.
const besideSuffix = "_rebuild"

// Beside returns a store on a second database of the same server, over the same connections:
// tables, views and sums of its own, which nobody reads until Switch. A rebuild drops what an
// earlier one left there, migrates, fills and switches. Its Close does nothing.
func (s *Store) Beside() *Store {
	b := &Store{cfg: s.cfg, conn: s.conn, live: s, erasing: make(chan struct{}, 1)}
	b.cfg.Database += besideSuffix
	return b
}

var errLive = errors.New("clickhouse: the store is the live one")

// Switch exchanges the tables of a store that Beside returned with those of the live one, which
// must be migrated too. Views stay: they read and fill whatever tables have their names. Nobody may
// insert meanwhile. The log id is the last thing that the live store gets, so that a switch that
// was cut off halfway is noticed: the store then seems to hold no log's events.
func (s *Store) Switch(ctx context.Context, logID string) error {
	if s.live == nil {
		return errLive
	}
	have, err := s.LogID(ctx)
	if err != nil {
		return err
	}
	if have != "" {
		return fault.Permanentf(
			"clickhouse database %s holds the log id %s: it is no half-made rebuild",
			s.cfg.Database, have,
		)
	}
	tables := append(
		[]string{tableMeta},
		slices.DeleteFunc(StorageTables(), func(t string) bool { return t == tableMeta })...)
	pairs := make([]string, len(tables))
	for i, t := range tables {
		pairs[i] = s.live.table(t) + " AND " + s.table(t)
	}
	if err := s.exec(
		ctx, s.cfg.MigrateTimeout, "EXCHANGE TABLES "+strings.Join(pairs, ", "),
	); err != nil {
		return fmt.Errorf(
			"exchange the tables of %s and %s: %w", s.live.cfg.Database, s.cfg.Database, err,
		)
	}
	return s.live.SetLogID(ctx, logID)
}

// Drop deletes the database of a store that Beside returned, with whatever it holds: a half-made
// rebuild or, after Switch, the old tables.
func (s *Store) Drop(ctx context.Context) error {
	if s.live == nil {
		return errLive
	}
	// The server protects large tables against being dropped by mistake; this is none.
	large := ch.Context(
		ctx,
		ch.WithSettings(ch.Settings{"max_table_size_to_drop": 0, "max_partition_size_to_drop": 0}),
	)
	if err := s.exec(
		large, s.cfg.MigrateTimeout, "DROP DATABASE IF EXISTS `"+s.cfg.Database+"` SYNC",
	); err != nil {
		return fmt.Errorf("drop clickhouse database %s: %w", s.cfg.Database, err)
	}
	return nil
}
