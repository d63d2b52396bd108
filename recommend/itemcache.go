package recommend

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// itemCache remembers items that were read lately, for titles, reasons and diversity. A little
// staleness of what was learned is fine there; a change of an item's content is not, so that a
// record of the topic items makes the cache forget the item. Safe for concurrent use.
type itemCache struct {
	items ItemFinder
	cache *otter.Cache[uint64, *sinks.Item]
	// changed are the items whose content has just changed on the log: until the index surely has
	// the change they are read anew each time.
	changed *otter.Cache[uint64, struct{}]
}

const (
	// maxCachedItems bounds the cache: some 2 kB an item.
	maxCachedItems = 50_000
	// indexDelay is how long the index may take, when all is well, to show a change that stands on
	// the log.
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

// forget makes the next readers ask the index; just now says that the change is so new that the
// index may not have it.
func (c *itemCache) forget(key uint64, justNow bool) {
	if justNow {
		c.changed.Set(key, struct{}{})
	}
	c.cache.Invalidate(key)
}

// shelf holds the items that the lists of one call need. Its items are shared with the cache and
// must not be changed.
type itemSet struct {
	cache *itemCache
	items map[uint64]*sinks.Item
	// asked are the keys looked for, found or not: nothing is asked for twice.
	asked map[uint64]struct{}
}

func (c *itemCache) newItemSet() *itemSet {
	return &itemSet{cache: c, items: make(map[uint64]*sinks.Item), asked: make(map[uint64]struct{})}
}

// load puts the items on the shelf, what is not remembered with one call to the index. After an
// error those that were remembered are there.
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
