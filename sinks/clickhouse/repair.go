package clickhouse

import (
	"context"
	"fmt"
	"slices"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// markUncertain notes that nobody knows whether an insert has landed.
func (s *Store) markUncertain(r record.Range, in insertion) {
	s.uncertain.Store(token(r, in.table), struct{}{})
}

// verifyInsert makes sure that the rows of a repeated or uncertain insert are there. ClickHouse
// persists the deduplication token before the rows. If it crashes in between, it drops the retry
// and the rows are lost, so we verify by position and insert what is missing.
func (s *Store) verifyInsert(ctx context.Context, r record.Range, in insertion) error {
	id := token(r, in.table)
	if _, uncertain := s.uncertain.Load(id); !uncertain && !r.Repeat {
		return nil
	}
	err := s.insertMissing(ctx, r, in)
	if err == nil && in.table == tableInteractions {
		_, keys := in.build(0, in.rows).keys()
		err = s.repairSums(ctx, r, keys)
	}
	if err != nil {
		s.markUncertain(r, in)
		return fmt.Errorf("verify %d rows of %s: %w", in.rows, in.table, err)
	}
	s.uncertain.Delete(id)
	return nil
}

// insertMissing looks for the rows of an insert by their positions and adds those that are missing,
// to their table only: the repeat has filled the views.
func (s *Store) insertMissing(ctx context.Context, r record.Range, in insertion) error {
	block := in.build(0, in.rows)
	column, offsets := block.offsets()
	key, keys := block.keys()
	present := make(map[int64]bool, in.rows)
	qctx, cancel := context.WithTimeout(ctx, s.cfg.QueryTimeout)
	defer cancel()
	rows, err := s.conn.Query(
		qctx,
		"SELECT DISTINCT "+column+" FROM "+s.table(in.table)+
			" WHERE log_topic = @topic AND log_partition = @partition AND "+column+
			" BETWEEN @first AND @last AND "+key+" IN @keys",
		ch.Named("topic", r.Topic),
		ch.Named("partition", uint16(r.Partition)), ch.Named("first", r.First),
		ch.Named("last", r.Last), ch.Named("keys", keys),
	)
	if err != nil {
		return classify(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var offset int64
		if err := rows.Scan(&offset); err != nil {
			return classify(ctx, err)
		}
		present[offset] = true
	}
	if err := rows.Err(); err != nil {
		return classify(ctx, err)
	}
	var runs [][2]int // of missing rows, from..to
	for i, offset := range offsets {
		switch n := len(runs); {
		case present[offset]:
		case n > 0 && runs[n-1][1] == i:
			runs[n-1][1] = i + 1
		default:
			runs = append(runs, [2]int{i, i + 1})
		}
	}
	if len(runs) == 0 {
		return nil
	}
	return s.attach(ctx, in, runs)
}

// attach adds rows to a table but not to its views: it fills a copy of the table and attaches the
// copy's partitions. The name of the copy is used once, so an attempt that arrives late finds
// nothing to attach.
func (s *Store) attach(ctx context.Context, in insertion, runs [][2]int) error {
	name, drop, err := s.scratch(ctx, in.table)
	if err != nil {
		return err
	}
	defer drop()
	for _, run := range runs {
		if err := s.send(intoScratch(ctx), name, in.build(run[0], run[1])); err != nil {
			return classify(ctx, err)
		}
	}
	var partitions []string
	if err := s.queryRow(ctx, "SELECT groupUniqArray(_partition_id) FROM "+s.table(name)).Scan(
		&partitions,
	); err != nil {
		return classify(ctx, err)
	}
	for _, id := range partitions {
		if err := s.exec(
			ctx, s.cfg.InsertTimeout,
			"ALTER TABLE "+s.table(in.table)+" ATTACH PARTITION ID '"+id+"' FROM "+s.table(name),
		); err != nil {
			return fmt.Errorf("attach the rows that an interrupted insert has lost: %w", err)
		}
	}
	return nil
}

// keys returns the column that a table is sorted by first, so that a look-up need not read all of
// it, and what the block holds there.
func (c *columns) keys() (column string, values []string) {
	for _, column := range []string{"user_id", "item_id", "id"} {
		if i := slices.Index(c.names, column); i >= 0 {
			values = slices.Clone(c.data[i].([]string))
			slices.Sort(values)
			return column, slices.Compact(values)
		}
	}
	panic(fault.Permanentf("a block without a key: %v", c.names))
}

// offsets returns the column that tells rows of a range apart, and what it holds.
func (c *columns) offsets() (column string, values []int64) {
	for i, name := range c.names {
		if name == "log_offset" || name == "poison_offset" {
			return name, c.data[i].([]int64)
		}
	}
	panic(fault.Permanentf("a block without offsets: %v", c.names))
}
