package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks/rowvalidate"
)

// maxOffending bounds the search. When more rows are refused, the cause is hardly the rows.
const maxOffending = 1000

// scratch creates an empty copy of a table that no view hangs on, and returns its name and how to
// drop it.
func (s *Store) scratch(ctx context.Context, table string) (name string, drop func(), err error) {
	name = "scratch_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if err := s.exec(
		ctx, s.cfg.QueryTimeout, "CREATE TABLE "+s.table(name)+" AS "+s.table(table),
	); err != nil {
		return "", nil, err
	}
	return name, func() {
		// The copy must go also when the caller has stopped meanwhile; one that stays behind is
		// named scratch_ and harmless.
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = s.conn.Exec(dctx, "DROP TABLE IF EXISTS "+s.table(name)+" SYNC")
	}, nil
}

func intoScratch(ctx context.Context) context.Context {
	return ch.Context(
		ctx,
		ch.WithSettings(
			ch.Settings{
				"max_partitions_per_insert_block": 0, "insert_deduplicate": 0, "async_insert": 0,
			},
		),
	)
}

// findOffending looks for the rows that made the server refuse an insert, in a copy of the table
// without views. Halving the range in the live table would leave parts there whose tokens differ
// from that of the whole. When the copy accepts every row, the rows are healthy and cause comes
// back as unknown, so that it makes no dead letter by itself.
func (s *Store) findOffending(ctx context.Context, in insertion, cause error) error {
	sctx, cancel := context.WithTimeout(ctx, s.cfg.QueryTimeout)
	defer cancel()
	scratch, drop, err := s.scratch(sctx, in.table)
	if err != nil {
		return fmt.Errorf("create a scratch copy after %q: %w", cause.Error(), err)
	}
	defer drop()
	var offending fault.Reject
	found := 0
	var try func(from, to int) error
	try = func(from, to int) error {
		err := classify(sctx, s.send(intoScratch(sctx), scratch, in.build(from, to)))
		switch {
		case err == nil:
			return nil
		case fault.ClassOf(err) != fault.Permanent:
			return err
		case to-from == 1:
			if found++; found > maxOffending {
				return &fault.Error{
					Class: fault.Unknown,
					Err:   fmt.Errorf("more than %d rows are refused: %w", maxOffending, cause),
				}
			}
			offending.Add(from, err)
			return nil
		}
		mid := from + (to-from)/2
		if err := try(from, mid); err != nil {
			return err
		}
		return try(mid, to)
	}
	if err := try(0, in.rows); err != nil {
		return fmt.Errorf("look for the rows refused by %s: %w", in.table, err)
	}
	if err := offending.Err(); err != nil {
		return rowvalidate.Undone(err)
	}
	var known *fault.Error
	if errors.As(cause, &known) {
		cause = known.Err
	}
	return &fault.Error{
		Class: fault.Unknown,
		Err:   fmt.Errorf("%s refused the range but no single row of it: %w", in.table, cause),
	}
}
