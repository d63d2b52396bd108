package recommend

import (
	"cmp"
	"slices"
	"strings"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// explainer finds reasons in the user's history. It names only what the user was interested in: the
// label of each event says what was done.
type explainer struct {
	phrases phrases
	known   []knownItem // latest first, each once
	// friendsOnly says that the query was made of the friends' vectors alone.
	friendsOnly bool
	// newCount is the number of events up to which an item is new.
	newCount float64
}

// knownItem is an item of the history that the user was interested in, or loves.
type knownItem struct {
	item *sinks.Item
	rule *schemas.Rule
}

// said is what some people did with an item, all of them the same.
type said struct {
	rule   *schemas.Rule
	people int
}

// addSaid counts one more who did what the rule says.
func addSaid(all []said, r *schemas.Rule) []said {
	for i := range all {
		if all[i].rule.Verb == r.Verb && all[i].rule.Meaning == r.Meaning {
			all[i].people++
			return all
		}
	}
	return append(all, said{r, 1})
}

// loudest returns what is said in a reason: love before interest, then what most did. nil: nothing.
func loudest(all []said) *said {
	if len(all) == 0 {
		return nil
	}
	best := slices.MaxFunc(all, func(a, b said) int {
		return cmp.Or(
			compareBool(a.rule.Meaning == schemas.Love, b.rule.Meaning == schemas.Love),
			cmp.Compare(a.people, b.people), strings.Compare(b.rule.Verb, a.rule.Verb),
		)
	})
	return &best
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// explainedItems is the number of latest items searched for a reason.
const explainedItems = 20

// explainer returns the explainer of a job.
func (j *job) explainer(cfg *Config) *explainer {
	e := &explainer{
		phrases: cfg.phrases(j.Locale), friendsOnly: j.friendsOnly, newCount: cfg.NewItemCount,
	}
	for i, h := range slices.Backward(j.state.History) {
		if len(j.state.History)-i > explainedItems {
			break
		}
		rule := cfg.Actions.Labeled(h.Label)
		item := j.items.items[uint64(h.Key)]
		if rule == nil || !rule.Meaning.Good() || item == nil || item.Content.Title == "" {
			continue
		}
		at := slices.IndexFunc(e.known, func(x knownItem) bool { return x.item == item })
		switch {
		case at < 0:
			e.known = append(e.known, knownItem{item, rule})
		case rule.Meaning == schemas.Love:
			e.known[at].rule = rule
		}
	}
	return e
}

// reason says in words why an item is in the list.
func (e *explainer) reason(entry *poolEntry, source string) string {
	p := &e.phrases
	switch source {
	case SourceFriends:
		if s := loudest(entry.byFriends); s != nil {
			return p.byFriends(s)
		}
	case SourceTrending:
		return p.trending
	}
	if s := e.sharedDirector(entry.item); s != "" {
		return s
	}
	// A new item still has the vector that it began with: what is near to it says nothing.
	isNew := len(entry.item.ContentVector) > 0 && entry.item.Count <= e.newCount
	if source == SourceContent || isNew {
		if s := e.sharedContent(entry.item); s != "" {
			return s
		}
	}
	if near := e.nearest(entry.item); near != nil && source != SourceContent {
		return p.becauseOf(near)
	}
	if s := loudest(entry.bySimilar); s != nil && source == SourceSimilarUsers {
		return p.bySimilar(s)
	}
	if e.friendsOnly {
		return p.friendsTaste
	}
	return p.taste
}

func (e *explainer) sharedDirector(item *sinks.Item) string {
	for _, t := range e.known {
		for _, d := range item.Content.Directors {
			if slices.Contains(t.item.Content.Directors, d) {
				return e.phrases.sameDirector(t.item.Content.Title, d)
			}
		}
	}
	return ""
}

// sharedContent says what a new item has in common with the known ones: an actor, else the genre or
// the tag that most of these have. "" is nothing.
func (e *explainer) sharedContent(item *sinks.Item) string {
	for _, t := range e.known {
		for _, name := range item.Content.Actors {
			if slices.Contains(t.item.Content.Actors, name) {
				return e.phrases.sameActor(t.item.Content.Title, name)
			}
		}
	}
	counts := make(map[trait]int)
	for _, t := range e.known {
		for x := range traits(&t.item.Content) {
			counts[x]++
		}
	}
	var best trait
	for x := range traits(&item.Content) {
		if x.kind != byGenre && x.kind != byTag || counts[x] == 0 {
			continue
		}
		if n := counts[x] - counts[best]; n > 0 || n == 0 && x.name < best.name {
			best = x
		}
	}
	if best.name == "" {
		return ""
	}
	return e.phrases.moreOf(best.name)
}

// nearest returns the known item with the most similar learned vector (cosine), or nil.
func (e *explainer) nearest(item *sinks.Item) *knownItem {
	best, at := float32(0), -1
	for i, t := range e.known {
		if n := len(item.Vector); n > 1 && len(t.item.Vector) == n {
			if s := model.Similarity(item.Vector[:n-1], t.item.Vector[:n-1]); s > best {
				best, at = s, i
			}
		}
	}
	if at < 0 {
		return nil
	}
	return &e.known[at]
}
