package recommend

import (
	"cmp"
	"slices"
	"strings"
	"time"

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
	// unlabeled says that nobody knows what the user did with some of the history.
	unlabeled bool
	// newCount is the number of events up to which little is known of an item.
	newCount float64
	// fade is the number of events of which half of an item is known (model.Config.ContentFade).
	fade float64
	now  time.Time
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
func (j *job) explainer(cfg *Config, now time.Time) *explainer {
	e := &explainer{
		phrases: cfg.phrases(j.Locale), friendsOnly: j.friendsOnly, newCount: cfg.NewItemCount,
		fade: cfg.Model.ContentFade, now: now,
	}
	for i, h := range slices.Backward(j.state.History) {
		if len(j.state.History)-i > explainedItems {
			break
		}
		rule := cfg.Actions.Labeled(h.Label)
		e.unlabeled = e.unlabeled || rule == nil
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
	// An item that is little known still has the vector that it began with: what is near to it says
	// nothing.
	unknown := len(entry.item.ContentVector) > 0 && entry.item.Count <= e.newCount
	if source == SourceContent || unknown {
		if s := e.sharedContent(entry.item); s != "" {
			return s
		}
	}
	if near := e.nearest(entry.item); near != nil && source != SourceContent {
		return p.becauseOf(near)
	}
	// Of who liked nothing yet nobody knows which people are alike.
	if s := loudest(entry.bySimilar); s != nil && source == SourceSimilarUsers &&
		len(e.known) > 0 {
		return p.bySimilar(s)
	}
	switch {
	case e.friendsOnly:
		return p.friendsTaste
	case e.differs(entry.item):
		return p.other
	}
	return p.taste
}

// differs tells whether the item is like nothing that the user is known to like.
func (e *explainer) differs(item *sinks.Item) bool {
	return !e.unlabeled && hasTraits(item) && !slices.ContainsFunc(e.known, func(x knownItem) bool {
		return e.believable(item, x.item)
	})
}

// recent is how long an item counts as new after its publication.
const recent = 365 * 24 * time.Hour

// isNew tells whether a person would call the item new: nobody has taken it, and it was not
// published long ago.
func (e *explainer) isNew(item *sinks.Item) bool {
	published := item.Content.PublishedAt
	return item.Count == 0 && (published.IsZero() || e.now.Sub(published) < recent)
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

// sharedContent says what an item has in common with the known ones: an actor, else the genre or
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
	return e.phrases.moreOf(best.name, e.isNew(item))
}

// sureLikeness is the learned likeness from which two items are alike that have no trait in common.
const sureLikeness = 0.3

// nearest returns the known item with the most similar learned vector (cosine) of those of which a
// person would believe that they are alike, or nil. Vectors are a little similar by chance.
func (e *explainer) nearest(item *sinks.Item) *knownItem {
	best, at := float32(0), -1
	for i, t := range e.known {
		if n := len(item.Vector); n > 1 && len(t.item.Vector) == n {
			s := model.Similarity(item.Vector[:n-1], t.item.Vector[:n-1])
			if s > best && e.believable(item, t.item) {
				best, at = s, i
			}
		}
	}
	if at < 0 {
		return nil
	}
	return &e.known[at]
}

// believable tells whether two items are alike: they have a trait in common, traits are not known,
// or so much was learned of both that their vectors tell.
func (e *explainer) believable(a, b *sinks.Item) bool {
	x := compareItems(a, b, e.fade)
	return x.trait.name != "" || x.learned >= sureLikeness || !hasTraits(a) || !hasTraits(b)
}

func hasTraits(x *sinks.Item) bool {
	for range traits(&x.Content) {
		return true
	}
	return false
}
