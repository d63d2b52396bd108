// Package stream is Watermill on kafka-go: publisher, subscriber, guard, readers of the log, and the
// embedded broker. It is the only package that names either library, and it knows no business words.
//
// The unit of work is a record.Batch: the next records of one partition, in order, carried by one
// Watermill message. See docs/ARCHITECTURE.md for the life of one event, and docs/adr/0001 to 0003
// for the decisions.
package stream

import (
	"context"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Handler processes one batch. It returns nil when every effect is durable, a *fault.Rejected when
// the effects of every record but the listed ones are, or another error, by whose class the guard
// decides. A handler must be ready to see the same batch again.
type Handler func(ctx context.Context, b *record.Batch) error
