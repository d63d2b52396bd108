package api

import (
	"context"
	"log/slog"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/stream/record"
)

const (
	maxUnwritten = 4096 // lists; some 4 KB each
	maxTogether  = 500
)

// servedLog writes served lists to the topic recommendations, so that clicks can be joined with
// them. It writes in the background. During an outage of the log at most maxUnwritten lists wait;
// further ones are dropped and counted.
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

// run writes until ctx ends. Then it writes the remaining lists for at most patience.
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

// together returns first and the lists that are queued, at most maxTogether.
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

// write retries until the log has every list or ctx ends. Then it tries once more, so that a
// shutdown does not lose lists that the log would accept.
func (s *servedLog) write(ctx context.Context, batch []record.Record, patience time.Duration) {
	b := fault.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	var err error
	level := slog.LevelWarn
	for again := true; again; {
		if batch, err = s.emit(ctx, batch); len(batch) == 0 {
			return
		}
		wait := b.Next()
		s.log.Log(ctx, level, "served lists wait for the log",
			"lists", len(batch), "wait", wait, "error", err)
		level = slog.LevelDebug // an outage is one piece of news
		again = fault.Sleep(ctx, wait)
	}
	if patience == 0 { // ctx ended during a wait
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if batch, err = s.emit(last, batch); len(batch) == 0 {
			return
		}
	}
	s.drop(len(batch), err)
}

// emit returns the lists that must be tried again, and why. Those that the log refuses for good are
// dropped: tried again, they would hold up the lists of everybody.
func (s *servedLog) emit(ctx context.Context, batch []record.Record) ([]record.Record, error) {
	err := s.emitter.Emit(ctx, batch)
	var again []record.Record
	var refused error
	dropped := 0
	for _, f := range producers.Rejections(err, len(batch)) {
		if fault.ClassOf(f.Err) == fault.Permanent {
			dropped, refused = dropped+1, f.Err
			continue
		}
		again = append(again, batch[f.Index])
	}
	if dropped > 0 {
		s.drop(dropped, refused)
	}
	return again, err
}

func (s *servedLog) drop(lists int, err error) {
	s.log.Warn("served lists were dropped", "lists", lists, "error", err)
	s.unlogged(lists)
}
