package eval

import (
	"slices"
	"strings"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
)

// refusedItems is that of the serving path (recommend/refusals.go).
const refusedItems = 20

// refusals knows which genres a user refuses, as the serving path does.
type refusals struct {
	*Bare
	genres [][]string          // by item
	items  map[model.Key]int32 // those with genres
}

func newRefusals(b *Bare) *refusals {
	x := &refusals{
		Bare: b, genres: make([][]string, len(b.data.Items)), items: make(map[model.Key]int32),
	}
	for i, features := range b.data.Features {
		for _, f := range features {
			if strings.HasPrefix(f, "genre:") {
				x.genres[i] = append(x.genres[i], f)
				x.items[model.KeyOf(b.data.Items[i])] = int32(i)
			}
		}
	}
	return x
}

// genresOf returns the genres that the user refuses.
func (x *refusals) genresOf(user int32) (refused []string) {
	u := &x.users[user]
	good, bad := make(map[string]int), make(map[string]int)
	count := func(key model.Key, counts map[string]int) {
		if i, known := x.items[key]; known {
			for _, g := range x.genres[i] {
				counts[g]++
			}
		}
	}
	for _, key := range u.Refused(x.table.Config().LongItems, refusedItems) {
		count(key, bad)
	}
	counted := make(map[model.Key]bool)
	for _, h := range slices.Backward(u.History) {
		rule := x.actions.Labeled(h.Label)
		if rule == nil || counted[h.Key] {
			continue
		}
		counted[h.Key] = true
		switch {
		case rule.Meaning == schemas.Refusal:
			count(h.Key, bad)
		case rule.Meaning.Good():
			count(h.Key, good)
		}
	}
	for g := range bad {
		if model.Refuses(good[g], bad[g]) {
			refused = append(refused, g)
		}
	}
	return refused
}

// filter leaves out of allowed what the user refuses.
func (x *refusals) filter(user int32, allowed func(int32) bool) func(int32) bool {
	refused := x.genresOf(user)
	if len(refused) == 0 {
		return allowed
	}
	return func(i int32) bool {
		return allowed(i) && !slices.ContainsFunc(x.genres[i], func(g string) bool {
			return slices.Contains(refused, g)
		})
	}
}
