package processors

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Span is a part of one partition of the log, From ≤ offset < To.
type Span struct {
	Topic     string
	Partition int
	From, To  int64
}

// ReplayConfig holds the settings of a Replay. Take DefaultReplayConfig and change what differs.
type ReplayConfig struct {
	// BatchRecords is how many records a batch holds, at most. Default 2048.
	BatchRecords int
	// Progress is told of offsets that have been replayed. It may be called by several calls of Run
	// at once. nil: nobody is.
	Progress func(offsets int64)
	// DeadLetter tells of a record whether it became a dead letter when the group handled it. Such
	// records are marked in their batch. It may be called concurrently. nil: none did.
	DeadLetter func(r *record.Record) bool
}

// DefaultReplayConfig returns the defaults.
func DefaultReplayConfig() ReplayConfig { return ReplayConfig{BatchRecords: 2048} }

// Handler handles batches. A Processor is one, and so is the guard around it.
type Handler interface {
	Handle(ctx context.Context, b *record.Batch) error
}

// maxReplayBytes ends a batch of large records.
const maxReplayBytes = 8 << 20

// Replay hands a processor the log itself in place of what a consumer group delivers: it is how a
// store is made anew. The processor decides as it did when the records were new, also where a
// record became a dead letter that could be processed today. Give it an emitter that discards: what
// followed from the records is on the log already.
type Replay struct {
	handler Handler
	log     Log
	logID   string
	cfg     ReplayConfig
}

// NewReplay returns a Replay of the log with the given id. What a failure of the handler means is
// decided by the handler: wrap a processor with the guard.
func NewReplay(handler Handler, log Log, logID string, cfg ReplayConfig) *Replay {
	if cfg.Progress == nil {
		cfg.Progress = func(int64) {}
	}
	if cfg.DeadLetter == nil {
		cfg.DeadLetter = func(*record.Record) bool { return false }
	}
	return &Replay{handler: handler, log: log, logID: logID, cfg: cfg}
}

// Run hands over the records of the spans. Those of one partition come in order. Between partitions
// the log's time decides, which is the order in which they were handled first, as far as that is
// known. Records that are gone are passed over. Several calls may run at once for partitions that
// the processor keeps apart.
func (r *Replay) Run(ctx context.Context, spans []Span) error {
	cursors := make([]*cursor, len(spans))
	for i, s := range spans {
		cursors[i] = &cursor{log: r.log, span: s, next: s.From, chunk: int64(r.cfg.BatchRecords)}
	}
	for {
		c, until, err := earliest(ctx, cursors)
		if err != nil || c == nil {
			return err
		}
		b, err := c.batch(ctx, r.cfg.BatchRecords, until)
		if err != nil {
			return err
		}
		b.LogID = r.logID
		r.mark(b)
		from, last := c.told, b.Last
		if err := r.handler.Handle(ctx, b); err != nil {
			return fmt.Errorf(
				"replay %s/%d, offsets %d to %d: %w", b.Topic, b.Partition, b.First, last, err,
			)
		}
		c.told = last + 1
		r.cfg.Progress(c.told - max(from, c.span.From))
	}
}

// mark finds the records of a batch that became dead letters.
func (r *Replay) mark(b *record.Batch) {
	for i := range b.Records {
		if !r.cfg.DeadLetter(&b.Records[i]) {
			continue
		}
		if b.DeadLetters == nil {
			b.DeadLetters = make(map[int64]struct{})
		}
		b.DeadLetters[b.Records[i].Offset] = struct{}{}
	}
}

// earliest returns the cursor whose next record is the oldest, and the time of the next record of
// the others; nil when none has any left.
func earliest(ctx context.Context, cursors []*cursor) (first *cursor, until *time.Time, err error) {
	for _, c := range cursors {
		r, err := c.peek(ctx)
		switch {
		case err != nil:
			return nil, nil, err
		case r == nil:
		case first == nil:
			first = c
		case r.Time.Before(first.buf[0].Time):
			first, until = c, &first.buf[0].Time
		case until == nil || r.Time.Before(*until):
			until = &r.Time
		}
	}
	return first, until, nil
}

// cursor reads a span piece by piece.
type cursor struct {
	log   Log
	span  Span
	next  int64
	chunk int64
	// told is the offset up to which progress has been told.
	told int64
	buf  []record.Record
}

// peek returns the next record, or nil at the end.
func (c *cursor) peek(ctx context.Context) (*record.Record, error) {
	for len(c.buf) == 0 && c.next < c.span.To {
		to := min(c.next+c.chunk, c.span.To)
		c.buf = c.buf[:0]
		err := c.log.Read(
			ctx,
			c.span.Topic,
			c.span.Partition,
			c.next,
			to,
			func(r *record.Record) error {
				c.buf = append(c.buf, kept(r))
				return nil
			},
		)
		if err != nil {
			return nil, err
		}
		c.next = to
	}
	if len(c.buf) == 0 {
		return nil, nil
	}
	return &c.buf[0], nil
}

// batch takes records up to the first that is later than until.
func (c *cursor) batch(ctx context.Context, limit int, until *time.Time) (*record.Batch, error) {
	b := &record.Batch{
		Range: record.Range{Topic: c.span.Topic, Partition: c.span.Partition},
		End:   c.span.To,
	}
	size := 0
	for len(b.Records) < limit && size < maxReplayBytes {
		r, err := c.peek(ctx)
		if err != nil {
			return nil, err
		}
		if r == nil || until != nil && len(b.Records) > 0 && r.Time.After(*until) {
			break
		}
		b.Records = append(b.Records, *r)
		size += len(r.Key) + len(r.Value)
		c.buf = c.buf[1:]
	}
	b.First, b.Last = b.Records[0].Offset, b.Records[len(b.Records)-1].Offset
	return b, nil
}

// kept returns a copy of a record that Read may use again.
func kept(r *record.Record) record.Record {
	out := *r
	out.Key, out.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	out.Headers = slices.Clone(r.Headers)
	for i := range out.Headers {
		out.Headers[i].Value = bytes.Clone(out.Headers[i].Value)
	}
	return out
}

// Discard is the emitter of rebuilds: it drops everything.
type Discard struct{}

var _ Emitter = Discard{}

// Emit does nothing.
func (Discard) Emit(context.Context, []record.Record) error { return nil }
