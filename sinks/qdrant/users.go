package qdrant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	pb "github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Users keeps one point per user: the query vector, the model's state and the positions absorbed.
type Users struct{ collection }

// The payload of a user, beside one field per topic absorbed (fieldOf).
const (
	fieldID        = "id"
	fieldState     = "state"
	fieldLastEvent = "last_event_at"
	fieldChanged   = "changed_at"
)

func usersLayout(cfg *Config) layout {
	ram := pb.PtrOf(false)
	position := fieldIndex{
		kind: pb.FieldType_FieldTypeInteger,
		params: pb.NewPayloadIndexParamsInt(&pb.IntegerIndexParams{
			// Only ranges are asked for, and never together with a search: no map of values, no
			// links in the graph.
			Lookup: pb.PtrOf(false),
			Range:  pb.PtrOf(true), OnDisk: ram, EnableHnsw: pb.PtrOf(false),
		}),
	}
	return layout{
		config: &cfg.Users,
		vectors: map[string]*pb.VectorParams{
			vectorLearned: vectorParams(
				cfg.Dim+extraNumbers, pb.Distance_Dot, &cfg.Users, cfg.Users.Quantise,
			),
		},
		indexes: map[string]fieldIndex{
			fieldOf(schemas.TopicInteractions):                 position,
			fieldOf(record.ReplayTopic(schemas.GroupEmbed)):    position,
			fieldOf(record.MisplacedTopic(schemas.GroupEmbed)): position,
			fieldChanged: {
				kind: pb.FieldType_FieldTypeDatetime,
				params: pb.NewPayloadIndexParamsDatetime(
					&pb.DatetimeIndexParams{OnDisk: ram, EnableHnsw: pb.PtrOf(false)},
				),
			},
		},
	}
}

// GetUsers implements sinktest.UserReader.
func (u *Users) GetUsers(ctx context.Context, ids []string) ([]sinks.User, error) {
	wanted := make(map[string]bool, len(ids))
	keys := make([]uint64, 0, len(ids))
	for _, id := range ids {
		wanted[id] = true
		keys = append(keys, schemas.Key(id))
	}
	points, err := u.get(ctx, unique(keys))
	if err != nil {
		return nil, err
	}
	users := make([]sinks.User, 0, len(points))
	for _, p := range points {
		if x := userOf(p); wanted[x.ID] {
			users = append(users, x)
		}
	}
	return users, nil
}

// PutUsers implements sinktest.UserWriter. A vector of another length or without end, a missing
// position and an id that is not UTF-8 are permanent errors, and then nothing of the call is
// written.
func (u *Users) PutUsers(ctx context.Context, src sinks.Source, batch []sinks.User) error {
	newest := make(map[uint64]*sinks.User, len(batch))
	for i := range batch {
		x := &batch[i]
		if err := u.checkUser(src, x); err != nil {
			return fmt.Errorf("qdrant put users: %w", err)
		}
		k := schemas.Key(x.ID)
		if old := newest[k]; old == nil || old.Positions[src.Topic] < x.Positions[src.Topic] {
			newest[k] = x
		}
	}
	for keys := range chunks(sortedKeys(newest), u.s.cfg.WriteBatch) {
		points := make([]*pb.PointStruct, len(keys))
		field := fieldOf(src.Topic)
		var older boundSet
		for i, k := range keys {
			points[i] = userPoint(k, newest[k], u.layout.config.NormBound)
			at := newest[k].Positions[src.Topic]
			older.add(uint64(at), k) //nolint:gosec // valid positions are positive
		}
		unless := &pb.Filter{Should: append(older.conditions(func(bound uint64) []*pb.Condition {
			return below(field, sinks.Position(bound)) //nolint:gosec // it was one
		}), absent(field))}
		if err := u.upsert(ctx, points, unless); err != nil {
			return err
		}
	}
	return nil
}

// absent returns the condition that a field holds no position: it is not there, or damaged.
func absent(field string) *pb.Condition {
	position := pb.NewRange(field, &pb.Range{
		Gte: pb.PtrOf(0.0), Lt: pb.PtrOf(float64(sinks.EpochStart) * (sinks.LastEpoch + 1)),
	})
	return pb.NewFilterAsCondition(&pb.Filter{MustNot: []*pb.Condition{position}})
}

