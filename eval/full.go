package eval

import (
	"slices"

	"github.com/slipstream-rec/slipstream/model"
)

// Full is the whole recommender: candidates from the model, from friends, from what is trending
// and, where content is known, from new items that fit by it, without the genres that the user
// refuses, blended and diversified by model.Rank as the serving path does.
type Full struct {
	*Bare
	blend    model.Blend
	fresh    *newItems
	refusals *refusals
	trending *Popularity
	liked    recent // by user, for their friends
	top      top
	trend    []float32
	recentN  []float32 // by item: scratch
}

// The serving path's numbers of candidates.
const (
	modelCandidates    = 60
	trendingCandidates = 50
	friendItems        = 20
)

// NewFull returns the whole recommender for the users and items of d.
func NewFull(d *Data, cfg model.Config, blend model.Blend) *Full {
	f := &Full{
		Bare: NewBare(d, cfg), blend: blend, trending: NewPopularity(d, trendingHalfLife(d)),
		trend: make([]float32, len(d.Items)),
	}
	if d.Features != nil {
		f.fresh, f.refusals = newNewItems(f.Bare), newRefusals(f.Bare)
	}
	if d.Friends != nil {
		f.liked = newRecent(len(d.Users), friendItems)
		f.recentN = make([]float32, len(d.Items))
	}
	return f
}

// trendingHalfLife is 2 % of the stream, between 1,000 and 20,000 events.
func trendingHalfLife(d *Data) float64 {
	return min(max(float64(len(d.Events))/50, 1000), 20000)
}

// Name is "slipstream full".
func (f *Full) Name() string { return "slipstream full" }

// Learn teaches the model and counts.
func (f *Full) Learn(e Event, seed uint64) {
	f.Bare.Learn(e, seed)
	if f.fresh != nil {
		f.fresh.now = e.At
	}
	if e.rule(f.actions).Meaning.Good() {
		f.trending.Learn(e, seed)
		if f.liked.items != nil {
			f.liked.add(e.User, e.Item)
		}
	}
}

// List blends and diversifies.
func (f *Full) List(user int32, n int, scores []float32, allowed func(int32) bool) []int32 {
	if f.refusals != nil {
		allowed = f.refusals.filter(user, allowed)
	}
	f.top.reset(max(modelCandidates, 3*n))
	for i, s := range scores {
		if f.index[i] != model.None && allowed(int32(i)) {
			f.top.offer(int32(i), s)
		}
	}
	pool := slices.Clone(f.top.items)
	clear(f.trend)
	f.trending.Score(user, f.trend)
	f.top.reset(trendingCandidates)
	for i, s := range f.trend {
		if s > 0 && allowed(int32(i)) {
			f.top.offer(int32(i), s)
		}
	}
	var most float32
	for _, s := range f.trend {
		most = max(most, s)
	}
	pool = append(pool, f.top.items...)
	friends := f.friends(user)
	for i := range friends {
		if allowed(i) {
			pool = append(pool, i)
		}
	}
	var fresh map[int32]model.Candidate
	if f.fresh != nil {
		fresh = f.fresh.candidates(user, f.blend.Kept(n), allowed)
		for i := range fresh {
			pool = append(pool, i)
		}
	}
	slices.Sort(pool)
	pool = slices.Compact(pool)
	candidates := make([]model.Candidate, len(pool))
	for k, i := range pool {
		v := make([]float32, len(f.query))
		f.table.Vector(f.index[i], v)
		candidates[k] = model.Candidate{
			ID: f.data.Items[i], Score: scores[i], Scored: true, Friends: friends[i],
			Trending: f.trend[i] / max(most, 1e-9), Vector: v[:len(v)-1],
			Content: fresh[i].Content, New: fresh[i].New,
		}
	}
	var out []int32
	for _, r := range model.Rank(candidates, n, f.blend) {
		out = append(out, pool[r.Candidate])
	}
	return out
}

// friends returns what the user's friends took lately, the latest of each counting most.
func (f *Full) friends(user int32) map[int32]float32 {
	if int(user) >= len(f.data.Friends) {
		return nil
	}
	out := map[int32]float32{}
	for _, friend := range f.data.Friends[user] {
		for k, i := range f.liked.items[friend] {
			if f.index[i] != model.None {
				out[i] += float32(model.Decay(float64(k), friendItems/2))
			}
		}
	}
	return out
}
