package recommend

import (
	"slices"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// refusedItems is the number of items that the user refused, or gave up, last which say what the
// user refuses.
const refusedItems = 20

// refusedKeys returns the items that the user refused or gave up last, but for those that were in
// the history before.
func (j *job) refusedKeys(cfg *Config) []model.Key {
	return j.state.Refused(cfg.Model.LongItems, refusedItems)
}

// findRefusals finds out which genres the user refuses. A request that names genres wants these.
func (j *job) findRefusals(cfg *Config) {
	good, bad := make(map[string]int), make(map[string]int)
	count := func(key model.Key, counts map[string]int) {
		if item := j.items.items[uint64(key)]; item != nil {
			for _, g := range item.Content.Genres {
				counts[g]++
			}
		}
	}
	for _, key := range j.refusedKeys(cfg) {
		count(key, bad)
	}
	counted := make(map[model.Key]bool)
	for _, h := range slices.Backward(j.state.History) {
		rule := cfg.Actions.Labeled(h.Label)
		switch {
		case rule == nil || counted[h.Key]:
			continue
		case rule.Meaning == schemas.Refusal:
			count(h.Key, bad)
		case rule.Meaning.Good():
			count(h.Key, good)
		}
		counted[h.Key] = true
	}
	for g := range bad {
		if model.Refuses(good[g], bad[g]) && !slices.Contains(j.Genres, g) {
			j.refused = append(j.refused, g)
		}
	}
}

// eligible tells whether the item may be in the list: it can be had, has a catalog entry where that
// is wanted, is of a genre that the request asks for, and of none that the user refuses. In the
// hold-out what the user does changes nothing.
func (j *job) eligible(item *sinks.Item) bool {
	if !item.Content.IsAvailable() || j.catalogOnly && !item.HasEntry() {
		return false
	}
	among := func(genres []string) bool {
		return slices.ContainsFunc(item.Content.Genres, func(g string) bool {
			return slices.Contains(genres, g)
		})
	}
	return (len(j.Genres) == 0 || among(j.Genres)) && (j.holdout || !among(j.refused))
}
