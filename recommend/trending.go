package recommend

import (
	"context"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// trendingList is the current trending list. A nil list is empty.
type trendingList struct {
	list   schemas.Trending
	keys   []uint64
	shares map[uint64]float64
}

func (t *trendingList) items() []schemas.TrendingItem {
	if t == nil {
		return nil
	}
	return t.list.Items
}

// top returns the keys of the n most popular items, or all of them for 0. Do not modify the slice.
func (t *trendingList) top(n int) []uint64 {
	if t == nil {
		return nil
	}
	if n <= 0 || n > len(t.keys) {
		n = len(t.keys)
	}
	return t.keys[:n]
}

// share returns an item's popularity relative to the most popular item, 0 to 1.
func (t *trendingList) share(key uint64) float64 {
	if t == nil {
		return 0
	}
	return t.shares[key]
}

// ApplyTrending applies one record of the topic trending.
func (r *Recommender) ApplyTrending(rec *record.Record) error {
	if len(rec.Value) == 0 {
		return nil
	}
	x, err := schemas.DecodeTrending(rec)
	if err != nil {
		return fmt.Errorf("trending list at offset %d: %w", rec.Offset, err)
	}
	t := &trendingList{list: x, shares: make(map[uint64]float64, len(x.Items))}
	for _, item := range x.Items {
		key := schemas.Key(item.ItemID)
		t.keys = append(t.keys, key)
		if top := x.Items[0].Score; top > 0 {
			t.shares[key] = item.Score / top
		}
	}
	r.trending.Store(t)
	return nil
}

// ApplyItem applies one record of the topic items: it evicts the item from the cache, and the item
// is one of the newest then.
func (r *Recommender) ApplyItem(rec *record.Record) error {
	r.newest.add(schemas.Key(string(rec.Key)), rec.Time, len(rec.Value) == 0)
	r.items.forget(schemas.Key(string(rec.Key)), r.now().Sub(rec.Time) < time.Minute)
	return nil
}

// Trending returns the n most popular items, of the given genres if there are any, as a list
// without a user. Reasons are in the locale, in the configured one when it is empty or not known.
func (r *Recommender) Trending(
	ctx context.Context, n int, genres []string, locale string,
) (schemas.Recommendation, error) {
	j := &job{
		Request: Request{N: n, Genres: genres, Locale: locale}, items: r.items.newItemSet(),
		degrade: make(map[string]bool), catalogOnly: r.cfg.CatalogOnly,
	}
	r.mark([]*job{j}, DegradedVectors, r.readItems(ctx, []*job{j}, r.trending.Load().top(0)))
	list := r.trendingFor(ctx, j)
	list.Notes = r.notes(ctx, j, &list)
	return list, ctx.Err()
}

// SuggestFriends returns users whom the user might know: friends of friends.
func (r *Recommender) SuggestFriends(
	ctx context.Context,
	userID string,
	n int,
) ([]sinks.Suggestion, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	found, err := r.graph.SuggestFriends(ctx, userID, n)
	if err != nil {
		return nil, fmt.Errorf("suggest friends of %q: %w", userID, err)
	}
	return found, nil
}
