package qdrant

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	pb "github.com/qdrant/go-client/qdrant"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// Items keeps one point per item: the learned vector with the bias, the content vector, and the
// catalog's row.
type Items struct{ collection }

// The payload of an item. The catalog's row is one JSON text, so that it comes back as it was; what
// searches filter by stands beside it.
const (
	fieldContent   = "content"
	fieldAvailable = "available"
	fieldGenres    = "genres"
	fieldCount     = "count"
	// fieldUnlisted is true where the catalog has no entry, and else absent.
	fieldUnlisted = "unlisted"
	// A version is 64 bits and a range condition compares as float64: it is kept in two halves that
	// are exact.
	fieldVersionHigh = "version_high"
	fieldVersionLow  = "version_low"
)

func itemsLayout(cfg *Config) layout {
	ram := pb.PtrOf(false)
	version := fieldIndex{
		kind: pb.FieldType_FieldTypeInteger,
		params: pb.NewPayloadIndexParamsInt(&pb.IntegerIndexParams{
			Lookup: pb.PtrOf(true), Range: pb.PtrOf(true), OnDisk: ram, EnableHnsw: pb.PtrOf(false),
		}),
	}
	return layout{
		config: &cfg.Items,
		vectors: map[string]*pb.VectorParams{
			vectorLearned: vectorParams(
				cfg.Dim+extraNumbers, pb.Distance_Dot, &cfg.Items, cfg.Items.Quantise,
			),
			vectorContent: vectorParams(cfg.ContentDim, pb.Distance_Cosine, &cfg.Items, false),
		},
		indexes: map[string]fieldIndex{
			fieldAvailable: {
				kind:   pb.FieldType_FieldTypeBool,
				params: pb.NewPayloadIndexParamsBool(&pb.BoolIndexParams{}),
			},
			// Links within a genre keep searches for a rare genre exact; available and count are
			// too coarse for that to pay.
			fieldGenres: {
				kind:   pb.FieldType_FieldTypeKeyword,
				params: pb.NewPayloadIndexParamsKeyword(&pb.KeywordIndexParams{OnDisk: ram}),
			},
			fieldCount: {
				kind: pb.FieldType_FieldTypeFloat,
				params: pb.NewPayloadIndexParamsFloat(
					&pb.FloatIndexParams{OnDisk: ram, EnableHnsw: pb.PtrOf(false)},
				),
			},
			fieldUnlisted: {
				kind:   pb.FieldType_FieldTypeBool,
				params: pb.NewPayloadIndexParamsBool(&pb.BoolIndexParams{}),
			},
			fieldVersionHigh: version,
			fieldVersionLow:  version,
		},
	}
}

// GetItems implements sinktest.ItemReader.
func (x *Items) GetItems(ctx context.Context, ids []string) ([]sinks.Item, error) {
	wanted := make(map[string]bool, len(ids))
	keys := make([]uint64, 0, len(ids))
	for _, id := range ids {
		wanted[id] = true
		keys = append(keys, schemas.Key(id))
	}
	items, err := x.GetItemKeys(ctx, keys)
	return slices.DeleteFunc(
		items,
		func(i sinks.Item) bool { return !wanted[i.Content.ItemID] },
	), err
}

// GetItemKeys implements sinktest.ItemReader.
func (x *Items) GetItemKeys(ctx context.Context, keys []uint64) ([]sinks.Item, error) {
	points, err := x.get(ctx, unique(keys))
	if err != nil {
		return nil, err
	}
	items := make([]sinks.Item, 0, len(points))
	for _, p := range points {
		item, err := itemOf(p.GetPayload())
		if err != nil {
			continue // a damaged item is left out: the others are sound
		}
		item.Vector = shorten(vectorOf(p.GetVectors(), vectorLearned))
		item.ContentVector = vectorOf(p.GetVectors(), vectorContent)
		items = append(items, item)
	}
	return items, nil
}

// PutItems implements sinktest.ItemWriter. A vector of another length or without end and an id that
// is not UTF-8 are permanent errors, and then nothing of the call is written.
func (x *Items) PutItems(ctx context.Context, batch []sinks.Item) error {
	newest := make(map[uint64]*sinks.Item, len(batch))
	for i := range batch {
		item := &batch[i]
		if err := x.checkItem(item); err != nil {
			return fmt.Errorf("qdrant put items: %w", err)
		}
		k := schemas.Key(item.Content.ItemID)
		if old := newest[k]; old == nil || old.Version < item.Version {
			newest[k] = item
		}
	}
	for keys := range chunks(sortedKeys(newest), x.s.cfg.WriteBatch) {
		points := make([]*pb.PointStruct, len(keys))
		var lower boundSet
		for i, k := range keys {
			p, err := itemPoint(k, newest[k], x.layout.config.NormBound)
			if err != nil {
				return fmt.Errorf("qdrant put items: %w", err)
			}
			points[i] = p
			lower.add(newest[k].Version, k)
		}
		if err := x.upsert(
			ctx, points, &pb.Filter{Should: lower.conditions(versionBelow)},
		); err != nil {
			return err
		}
	}
	return nil
}

