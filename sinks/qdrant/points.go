package qdrant

import (
	"context"

	pb "github.com/qdrant/go-client/qdrant"
)

func (c *collection) count(ctx context.Context) (int64, error) {
	ctx, cancel := c.call(ctx)
	defer cancel()
	r, err := c.s.client().Points().Count(
		ctx, &pb.CountPoints{CollectionName: c.ref(), Exact: pb.PtrOf(true)},
	)
	if err != nil {
		return 0, c.fail(ctx, "count", err)
	}
	return int64(r.GetResult().GetCount()), nil //nolint:gosec // a count of points fits
}

func (c *collection) get(ctx context.Context, keys []uint64) ([]*pb.RetrievedPoint, error) {
	var found []*pb.RetrievedPoint
	for chunk := range chunks(keys, readBatch) {
		points, err := c.getChunk(ctx, chunk)
		if err != nil {
			return nil, err
		}
		found = append(found, points...)
	}
	return found, nil
}

func (c *collection) getChunk(ctx context.Context, keys []uint64) ([]*pb.RetrievedPoint, error) {
	ctx, cancel := c.call(ctx)
	defer cancel()
	r, err := c.s.client().Points().Get(ctx, &pb.GetPoints{
		CollectionName: c.ref(), Ids: pointIDs(keys), WithPayload: pb.NewWithPayloadEnable(true),
		WithVectors: pb.NewWithVectorsEnable(true),
	})
	if err != nil {
		return nil, c.fail(ctx, "get from", err)
	}
	return r.GetResult(), nil
}

func (c *collection) upsert(
	ctx context.Context, points []*pb.PointStruct, unless *pb.Filter,
) error {
	ctx, cancel := c.call(ctx)
	defer cancel()
	_, err := c.s.client().Points().Upsert(ctx, &pb.UpsertPoints{
		CollectionName: c.ref(), Wait: pb.PtrOf(true), Points: points, UpdateFilter: unless,
		Ordering: c.ordering(),
	})
	return c.fail(ctx, "upsert to", err)
}

func (c *collection) delete(ctx context.Context, which *pb.PointsSelector) error {
	ctx, cancel := c.call(ctx)
	defer cancel()
	_, err := c.s.client().Points().Delete(
		ctx,
		&pb.DeletePoints{
			CollectionName: c.ref(), Wait: pb.PtrOf(true), Points: which, Ordering: c.ordering(),
		},
	)
	return c.fail(ctx, "delete from", err)
}

// scroll calls f with pages of points in order of key until there are no more or f fails.
func (c *collection) scroll(
	ctx context.Context, req *pb.ScrollPoints, f func([]*pb.RetrievedPoint) error,
) error {
	req.CollectionName, req.Limit = c.ref(), pb.PtrOf(uint32(readBatch))
	for {
		page, next, err := c.scrollPage(ctx, req)
		if err != nil {
			return err
		}
		if err := f(page); err != nil {
			return err
		}
		if next == nil {
			return nil
		}
		req.Offset = next
	}
}

func (c *collection) scrollPage(
	ctx context.Context, req *pb.ScrollPoints,
) ([]*pb.RetrievedPoint, *pb.PointId, error) {
	ctx, cancel := c.call(ctx)
	defer cancel()
	r, err := c.s.client().Points().Scroll(ctx, req)
	if err != nil {
		return nil, nil, c.fail(ctx, "scroll", err)
	}
	return r.GetResult(), r.GetNextPageOffset(), nil
}

func (c *collection) query(
	ctx context.Context, queries []*pb.QueryPoints,
) ([]*pb.BatchResult, error) {
	ctx, cancel := context.WithTimeout(ctx, c.s.cfg.SearchTimeout)
	defer cancel()
	r, err := c.s.client().Points().QueryBatch(
		ctx, &pb.QueryBatchPoints{CollectionName: c.ref(), QueryPoints: queries},
	)
	if err != nil {
		return nil, c.fail(ctx, "search", err)
	}
	return r.GetResult(), nil
}

// searchParams are those of a search for n points.
func (c *collection) searchParams(n int, vector string) *pb.SearchParams {
	p := &pb.SearchParams{HnswEf: num(max(c.layout.config.Ef, n))}
	if c.layout.config.Quantise && vector == vectorLearned {
		p.Quantization = &pb.QuantizationSearchParams{
			Rescore: pb.PtrOf(true), Oversampling: pb.PtrOf(c.layout.config.Oversampling),
		}
	}
	return p
}
