package eval

import (
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/slipstream-rec/slipstream/model"
)

// The serving path's numbers of new items (recommend.Config and recommend/newitems.go).
const (
	newItemCount  = 5
	newCandidates = 10
	drawnItems    = 200
	tasteItems    = 10
)

// newItems finds the items that hardly anybody has taken and that fit a user by content. The stream
// does not tell when the catalog got them, so they all wait for their turn.
type newItems struct {
	*Bare
	vectors [][]float32         // by item: content, nil where nothing is known
	traits  []map[string]bool   // by item: features but for the decade
	items   map[model.Key]int32 // the items that have content
	now     int64               // Unix seconds
	top     top
}

func newNewItems(b *Bare) *newItems {
	x := &newItems{
		Bare: b, vectors: make([][]float32, len(b.data.Items)),
		traits: make([]map[string]bool, len(b.data.Items)), items: make(map[model.Key]int32),
	}
	for i, features := range b.data.Features {
		x.vectors[i] = model.ContentVector(features, model.DefaultContentDim)
		if x.vectors[i] == nil {
			continue
		}
		x.items[model.KeyOf(b.data.Items[i])] = int32(i)
		x.traits[i] = make(map[string]bool)
		for _, f := range features {
			if !strings.HasPrefix(f, "decade:") {
				x.traits[i][f] = true
			}
		}
	}
	return x
}

// candidates returns the new items for a list that keeps so many places for them.
func (x *newItems) candidates(
	user int32, kept int, allowed func(int32) bool,
) map[int32]model.Candidate {
	taste, traits, items := x.taste(user)
	if taste == nil {
		return nil
	}
	x.top.reset(drawnItems)
	for i, v := range x.vectors {
		if v != nil && allowed(int32(i)) && x.table.Count(x.index[i]) <= newItemCount {
			x.top.offer(int32(i), model.Similarity(taste, v))
		}
	}
	out := make(map[int32]model.Candidate)
	var others []model.NewItem
	for n, i := range x.top.items {
		if n < newCandidates {
			out[i] = model.Candidate{Content: x.top.scores[n]}
		}
		key := model.KeyOf(x.data.Items[i])
		others = append(others, model.NewItem{Key: key, Fit: x.top.scores[n]})
	}
	day := x.now / (24 * 60 * 60)
	turn := 0
	for _, key := range model.TakeTurns(nil, others, turnOf(x.data.Users[user], day)) {
		i := x.items[key]
		if turn == kept || !sharesOften(x.traits[i], traits, items) {
			continue
		}
		turn++
		out[i] = model.Candidate{Content: model.Similarity(taste, x.vectors[i]), New: turn}
	}
	return out
}

// turnOf is another number for each user and day.
func turnOf(user string, day int64) uint64 {
	return xxhash.Sum64String(user) + uint64(day)
}

// taste returns the sum of the content vectors of the user's latest items, how many of these have
// each trait, and their number.
func (x *newItems) taste(user int32) (sum []float32, traits map[string]int, items int) {
	history := x.users[user].History
	traits = make(map[string]int)
	for _, h := range slices.Backward(history[max(0, len(history)-tasteItems):]) {
		i, known := x.items[h.Key]
		if r := x.actions.Labeled(h.Label); !known || r != nil && r.Meaning.Bad() {
			continue
		}
		if sum == nil {
			sum = make([]float32, model.DefaultContentDim)
		}
		for k, v := range x.vectors[i] {
			sum[k] += v
		}
		items++
		for t := range x.traits[i] {
			traits[t]++
		}
	}
	return sum, traits, items
}

// sharesOften tells whether an item has a trait that a quarter of the items of a taste have.
func sharesOften(item map[string]bool, taste map[string]int, items int) bool {
	for t := range item {
		if n := taste[t]; n > 0 && 4*n >= items {
			return true
		}
	}
	return false
}
