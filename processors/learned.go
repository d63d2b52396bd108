package processors

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Marked returns the keys of the users whose erasure is marked in a partition of a topic keyed by
// user, from the offset on. What they did before their marker was counted without their name before
// it was erased; a rebuild that is to arrive at the same sums must not leave it out.
func Marked(
	ctx context.Context,
	log Log,
	topic string,
	partition int,
	from int64,
) (map[uint64]struct{}, error) {
	marked := make(map[uint64]struct{})
	err := log.Read(ctx, topic, partition, from, -1, func(r *record.Record) error {
		if r.Header(schemas.HeaderType) != string(schemas.KindUserErased) {
			return nil
		}
		if u, err := schemas.DecodeUser(r); err == nil {
			marked[schemas.Key(u.UserID)] = struct{}{}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for erasures in %s/%d: %w", topic, partition, err)
	}
	return marked, nil
}

// Learned is, for each partition of the inputs of embed, the position of the last range whose
// gradient sums are on the log or in the item factors. Partitions of which nothing was learned are
// absent.
type Learned map[source]sinks.Position

func (l Learned) note(src source, at sinks.Position) { l[src] = max(l[src], at) }

// Next returns the offset after the last range learned in an epoch, 0 when there is none: where
// embed has to go on when its group's position is lost, so that nothing is learned twice.
func (l Learned) Next(epoch int, topic string, partition int) int64 {
	src, err := sourceOf(topic, partition)
	if err != nil {
		return 0
	}
	at, ok := l[src]
	if !ok || at.Epoch() != epoch {
		return 0 // offsets of earlier epochs say nothing of this one's
	}
	return at.Offset() + 1
}

// Learned returns what the factors have absorbed.
func (f *ItemFactors) Learned() Learned {
	out := make(Learned)
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, m := range f.meta {
		for _, x := range m.applied {
			out.note(x.source, x.position)
		}
	}
	return out
}

// Due adds the sums on the log that no item has absorbed yet.
func (l Learned) Due(ctx context.Context, log Log, partitions int) error {
	for n := range partitions {
		err := log.Read(ctx, schemas.TopicItemGradients, n, 0, -1, func(r *record.Record) error {
			src, at, _, err := decodeGradients(r.Value)
			switch {
			case err == nil:
				l.note(src, at)
			case errors.Is(err, model.ErrNewerFormat):
				return err // else it would be learned twice
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf(
				"look for what was learned in %s/%d: %w", schemas.TopicItemGradients, n, err,
			)
		}
	}
	return nil
}
