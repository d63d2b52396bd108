package processors

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// The sources of recommended items, as they stand in lists.
const (
	SourceVectors      = "vectors"
	SourceSimilarUsers = "similar_users"
	SourceFriends      = "friends"
	SourceContent      = "content"
	SourceTrending     = "trending"
)

// maxTrendingCandidates is how many of the most popular items are looked at for a list.
const maxTrendingCandidates = 100

// pool collects the candidates of one list.
type pool struct {
	candidates []model.Candidate
	places     map[string]int
	items      map[string]sinks.Item
	friends    map[string]int // how many friends took it
	onlyFrom   map[string]string
}

// list ranks what was found for a job.
func (r *Recommender) list(ctx context.Context, j *job) (schemas.Recommendation, error) {
	if j.holdout || j.query == nil {
		return r.trendingFor(ctx, j), ctx.Err()
	}
	p := &pool{places: make(map[string]int), items: make(map[string]sinks.Item), friends: make(map[string]int), onlyFrom: make(map[string]string)}
	for _, h := range j.found {
		p.add(h.Item, SourceVectors)
	}
	for _, h := range j.fresh {
		p.add(h.Item, SourceContent)
	}
	r.addCircle(ctx, j, p)
	trend := r.trending.Load()
	if j.Scenario == ScenarioHome {
		r.addTrending(ctx, j, p, trend)
	}
	r.score(ctx, j, p, trend)
	ranked := model.Rank(p.candidates, j.N, r.cfg.Blend)
	if len(ranked) == 0 {
		return r.trendingFor(ctx, j), ctx.Err()
	}
	list := r.head(j, schemas.StrategyPersonal)
	explain := r.explainer(ctx, j)
	for i, x := range ranked {
		id := p.candidates[x.Candidate].ID
		item := p.items[id]
		source := p.source(id, x.Source)
		list.Items = append(list.Items, schemas.RecommendedItem{ItemID: id, Rank: i + 1, Score: float64(x.Score), Title: item.Content.Title,
			Source: source, Reason: explain.reason(item, source, p.friends[id])})
	}
	return list, ctx.Err()
}

// source names where an item came from: what the ranker says mattered, or the only generator that brought it.
func (p *pool) source(id string, ranked model.Source) string {
	switch ranked {
	case model.FromFriends:
		return SourceFriends
	case model.FromTrending:
		return SourceTrending
	case model.FromContent:
		return SourceContent
	}
	return p.onlyFrom[id]
}

// add takes an item in once; the first source that brings it is remembered.
func (p *pool) add(item sinks.Item, source string) {
	id := item.Content.ItemID
	if _, ok := p.places[id]; ok {
		return
	}
	p.places[id] = len(p.candidates)
	p.items[id] = item
	p.onlyFrom[id] = source
	p.candidates = append(p.candidates, model.Candidate{ID: id})
}

// recentOfOthers is how many of the latest items of a friend or a similar user are looked at.
const recentOfOthers = 10

// addCircle adds what friends and similar users took lately.
func (r *Recommender) addCircle(ctx context.Context, j *job, p *pool) {
	excluded := keySet(j.exclude)
	counts := make(map[uint64]int)
	weights := make(map[uint64]float64)
	var keys []uint64
	now := r.now().Unix()
	collect := func(people []sinks.User, friends bool) {
		for _, person := range people {
			var u model.User
			if u.Decode(person.State) != nil {
				continue
			}
			for i, h := range slices.Backward(u.History) {
				if len(u.History)-i > recentOfOthers {
					break
				}
				key := uint64(h.Key)
				if _, no := excluded[key]; no {
					continue
				}
				keys = append(keys, key)
				if friends {
					counts[key]++
					weights[key] += model.Decay(float64(now-h.At), r.cfg.FriendHalfLife.Seconds())
				}
			}
		}
	}
	collect(j.circle, true)
	if j.Scenario == ScenarioHome {
		collect(j.similar, false)
	}
	items, err := r.items.get(ctx, keys)
	r.mark([]*job{j}, DegradedVectors, err)
	for _, key := range keys {
		item, ok := items[key]
		if !ok || !wanted(&item, j.Genres) {
			continue
		}
		id := item.Content.ItemID
		source := SourceSimilarUsers
		if counts[key] > 0 {
			source = SourceFriends
		}
		p.add(item, source)
		p.friends[id] = counts[key]
		p.candidates[p.places[id]].Friends = float32(weights[key])
	}
}

