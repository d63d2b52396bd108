package rebuild

import (
	"context"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
)

// Older misplaced events.
//
// An older version has learned from an event where it stood, or missed it. The new store takes it
// from embed.misplaced, as it takes later ones: so a rebuild forwards what embed has handled before
// it began to forward. These records are marked (record.IsOlder), since the item factors have
// learned from them: embed takes them for the user alone, whether a rebuild hands them over or the
// group reads them behind what it has not read yet.

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
