package app

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Offsets are where consumer groups stand, to be kept beside a backup of the stores.
type Offsets struct {
	// LogID and Epoch say of which log.
	LogID string `json:"log_id"`
	Epoch int    `json:"epoch"`
	// Groups has the next offset that a group reads, by group and topic/partition.
	Groups map[string]map[string]int64 `json:"groups"`
}

// restorable are the stores that may be restored beside a log that has gone on. Their groups write
// nothing to the log that depends on where batches are cut. Those of Qdrant do: gradients would be
// learned twice.
func restorable() map[string]processors.Store {
	return map[string]processors.Store{
		"clickhouse": processors.StoreAnalytics, "neo4j": processors.StoreGraph,
	}
}

// Offsets returns where the groups of ClickHouse and Neo4j stand. It is a permanent error while one
// of them runs, or when it has left a batch in work, whose effects a backup may have or not.
func (k *Kafka) Offsets(ctx context.Context) (Offsets, error) {
	o := Offsets{Groups: make(map[string]map[string]int64)}
	groups := make(map[string][]string)
	for _, store := range slices.Sorted(maps.Keys(restorable())) {
		maps.Copy(groups, k.groupsOf(store))
	}
	names := slices.Sorted(maps.Keys(groups))
	if err := k.requireStopped(ctx, "the stores are backed up", names...); err != nil {
		return o, fault.As(fault.Permanent, err)
	}
	var err error
	if o.LogID, err = k.LogID(ctx); err != nil {
		return o, err
	}
	if o.Epoch, err = k.Epoch(ctx); err != nil {
		return o, err
	}
	lags, err := admin.Lag(ctx, k.conn, groups)
	if err != nil {
		return o, err
	}
	for _, l := range lags {
		if l.Metadata != "" {
			return o, fault.Permanentf("%s has left a batch of %s in work: start one instance, "+
				"and stop it with SIGTERM when it works", l.Group, l.TopicPartition)
		}
		if o.Groups[l.Group] == nil {
			o.Groups[l.Group] = make(map[string]int64)
		}
		o.Groups[l.Group][l.String()] = max(l.Committed, l.First)
	}
	return o, nil
}

// RestoreOffsets moves the groups that fill a store, clickhouse or neo4j, to where they stood when
// it was backed up, and returns by how many offsets. It is a permanent error for another store,
// while one of the groups runs, for offsets of another log, and when the log does not hold all that
// is to be read again.
func (k *Kafka) RestoreOffsets(ctx context.Context, o Offsets, store string) (int64, error) {
	if _, ok := restorable()[store]; !ok {
		return 0, fault.Permanentf("offsets can be restored for %s, not for %q: for Qdrant, run "+
			"\"slipstream rebuild --store qdrant\" instead",
			strings.Join(slices.Sorted(maps.Keys(restorable())), " and "), store)
	}
	groups := k.groupsOf(store)
	names := slices.Sorted(maps.Keys(groups))
	if err := k.requireStopped(ctx, "its offsets are restored", names...); err != nil {
		return 0, fault.As(fault.Permanent, err)
	}
	if err := k.sameLog(ctx, o); err != nil {
		return 0, err
	}
	lags, err := admin.Lag(ctx, k.conn, groups)
	if err != nil {
		return 0, err
	}
	to := make(map[string]map[record.TopicPartition]int64)
	back := int64(0)
	for _, l := range lags {
		saved, ok := o.Groups[l.Group][l.String()]
		switch {
		case !ok:
			saved = 0 // a topic that is newer than the backup
		case saved > max(l.Committed, l.First):
			return 0, fault.Permanentf("%s stood at offset %d of %s, and stands at %d: these "+
				"offsets are newer than the log", l.Group, saved, l.TopicPartition, l.Committed)
		}
		if saved < l.First && l.First > 0 && !k.expires(l.Topic) {
			return 0, fault.Permanentf("the log has no offsets %d to %d of %s any more: run "+
				"\"slipstream rebuild --store %s\"", saved, l.First-1, l.TopicPartition, store)
		}
		saved = max(saved, l.First)
		back += max(l.Committed-saved, 0)
		if to[l.Group] == nil {
			to[l.Group] = make(map[record.TopicPartition]int64)
		}
		to[l.Group][l.TopicPartition] = saved
	}
	for _, group := range names {
		if err := admin.ResetOffsets(ctx, k.conn, group, to[group]); err != nil {
			return 0, err
		}
	}
	return back, nil
}

// sameLog is an error when the offsets are of another log or epoch.
func (k *Kafka) sameLog(ctx context.Context, o Offsets) error {
	id, err := k.LogID(ctx)
	if err != nil {
		return err
	}
	epoch, err := k.Epoch(ctx)
	if err == nil && (id != o.LogID || epoch != o.Epoch) {
		err = fault.Permanentf("the offsets are of the log %s in epoch %d, this is %s in epoch %d",
			o.LogID, o.Epoch, id, epoch)
	}
	return err
}

// groupsOf returns what each group that fills a store reads, those of retry topics too.
func (k *Kafka) groupsOf(store string) map[string][]string {
	all, out := k.GroupTopics(), make(map[string][]string)
	for _, group := range processors.Filling(restorable()[store]) {
		for _, g := range []string{group, record.RetryGroup(group)} {
			if topics, ok := all[g]; ok {
				out[g] = topics
			}
		}
	}
	return out
}