func keySet(keys []uint64) map[uint64]struct{} {
	set := make(map[uint64]struct{}, len(keys))
	for _, k := range keys {
		set[k] = struct{}{}
	}
	return set
}

func wanted(item *sinks.Item, genres []string) bool {
	if !item.Content.IsAvailable() {
		return false
	}
	return len(genres) == 0 || slices.ContainsFunc(genres, func(g string) bool { return slices.Contains(item.Content.Genres, g) })
}

// addTrending adds what is popular now.
func (r *Recommender) addTrending(ctx context.Context, j *job, p *pool, trend *trendingList) {
	excluded := keySet(j.exclude)
	items, err := r.items.get(ctx, trend.top(maxTrendingCandidates))
	r.mark([]*job{j}, DegradedVectors, err)
	for _, key := range trend.top(maxTrendingCandidates) {
		item, ok := items[key]
		if _, no := excluded[key]; no || !ok || !wanted(&item, j.Genres) {
			continue
		}
		p.add(item, SourceTrending)
	}
}

// score completes the candidates: the model's score (the same inner product as the index), content and popularity.
func (r *Recommender) score(ctx context.Context, j *job, p *pool, trend *trendingList) {
	hitVectors := make([]uint64, 0, len(p.candidates))
	for _, c := range p.candidates {
		if len(p.items[c.ID].Vector) == 0 {
			hitVectors = append(hitVectors, schemas.Key(c.ID))
		}
	}
	vectors, err := r.items.get(ctx, hitVectors)
	r.mark([]*job{j}, DegradedVectors, err)
	fits := make(map[string]float64, len(j.fresh))
	for _, h := range j.fresh {
		fits[h.Item.Content.ItemID] = h.Score
	}
	for i := range p.candidates {
		c := &p.candidates[i]
		item := p.items[c.ID]
		if full, ok := vectors[schemas.Key(c.ID)]; ok {
			item = full
			p.items[c.ID] = full
		}
		if len(item.Vector) == len(j.query) {
			c.Score, c.Scored = model.Dot(j.query, item.Vector), true
			c.Vector = item.Vector[:len(item.Vector)-1]
		}
		c.Content = float32(fits[c.ID])
		c.Trending = float32(trend.share(schemas.Key(c.ID)))
	}
}

// trendingFor returns the list for somebody unknown, for the hold-out, and for when nothing else is left. Before the first computation of what is
// trending the learner's biases stand in for it: they rise and fall with popularity.
func (r *Recommender) trendingFor(ctx context.Context, j *job) schemas.Recommendation {
	trend := r.trending.Load()
	if trend == nil {
		j.degrade[DegradedTrending] = true
	}
	items, err := r.items.get(ctx, trend.top(0))
	ok := r.mark([]*job{j}, DegradedVectors, err)
	list := r.head(j, schemas.StrategyTrending)
	excluded := keySet(j.exclude)
	for _, x := range trend.items() {
		key := schemas.Key(x.ItemID)
		item, known := items[key]
		if _, no := excluded[key]; no || known && !wanted(&item, j.Genres) || !known && (ok || len(j.Genres) > 0) {
			continue
		}
		list.Items = append(list.Items, schemas.RecommendedItem{ItemID: x.ItemID, Rank: len(list.Items) + 1, Score: x.Score, Title: item.Content.Title,
			Source: SourceTrending, Reason: reasonTrending})
		if len(list.Items) == j.N {
			return list
		}
	}
	if len(list.Items) == 0 && ok {
		list.Items = r.byBias(ctx, j)
	}
	return list
}

