package processors

import (
	"errors"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/forward"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// identity returns the key for deduplication: source and id, the id of a replayed dead letter with
// the attempts it had been charged with, or the origin of a forwarded event, which was judged by
// its id where it stood before. A dead letter that fails when it is replayed is charged with more,
// and is another event then when it is replayed once more.
func identity(r *record.Record, x *schemas.Interaction) [2]uint64 {
	switch r.Topic {
	case schemas.TopicInteractions:
	case misplacedInteractions:
		if o, err := record.OriginOf(r); err == nil {
			return eventKey("forwarded", o.String())
		}
	default:
		if id := r.Header(record.HeaderID); id != "" {
			return replayIdentity(r, id)
		}
	}
	return eventKey(x.Source, x.EventID)
}

// markerIdentity returns the key for deduplicating an erasure marker. After a crash the marker is
// written again, and must not erase what the user has done since.
func markerIdentity(u *schemas.User) [2]uint64 {
	return eventKey("erasure of "+u.Source, u.EventID)
}

// embedEvent is one step of a batch: an event to learn from, an erasure (erased is set), or a
// request to rebuild the user if the stored state is corrupt (repair is set).
type embedEvent struct {
	index int
	x     schemas.Interaction
	// recorded is when the log took the event, at its origin if it was forwarded.
	recorded time.Time
	erased   bool
	repair   bool
	// older is set when the items have learned from the event where it stood, see ForwardOlder.
	older bool
}

// decode returns the steps of a batch, and the records to be forwarded. w is the deduplication
// window of its partition.
func (p *Embed) decode(
	w *window, b *record.Batch,
) (events []embedEvent, moves *misplaced, rejects *fault.Reject) {
	rejects = new(fault.Reject)
	moves = &misplaced{group: schemas.GroupEmbed, topic: b.Topic}
	w.rewind(b.First)
	events = make([]embedEvent, 0, len(b.Records))
	for i := range b.Records {
		r := &b.Records[i]
		dead := b.IsDeadLetter(r)
		if x, ok := decodeRepairRequest(r); ok {
			if !dead && !p.erasures.coversChange(&x) {
				events = append(events, embedEvent{index: i, repair: true, x: schemas.Interaction{
					UserID: x.UserID, EventID: x.EventID, OccurredAt: x.OccurredAt,
				}})
			}
			continue
		}
		x, recorded, err := p.interaction(r)
		if errors.Is(err, schemas.ErrErasureMarker) {
			var u schemas.User
			if u, err = schemas.DecodeUser(r); err == nil {
				err = p.checkMarker(r, u.UserID)
			}
			if err == nil {
				p.erasures.Add(
					schemas.Erasure{UserKey: schemas.Key(u.UserID), ErasedAt: u.OccurredAt},
				)
				if w.seen(r.Offset, markerIdentity(&u)) || dead {
					continue
				}
				events = append(
					events,
					embedEvent{
						index:  i,
						x:      schemas.Interaction{UserID: u.UserID, OccurredAt: u.OccurredAt},
						erased: true,
					},
				)
				continue
			}
		}
		if err != nil {
			if !dead {
				rejects.Add(i, fault.As(fault.Permanent, err))
			}
			continue
		}
		if w.seen(r.Offset, identity(r, &x)) || dead ||
			p.erasures.Covers(x.UserID, x.OccurredAt, recorded) || !p.rule(&x).Teaches() {
			continue
		}
		if !p.owns(b.Partition, x.UserID) {
			moves.add(forward.Move{Index: i, Key: []byte(x.UserID)}, x.Source)
			continue
		}
		events = append(events, embedEvent{
			index: i, x: x, recorded: recorded,
			older: wasForwarded(r, schemas.GroupEmbed) && record.IsOlder(r),
		})
	}
	return events, moves, rejects
}

// interaction decodes an event, a forwarded one as of its origin, and returns when the log took it.
func (p *Embed) interaction(r *record.Record) (x schemas.Interaction, at time.Time, err error) {
	origin, err := atOrigin(r, schemas.GroupEmbed)
	if err != nil {
		return x, at, err
	}
	x, err = decodeDeclared(origin, p.cfg.Actions)
	if err == nil && r.Topic == misplacedInteractions {
		err = checkForwarded(r, x.UserID, p.cfg.UserPartitions)
	}
	return x, recordedAt(origin, x.OccurredAt), err
}

// checkMarker rejects an erasure marker that erase has not written: it stands in a partition of
// others, or was forwarded. Its position says nothing of what the user's point has absorbed.
func (p *Embed) checkMarker(r *record.Record, userID string) error {
	if r.Topic != misplacedInteractions && p.owns(r.Partition, userID) {
		return nil
	}
	return fault.Permanentf("an erasure marker of %q does not belong in partition %d of %s: "+
		"erase users on the topic %s", userID, r.Partition, r.Topic, schemas.TopicUsers)
}

// owns tells whether the user's events belong in the partition.
func (p *Embed) owns(partition int, userID string) bool {
	return p.cfg.UserPartitions == 0 ||
		record.PartitionOf([]byte(userID), p.cfg.UserPartitions) == partition
}
