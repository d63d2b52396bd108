package recommend

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// itemCache caches recently read items for titles, reasons and diversity. Slightly stale item
// factors do no harm there, stale content does: a record of the topic items evicts the item. Safe
// for concurrent use.
type itemCache struct {
	items ItemFinder
	cache *otter.Cache[uint64, *sinks.Item]
	// changed holds items whose content has just changed on the log. They are not cached until the
	// index must have the change.
	changed *otter.Cache[uint64, struct{}]
}

const (
	// maxCachedItems bounds the cache: about 2 kB per item.
	maxCachedItems = 50_000
	// indexDelay is the longest time, in normal operation, until the index shows a change on the
	// log.
	indexDelay = 5 * time.Second
)

func newItemCache(items ItemFinder, ttl time.Duration) *itemCache {
	return &itemCache{
		items: items,
		cache: otter.Must(&otter.Options[uint64, *sinks.Item]{
			MaximumSize:      maxCachedItems,
			ExpiryCalculator: otter.ExpiryWriting[uint64, *sinks.Item](ttl),
		}),
		changed: otter.Must(&otter.Options[uint64, struct{}]{
			MaximumSize:      maxCachedItems,
			ExpiryCalculator: otter.ExpiryWriting[uint64, struct{}](indexDelay),
		}),
	}
}

// forget evicts an item. justNow says that the change is so new that the index may not have it.
func (c *itemCache) forget(key uint64, justNow bool) {
	if justNow {
		c.changed.Set(key, struct{}{})
	}
	c.cache.Invalidate(key)
}

// itemSet holds the items that the lists of one call need. They are shared with the cache and must
// not be changed.
type itemSet struct {
	cache *itemCache
	items map[uint64]*sinks.Item
	// asked holds the keys looked up so far, found or not. No key is looked up twice.
	asked map[uint64]struct{}
}

func (c *itemCache) newItemSet() *itemSet {
	return &itemSet{cache: c, items: make(map[uint64]*sinks.Item), asked: make(map[uint64]struct{})}
}

// load adds the items to the set. Items that are not cached are read with one call to the index.
// After an error the set has the cached ones.
func (s *itemSet) load(ctx context.Context, keys []uint64) error {
	var missing []uint64
	for _, key := range keys {
		if _, twice := s.asked[key]; twice {
			continue
		}
		s.asked[key] = struct{}{}
		if item, ok := s.cache.cache.GetIfPresent(key); ok {
			s.items[key] = item
			continue
		}
		missing = append(missing, key)
	}
	if len(missing) == 0 {
		return nil
	}
	found, err := s.cache.items.GetItemKeys(ctx, missing)
	if err != nil {
		for _, key := range missing {
			delete(s.asked, key)
		}
		return err
	}
	for i := range found {
		item := &found[i]
		key := schemas.Key(item.Content.ItemID)
		s.items[key] = item
		if _, ok := s.cache.changed.GetIfPresent(key); !ok {
			s.cache.cache.Set(key, item)
		}
	}
	return nil
}
