package qdrant

import (
	"context"
	"slices"
	"time"

	pb "github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// ChangedUsers implements sinktest.UserLister. It reads backwards in the index of changed_at. That
// order has no offset within equal times, so the users of one time are read in order of their keys,
// from the offset of the page before.
func (u *Users) ChangedUsers(
	ctx context.Context, since time.Time, after *sinks.UserChange, limit int,
) ([]sinks.UserChange, error) {
	var out []sinks.UserChange
	before := time.Time{} // of the last time that is complete, zero for none
	if after != nil {
		before = after.ChangedAt.Truncate(time.Microsecond)
		same, err := u.changedAt(ctx, before, schemas.Key(after.ID)+1, limit)
		if err != nil {
			return nil, err
		}
		out = same
	}
	for len(out) < limit {
		page, err := u.changedBefore(ctx, since, before, limit-len(out))
		if err != nil {
			return nil, err
		}
		if len(page) < limit-len(out) { // the last ones
			return append(out, page...), nil
		}
		// The users of the last time may go on behind the page, in an order of their own.
		before = page[len(page)-1].ChangedAt.Truncate(time.Microsecond)
		cut := slices.IndexFunc(page, func(x sinks.UserChange) bool {
			return x.ChangedAt.Truncate(time.Microsecond).Equal(before)
		})
		out = append(out, page[:cut]...)
		same, err := u.changedAt(ctx, before, 0, limit-len(out))
		if err != nil {
			return nil, err
		}
		out = append(out, same...)
	}
	return out, nil
}

// changedBefore returns users who have changed since a time and, where it is not zero, before
// another, the latest first.
func (u *Users) changedBefore(
	ctx context.Context, since, before time.Time, limit int,
) ([]sinks.UserChange, error) {
	during := &pb.DatetimeRange{}
	order := &pb.OrderBy{Key: fieldChanged, Direction: pb.PtrOf(pb.Direction_Desc)}
	if since = since.Truncate(time.Microsecond); !since.IsZero() {
		during.Gte = timestamppb.New(since)
	}
	if !before.IsZero() {
		during.Lt = timestamppb.New(before)
		order.StartFrom = pb.NewStartFromTimestamp(before.Unix(), int32(before.Nanosecond()))
	}
	req := &pb.ScrollPoints{OrderBy: order}
	if during.Gte != nil || during.Lt != nil {
		req.Filter = &pb.Filter{Must: []*pb.Condition{pb.NewDatetimeRange(fieldChanged, during)}}
	}
	return u.changes(ctx, req, limit)
}

// changedAt returns users who have changed at a time, in order of their keys from one on.
func (u *Users) changedAt(
	ctx context.Context, at time.Time, from uint64, limit int,
) ([]sinks.UserChange, error) {
	if limit <= 0 {
		return nil, nil
	}
	next := at.Add(time.Microsecond)
	return u.changes(ctx, &pb.ScrollPoints{
		Offset: pb.NewIDNum(from),
		Filter: &pb.Filter{Must: []*pb.Condition{pb.NewDatetimeRange(fieldChanged,
			&pb.DatetimeRange{Gte: timestamppb.New(at), Lt: timestamppb.New(next)})}},
	}, limit)
}

func (u *Users) changes(
	ctx context.Context, req *pb.ScrollPoints, limit int,
) ([]sinks.UserChange, error) {
	if limit <= 0 {
		return nil, nil
	}
	req.CollectionName, req.Limit = u.ref(), pb.PtrOf(uint32(min(limit, maxChanges)))
	req.WithVectors = pb.NewWithVectorsEnable(false)
	req.WithPayload = pb.NewWithPayloadExclude(fieldState)
	page, _, err := u.scrollPage(ctx, req)
	if err != nil {
		return nil, err
	}
	out := make([]sinks.UserChange, 0, len(page))
	for _, p := range page {
		x := userOf(p) // what is damaged of it is zero
		out = append(out, sinks.UserChange{
			ID: x.ID, Positions: x.Positions, LastEventAt: x.LastEventAt, ChangedAt: x.ChangedAt,
		})
	}
	return out, nil
}

// maxChanges bounds one answer of the engine.
const maxChanges = 10_000
