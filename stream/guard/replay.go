package guard

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Guard applies the failure policy of a Router's handlers to batches that its caller reads: a
// replay of the log judges failures as the consumer group did. Safe for concurrent use.
type Guard struct{ chain message.HandlerFunc }

// New returns the guard of a handler. Topics, Subscriber and Retry of the options are not
// used. Records that fail for good go to o.Emitter, as records for the group's dead-letter topic; a
// replay that knows them already gives an Emitter that drops them.
func New(o Options, cfg RouterConfig) (*Guard, error) {
	o.Retry = nil
	if err := o.validatePolicy(); err != nil {
		return nil, fmt.Errorf("guard of %q: %w", o.Name, err)
	}
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	g := newGuard(o.filled(), cfg.Names, log.With("handler", o.Name, "group", o.Group), nil)
	links := g.chain()
	var chain message.HandlerFunc
	for i := len(links) - 1; i >= 0; i-- {
		chain = links[i](chain)
	}
	return &Guard{chain: chain}, nil
}

type handedKey struct{}

// batchOf returns the batch that a message carries, from a subscriber or from Guard.Handle.
func batchOf(msg *message.Message) *record.Batch {
	if b, ok := msg.Context().Value(handedKey{}).(*record.Batch); ok {
		return b
	}
	return stream.BatchOf(msg)
}

// Handle returns nil when every record of the batch has had its effects or has gone to the Emitter.
// Transient failures are waited out until ctx ends; then, and when the lease of the batch is over,
// it returns an error of class canceled.
func (g *Guard) Handle(ctx context.Context, b *record.Batch) error {
	msg := message.NewMessage(b.TopicPartition().String(), nil)
	msg.SetContext(context.WithValue(ctx, handedKey{}, b))
	_, err := g.chain(msg)
	return err
}
