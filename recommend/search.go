package recommend

import (
	"context"
	"slices"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// finish computes the query and the excluded items.
func (j *job) finish(cfg Config) {
	dim := cfg.Model.Dim
	if j.point != nil && len(j.point.Vector) == dim+1 {
		j.query = slices.Clone(j.point.Vector)
	}
	var friends [][]float32
	for _, f := range j.friendNeighbours {
		friends = append(friends, f.vector)
	}
	if j.query == nil && len(friends) > 0 {
		j.friendsOnly = true
		j.query = make([]float32, dim+1)
		j.query[dim] = model.BiasScale
	}
	if j.query != nil {
		model.AddFriends(cfg.Model, j.query, j.state.Events, friends)
	}
	for _, id := range j.Exclude {
		j.exclude = append(j.exclude, schemas.Key(id))
	}
	taken := make(map[model.Key]bool)
	if cfg.TakenReturn {
		for _, h := range j.state.History {
			r := cfg.Actions.Labeled(h.Label)
			taken[h.Key] = r == nil || !r.Refuses
		}
	}
	for _, key := range j.state.AppendSeen(nil) {
		if !taken[key] {
			j.exclude = append(j.exclude, uint64(key))
		}
	}
}

// search queries the index once for all jobs: nearest items by vector, and cold-start candidates by
// content.
func (r *Recommender) search(ctx context.Context, jobs []*job) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	var (
		queries []sinks.ItemQuery
		owners  []*job
	)
	for _, j := range jobs {
		if j.query == nil || j.holdout || j.Scenario == ScenarioFriends {
			continue
		}
		if j.Scenario != ScenarioNew {
			queries = append(
				queries,
				sinks.ItemQuery{
					Vector: j.query, N: max(r.cfg.Candidates, min(3*j.N, longCandidates)),
					Exclude: j.exclude, Genres: j.Genres, KeysOnly: true,
				},
			)
			owners = append(owners, j)
		}
		taste := j.taste(r.cfg.Actions)
		if n := r.cfg.NewItems; taste != nil && n > 0 {
			if j.Scenario == ScenarioNew {
				n = max(n, j.N)
			}
			queries = append(
				queries,
				sinks.ItemQuery{
					Vector: taste, Content: true, N: n, Exclude: j.exclude, Genres: j.Genres,
					MaxCount: r.cfg.NewItemCount, KeysOnly: true,
				},
			)
			owners = append(owners, j)
		}
	}
	if len(queries) == 0 {
		return nil
	}
	hits, err := r.index.SearchItems(ctx, queries)
	if err != nil {
		return err
	}
	var keys []uint64
	for i, j := range owners {
		for _, h := range hits[i] {
			keys = append(keys, h.Key)
		}
		if queries[i].Content {
			j.fresh = hits[i]
		} else {
			j.found = hits[i]
		}
	}
	return r.readItems(ctx, jobs, keys)
}

// readItems loads items into the item set that the jobs share.
func (r *Recommender) readItems(ctx context.Context, jobs []*job, keys []uint64) error {
	if len(jobs) == 0 || len(keys) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.StoreTimeout)
	defer cancel()
	return jobs[0].items.load(ctx, keys)
}

// neededItems returns the keys of the items that the lists need besides the search results:
// histories, social candidates and trending items.
func (r *Recommender) neededItems(jobs []*job) []uint64 {
	keys := slices.Clone(r.trending.Load().top(0))
	for _, j := range jobs {
		for i, h := range slices.Backward(j.state.History) {
			if len(j.state.History)-i > explainedItems {
				break
			}
			keys = append(keys, uint64(h.Key))
		}
		for _, x := range j.social {
			keys = append(keys, x.key)
		}
	}
	return keys
}

// tasteItems is the number of latest items that make up a user's content profile.
const tasteItems = 10

// taste returns the sum of the content vectors of the user's latest items, or nil. Items of which
// the user's newest word is a refusal or a doubt do not count.
func (j *job) taste(actions *schemas.Actions) []float32 {
	var sum []float32
	for i, h := range slices.Backward(j.state.History) {
		if len(j.state.History)-i > tasteItems {
			break
		}
		item, r := j.items.items[uint64(h.Key)], actions.Labeled(h.Label)
		if item == nil || len(item.ContentVector) == 0 || r != nil && r.Meaning.Bad() {
			continue
		}
		v := item.ContentVector
		if sum == nil {
			sum = make([]float32, len(v))
		}
		if len(sum) == len(v) {
			for i := range v {
				sum[i] += v[i]
			}
		}
	}
	return sum
}
