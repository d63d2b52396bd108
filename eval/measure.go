package eval

import (
	"math"
	"slices"
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
}

// tally collects ranks.
type tally struct {
	judged, hits, hits100 int
	ndcg, mrr             float64
}

// add takes in the rank of one judged item, from 1; 0 is nowhere.
func (t *tally) add(rank, k int) {
	t.judged++
	if rank >= 1 && rank <= 100 {
		t.hits100++
	}
	if rank < 1 || rank > k {
		return
	}
	t.hits++
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
	}
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
