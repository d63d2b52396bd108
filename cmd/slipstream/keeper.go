package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/embedded"
)

// keeper compacts the log of the embedded broker while it runs: the broker itself does so at a start only, because it cannot do it safely beside clients. The
// topics taken are those that nobody but this process writes, so that writers can be held back for the moment it takes: what counts of a partition is
// written to its end once more, and everything before that is forgotten. A crash in between leaves records twice, which does no harm.
type keeper struct {
	k      *kafka
	broker *embedded.Broker
	// live are the bytes of what counted when a partition was compacted last.
	live map[stream.TopicPartition]int64
	// least is from how many bytes on a partition is looked at.
	least int64
}

const (
	keepInterval = 10 * time.Second
	// A partition is compacted when it is keepFactor times as large as what counts of it, and has keepLeast bytes.
	keepFactor = 4
	keepLeast  = 8 << 20
	// keepTombstones is how long a deletion stays on the log for those who read it late.
	keepTombstones = 10 * time.Minute
)

func newKeeper(k *kafka, broker *embedded.Broker) *keeper {
	for _, t := range []string{schemas.TopicItemVectors, schemas.TopicRecommendationsCurrent, schemas.TopicTrending} {
		k.writers.hold(t)
	}
	return &keeper{k: k, broker: broker, live: make(map[stream.TopicPartition]int64), least: keepLeast}
}

// run compacts the partitions that have grown too large.
func (h *keeper) run(ctx context.Context) error {
	partitions, err := h.broker.Compacted()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range partitions {
		tp := stream.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		if p.Bytes < max(h.least, keepFactor*h.live[tp]) || ctx.Err() != nil {
			continue
		}
		unlock, ours := h.k.writers.stop(strings.TrimPrefix(p.Topic, h.k.prefix))
		if !ours {
			continue
		}
		err := h.compact(ctx, tp)
		unlock()
		if err != nil {
			errs = append(errs, fmt.Errorf("compact %s: %w", tp, err))
		}
	}
	return errors.Join(errs...)
}

// compact is called while nobody writes to the topic.
func (h *keeper) compact(ctx context.Context, tp stream.TopicPartition) error {
	bounds, err := h.k.conn.Offsets(ctx, tp.Topic)
	if err != nil {
		return err
	}
	end := bounds[tp].HighWatermark
	latest := make(map[string]stream.Record)
	err = stream.ReadPartition(ctx, h.k.conn, tp, 0, end, func(r *stream.Record) error {
		c := *r
		c.Key, c.Value = slices.Clone(r.Key), slices.Clone(r.Value)
		c.Headers = slices.Clone(r.Headers)
		for i := range c.Headers {
			c.Headers[i].Value = slices.Clone(c.Headers[i].Value)
		}
		latest[string(r.Key)] = c
		return nil
	})
	if err != nil {
		return err
	}
	records := make([]stream.Record, 0, len(latest))
	var bytes int64
	for _, r := range latest {
		if r.Value == nil && time.Since(r.Time) > keepTombstones {
			continue
		}
		records = append(records, r)
		bytes += int64(len(r.Key) + len(r.Value) + 100)
	}
	if len(records) == 0 {
		return nil
	}
	slices.SortFunc(records, func(a, b stream.Record) int { return int(a.Offset - b.Offset) })
	if err := h.k.pub.Emit(ctx, records); err != nil {
		return err
	}
	h.live[tp] = bytes
	return h.broker.Forget(tp.Topic, tp.Partition, end)
}
