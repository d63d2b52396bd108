package app

import (
	"context"
	"slices"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// RowStore returns the store of analysts' rows with ranges and progress under the names that the
// topics have on the broker: a range of a topic that keeps an old name is the same range as before
// it was renamed.
func (k *Kafka) RowStore(s processors.RowStore) processors.RowStore {
	return storedRows{s, k.conn.Names()}
}

type storedRows struct {
	processors.RowStore
	names record.Names
}

func (s storedRows) Insert(ctx context.Context, r record.Range, rows sinks.Rows) error {
	r.Topic = s.names.StoredTopic(r.Topic)
	return s.RowStore.Insert(ctx, r, rows)
}

func (s storedRows) SetProgress(ctx context.Context, p []sinks.Progress) error {
	p = slices.Clone(p)
	for i := range p {
		p[i].Topic = s.names.StoredTopic(p[i].Topic)
	}
	return s.RowStore.SetProgress(ctx, p)
}

func (s storedRows) GetProgress(ctx context.Context) ([]sinks.Progress, error) {
	p, err := s.RowStore.GetProgress(ctx)
	for i := range p {
		p[i].Topic = s.names.OfStoredTopic(p[i].Topic)
	}
	return p, err
}

// analyticsStore is what processors get of the analytics store.
type analyticsStore struct {
	processors.RowStore
	processors.TrendSource
}
