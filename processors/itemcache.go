package processors

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// itemCache remembers items that were read lately, for titles and reasons. A little staleness is fine there. Safe for concurrent use.
type itemCache struct {
	items sinks.Items
	cache *otter.Cache[uint64, sinks.Item]
}

// maxCachedItems bounds the cache: some 2 kB an item.
const maxCachedItems = 50_000

func newItemCache(items sinks.Items, ttl time.Duration) *itemCache {
	return &itemCache{items: items, cache: otter.Must(&otter.Options[uint64, sinks.Item]{
		MaximumSize: maxCachedItems, ExpiryCalculator: otter.ExpiryWriting[uint64, sinks.Item](ttl),
	})}
}

// get returns the items that are known, by key. With an error it returns those that were remembered.
func (c *itemCache) get(ctx context.Context, keys []uint64) (map[uint64]sinks.Item, error) {
	out := make(map[uint64]sinks.Item, len(keys))
	var missing []uint64
	asked := make(map[uint64]struct{}, len(keys))
	for _, key := range keys {
		if _, twice := asked[key]; twice {
			continue
		}
		asked[key] = struct{}{}
		if item, ok := c.cache.GetIfPresent(key); ok {
			out[key] = item
			continue
		}
		missing = append(missing, key)
	}
	if len(missing) == 0 {
		return out, nil
	}
	items, err := c.items.GetItemKeys(ctx, missing)
	if err != nil {
		return out, err
	}
	for _, item := range items {
		key := schemas.Key(item.Content.ItemID)
		out[key] = item
		c.cache.Set(key, item)
	}
	return out, nil
}
