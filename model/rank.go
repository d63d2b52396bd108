package model

import (
	"math"
	"slices"
)

// Candidate is an item considered for a list, with the signals of each source.
type Candidate struct {
	// ID is the item's id; among equals the lower one comes first, so that a ranking is a function
	// of its input.
	ID string
	// Score is the model's score (Table.Score, or what the vector index returns), in log-odds.
	// Scored is false when the item has no score; it then gets the lowest score of those that have
	// one.
	Score  float32
	Scored bool
	// Friends is the number of friends who took the item recently, weighted by recency (see Decay).
	Friends float32
	// Trending is the item's share of recent popularity relative to the most popular one, 0 to 1.
	Trending float32
	// Content is how well a new item's features fit, 0 to 1.
	Content float32
	// New is the turn of the item, from 1, to get a place that is kept for new items (TakeTurns);
	// 0: it gets none of these.
	New int
	// Vector is the item's output vector, for diversity; nil disables diversity for this item.
	Vector []float32
}

// Blend holds the weights of the sources, added to the model score in log-odds, and the weight of
// diversity.
type Blend struct {
	// Friends is added in full when many friends took the item, half of it when one did. Default 1.
	Friends float64
	// Trending is added to the most popular item. Default 0.2.
	Trending float64
	// Content is added to a new item whose features fit perfectly. Default 0.5.
	Content float64
	// Diversity is subtracted from an item in proportion to its cosine with the most similar item
	// above it. Default 0.1.
	Diversity float64
	// NewShare is the share of the places, 0 to 1, that is kept for the new items that fit whose
	// turn it is. Default 0.1.
	NewShare float64
}

// DefaultBlend returns the weights measured in docs/QUALITY.md.
func DefaultBlend() Blend {
	return Blend{Friends: 1, Trending: 0.2, Content: 0.5, Diversity: 0.1, NewShare: 0.1}
}

// Source is the part of a ranking score that mattered most; it decides the reason shown.
type Source int

// The sources.
const (
	FromModel Source = iota
	FromFriends
	FromTrending
	FromContent
)

// String returns the name of the source as it stands in lists.
func (s Source) String() string {
	switch s {
	case FromFriends:
		return "friends"
	case FromTrending:
		return "trending"
	case FromContent:
		return "content"
	case FromModel:
	}
	return "model"
}

// Ranked is one place in a ranking.
type Ranked struct {
	// Candidate is the index in the slice that was ranked.
	Candidate int
	// Score is the blended score, before diversity.
	Score float32
	// Source is FromModel if the model alone would have put the item among the first n, else the
	// source that added most.
	Source Source
}

// Rank chooses the best n of the candidates: by model score plus what the sources add, each next
// one less what it repeats of those before it (maximal marginal relevance, Carbonell and Goldstein
// 1998). The last places are those kept for new items. Candidates with an id that was given before
// are ignored. The result is a function of the set of candidates; scores that are not finite count
// as 0.
func Rank(candidates []Candidate, n int, blend Blend) []Ranked {
	if n <= 0 || len(candidates) == 0 {
		return nil
	}
	least := float32(math.Inf(1))
	for i := range candidates {
		if c := &candidates[i]; c.Scored {
			least = min(least, sane(c.Score))
		}
	}
	if math.IsInf(float64(least), 1) {
		least = 0
	}
	pool := make([]Ranked, 0, len(candidates))
	models := make([]float32, 0, len(candidates))
	known := make(map[string]bool, len(candidates))
	for i := range candidates {
		c := &candidates[i]
		if known[c.ID] {
			continue
		}
		known[c.ID] = true
		base := least
		if c.Scored {
			base = sane(c.Score)
		}
		models = append(models, base)
		friends := max(sane(c.Friends), 0)
		r := Ranked{Candidate: i, Score: base}
		var most float32
		for _, x := range [...]struct {
			source Source
			adds   float32
		}{
			{FromFriends, float32(blend.Friends) * friends / (1 + friends)},
			{FromTrending, float32(blend.Trending) * min(max(sane(c.Trending), 0), 1)},
			{FromContent, float32(blend.Content) * min(max(sane(c.Content), 0), 1)},
		} {
			r.Score += x.adds
			if x.adds > most {
				most, r.Source = x.adds, x.source
			}
		}
		pool = append(pool, r)
	}
	slices.SortFunc(models, func(a, b float32) int { return compare(b, a) })
	bar := models[min(n, len(models))-1]
	for k := range pool {
		if c := &candidates[pool[k].Candidate]; c.Scored && sane(c.Score) >= bar {
			pool[k].Source = FromModel
		}
	}
	slices.SortFunc(pool, func(a, b Ranked) int {
		if c := compare(b.Score, a.Score); c != 0 {
			return c
		}
		return compare(candidates[a.Candidate].ID, candidates[b.Candidate].ID)
	})
	ranked := diversify(candidates, pool, n, float32(blend.Diversity))
	return blend.keep(candidates, pool, ranked, n)
}

// diversify picks n of pool, which is in order of score, each time the one with the highest score
// less weight times its greatest likeness to one picked before.
func diversify(candidates []Candidate, pool []Ranked, n int, weight float32) []Ranked {
	n = min(n, len(pool))
	if weight <= 0 {
		return pool[:n]
	}
	norms := make([]float32, len(pool))
	for k := range pool {
		v := candidates[pool[k].Candidate].Vector
		norms[k] = sqrt32(dot(v, v))
	}
	// to the closest one of the first compared[k] that were picked
	likeness := make([]float32, len(pool))
	compared := make([]int, len(pool))
	out := make([]Ranked, 0, n)
	places := make([]int, 0, n) // of out, in pool
	picked := make([]bool, len(pool))
	// Few candidates compete for each place: most are never compared.
	compareWithPicked := func(k int) float32 {
		w := candidates[pool[k].Candidate].Vector
		for _, p := range places[compared[k]:] {
			v := candidates[pool[p].Candidate].Vector
			if len(w) != len(v) || norms[k] == 0 || norms[p] == 0 {
				continue
			}
			if c := dot(v, w) / (norms[p] * norms[k]); finite(c) {
				likeness[k] = max(likeness[k], c)
			}
		}
		compared[k] = len(places)
		return likeness[k]
	}
	for len(out) < n {
		best, bestScore := -1, float32(math.Inf(-1))
		for k := range pool {
			if picked[k] {
				continue
			}
			if pool[k].Score <= bestScore {
				break // the rest scores less even without a deduction
			}
			if s := pool[k].Score - weight*compareWithPicked(k); s > bestScore {
				best, bestScore = k, s
			}
		}
		if best < 0 {
			break
		}
		picked[best] = true
		out, places = append(out, pool[best]), append(places, best)
	}
	return out
}

func compare[T float32 | string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Similarity returns the cosine of two vectors of the same length, 0 if one is zero.
func Similarity(a, b []float32) float32 {
	c := dot(a, b) / sqrt32(dot(a, a)*dot(b, b))
	if !finite(c) {
		return 0
	}
	return c
}
