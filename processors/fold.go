package processors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Span is a part of one partition of the log, From ≤ offset < To.
type Span struct {
	Topic     string
	Partition int
	From, To  int64
}

// FoldConfig holds the settings of a Fold. Take DefaultFoldConfig and change what differs.
type FoldConfig struct {
	// BatchRecords is how many records the processor gets at once, at most. Default 2048.
	BatchRecords int
	// Splittable says that the processor may be given any part of a batch, which is how an unwell
	// record is found when the processor does not name it.
	Splittable bool
	// Outage is how long a store may be out of reach before Take gives up; the processor's batch is
	// tried again until then. Default 5 min.
	Outage time.Duration
	// Progress is told of offsets that have been taken. It may be called by several Takes at once.
	// nil: nobody is.
	Progress func(offsets int64)
	// Skipped is told of records that are unwell: they were set aside as dead letters when they
	// were read first. nil: nobody is.
	Skipped func(r *record.Record, err error)
}

// DefaultFoldConfig returns the defaults.
func DefaultFoldConfig() FoldConfig { return FoldConfig{BatchRecords: 2048, Outage: 5 * time.Minute} }

// maxFoldBytes ends a batch of large records.
const maxFoldBytes = 8 << 20

// Fold hands a processor the log itself in place of what a consumer group delivers: it is how a
// store is made anew. The processor decides as it did when the records were new. Give it an emitter
// that discards: what followed from the records is on the log already.
type Fold struct {
	p     Processor
	log   Log
	logID string
	cfg   FoldConfig
}

// NewFold returns a Fold of the log with the given id.
func NewFold(p Processor, log Log, logID string, cfg FoldConfig) *Fold {
	if cfg.Progress == nil {
		cfg.Progress = func(int64) {}
	}
	if cfg.Skipped == nil {
		cfg.Skipped = func(*record.Record, error) {}
	}
	return &Fold{p: p, log: log, logID: logID, cfg: cfg}
}

// Take hands over the records of the spans. Those of one partition come in order; between
// partitions the log's time decides, which is the order in which they were handled first, as far as
// that is known. Records that are gone are passed over. Several Takes may run at once for
// partitions that the processor keeps apart.
func (f *Fold) Take(ctx context.Context, spans []Span) error {
	cursors := make([]*cursor, len(spans))
	for i, s := range spans {
		cursors[i] = &cursor{log: f.log, span: s, next: s.From, chunk: int64(f.cfg.BatchRecords)}
	}
	for {
		c, until, err := earliest(ctx, cursors)
		if err != nil || c == nil {
			return err
		}
		b, err := c.batch(ctx, f.cfg.BatchRecords, until)
		if err != nil {
			return err
		}
		b.LogID = f.logID
		from := c.told
		if err := f.handle(ctx, b); err != nil {
			return fmt.Errorf(
				"take %s/%d, offsets %d to %d: %w", b.Topic, b.Partition, b.First, b.Last, err,
			)
		}
		c.told = b.Last + 1
		f.cfg.Progress(c.told - max(from, c.span.From))
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
		Range:         record.Range{Topic: c.span.Topic, Partition: c.span.Partition},
		HighWatermark: c.span.To,
	}
	size := 0
	for len(b.Records) < limit && size < maxFoldBytes {
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

// kept returns a copy of a record that is only lent.
func kept(r *record.Record) record.Record {
	out := *r
	out.Key, out.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	out.Headers = slices.Clone(r.Headers)
	for i := range out.Headers {
		out.Headers[i].Value = bytes.Clone(out.Headers[i].Value)
	}
	return out
}

// handle brings about the effects of b without its unwell records.
func (f *Fold) handle(ctx context.Context, b *record.Batch) error {
	for len(b.Records) > 0 {
		err := f.insist(ctx, b)
		var rejected *fault.Rejected
		switch {
		case err == nil:
			return nil
		case errors.As(err, &rejected) && len(rejected.Records) > 0:
			bad := make(map[int]bool, len(rejected.Records))
			for _, x := range rejected.Records {
				bad[x.Index] = true
				f.cfg.Skipped(&b.Records[x.Index], x.Err)
			}
			if !rejected.Undone {
				return nil
			}
			left := make([]record.Record, 0, len(b.Records)-len(bad))
			for i := range b.Records {
				if !bad[i] {
					left = append(left, b.Records[i])
				}
			}
			b.Records = left
		case fault.ClassOf(err) != fault.Permanent || !f.cfg.Splittable:
			return err
		case len(b.Records) == 1:
			f.cfg.Skipped(&b.Records[0], err)
			return nil
		default:
			return f.halves(ctx, b)
		}
	}
	return nil
}

func (f *Fold) halves(ctx context.Context, b *record.Batch) error {
	mid := len(b.Records) / 2
	for _, part := range [][]record.Record{b.Records[:mid], b.Records[mid:]} {
		half := *b
		half.Records, half.First, half.Last = part, part[0].Offset, part[len(part)-1].Offset
		if err := f.handle(ctx, &half); err != nil {
			return err
		}
	}
	return nil
}

// insist tries again while the failure is the store's.
func (f *Fold) insist(ctx context.Context, b *record.Batch) error {
	var waited time.Duration
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := fault.Catch(func() error { return f.p.Handle(ctx, b) })
		if err == nil || fault.ClassOf(err) != fault.Transient || waited >= f.cfg.Outage {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		case <-timer.C:
		}
		waited += wait
	}
}

// Discard is the emitter of rebuilds: it drops everything.
type Discard struct{}

var _ Emitter = Discard{}

// Emit does nothing.
func (Discard) Emit(context.Context, []record.Record) error { return nil }

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
