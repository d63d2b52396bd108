package recommend

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

const (
	// newestItems is the number of items that were added or changed last which are looked at for
	// every list. They are cached.
	newestItems = 100
	// drawnItems is the number of new items found by content from which the others are drawn. Only
	// their keys are read.
	drawnItems = 200
	// turnsTake is the time until the draw is another one.
	turnsTake = 24 * time.Hour
	// sameAge is the time within which items are equally new, as they come in one batch: of these
	// the one that fits best comes first.
	sameAge = time.Second
)

// newest knows which items the catalog got last. Safe for concurrent use.
type newest struct {
	mu    sync.Mutex
	items []newestItem // the newest first
}

type newestItem struct {
	key uint64
	at  time.Time
}

// add notes that the catalog got an item, or a change of it. gone says that it left.
func (l *newest) add(key uint64, at time.Time, gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = slices.DeleteFunc(l.items, func(x newestItem) bool { return x.key == key })
	if gone {
		return
	}
	place, _ := slices.BinarySearchFunc(l.items, at, func(x newestItem, at time.Time) int {
		return at.Compare(x.at)
	})
	if place == newestItems {
		return
	}
	l.items = slices.Insert(l.items, place, newestItem{key, at})
	l.items = l.items[:min(len(l.items), newestItems)]
}

// snapshot returns the items, the newest first.
func (l *newest) snapshot() []newestItem {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.items)
}

// keys returns the keys, the newest first.
func (l *newest) keys() []uint64 {
	items := l.snapshot()
	out := make([]uint64, len(items))
	for i, x := range items {
		out[i] = x.key
	}
	return out
}

// chooseNew chooses whose turn it is to get the places that the list keeps for new items: more than
// it needs, for some of them turn out to have nothing in common with what the user took.
func (r *Recommender) chooseNew(j *job, found []sinks.ItemHit) {
	n := r.cfg.Blend.Kept(j.N)
	if j.Scenario != ScenarioHome || n == 0 {
		return
	}
	excluded := keySet(j.exclude)
	var latest, others []model.NewItem
	ages := make(map[model.Key]time.Duration)
	for _, x := range r.newest.snapshot() {
		item := j.items.items[x.key]
		if _, no := excluded[x.key]; no || item == nil || item.Count > r.cfg.NewItemCount ||
			!j.eligible(item) || len(item.ContentVector) != len(j.taste.vector) {
			continue
		}
		fit := model.Similarity(j.taste.vector, item.ContentVector)
		latest = append(latest, model.NewItem{Key: model.Key(x.key), Fit: fit})
		ages[model.Key(x.key)] = r.now().Sub(x.at) / sameAge
	}
	slices.SortStableFunc(latest, func(a, b model.NewItem) int {
		return cmp.Or(cmp.Compare(ages[a.Key], ages[b.Key]), cmp.Compare(b.Fit, a.Fit))
	})
	for _, h := range found {
		others = append(others, model.NewItem{Key: model.Key(h.Key), Fit: float32(h.Score)})
	}
	day := r.now().Unix() / int64(turnsTake/time.Second)
	turn := schemas.Key(fmt.Sprintf("new:%s:%d", j.UserID, day))
	chosen := model.TakeTurns(latest, others, turn)
	for _, key := range chosen[:min(len(chosen), 2*n+10)] {
		j.turns = append(j.turns, uint64(key))
	}
}

// addNew gives the candidates among the new items their turns.
func addNew(j *job, p *candidatePool) {
	turn := 0
	for _, key := range j.turns {
		item := j.items.items[key]
		if item == nil || !j.eligible(item) || !j.taste.shares(item) {
			continue
		}
		at := p.add(key, SourceContent)
		if at < 0 {
			continue
		}
		turn++
		c := &p.candidates[at]
		c.New = turn
		c.Content = max(c.Content, model.Similarity(j.taste.vector, item.ContentVector))
	}
}

// tasteItems is the number of latest items that make up a user's content profile.
const tasteItems = 10

// taste is the content of what a user took lately, or what the friends of one without a history
// were interested in.
type taste struct {
	// vector is the sum of the content vectors, nil when there are none.
	vector []float32
	// items is the number of items, traits that of those with each trait.
	items  int
	traits map[trait]int
}

// commonShare is the share of the items of a taste of which a trait says what the user likes.
const commonShare = 0.25

// shares tells whether the item has a trait that the taste often has.
func (x *taste) shares(item *sinks.Item) bool {
	for t := range traits(&item.Content) {
		if n := x.traits[t]; n > 0 && float64(n) >= commonShare*float64(x.items) {
			return true
		}
	}
	return false
}

// tasteOf returns the taste of the user. Items of which the user's newest word is a refusal or a
// doubt do not count.
func (j *job) tasteOf(actions *schemas.Actions) taste {
	x := taste{traits: make(map[trait]int)}
	for i, h := range slices.Backward(j.state.History) {
		if len(j.state.History)-i > tasteItems {
			break
		}
		if r := actions.Labeled(h.Label); r == nil || !r.Meaning.Bad() {
			x.add(j.items.items[uint64(h.Key)])
		}
	}
	if j.friendsOnly {
		for i := range j.social {
			if s := &j.social[i]; len(s.byFriends) > 0 {
				x.add(j.items.items[s.key])
			}
		}
	}
	return x
}

// add adds an item, if its content is known.
func (x *taste) add(item *sinks.Item) {
	if item == nil || len(item.ContentVector) == 0 {
		return
	}
	v := item.ContentVector
	if x.vector == nil {
		x.vector = make([]float32, len(v))
	}
	if len(x.vector) != len(v) {
		return
	}
	for i := range v {
		x.vector[i] += v[i]
	}
	x.items++
	for t := range traits(&item.Content) {
		x.traits[t]++
	}
}
