// Package emittest has an emitter for tests of producers: it keeps what it is given, or fails by a
// plan.
package emittest

import (
	"context"
	"errors"
	"sync"

	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Log keeps what it is given, as the log would.
type Log struct {
	mu sync.Mutex
	// Batches are the batches kept. Read them when nobody emits.
	Batches [][]record.Record
	// Plan is called before a batch is kept; its error is returned. Messages that fail are not
	// kept.
	Plan func(ctx context.Context, batch []record.Record) error
}

// Emit implements producers.Emitter.
func (l *Log) Emit(ctx context.Context, batch []record.Record) error {
	var err error
	if l.Plan != nil {
		err = l.Plan(ctx, batch)
	}
	var partly *producers.EmitError
	failed := map[int]bool{}
	if errors.As(err, &partly) {
		for _, f := range partly.Failed {
			failed[f.Index] = true
		}
	} else if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var kept []record.Record
	for i, m := range batch {
		if !failed[i] {
			kept = append(kept, m)
		}
	}
	l.Batches = append(l.Batches, kept)
	return err
}

// Messages returns everything that was kept, in order.
func (l *Log) Messages() []record.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []record.Record
	for _, b := range l.Batches {
		all = append(all, b...)
	}
	return all
}
