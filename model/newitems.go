package model

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// NewItem is an item of which hardly anything was learned.
type NewItem struct {
	Key Key
	// Fit is the cosine of its content vector with the user's taste.
	Fit float32
}

const (
	// leastFit is the least cosine. One feature of ten in common is 0.1, and the standard deviation
	// of the cosine of unrelated content vectors is 1/8, so callers must see what is shared.
	leastFit = 0.1
	// fitShare is the share of the best fit that a new item needs. A film of a genre that the user
	// likes fits, also where another one has the director and actors as well.
	fitShare = 0.3
)

// TakeTurns returns the new items that fit a user, in the order in which they get the places that a
// list keeps for new items: by turns the newest, and the next of the others in an order that turn
// determines. So an item that was just added reaches everybody whom it fits, and one that nobody
// takes does not stand in the way of the others. newest are in order, the newest first. An item
// that is in both counts as one of the newest.
func TakeTurns(newest, others []NewItem, turn uint64) []Key {
	var best float32
	for _, x := range newest {
		best = max(best, x.Fit)
	}
	for _, x := range others {
		best = max(best, x.Fit)
	}
	known := make(map[Key]bool, len(newest))
	fitting := func(all []NewItem) (out []Key) {
		for _, x := range all {
			if x.Fit >= max(leastFit, fitShare*best) && !known[x.Key] {
				known[x.Key] = true
				out = append(out, x.Key)
			}
		}
		return out
	}
	first, second := fitting(newest), fitting(others)
	slices.SortFunc(second, func(a, b Key) int {
		return cmp.Or(cmp.Compare(draw(a, turn), draw(b, turn)), cmp.Compare(a, b))
	})
	if turn%2 == 1 {
		first, second = second, first
	}
	out := make([]Key, 0, len(first)+len(second))
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			out = append(out, first[i])
		}
		if i < len(second) {
			out = append(out, second[i])
		}
	}
	return out
}

// draw is a number that looks random.
func draw(k Key, turn uint64) uint64 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], uint64(k))
	binary.LittleEndian.PutUint64(b[8:], turn)
	return xxhash.Sum64(b[:])
}

// Kept is the number of places that a list of n keeps for new items.
func (b *Blend) Kept(n int) int { return int(b.NewShare*float64(n) + 0.5) }

// keep gives the new items whose turn it is first the places kept for them, also where others rank
// high by themselves: hardly anything is known of a small catalog. What they replace is what ranked
// lowest, so ranked stays in order. pool has all candidates.
func (b *Blend) keep(candidates []Candidate, pool, ranked []Ranked, n int) []Ranked {
	var turns []Ranked // those whose turn it is
	for _, r := range pool {
		if candidates[r.Candidate].New > 0 {
			turns = append(turns, r)
		}
	}
	slices.SortStableFunc(turns, func(a, b Ranked) int {
		return cmp.Compare(candidates[a.Candidate].New, candidates[b.Candidate].New)
	})
	turns = turns[:min(b.Kept(n), n, len(turns))]
	due := make(map[int]bool, len(turns))
	for _, r := range turns {
		due[r.Candidate] = true
	}
	waiting := slices.DeleteFunc(turns, func(r Ranked) bool {
		return slices.ContainsFunc(ranked, func(x Ranked) bool {
			return x.Candidate == r.Candidate
		})
	})
	for i := range waiting {
		waiting[i].Source = FromContent
	}
	if len(waiting) == 0 {
		return ranked
	}
	out := slices.Clone(ranked)
	for i := len(out) - 1; i >= 0 && len(out)+len(waiting) > n; i-- {
		if !due[out[i].Candidate] {
			out = slices.Delete(out, i, i+1)
		}
	}
	slices.SortStableFunc(waiting, func(a, b Ranked) int { return cmp.Compare(b.Score, a.Score) })
	return append(out, waiting...)
}
