package datasets

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/slipstream-rec/slipstream/schemas"
)

// maxTags is how many tags an item keeps: those given most often.
const maxTags = 20

// tagCounts counts how often each tag was given to each item.
type tagCounts map[string]map[string]int

func (t tagCounts) add(item, tag string) { t.addMany(item, tag, 1) }

func (t tagCounts) addMany(item, tag string, n int) {
	tag = strings.ToLower(strings.TrimSpace(tag))
	if tag == "" || len(tag) > schemas.MaxIDLength {
		return
	}
	if t[item] == nil {
		t[strings.Clone(item)] = map[string]int{}
	}
	t[item][strings.Clone(tag)] += n
}

// top returns the tags given most often, equal counts in alphabetical order.
func (t tagCounts) top(item string) []string {
	counts := t[item]
	tags := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a, b))
	})
	return tags[:min(len(tags), maxTags)]
}
