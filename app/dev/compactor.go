package dev

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// compactor compacts the log of the embedded broker while it runs. The broker itself compacts only
// at its start, because it cannot do so safely beside clients.
//
// Only topics that this process alone writes are compacted, so that writes can be blocked
// meanwhile. The latest record of each key is written to the end of the partition again, and all
// records before are deleted. A crash in between leaves duplicate records, which is harmless.
type compactor struct {
	k      *app.Kafka
	broker *embedded.Broker
	// live is the size in bytes of the latest records at the last compaction of a partition.
	live map[record.TopicPartition]int64
	// least is the size in bytes from which a partition is considered.
	least int64
}

const (
	compactInterval = 10 * time.Second
	// A partition is compacted when it is compactFactor times as large as its latest records, and
	// has at least compactMinBytes bytes.
	compactFactor   = 4
	compactMinBytes = 8 << 20
	// tombstoneRetention is how long a tombstone stays on the log for slow followers.
	tombstoneRetention = 10 * time.Minute
)

func newCompactor(k *app.Kafka, broker *embedded.Broker) *compactor {
	for _, t := range []string{
		schemas.TopicItemVectors, schemas.TopicRecommendationsCurrent, schemas.TopicTrending,
	} {
		k.HoldWrites(t)
	}
	return &compactor{
		k: k, broker: broker, live: make(map[record.TopicPartition]int64), least: compactMinBytes,
	}
}

// run compacts the partitions that have grown too large.
func (c *compactor) run(ctx context.Context) error {
	partitions, err := c.broker.Compacted()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range partitions {
		tp := record.TopicPartition{Topic: c.k.Conn().Logical(p.Topic), Partition: p.Partition}
		if p.Bytes < max(c.least, compactFactor*c.live[tp]) || ctx.Err() != nil {
			continue
		}
		unlock, ours := c.k.StopWrites(tp.Topic)
		if !ours {
			continue
		}
		err := c.compact(ctx, tp)
		unlock()
		if err != nil {
			errs = append(errs, fmt.Errorf("compact %s: %w", tp, err))
		}
	}
	return errors.Join(errs...)
}

// compact compacts one partition. Writes to its topic must be blocked.
func (c *compactor) compact(ctx context.Context, tp record.TopicPartition) error {
	bounds, err := c.k.Conn().Offsets(ctx, tp.Topic)
	if err != nil {
		return err
	}
	end := bounds[tp].End
	latest := make(map[string]record.Record)
	err = c.k.Conn().Read(ctx, tp, 0, end, func(r *record.Record) error {
		kept := *r
		kept.Key, kept.Value = slices.Clone(r.Key), slices.Clone(r.Value)
		kept.Headers = slices.Clone(r.Headers)
		for i := range kept.Headers {
			kept.Headers[i].Value = slices.Clone(kept.Headers[i].Value)
		}
		latest[string(r.Key)] = kept
		return nil
	})
	if err != nil {
		return err
	}
	records := make([]record.Record, 0, len(latest))
	var bytes int64
	for _, r := range latest {
		if r.Value == nil && time.Since(r.Time) > tombstoneRetention {
			continue
		}
		records = append(records, r)
		bytes += int64(len(r.Key) + len(r.Value) + 100)
	}
	if len(records) == 0 {
		return nil
	}
	slices.SortFunc(records, func(a, b record.Record) int { return int(a.Offset - b.Offset) })
	if err := c.k.Publisher().Emit(ctx, records); err != nil {
		return err
	}
	c.live[tp] = bytes
	return c.broker.Forget(c.k.Conn().Full(tp.Topic), tp.Partition, end)
}