// DeleteItems implements sinktest.ItemWriter.
func (x *Items) DeleteItems(ctx context.Context, batch []sinks.ItemVersion) error {
	newest := make(map[uint64]uint64, len(batch))
	for _, v := range batch {
		k := schemas.Key(v.ID)
		newest[k] = max(newest[k], v.Version)
	}
	for keys := range chunks(sortedKeys(newest), x.s.cfg.WriteBatch) {
		var lower boundSet
		for _, k := range keys {
			lower.add(newest[k], k)
		}
		err := x.delete(ctx, pb.NewPointsSelectorFilter(&pb.Filter{
			Must:   []*pb.Condition{pb.NewHasID(pointIDs(keys)...)},
			Should: lower.conditions(versionUpTo),
		}))
		if err != nil {
			return err
		}
	}
	return nil
}

// versionUpTo holds for points whose version is v or below.
func versionUpTo(v uint64) []*pb.Condition {
	if v == math.MaxUint64 { // all
		return []*pb.Condition{pb.NewRange(fieldVersionHigh, &pb.Range{Gte: pb.PtrOf(0.0)})}
	}
	return versionBelow(v + 1)
}

// versionBelow holds for points whose version is below v.
func versionBelow(v uint64) []*pb.Condition {
	high, low := splitVersion(v)
	r := &pb.Range{Lt: pb.PtrOf(float64(low))}
	return []*pb.Condition{
		pb.NewRange(fieldVersionHigh, &pb.Range{Lt: pb.PtrOf(float64(high))}),
		pb.NewFilterAsCondition(
			&pb.Filter{
				Must: []*pb.Condition{
					pb.NewMatchInt(fieldVersionHigh, high), pb.NewRange(fieldVersionLow, r),
				},
			},
		),
	}
}

func splitVersion(
	v uint64,
) (high, low int64) {
	return int64(v >> 32), int64(v & 0xffffffff)
} // halves fit

func (x *Items) checkItem(item *sinks.Item) error {
	if err := checkID("item", item.Content.ItemID); err != nil {
		return err
	}
	if item.Vector != nil {
		if err := checkVector("item "+item.Content.ItemID, item.Vector, x.s.cfg.Dim); err != nil {
			return err
		}
	}
	if item.ContentVector == nil {
		return nil
	}
	return checkVector(
		"content of item "+item.Content.ItemID, item.ContentVector, x.s.cfg.ContentDim,
	)
}

func itemPoint(key uint64, item *sinks.Item, bound float64) (*pb.PointStruct, error) {
	content, err := json.Marshal(&item.Content)
	if err != nil {
		return nil, fault.Permanentf("item %q: %v", item.Content.ItemID, err)
	}
	high, low := splitVersion(item.Version)
	payload := map[string]*pb.Value{
		fieldID:          pb.NewValueString(item.Content.ItemID),
		fieldContent:     pb.NewValueString(string(content)),
		fieldAvailable:   pb.NewValueBool(item.Content.IsAvailable()),
		fieldCount:       pb.NewValueDouble(item.Count),
		fieldVersionHigh: pb.NewValueInt(high),
		fieldVersionLow:  pb.NewValueInt(low),
	}
	if len(item.Content.Genres) > 0 {
		genres := &pb.ListValue{Values: make([]*pb.Value, len(item.Content.Genres))}
		for i, g := range item.Content.Genres {
			genres.Values[i] = pb.NewValueString(strings.ToValidUTF8(g, "\uFFFD"))
		}
		payload[fieldGenres] = pb.NewValueList(genres)
	}
	if !item.HasEntry() {
		payload[fieldUnlisted] = pb.NewValueBool(true)
	}
	putTime(payload, fieldChanged, item.ChangedAt)
	vectors := map[string]*pb.Vector{}
	if item.Vector != nil {
		vectors[vectorLearned] = pb.NewVectorDense(lengthen(item.Vector, bound))
	}
	if item.ContentVector != nil {
		vectors[vectorContent] = pb.NewVectorDense(item.ContentVector)
	}
	return &pb.PointStruct{
		Id: pb.NewIDNum(key), Payload: payload, Vectors: pb.NewVectorsMap(vectors),
	}, nil
}

func itemOf(payload map[string]*pb.Value) (sinks.Item, error) {
	item := sinks.Item{Count: number(payload[fieldCount]), Version: versionOf(payload)}
	id := payload[fieldID].GetStringValue()
	if err := json.Unmarshal(
		[]byte(payload[fieldContent].GetStringValue()), &item.Content,
	); err != nil {
		return item, fmt.Errorf("qdrant: content of item %q: %w", id, err)
	}
	var err error
	if item.ChangedAt, err = getTime(payload[fieldChanged]); err != nil {
		return item, fmt.Errorf("qdrant: time of item %q: %w", id, err)
	}
	return item, nil
}

