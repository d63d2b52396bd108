package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// columns is a block being built: one entry per column, in order, each a slice with one element per
// row.
type columns struct {
	names []string
	data  []any
}

func (c *columns) add(name string, data any) {
	c.names = append(c.names, name)
	c.data = append(c.data, data)
}

// insertion is one insert: its rows turned into columns, whole or in part.
type insertion struct {
	table string
	rows  int
	// build returns the block of the rows from..to.
	build func(from, to int) *columns
}

// insertRange inserts all rows of a range as one block under the range's token. What the store
// would refuse is found before anything is sent; what it refuses nevertheless is looked for in a
// scratch copy of the table.
func (s *Store) insertRange(ctx context.Context, r record.Range, in insertion) error {
	err := s.sendRange(ctx, r, in)
	if err == nil {
		return s.verifyInsert(ctx, r, in)
	}
	s.markUncertain(r, in)
	if fault.ClassOf(err) != fault.Permanent {
		return err
	}
	return s.findOffending(ctx, in, err)
}

// token identifies a range for deduplication. It depends on the bounds alone: a repeat whose rows
// differ is still the same range.
func token(r record.Range, table string) string {
	b := make([]byte, 0, 96)
	b = append(append(append(b, r.LogID...), '/'), r.Topic...)
	b = strconv.AppendInt(append(b, '/'), int64(r.Partition), 10)
	b = strconv.AppendInt(append(b, '/'), r.First, 10)
	b = strconv.AppendInt(append(b, '-'), r.Last, 10)
	return string(append(append(b, '/'), table...))
}

// sendRange sends the block, and once more over another connection when the first was lost: the
// repeat is the same insert.
func (s *Store) sendRange(ctx context.Context, r record.Range, in insertion) error {
	ictx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	settings := ch.Settings{
		"insert_deduplication_token":                         token(r, in.table),
		"insert_deduplicate":                                 1,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
		"async_insert":                                       0,
		// A batch may span any number of months.
		"max_partitions_per_insert_block": 0,
		// The block must reach the tables as the one block it is: its parts' tokens would not meet
		// the whole's.
		"min_insert_block_size_rows":  0,
		"min_insert_block_size_bytes": 0,
		"max_insert_threads":          1,
		"max_execution_time":          int(max(s.cfg.InsertTimeout.Seconds(), 1)),
	}
	block := in.build(0, in.rows)
	err := s.send(ch.Context(ictx, ch.WithSettings(settings)), in.table, block)
	if isLost(err) && ictx.Err() == nil {
		s.markUncertain(r, in)
		err = s.send(ch.Context(ictx, ch.WithSettings(settings)), in.table, block)
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("insert %d rows into %s: %w", in.rows, in.table, classify(ctx, err))
}

// isLost tells whether err is a connection that broke, so that nobody knows whether the insert has
// landed.
func isLost(err error) bool {
	var server *ch.Exception
	return err != nil && !errors.As(err, &server) &&
		fault.ClassOf(classify(context.Background(), err)) == fault.Transient
}

func (s *Store) send(ctx context.Context, table string, c *columns) error {
	batch, err := s.conn.PrepareBatch(
		ctx, "INSERT INTO "+s.table(table)+" (`"+strings.Join(c.names, "`, `")+"`)",
	)
	if err != nil {
		return err
	}
	for i := range c.data {
		if err := batch.Column(i).Append(c.data[i]); err != nil {
			return errors.Join(fmt.Errorf("column %s: %w", c.names[i], err), batch.Abort())
		}
	}
	return batch.Send()
}
