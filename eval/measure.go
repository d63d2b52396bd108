package eval

import (
	"math"
	"slices"

	"github.com/slipstream-rec/slipstream/schemas"
)

// Quality is what a set of judged events says about a method.
type Quality struct {
	// Judged is the number of events that were judged.
	Judged int `json:"judged"`
	// Recall is the share of judged events whose item was in the list of k made just before; with
	// one relevant item, also the hit rate.
	Recall float64 `json:"recall"`
	// NDCG is the mean of 1/log2(rank+1) of hits, MRR the mean of 1/rank of hits.
	NDCG float64 `json:"ndcg"`
	MRR  float64 `json:"mrr"`
	// Recall100 is the share in the first hundred. A Lister makes no longer lists than K: there it
	// is Recall.
	Recall100 float64 `json:"recall_100,omitempty"`
	// Liked is the number of judged events that say that the user likes the item: four stars and
	// more. LikedRecall is Recall of these events alone.
	Liked       int     `json:"liked,omitempty"`
	LikedRecall float64 `json:"liked_recall,omitempty"`
	// DislikedShare is the share of the places in the lists whose item the list's user rates with
	// two stars or less later in the stream.
	DislikedShare float64 `json:"disliked_share,omitempty"`
}

// tally collects ranks.
type tally struct {
	judged, hits, hits100 int
	ndcg, mrr             float64
	liked, likedHits      int
	places, disliked      int
}

// judged is one judged event.
type judged struct {
	// rank is that of the event's item, from 1; 0 is nowhere.
	rank int
	// liked says that the event is one of four stars or more.
	liked bool
	// places is the length of the list, disliked the number of its items that the user dislikes
	// later.
	places, disliked int
}

// add takes in one judged event.
func (t *tally) add(x judged, k int) {
	rank := x.rank
	t.judged++
	t.places, t.disliked = t.places+x.places, t.disliked+x.disliked
	if x.liked {
		t.liked++
	}
	if rank >= 1 && rank <= 100 {
		t.hits100++
	}
	if rank < 1 || rank > k {
		return
	}
	t.hits++
	if x.liked {
		t.likedHits++
	}
	t.ndcg += 1 / math.Log2(float64(rank)+1)
	t.mrr += 1 / float64(rank)
}

func (t *tally) quality() Quality {
	if t.judged == 0 {
		return Quality{}
	}
	n := float64(t.judged)
	return Quality{
		Judged: t.judged, Recall: float64(t.hits) / n, NDCG: t.ndcg / n, MRR: t.mrr / n,
		Recall100: float64(t.hits100) / n,
		Liked:     t.liked, LikedRecall: float64(t.likedHits) / float64(max(t.liked, 1)),
		DislikedShare: float64(t.disliked) / float64(max(t.places, 1)),
	}
}

// Stars from which a rating says that its user likes the item, and up to which it says the
// opposite. They do not follow the table of actions, so that reports of different tables can be
// compared.
const (
	likedStars    = 4
	dislikedStars = 2
)

func (e *Event) liked() bool    { return e.rated() && e.Value >= likedStars }
func (e *Event) disliked() bool { return e.rated() && e.Value <= dislikedStars }
func (e *Event) rated() bool    { return e.Valued && e.Action == string(schemas.Rate) }

// dislikes knows when each user dislikes which item for the last time.
type dislikes map[[2]int32]int

func dislikesOf(events []Event) dislikes {
	d := make(dislikes)
	for n := range events {
		if e := &events[n]; e.disliked() {
			d[[2]int32{e.User, e.Item}] = n
		}
	}
	return d
}

// among counts the items of a list that the user dislikes in event n or later.
func (d dislikes) among(list []int32, user int32, n int) (count int) {
	for _, i := range list {
		if at, ok := d[[2]int32{user, i}]; ok && at >= n {
			count++
		}
	}
	return count
}

// Group is a named part of the judged events.
type Group struct {
	Name string `json:"name"`
	Quality
}

// bounds name groups by the lower bounds of a count.
type bounds struct {
	names []string
	from  []int
}

var (
	historyBounds = bounds{
		[]string{"0", "1-4", "5-19", "20-49", "50-199", "200+"}, []int{0, 1, 5, 20, 50, 200},
	}
	itemBounds = bounds{
		[]string{"never seen", "1-4", "5-19", "20-99", "100+"}, []int{0, 1, 5, 20, 100},
	}
)

// group returns the index of the group that n belongs to.
func (b bounds) group(n int) int {
	i, found := slices.BinarySearch(b.from, n)
	if !found {
		i--
	}
	return i
}

// top keeps the best n of the items offered, the higher score first, of equal ones the lower
// number.
type top struct {
	n      int
	items  []int32
	scores []float32
}

func (t *top) reset(n int) { t.n, t.items, t.scores = n, t.items[:0], t.scores[:0] }

func (t *top) offer(item int32, score float32) {
	if len(t.items) == t.n {
		if t.n == 0 || score <= t.scores[t.n-1] {
			return // items are offered in ascending order: an equal one comes later
		}
		t.items, t.scores = t.items[:t.n-1], t.scores[:t.n-1]
	}
	at := len(t.items)
	for at > 0 && score > t.scores[at-1] {
		at--
	}
	t.items, t.scores = slices.Insert(t.items, at, item), slices.Insert(t.scores, at, score)
}
