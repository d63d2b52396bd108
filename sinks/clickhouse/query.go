package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/sinks"
)

// GetProgress returns what SetProgress wrote, one entry per partition, in order of topic and
// partition.
func (s *Store) GetProgress(ctx context.Context) ([]sinks.Progress, error) {
	var rows []struct {
		Topic      string    `ch:"topic"`
		Partition  uint16    `ch:"partition"`
		Offset     int64     `ch:"offset"`
		OccurredAt time.Time `ch:"occurred_at"`
		RecordedAt time.Time `ch:"recorded_at"`
	}
	err := s.selectRows(
		ctx, &rows,
		"SELECT topic, partition, offset, occurred_at, recorded_at FROM "+s.table(viewCompleteness)+
			" ORDER BY topic, partition",
	)
	if err != nil {
		return nil, fmt.Errorf("read the progress: %w", err)
	}
	told := func(t time.Time) time.Time {
		if t.Unix() == 0 {
			return time.Time{}
		}
		return t.UTC()
	}
	out := make([]sinks.Progress, len(rows))
	for i, r := range rows {
		out[i] = sinks.Progress{
			Topic: r.Topic, Partition: int(r.Partition), Offset: r.Offset,
			OccurredAt: told(r.OccurredAt), RecordedAt: told(r.RecordedAt),
		}
	}
	return out, nil
}

// CountInteractions counts the raw rows and adds up the sums made from them.
func (s *Store) CountInteractions(ctx context.Context) (sinks.Counts, error) {
	var rows, hours, days uint64
	err := s.queryRow(
		ctx,
		"SELECT (SELECT count() FROM "+s.table(tableInteractions)+"), (SELECT sum(events) FROM "+
			s.table(tableItemHours)+
			"), (SELECT sum(events) FROM "+s.table(tableUserDays)+")",
	).Scan(&rows, &hours, &days)
	if err != nil {
		return sinks.Counts{}, fmt.Errorf("count interactions: %w", classify(ctx, err))
	}
	return sinks.Counts{Rows: int64(rows), ItemHours: int64(hours), UserDays: int64(days)}, nil
}

func (s *Store) selectRows(ctx context.Context, dest any, query string, args ...any) error {
	qctx, cancel := context.WithTimeout(ctx, s.cfg.QueryTimeout)
	defer cancel()
	return classify(ctx, s.conn.Select(qctx, dest, query, args...))
}
