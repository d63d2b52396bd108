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
					CatalogOnly: r.cfg.CatalogOnly,
				},
			)
			owners = append(owners, j)
		}
		j.taste = j.tasteOf(r.cfg.Actions)
		if n := r.cfg.NewItems; j.taste.vector != nil && n > 0 {
			if j.Scenario == ScenarioNew {
				n = max(n, j.N)
			} else if r.cfg.Blend.Kept(j.N) > 0 {
				n = max(n, drawnItems)
			}
			queries = append(
				queries,
				sinks.ItemQuery{
					Vector: j.taste.vector, Content: true, N: n, Exclude: j.exclude,
					Genres: j.Genres, MaxCount: r.cfg.NewItemCount, KeysOnly: true,
					CatalogOnly: r.cfg.CatalogOnly,
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
		found := hits[i]
		if queries[i].Content {
			r.chooseNew(j, found)
			if j.Scenario != ScenarioNew {
				found = found[:min(len(found), r.cfg.NewItems)]
			}
			j.fresh = found
			keys = append(keys, j.turns...)
		} else {
			j.found = found
		}
		for _, h := range found {
			keys = append(keys, h.Key)
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
// histories, what was refused, social candidates, trending items, and the newest.
func (r *Recommender) neededItems(jobs []*job) []uint64 {
	keys := append(r.newest.keys(), r.trending.Load().top(0)...)
	for _, j := range jobs {
		for i, h := range slices.Backward(j.state.History) {
			if len(j.state.History)-i > explainedItems {
				break
			}
			keys = append(keys, uint64(h.Key))
		}
		for _, key := range j.refusedKeys(&r.cfg) {
			keys = append(keys, uint64(key))
		}
		for _, x := range j.social {
			keys = append(keys, x.key)
		}
	}
	return keys
}
