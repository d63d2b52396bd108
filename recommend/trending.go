package recommend

import (
	"context"
	"fmt"
	"slices"
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

// ApplyItem applies one record of the topic items: it evicts the item from the cache.
func (r *Recommender) ApplyItem(rec *record.Record) error {
	r.items.forget(schemas.Key(string(rec.Key)), r.now().Sub(rec.Time) < time.Minute)
	return nil
}

// Trending returns the n most popular items, of the given genres if there are any, as a list
// without a user.
func (r *Recommender) Trending(
	ctx context.Context,
	n int,
	genres []string,
) (schemas.Recommendation, error) {
	j := &job{
		Request: Request{N: n, Genres: genres}, items: r.items.newItemSet(),
		degrade: make(map[string]bool),
	}
	r.mark([]*job{j}, DegradedVectors, r.readItems(ctx, []*job{j}, r.trending.Load().top(0)))
	list := r.trendingFor(ctx, j)
	list.Notes = r.notes(ctx, j, &list)
	return list, ctx.Err()
}

// Similar returns the n items most similar to one item: by learned vector and by content. A cold
// item has only the latter. The error is ErrUnknownItem when the item is not in the catalog.
func (r *Recommender) Similar(
	ctx context.Context,
	itemID string,
	n int,
) (schemas.Recommendation, error) {
	items, err := r.index.GetItems(ctx, []string{itemID})
	if err != nil {
		return schemas.Recommendation{}, fmt.Errorf("read item %q: %w", itemID, err)
	}
	if len(items) == 0 {
		return schemas.Recommendation{}, fmt.Errorf("%w: %q", ErrUnknownItem, itemID)
	}
	item := items[0]
	self := []uint64{schemas.Key(itemID)}
	var queries []sinks.ItemQuery
	if item.Count > r.cfg.NewItemCount && len(item.Vector) > 0 {
		v := slices.Clone(item.Vector)
		v[len(v)-1] = 0 // similarity only, without popularity
		queries = append(queries, sinks.ItemQuery{Vector: v, N: n, Exclude: self})
	}
	if item.ContentVector != nil {
		queries = append(
			queries,
			sinks.ItemQuery{Vector: item.ContentVector, Content: true, N: n, Exclude: self},
		)
	}
	found, err := r.index.SearchItems(ctx, queries)
	if err != nil {
		return schemas.Recommendation{}, fmt.Errorf("search items like %q: %w", itemID, err)
	}
	j := &job{Request: Request{N: n}, degrade: make(map[string]bool)}
	list := r.head(j, "similar")
	list.Items = interleave(item, found, queries, n)
	return list, nil
}

// interleave merges the results round-robin, each item once.
func interleave(
	item sinks.Item,
	found [][]sinks.ItemHit,
	queries []sinks.ItemQuery,
	n int,
) []schemas.RecommendedItem {
	var out []schemas.RecommendedItem
	known := make(map[string]bool)
	for i := 0; len(out) < n; i++ {
		more := false
		for q, hits := range found {
			if i >= len(hits) {
				continue
			}
			more = true
			hit := hits[i]
			id := hit.Item.Content.ItemID
			if known[id] || len(out) == n {
				continue
			}
			known[id] = true
			x := schemas.RecommendedItem{
				ItemID: id, Rank: len(out) + 1, Score: hit.Score, Title: hit.Item.Content.Title,
				Source: SourceVectors, Reason: "taken by the same people",
			}
			if queries[q].Content {
				x.Source, x.Reason = SourceContent, commonTrait(item, hit.Item)
			}
			out = append(out, x)
		}
		if !more {
			return out
		}
	}
	return out
}

// commonTrait says what two items have in common.
func commonTrait(a, b sinks.Item) string {
	for _, f := range []struct {
		words string
		a, b  []string
	}{
		{"same director: ", a.Content.Directors, b.Content.Directors},
		{"also with ", a.Content.Actors, b.Content.Actors},
		{"also ", a.Content.Genres, b.Content.Genres},
		{"also ", a.Content.Tags, b.Content.Tags},
	} {
		for _, x := range f.a {
			if slices.Contains(f.b, x) {
				return f.words + x
			}
		}
	}
	return "similar content"
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
