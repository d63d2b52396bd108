package qdrant

import (
	"cmp"
	"context"
	"slices"

	pb "github.com/qdrant/go-client/qdrant"
)

// Queries of one call that differ in nothing but their vector are answered by the engine together, with one look at filter and vectors for all of them; a
// query with a filter of its own costs two to three times as much. So points that must not come are asked for and dropped here as long as they are few, and the number
// asked for is one of a few, the same for many queries.
var spares = []int{0, 8, 32, 100, 300}

// spare returns how many points more than wanted to ask for when so many must not come; ok is false when they are too many: the filter has to name them.
func spare(excluded int) (more int, ok bool) {
	for _, more := range spares {
		if excluded <= more {
			return more, true
		}
	}
	return 0, false
}

// asked is a query and what was agreed for it.
type asked struct {
	points *pb.QueryPoints
	want   int
	// drop are the keys to leave out of the answer.
	drop map[uint64]struct{}
	// group is equal for queries that differ in their vector only.
	group string
}

// exclude keeps the keys out of the answer: by dropping them here or, where they are many, by the filter of the query.
func (a *asked) exclude(keys []uint64) {
	a.points.Limit = num(a.want)
	if len(keys) == 0 {
		return
	}
	keys = unique(keys)
	more, ok := spare(len(keys))
	if !ok {
		if a.points.Filter == nil {
			a.points.Filter = &pb.Filter{}
		}
		a.points.Filter.MustNot = []*pb.Condition{pb.NewHasID(pointIDs(keys)...)}
		return
	}
	a.points.Limit = num(a.want + more)
	a.drop = make(map[uint64]struct{}, len(keys))
	for _, k := range keys {
		a.drop[k] = struct{}{}
	}
}

// queryAlike asks all queries in one call, those that are alike beside each other, and returns the answers in the order of the queries.
func (c *collection) queryAlike(ctx context.Context, queries []asked) ([][]*pb.ScoredPoint, error) {
	order := make([]int, len(queries))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(queries[a].group, queries[b].group), cmp.Compare(queries[a].points.GetLimit(), queries[b].points.GetLimit()))
	})
	batch := make([]*pb.QueryPoints, len(queries))
	for at, i := range order {
		batch[at] = queries[i].points
	}
	results, err := c.query(ctx, batch)
	if err != nil {
		return nil, err
	}
	out := make([][]*pb.ScoredPoint, len(queries))
	for at, r := range results {
		q := &queries[order[at]]
		points := r.GetResult()
		if len(q.drop) > 0 {
			points = slices.DeleteFunc(points, func(p *pb.ScoredPoint) bool {
				_, no := q.drop[p.GetId().GetNum()]
				return no
			})
		}
		out[order[at]] = points[:min(len(points), q.want)]
	}
	return out, nil
}