// below returns the alternatives under which the position stored in a field is lower than p. They
// are all there is to say about stored numbers: a number below EpochStart is a plain offset of
// FirstEpoch. Ranges compare as float64, in which every position is exact.
func below(field string, p sinks.Position) []*pb.Condition {
	lower := &pb.Range{Lt: pb.PtrOf(float64(p))}
	if p.Epoch() > sinks.FirstEpoch {
		return []*pb.Condition{pb.NewRange(field, lower)} // plain offsets are lower too
	}
	lower.Gte = pb.PtrOf(float64(sinks.EpochStart))
	plain := &pb.Range{Lt: pb.PtrOf(float64(p.Offset()))}
	return []*pb.Condition{pb.NewRange(field, lower), pb.NewRange(field, plain)}
}

func (u *Users) checkUser(src sinks.Source, x *sinks.User) error {
	if err := checkID("user", x.ID); err != nil {
		return err
	}
	if err := x.CheckPositions(src); err != nil {
		return err
	}
	if x.Vector == nil {
		return nil
	}
	return checkVector("user "+x.ID, x.Vector, u.s.cfg.Dim)
}

// userPoint leaves the vector out for a user without one: no search finds the point then.
func userPoint(key uint64, x *sinks.User, bound float64) *pb.PointStruct {
	payload := make(map[string]*pb.Value, 4+len(x.Positions))
	payload[fieldID] = pb.NewValueString(x.ID)
	if x.State != nil {
		payload[fieldState] = bytesValue(x.State)
	}
	putTime(payload, fieldLastEvent, x.LastEventAt)
	putTime(payload, fieldChanged, x.ChangedAt)
	for topic, pos := range x.Positions {
		payload[fieldOf(topic)] = pb.NewValueInt(int64(pos))
	}
	vectors := map[string]*pb.Vector{}
	if x.Vector != nil {
		vectors[vectorLearned] = pb.NewVectorDense(lengthen(x.Vector, bound))
	}
	return &pb.PointStruct{
		Id: pb.NewIDNum(key), Payload: payload, Vectors: pb.NewVectorsMap(vectors),
	}
}

// userOf reads a point. A field that cannot be read is zero, and the user is damaged.
func userOf(p *pb.RetrievedPoint) sinks.User {
	x := sinks.User{
		ID:        p.GetPayload()[fieldID].GetStringValue(),
		Vector:    shorten(vectorOf(p.GetVectors(), vectorLearned)),
		Positions: map[string]sinks.Position{},
	}
	var errs []error
	damaged := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	var err error
	x.State, err = getBytes(p.GetPayload()[fieldState])
	damaged(fieldState, err)
	x.LastEventAt, err = getTime(p.GetPayload()[fieldLastEvent])
	damaged(fieldLastEvent, err)
	x.ChangedAt, err = getTime(p.GetPayload()[fieldChanged])
	damaged(fieldChanged, err)
	isDamaged := false
	for field, v := range p.GetPayload() {
		topic, ok := topicOf(field)
		if !ok {
			continue
		}
		at := sinks.Position(-1)
		if n, ok := v.GetKind().(*pb.Value_IntegerValue); ok {
			at = sinks.StoredPosition(n.IntegerValue)
		}
		if !at.IsValid() {
			damaged(field, fmt.Errorf("%v is no position", v))
			isDamaged = true
		}
		x.Positions[topic] = at
	}
	if isDamaged || len(x.Positions) == 0 {
		damaged("positions", errors.New("not all of them are there"))
		x.Positions = nil // one alone would say that nothing of the other topic was absorbed
	}
	if len(errs) > 0 {
		x.Damaged = fmt.Errorf("qdrant: user %q is damaged: %w", x.ID, errors.Join(errs...))
	}
	return x
}

// SimilarUsers implements sinktest.UserReader.
func (u *Users) SimilarUsers(
	ctx context.Context, queries []sinks.UserQuery,
) ([][]sinks.Neighbour, error) {
	ask := make([]batchedQuery, len(queries))
	for i, q := range queries {
		if err := checkN(q.N); err != nil {
			return nil, fmt.Errorf("qdrant similar users: %w", err)
		}
		if err := checkVector("similar users", q.Vector, u.s.cfg.Dim); err != nil {
			return nil, fmt.Errorf("qdrant: %w", err)
		}
		ask[i] = batchedQuery{want: q.N, points: &pb.QueryPoints{
			CollectionName: u.ref(), Query: pb.NewQueryDense(lengthenQuery(q.Vector)),
			Using:       pb.PtrOf(vectorLearned),
			WithPayload: pb.NewWithPayloadInclude(fieldID),
			WithVectors: pb.NewWithVectorsEnable(false),
		}}
		keys := make([]uint64, len(q.Exclude))
		for k, id := range q.Exclude {
			keys[k] = schemas.Key(id)
		}
		ask[i].exclude(keys)
		ask[i].points.Params = u.searchParams(
			int(ask[i].points.GetLimit()), vectorLearned,
		) // some hundreds
	}
	if len(ask) == 0 {
		return nil, nil
	}
	results, err := u.queryBatched(ctx, ask)
	if err != nil {
		return nil, err
	}
	found := make([][]sinks.Neighbour, len(queries))
	for i, points := range results {
		for _, p := range points {
			found[i] = append(
				found[i],
				sinks.Neighbour{
					ID: p.GetPayload()[fieldID].GetStringValue(), Score: float64(p.GetScore()),
				},
			)
		}
		// The engine gives equal scores in any order; people and tests want the same answer twice.
		slices.SortStableFunc(found[i], func(a, b sinks.Neighbour) int {
			return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.ID, b.ID))
		})
	}
	return found, nil
}

