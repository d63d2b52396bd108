package recommend

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// contentScale is the cosine of learned vectors that a content cosine of 1 predicts. On MovieLens
// 1M, pairs of films with more than 50 events each have 0.25 at 0.5 and 0.6 at 1 (docs/QUALITY.md).
const contentScale = 0.5

// similarCandidates times the length of the list, at most longCandidates, is the number of items
// that each search for similar items finds: the index orders by inner product, the list by cosine.
const similarCandidates = 5

// Similar returns the n items most similar to an item, at most 200. Scores are in (0, 1] and
// comparable between items: the cosine of the learned vectors, as far as both items have been
// learned, and for the rest the one that their content predicts. Reasons are in the locale, in the
// configured one when it is empty or not known. The error is ErrUnknownItem when the item is not in
// the catalog.
func (r *Recommender) Similar(
	ctx context.Context, itemID string, n int, locale string,
) (schemas.Recommendation, error) {
	n = min(n, 200)
	items, err := r.index.GetItems(ctx, []string{itemID})
	if err != nil {
		return schemas.Recommendation{}, fmt.Errorf("read item %q: %w", itemID, err)
	}
	if len(items) == 0 {
		return schemas.Recommendation{}, fmt.Errorf("%w: %q", ErrUnknownItem, itemID)
	}
	item := &items[0]
	j := &job{
		Request: Request{N: n, Locale: locale}, items: r.items.newItemSet(),
		degrade: make(map[string]bool),
	}
	keys, err := r.nearItems(ctx, item, min(similarCandidates*n, longCandidates))
	if err == nil {
		err = r.readItems(ctx, []*job{j}, keys)
	}
	if err != nil {
		return schemas.Recommendation{}, fmt.Errorf("search items like %q: %w", itemID, err)
	}
	list := r.head(j, "similar")
	words := r.cfg.phrases(locale)
	for _, x := range r.likest(item, j.items, n) {
		list.Items = append(list.Items, schemas.RecommendedItem{
			ItemID: x.item.Content.ItemID, Rank: len(list.Items) + 1, Score: x.score(),
			Title: x.item.Content.Title, Source: x.source(), Reason: words.whySimilar(item, &x),
		})
	}
	return list, nil
}

// nearItems returns the keys of the items near to an item by learned vector and by content, n each.
func (r *Recommender) nearItems(
	ctx context.Context, item *sinks.Item, n int,
) (keys []uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	self := []uint64{schemas.Key(item.Content.ItemID)}
	var queries []sinks.ItemQuery
	if item.Count > 0 && len(item.Vector) > 0 {
		v := slices.Clone(item.Vector)
		v[len(v)-1] = 0 // similarity only, without popularity
		queries = append(queries, sinks.ItemQuery{
			Vector: v, N: n, Exclude: self, KeysOnly: true, CatalogOnly: r.cfg.CatalogOnly,
		})
	}
	if item.ContentVector != nil {
		queries = append(queries, sinks.ItemQuery{
			Vector: item.ContentVector, Content: true, N: n, Exclude: self, KeysOnly: true,
			CatalogOnly: r.cfg.CatalogOnly,
		})
	}
	if len(queries) == 0 {
		return nil, nil
	}
	found, err := r.index.SearchItems(ctx, queries)
	for _, hits := range found {
		for _, h := range hits {
			keys = append(keys, h.Key)
		}
	}
	return keys, err
}

// likeness is how similar another item is, and what says so. Its parts add up to the score.
type likeness struct {
	item             *sinks.Item
	learned, content float64
	trait            trait
}

func (x *likeness) score() float64 { return x.learned + x.content }

func (x *likeness) source() string {
	if x.content > x.learned {
		return SourceContent
	}
	return SourceVectors
}

// likest returns the n most similar of the items, the most similar first.
func (r *Recommender) likest(item *sinks.Item, items *itemSet, n int) (out []likeness) {
	for _, other := range items.items {
		if !other.Content.IsAvailable() || r.cfg.CatalogOnly && !other.HasEntry() {
			continue
		}
		if x := compareItems(item, other, r.cfg.Model.ContentFade); x.score() > 0 {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b likeness) int {
		return cmp.Or(
			cmp.Compare(b.score(), a.score()),
			strings.Compare(a.item.Content.ItemID, b.item.Content.ItemID),
		)
	})
	return out[:min(n, len(out))]
}

// compareItems returns the likeness of other to item. Of a pair whose rarer item has had fade
// events, half is learned and half is what the content predicts. Content counts only where both
// items have something in common: their content vectors are similar by chance, too.
func compareItems(item, other *sinks.Item, fade float64) likeness {
	x := likeness{item: other, trait: commonTrait(&item.Content, &other.Content)}
	events := max(min(item.Count, other.Count), 0)
	known := events / (events + fade)
	if n := len(item.Vector); n > 1 && n == len(other.Vector) {
		// without the bias
		c := model.Similarity(item.Vector[:n-1], other.Vector[:n-1])
		x.learned = known * max(float64(c), 0)
	}
	if n := len(item.ContentVector); x.trait.name != "" && n == len(other.ContentVector) {
		c := model.Similarity(item.ContentVector, other.ContentVector)
		x.content = (1 - known) * contentScale * max(float64(c), 0)
	}
	return x
}

// trait is what two items have in common.
type trait struct{ kind, name string }

// The kinds of traits.
const (
	byDirector = "director"
	byActor    = "actor"
	byGenre    = "genre"
	byTag      = "tag"
)

// traits yields the traits of an item, first those that say most.
func traits(x *schemas.Item) iter.Seq[trait] {
	return func(yield func(trait) bool) {
		for _, group := range []struct {
			kind  string
			names []string
		}{
			{byDirector, x.Directors}, {byActor, x.Actors}, {byGenre, x.Genres}, {byTag, x.Tags},
		} {
			for _, name := range group.names {
				if !yield(trait{group.kind, name}) {
					return
				}
			}
		}
	}
}

// commonTrait returns what says most of what two items have in common, or the zero trait.
func commonTrait(a, b *schemas.Item) trait {
	for t := range traits(a) {
		for other := range traits(b) {
			if t == other {
				return t
			}
		}
	}
	return trait{}
}
