package qdrant

import (
	"cmp"
	"context"
	"slices"

	pb "github.com/qdrant/go-client/qdrant"
)

// Qdrant answers the queries of one call together when they differ in their vector only: it
// evaluates the filter and reads the vectors once. A query with its own filter costs two to three
// times as much. So a query does not name a few excluded points in its filter. It asks for more
// points than wanted, and the excluded ones are dropped here. marginSizes are how many more; there
// are few of them, so that many queries have the same limit.
var marginSizes = []int{0, 8, 32, 100, 300}

// margin returns how many more points to ask for when so many are excluded. ok is false when there
// are too many of them for any margin; then the filter must name them.
func margin(excluded int) (more int, ok bool) {
	for _, more := range marginSizes {
		if excluded <= more {
			return more, true
		}
	}
	return 0, false
}

// batchedQuery is a query that can share its call with others.
type batchedQuery struct {
	points *pb.QueryPoints
	want   int
	// drop are the keys to leave out of the answer.
	drop map[uint64]struct{}
	// group is equal for queries that differ in their vector only.
	group string
}

// exclude keeps the keys out of the answer: by dropping them here or, when there are many, by the
// filter.
func (a *batchedQuery) exclude(keys []uint64) {
	a.points.Limit = num(a.want)
	if len(keys) == 0 {
		return
	}
	keys = unique(keys)
	more, ok := margin(len(keys))
	if !ok {
		if a.points.Filter == nil {
			a.points.Filter = &pb.Filter{}
		}
		a.points.Filter.MustNot = append(
			a.points.Filter.MustNot, pb.NewHasID(pointIDs(keys)...),
		)
		return
	}
	a.points.Limit = num(a.want + more)
	a.drop = make(map[uint64]struct{}, len(keys))
	for _, k := range keys {
		a.drop[k] = struct{}{}
	}
}

// queryBatched sends all queries in one call, equal groups side by side, and returns the answers in
// the order of the queries.
func (c *collection) queryBatched(
	ctx context.Context, queries []batchedQuery,
) ([][]*pb.ScoredPoint, error) {
	order := make([]int, len(queries))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(
			cmp.Compare(queries[a].group, queries[b].group),
			cmp.Compare(queries[a].points.GetLimit(), queries[b].points.GetLimit()),
		)
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