// ForgetUsers implements sinktest.UserWriter. Times are compared to the microsecond. The engine
// compares and deletes in one step.
func (u *Users) ForgetUsers(
	ctx context.Context, src sinks.Source, batch []sinks.UserErasure,
) error {
	field := fieldOf(src.Topic)
	which := make([]*pb.Condition, 0, len(batch))
	for _, e := range batch {
		if !e.Position.IsValid() {
			return fault.Permanentf(
				"qdrant forget users: user %q: %s of %s", e.ID, e.Position, src.Topic,
			)
		}
		if !utf8.ValidString(e.ID) {
			continue // it has never been written
		}
		gone := append(below(field, e.Position+1), pb.NewIsEmpty(field))
		if !e.At.IsZero() {
			at := timestamppb.New(e.At.Truncate(time.Microsecond))
			gone = append(gone, pb.NewDatetimeRange(fieldChanged, &pb.DatetimeRange{Lte: at}))
		}
		which = append(which, pb.NewFilterAsCondition(&pb.Filter{
			Must: []*pb.Condition{
				pb.NewHasID(pointIDs([]uint64{schemas.Key(e.ID)})...),
				pb.NewFilterAsCondition(&pb.Filter{Should: gone}),
			},
		}))
	}
	for some := range slices.Chunk(which, u.s.cfg.WriteBatch) {
		if err := u.delete(
			ctx, pb.NewPointsSelectorFilter(&pb.Filter{Should: some}),
		); err != nil {
			return err
		}
	}
	return nil
}

// ExpireUsers implements sinktest.UserWriter. Times are compared to the microsecond. A user who
// changes between being found and being deleted stays.
func (u *Users) ExpireUsers(ctx context.Context, t time.Time, limit int) (int, error) {
	if limit <= 0 {
		return 0, nil
	}
	old := &pb.Filter{Should: []*pb.Condition{
		pb.NewDatetimeRange(
			fieldChanged, &pb.DatetimeRange{Lt: timestamppb.New(t.Truncate(time.Microsecond))},
		),
		pb.NewIsEmpty(fieldChanged),
	}}
	expired := 0
	for expired < limit {
		page, _, err := u.scrollPage(ctx, &pb.ScrollPoints{
			CollectionName: u.ref(), Filter: old,
			Limit: pb.PtrOf(
				uint32(min(limit-expired, readBatch)),
			), // bounded by readBatch
			WithPayload: pb.NewWithPayloadEnable(false),
			WithVectors: pb.NewWithVectorsEnable(false),
		})
		if err != nil || len(page) == 0 {
			return expired, err
		}
		ids := make([]*pb.PointId, len(page))
		for i, p := range page {
			ids[i] = p.GetId()
		}
		if err := u.delete(
			ctx,
			pb.NewPointsSelectorFilter(
				&pb.Filter{
					Must: []*pb.Condition{pb.NewHasID(ids...), pb.NewFilterAsCondition(old)},
				},
			),
		); err != nil {
			return expired, err
		}
		expired += len(page)
	}
	return expired, nil
}

// EachUser implements sinktest.UserLister.
func (u *Users) EachUser(ctx context.Context, f func(sinks.User) error) error {
	req := &pb.ScrollPoints{
		WithPayload: pb.NewWithPayloadEnable(true), WithVectors: pb.NewWithVectorsEnable(true),
	}
	return u.scroll(ctx, req, func(page []*pb.RetrievedPoint) error {
		for _, p := range page {
			if err := f(userOf(p)); err != nil {
				return err
			}
		}
		return nil
	})
}

// CountUsers implements sinktest.UserLister.
func (u *Users) CountUsers(ctx context.Context) (int64, error) { return u.count(ctx) }
