package processors

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// currentLists guards what this process writes to one partition of recommendations.current. Of the
// user's keys there recommend is the only writer: the changes of a profile, the replayed ones and
// the requests to withdraw a list of the same user come to the same member.
type currentLists struct {
	mu sync.Mutex
	// latest are the offsets of the latest lists from offset from up to offset next, by schemas.Key
	// of the user.
	latest     map[uint64]int64
	from, next int64
}

// current returns the guard of a partition.
func (p *Recommend) current(partition int) *currentLists {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.currents[partition]
	if c == nil {
		c = &currentLists{}
		p.currents[partition] = c
	}
	return c
}

// read notes the lists from offset from to the end of the partition. What was noted for the same
// from is kept, so that the batches of one run of expiry read every list once.
func (c *currentLists) read(ctx context.Context, log Log, partition int, from int64) error {
	if c.latest == nil || c.from != from {
		c.latest, c.from, c.next = make(map[uint64]int64), from, from
	}
	return log.Read(ctx, schemas.TopicRecommendationsCurrent, partition, c.next, -1,
		func(r *record.Record) error {
			c.next = r.Offset + 1
			if key := schemas.Key(string(r.Key)); len(r.Value) > 0 {
				c.latest[key] = r.Offset
			}
			return nil
		})
}

// expire withdraws the lists that have expired. A list stays when a newer one of the user is on the
// topic, or is about to be: listed are the users who get a list in this batch.
func (p *Recommend) expire(
	ctx context.Context, b *record.Batch, expired []schemas.RecommendationExpired,
	listed map[string]struct{},
) error {
	byPartition := make(map[int][]schemas.RecommendationExpired)
	for _, x := range expired {
		if _, ok := listed[x.UserID]; !ok {
			byPartition[x.Partition] = append(byPartition[x.Partition], x)
		}
	}
	for partition, expired := range byPartition {
		if err := p.expirePartition(ctx, b, partition, expired); err != nil {
			return fmt.Errorf("withdraw %d expired lists: %w", len(expired), err)
		}
	}
	return nil
}

func (p *Recommend) expirePartition(
	ctx context.Context, b *record.Batch, partition int, expired []schemas.RecommendationExpired,
) error {
	from := expired[0].End
	for _, x := range expired {
		from = min(from, x.End)
	}
	c := p.current(partition)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.read(ctx, p.log, partition, from); err != nil {
		return err
	}
	var tombstones []record.Record
	for _, x := range expired {
		if at, ok := c.latest[schemas.Key(x.UserID)]; !ok || at <= x.Offset {
			tombstones = append(tombstones, withdrawn(x.UserID))
		}
	}
	return p.emitOwned(ctx, b, tombstones)
}

// withdrawn is the tombstone of a user's current list.
func withdrawn(userID string) record.Record {
	return record.Record{
		Topic: schemas.TopicRecommendationsCurrent, Partition: record.AnyPartition,
		Key: []byte(userID),
	}
}

// erasedUsers are the users whose erasure is marked in a batch, with the last marker of each.
type erasedUsers map[string]erasureMarker

type erasureMarker struct {
	at    time.Time
	index int // of its record
}

// tombstones withdraws the lists of the users.
func (e erasedUsers) tombstones() []record.Record {
	out := make([]record.Record, 0, len(e))
	for id := range e {
		out = append(out, withdrawn(id))
	}
	return out
}

// returned asks for a list of each user who has acted since the erasure. After a crash a marker is
// written again, and the list that it withdraws may be one of after the erasure.
func (p *Recommend) returned(
	ctx context.Context, w *recommendWork, partition int,
) ([]recommend.Request, error) {
	var ids []string
	for id := range w.erased {
		if _, ok := w.listed[id]; !ok {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	points, err := p.users.GetUsers(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("look for %d erased users: %w", len(ids), err)
	}
	var out []recommend.Request
	for i := range points {
		point := &points[i]
		marker := w.erased[point.ID]
		if point.Erased() || !point.LastEventAt.After(marker.at) ||
			!point.ChangedAt.After(marker.at) {
			continue
		}
		out = append(out, recommend.Request{
			UserID: point.ID, Version: int64(w.versions[marker.index]),
			CausedBy: schemas.CausedBy{
				Trigger: "event", Topic: schemas.TopicInteractions, Partition: partition,
				Offset:     point.Positions[schemas.TopicInteractions].Offset(),
				OccurredAt: point.LastEventAt, RecordedAt: point.ChangedAt,
			},
		})
	}
	return out, nil
}