// number reads a number that the engine may hand back as an integer when it is a whole one.
func number(v *pb.Value) float64 {
	if i, ok := v.GetKind().(*pb.Value_IntegerValue); ok {
		return float64(i.IntegerValue)
	}
	return v.GetDoubleValue()
}

func versionOf(payload map[string]*pb.Value) uint64 {
	return uint64(payload[fieldVersionHigh].GetIntegerValue())<<32 | uint64(
		payload[fieldVersionLow].GetIntegerValue(),
	) // written by splitVersion
}

// SearchItems implements sinktest.ItemReader.
func (x *Items) SearchItems(
	ctx context.Context, queries []sinks.ItemQuery,
) ([][]sinks.ItemHit, error) {
	if len(queries) == 0 {
		return nil, nil
	}
	batch := make([]batchedQuery, len(queries))
	for i := range queries {
		q, err := x.itemQuery(&queries[i])
		if err != nil {
			return nil, fmt.Errorf("qdrant search items: query %d: %w", i, err)
		}
		batch[i] = q
	}
	results, err := x.queryBatched(ctx, batch)
	if err != nil {
		return nil, err
	}
	hits := make([][]sinks.ItemHit, len(queries))
	for i, points := range results {
		hits[i] = make([]sinks.ItemHit, 0, len(points))
		for _, p := range points {
			hit := sinks.ItemHit{Key: p.GetId().GetNum(), Score: float64(p.GetScore())}
			if !queries[i].KeysOnly {
				if hit.Item, err = itemOf(p.GetPayload()); err != nil {
					continue
				}
			}
			hits[i] = append(hits[i], hit)
		}
		slices.SortStableFunc(hits[i], func(a, b sinks.ItemHit) int {
			return cmp.Or(
				cmp.Compare(b.Score, a.Score),
				strings.Compare(a.Item.Content.ItemID, b.Item.Content.ItemID),
				cmp.Compare(a.Key, b.Key),
			)
		})
	}
	return hits, nil
}

func (x *Items) itemQuery(q *sinks.ItemQuery) (batchedQuery, error) {
	if err := checkN(q.N); err != nil {
		return batchedQuery{}, err
	}
	using, dim := vectorLearned, x.s.cfg.Dim
	vector := q.Vector
	if q.Content {
		using, dim = vectorContent, x.s.cfg.ContentDim
	}
	if err := checkVector(using+" vector", q.Vector, dim); err != nil {
		return batchedQuery{}, err
	}
	if !q.Content {
		vector = lengthenQuery(vector)
	}
	f := &pb.Filter{Must: []*pb.Condition{pb.NewMatchBool(fieldAvailable, true)}}
	if len(q.Genres) > 0 {
		genres := make([]string, len(q.Genres))
		for i, g := range q.Genres {
			genres[i] = strings.ToValidUTF8(g, "\uFFFD")
		}
		f.Must = append(f.Must, pb.NewMatchKeywords(fieldGenres, genres...))
	}
	if q.CatalogOnly {
		f.MustNot = append(f.MustNot, pb.NewMatchBool(fieldUnlisted, true))
	}
	if q.MaxCount > 0 {
		f.Must = append(f.Must, pb.NewRange(fieldCount, &pb.Range{Lte: pb.PtrOf(q.MaxCount)}))
	}
	payload := pb.NewWithPayloadInclude(
		fieldID, fieldContent, fieldCount, fieldVersionHigh, fieldVersionLow, fieldChanged,
	)
	if q.KeysOnly {
		payload = pb.NewWithPayloadEnable(false)
	}
	a := batchedQuery{
		want: q.N, group: fmt.Sprint(using, q.Genres, q.MaxCount, q.KeysOnly, q.CatalogOnly),
		points: &pb.QueryPoints{
			CollectionName: x.ref(), Query: pb.NewQueryDense(vector), Using: pb.PtrOf(using),
			Filter: f, WithVectors: pb.NewWithVectorsEnable(false), WithPayload: payload,
		},
	}
	a.exclude(q.Exclude)
	a.points.Params = x.searchParams(
		int(a.points.GetLimit()), using,
	) // some hundreds
	return a, nil
}

// ItemVersions implements sinktest.ItemLister.
func (x *Items) ItemVersions(ctx context.Context, f func(id string, version uint64) error) error {
	req := &pb.ScrollPoints{
		WithPayload: pb.NewWithPayloadInclude(fieldID, fieldVersionHigh, fieldVersionLow),
		WithVectors: pb.NewWithVectorsEnable(false),
	}
	return x.scroll(ctx, req, func(page []*pb.RetrievedPoint) error {
		for _, p := range page {
			if err := f(
				p.GetPayload()[fieldID].GetStringValue(), versionOf(p.GetPayload()),
			); err != nil {
				return err
			}
		}
		return nil
	})
}

// CountItems implements sinktest.ItemLister.
func (x *Items) CountItems(ctx context.Context) (int64, error) { return x.count(ctx) }
