package rebuild

import (
	"context"
	"errors"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Older misplaced events.
//
// An older version has learned from an event where it stood, or missed it. The new store takes it
// from embed.misplaced, as it takes later ones: so a rebuild forwards what embed has handled before
// it began to forward. The item factors have learned from these events. So the group goes on behind
// them.

// forwarder is a storeRebuild that is filled from forwarded events.
type forwarder interface {
	// forwardOlder forwards the older misplaced events and returns how many. Embed must not run.
	forwardOlder(ctx context.Context) (int, error)
}

var (
	_ forwarder = (*qdrantRebuild)(nil)
	_ forwarder = (*embeddedRebuild)(nil)
)

func (v *vectors) forwardOlder(ctx context.Context) (int, error) {
	var spans []processors.Span
	for partition, to := range v.r.began {
		if to > 0 {
			spans = append(spans, processors.Span{
				Topic: schemas.TopicInteractions, Partition: partition, To: to,
			})
		}
	}
	return v.embed.ForwardOlder(ctx, v.r.kafka, spans)
}

// passOlder sets the position of embed on a partition of misplaced events to the end when nothing
// but older ones stand there from its position on.
func (r *rebuild) passOlder(ctx context.Context, p *place, l *admin.PartitionLag) error {
	if p.span.Topic != record.MisplacedTopic(schemas.GroupEmbed) || l.Metadata != "" {
		return nil // a batch that was cut off is repeated by the group
	}
	from := max(l.Committed, l.First)
	errNewer := errors.New("a newer one")
	err := r.kafka.Read(
		ctx, p.span.Topic, p.span.Partition, from, l.HighWatermark, func(x *record.Record) error {
			o, err := record.OriginOf(x)
			if err != nil || o.Topic != schemas.TopicInteractions ||
				o.Offset >= r.began[o.Partition] {
				return errNewer
			}
			return nil
		})
	switch {
	case errors.Is(err, errNewer), err == nil && from == l.HighWatermark:
		return nil
	case err != nil:
		return err
	}
	p.at, p.reset = l.HighWatermark, "what stands before was learned by an older version"
	return nil
}
