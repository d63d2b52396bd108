package api

import (
	"context"
	"log/slog"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/record"
)

const (
	maxUnwritten = 4096 // lists; some 4 KB each
	maxTogether  = 500
)

// servedLog writes the lists that were answered to users onto the topic of recommendations, so that
// clicks can be joined with them. It does so behind the answers: while the log does not take them,
// at most maxUnwritten wait, and further ones are given up and counted.
type servedLog struct {
	emitter  Emitter
	log      *slog.Logger
	unlogged func(int)
	queue    chan record.Record
}

func newServedLog(emitter Emitter, log *slog.Logger, unlogged func(int)) *servedLog {
	if unlogged == nil {
		unlogged = func(int) {}
	}
	return &servedLog{
		emitter: emitter, log: log, unlogged: unlogged,
		queue: make(chan record.Record, maxUnwritten),
	}
}

// add never waits.
func (s *servedLog) add(list record.Record) {
	select {
	case s.queue <- list:
	default:
		s.unlogged(1)
	}
}

// run writes until ctx ends, then writes what is left for at most patience.
func (s *servedLog) run(ctx context.Context, patience time.Duration) {
	for {
		select {
		case m := <-s.queue:
			s.write(ctx, s.together(m), 0)
		case <-ctx.Done():
			s.finish(context.WithoutCancel(ctx), patience)
			return
		}
	}
}

func (s *servedLog) finish(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case m := <-s.queue:
			s.write(ctx, s.together(m), patience)
		default:
			return
		}
	}
}

// together takes what has come meanwhile.
func (s *servedLog) together(first record.Record) []record.Record {
	batch := []record.Record{first}
	for len(batch) < maxTogether {
		select {
		case m := <-s.queue:
			batch = append(batch, m)
		default:
			return batch
		}
	}
	return batch
}

// write tries until it succeeds or ctx ends; then one more time, so that a stop does not lose what
// the log would take.
func (s *servedLog) write(ctx context.Context, batch []record.Record, patience time.Duration) {
	b := fault.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	var err error
	for again := true; again; {
		if err = s.emitter.Emit(ctx, batch); err == nil {
			return
		}
		wait := b.Next()
		s.log.Warn("served lists wait for the log", "lists", len(batch), "wait", wait, "error", err)
		again = fault.Sleep(ctx, wait)
	}
	if patience == 0 { // the stop came in between
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err = s.emitter.Emit(last, batch); err == nil {
			return
		}
	}
	s.log.Warn("served lists were given up", "lists", len(batch), "error", err)
	s.unlogged(len(batch))
}