// byBias returns the items that an empty history would be shown.
func (r *Recommender) byBias(ctx context.Context, j *job) []schemas.RecommendedItem {
	query := make([]float32, r.cfg.Model.Dim+1)
	query[r.cfg.Model.Dim] = 1
	hits, err := r.index.SearchItems(ctx, []sinks.ItemQuery{{Vector: query, N: j.N, Exclude: j.exclude, Genres: j.Genres}})
	if !r.mark([]*job{j}, DegradedVectors, err) || len(hits) == 0 {
		return nil
	}
	out := make([]schemas.RecommendedItem, len(hits[0]))
	for i, h := range hits[0] {
		out[i] = schemas.RecommendedItem{ItemID: h.Item.Content.ItemID, Rank: i + 1, Score: h.Score, Title: h.Item.Content.Title, Source: SourceTrending, Reason: reasonTrending}
	}
	return out
}

const reasonTrending = "popular right now"

// explainer finds reasons in the user's history.
type explainer struct {
	taken []takenItem // latest first
}

type takenItem struct {
	item  sinks.Item
	liked bool
}

// explainedItems is how many of the latest items are looked at for a reason.
const explainedItems = 20

func (r *Recommender) explainer(ctx context.Context, j *job) *explainer {
	var keys []uint64
	liked := make(map[uint64]bool)
	for _, h := range slices.Backward(j.state.History) {
		key := uint64(h.Key)
		keys = append(keys, key)
		liked[key] = h.Weight >= 1
		if len(keys) == explainedItems {
			break
		}
	}
	items, err := r.items.get(ctx, keys)
	r.mark([]*job{j}, DegradedVectors, err)
	e := &explainer{}
	for _, key := range keys {
		if item, ok := items[key]; ok && item.Content.Title != "" {
			e.taken = append(e.taken, takenItem{item: item, liked: liked[key]})
		}
	}
	return e
}

// reason says why an item is in the list, in words.
func (e *explainer) reason(item sinks.Item, source string, friends int) string {
	switch source {
	case SourceFriends:
		if friends == 1 {
			return "a friend liked it"
		}
		if friends > 1 {
			return fmt.Sprintf("%d friends liked it", friends)
		}
	case SourceTrending:
		return reasonTrending
	}
	if s := e.sharedPerson(item); s != "" {
		return s
	}
	if source == SourceContent {
		if s := e.sharedGenre(item); s != "" {
			return "new: " + s
		}
	}
	if near, ok := e.nearest(item); ok {
		if near.liked {
			return fmt.Sprintf("because you liked %s", near.item.Content.Title)
		}
		return fmt.Sprintf("because you watched %s", near.item.Content.Title)
	}
	if source == SourceSimilarUsers {
		return "people with your taste liked it"
	}
	return "fits your taste"
}

func (e *explainer) sharedPerson(item sinks.Item) string {
	for _, t := range e.taken {
		for _, d := range item.Content.Directors {
			if slices.Contains(t.item.Content.Directors, d) {
				return fmt.Sprintf("same director as %s (%s)", t.item.Content.Title, d)
			}
		}
	}
	return ""
}

func (e *explainer) sharedGenre(item sinks.Item) string {
	counts := make(map[string]int)
	for _, t := range e.taken {
		for _, g := range t.item.Content.Genres {
			counts[g]++
		}
	}
	genres := slices.Clone(item.Content.Genres)
	genres = slices.DeleteFunc(genres, func(g string) bool { return counts[g] == 0 })
	if len(genres) == 0 {
		return ""
	}
	best := slices.MaxFunc(genres, func(a, b string) int { return cmp.Or(cmp.Compare(counts[a], counts[b]), strings.Compare(b, a)) })
	return "more " + best
}

// nearest returns the item of the history whose learned vector points most in the same direction.
func (e *explainer) nearest(item sinks.Item) (takenItem, bool) {
	best, at := float32(0), -1
	for i, t := range e.taken {
		if n := len(item.Vector); n > 1 && len(t.item.Vector) == n {
			if s := model.Similarity(item.Vector[:n-1], t.item.Vector[:n-1]); s > best {
				best, at = s, i
			}
		}
	}
	if at < 0 {
		return takenItem{}, false
	}
	return e.taken[at], true
}
