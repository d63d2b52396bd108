package recommend

import (
	"context"
	"slices"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// The candidate sources, as named in lists.
const (
	SourceVectors      = "vectors"
	SourceSimilarUsers = "similar_users"
	SourceFriends      = "friends"
	SourceContent      = "content"
	SourceTrending     = "trending"
)

// maxTrendingCandidates is the number of most popular items considered for a list.
const maxTrendingCandidates = 50

// candidatePool collects the candidates of one list, each item once.
type candidatePool struct {
	candidates []model.Candidate
	entries    []poolEntry // parallel to candidates
	places     map[uint64]int
	job        *job
}

// poolEntry is what a list tells about a candidate.
type poolEntry struct {
	key    uint64
	item   *sinks.Item
	source string // the first source that found it
	// byFriends and bySimilar are what friends and similar users did with it.
	byFriends, bySimilar []said
}

// list ranks the candidates of a job.
func (r *Recommender) list(ctx context.Context, j *job) (schemas.Recommendation, error) {
	if j.holdout || j.query == nil {
		return r.trendingFor(ctx, j), ctx.Err()
	}
	trend := r.trending.Load()
	most := len(j.found) + len(j.fresh) + len(j.turns) + len(j.social) +
		min(maxTrendingCandidates, len(trend.top(0)))
	p := &candidatePool{
		job: j, places: make(map[uint64]int, most), candidates: make([]model.Candidate, 0, most),
		entries: make([]poolEntry, 0, most),
	}
	for _, h := range j.found {
		if at := p.add(h.Key, SourceVectors); at >= 0 {
			p.candidates[at].Score, p.candidates[at].Scored = float32(h.Score), true
		}
	}
	for _, h := range j.fresh {
		if at := p.add(h.Key, SourceContent); at >= 0 {
			p.candidates[at].Content = float32(h.Score)
		}
	}
	addNew(j, p)
	addSocial(j, p)
	if j.Scenario == ScenarioHome {
		addTrending(j, p, trend)
	}
	p.score(j, trend)
	ranked := model.Rank(p.candidates, j.N, r.cfg.Blend)
	if len(ranked) == 0 {
		return r.trendingFor(ctx, j), ctx.Err()
	}
	list := r.head(j, schemas.StrategyPersonal)
	explain := j.explainer(&r.cfg, r.now())
	list.Items = make([]schemas.RecommendedItem, len(ranked))
	for i, x := range ranked {
		e := &p.entries[x.Candidate]
		source := e.sourceOf(x.Source)
		list.Items[i] = schemas.RecommendedItem{
			ItemID: e.item.Content.ItemID, Rank: i + 1, Score: float64(x.Score),
			Title:  e.item.Content.Title,
			Source: source, Reason: explain.reason(e, source),
		}
	}
	return list, ctx.Err()
}

// sourceOf returns the source shown in the list: the one that mattered most in ranking, else the
// first that found the item.
func (e *poolEntry) sourceOf(ranked model.Source) string {
	switch ranked {
	case model.FromFriends:
		return SourceFriends
	case model.FromTrending:
		return SourceTrending
	case model.FromContent:
		return SourceContent
	case model.FromModel:
	}
	return e.source
}

// add adds an item once, keeps the first source that found it, and returns its index. The index is
// -1 when the item is unknown, or not eligible.
func (p *candidatePool) add(key uint64, source string) int {
	if at, ok := p.places[key]; ok {
		return at
	}
	item := p.job.items.items[key]
	if item == nil || !p.job.eligible(item) {
		return -1
	}
	at := len(p.candidates)
	p.places[key] = at
	p.entries = append(p.entries, poolEntry{key: key, item: item, source: source})
	p.candidates = append(p.candidates, model.Candidate{ID: item.Content.ItemID})
	return at
}

// recentOfOthers is the number of latest items considered per friend or similar user.
const recentOfOthers = 10

// socialCandidate is an item that friends or similar users were interested in recently.
type socialCandidate struct {
	key uint64
	// weight is the number of friends who did, weighted by recency.
	weight float64
	// byFriends and bySimilar are what friends and similar users did with it.
	byFriends, bySimilar []said
}

// socialCandidates collects what friends and similar users were interested in recently, each item
// once. Of an event without a label nobody knows whether they were.
func (r *Recommender) socialCandidates(j *job) []socialCandidate {
	excluded := keySet(j.exclude)
	places := make(map[uint64]int)
	var found []socialCandidate
	now := r.now().Unix()
	collect := func(people []neighbour, friends bool) {
		for _, person := range people {
			for _, x := range r.cfg.interests(person.history) {
				if _, no := excluded[x.key]; no {
					continue
				}
				at, ok := places[x.key]
				if !ok {
					at = len(found)
					places[x.key] = at
					found = append(found, socialCandidate{key: x.key})
				}
				c := &found[at]
				if !friends {
					c.bySimilar = addSaid(c.bySimilar, x.rule)
					continue
				}
				c.byFriends = addSaid(c.byFriends, x.rule)
				c.weight += model.Decay(float64(now-x.at), r.cfg.FriendHalfLife.Seconds())
			}
		}
	}
	collect(j.friendNeighbours, true)
	if j.Scenario == ScenarioHome {
		collect(j.similar, false)
	}
	return found
}

// interest is what a person was interested in.
type interest struct {
	key  uint64
	rule *schemas.Rule
	at   int64 // the latest time, in Unix seconds
}

// interests returns what a person was interested in lately, each item once, with the most that was
// said of it.
func (c *Config) interests(history []model.Taken) (out []interest) {
	for i, h := range slices.Backward(history) {
		if len(history)-i > recentOfOthers {
			break
		}
		rule := c.Actions.Labeled(h.Label)
		if rule == nil || !rule.Meaning.Good() {
			continue
		}
		at := slices.IndexFunc(out, func(x interest) bool { return x.key == uint64(h.Key) })
		switch {
		case at < 0:
			out = append(out, interest{uint64(h.Key), rule, h.At})
		case rule.Meaning == schemas.Love:
			out[at].rule = rule
		}
	}
	return out
}

// addSocial adds the social candidates.
func addSocial(j *job, p *candidatePool) {
	for _, x := range j.social {
		source := SourceSimilarUsers
		if len(x.byFriends) > 0 {
			source = SourceFriends
		}
		at := p.add(x.key, source)
		if at < 0 {
			continue
		}
		p.entries[at].byFriends, p.entries[at].bySimilar = x.byFriends, x.bySimilar
		p.candidates[at].Friends = float32(x.weight)
	}
}

func keySet(keys []uint64) map[uint64]struct{} {
	set := make(map[uint64]struct{}, len(keys))
	for _, k := range keys {
		set[k] = struct{}{}
	}
	return set
}

// addTrending adds the items that are popular now.
func addTrending(j *job, p *candidatePool, trend *trendingList) {
	excluded := keySet(j.exclude)
	for _, key := range trend.top(maxTrendingCandidates) {
		if _, no := excluded[key]; !no {
			p.add(key, SourceTrending)
		}
	}
}

// score completes the candidates with popularity and, where the index did not return it, the
// model's score (the same inner product).
func (p *candidatePool) score(j *job, trend *trendingList) {
	for i := range p.candidates {
		c, e := &p.candidates[i], &p.entries[i]
		if n := len(e.item.Vector); n > 0 && n == len(j.query) {
			c.Vector = e.item.Vector[:n-1]
			if !c.Scored {
				c.Score, c.Scored = model.Dot(j.query, e.item.Vector), true
			}
		}
		c.Trending = float32(trend.share(e.key))
	}
}

// trendingFor returns the trending list. It is for unknown users, for the hold-out, and the
// fallback when there are no candidates. Where too few items are trending, as of a genre, those
// with the highest learned bias follow: it goes by all that was ever learned.
func (r *Recommender) trendingFor(ctx context.Context, j *job) schemas.Recommendation {
	trend := r.trending.Load()
	if trend == nil {
		j.degrade[DegradedTrending] = true
	}
	ok := !j.degrade[DegradedVectors]
	list := r.head(j, schemas.StrategyTrending)
	words := r.cfg.phrases(j.Locale)
	excluded := keySet(j.exclude)
	for _, x := range trend.items() {
		key := schemas.Key(x.ItemID)
		item, known := j.items.items[key]
		if _, no := excluded[key]; no || known && !j.eligible(item) ||
			!known && (ok || len(j.Genres) > 0 || r.cfg.CatalogOnly) {
			continue
		}
		title := ""
		if known {
			title = item.Content.Title
		}
		list.Items = append(list.Items, schemas.RecommendedItem{
			ItemID: x.ItemID, Rank: len(list.Items) + 1, Score: x.Score, Title: title,
			Source: SourceTrending, Reason: words.trending,
		})
		if len(list.Items) == j.N {
			return list
		}
	}
	if ok {
		r.fillByBias(ctx, j, &list)
		list.Degraded = j.degraded() // the index may have failed
	}
	return list
}

// biasCandidates times the items that a list lacks is how many are found by bias, at most
// maxBiasCandidates.
const (
	biasCandidates    = 3
	maxBiasCandidates = 1000
)

// fillByBias fills a list with the items of the highest bias, as in the list for an empty history.
// Those of which hardly anything is known come last: their bias says nothing yet. Scores go down
// from that of the last item, or 1, in equal steps, for biases are on another scale.
func (r *Recommender) fillByBias(ctx context.Context, j *job, list *schemas.Recommendation) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	query := make([]float32, r.cfg.Model.Dim+1)
	query[r.cfg.Model.Dim] = model.BiasScale
	exclude, missing, top := slices.Clone(j.exclude), j.N-len(list.Items), 1.0
	for i := range list.Items {
		x := &list.Items[i]
		exclude, top = append(exclude, schemas.Key(x.ItemID)), x.Score
	}
	found, err := r.index.SearchItems(ctx, []sinks.ItemQuery{{
		Vector: query, N: min(biasCandidates*missing, maxBiasCandidates), Exclude: exclude,
		Genres: j.Genres, CatalogOnly: r.cfg.CatalogOnly,
	}})
	if !r.mark([]*job{j}, DegradedVectors, err) || len(found) == 0 {
		return
	}
	hits := found[0]
	// The index knows nothing of refused genres, and may not know yet what has an entry.
	hits = slices.DeleteFunc(hits, func(h sinks.ItemHit) bool { return !j.eligible(&h.Item) })
	known := func(h *sinks.ItemHit) bool { return h.Item.Count > r.cfg.NewItemCount }
	slices.SortStableFunc(hits, func(a, b sinks.ItemHit) int {
		switch x, y := known(&a), known(&b); {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	})
	words := r.cfg.phrases(j.Locale)
	for i := range hits[:min(missing, len(hits))] {
		x := &hits[i].Item
		reason := words.catalog
		if known(&hits[i]) {
			reason = words.chosen
		}
		list.Items = append(list.Items, schemas.RecommendedItem{
			ItemID: x.Content.ItemID, Rank: len(list.Items) + 1,
			Score: top * float64(missing-i) / float64(missing+1),
			Title: x.Content.Title, Source: SourceVectors, Reason: reason,
		})
	}
}
