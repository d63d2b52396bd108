package guard

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// poison is the link that moves records, and acknowledges a batch only after that.
func (g *guard) poison(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		if b := deliveryOf(msg).batch; b.Lost {
			return nil, g.lost(msg, next, b)
		}
		return nil, g.work(msg, next, deliveryOf(msg).batch)
	}
}

// lost lets the handler make up for a lost range, as far as it can.
func (g *guard) lost(msg *message.Message, next message.HandlerFunc, b *record.Batch) error {
	if g.o.Lost == nil {
		return nil
	}
	_, err := next(msg)
	if err == nil {
		return nil
	}
	if fault.ClassOf(err) == fault.Canceled {
		return errLeft
	}
	g.log.Error(
		"nothing could be done about records that were deleted unread", "topic", b.Topic,
		"partition", b.Partition, "first", b.First, "last", b.Last,
		"err", deadletter.Clip(err.Error(), maxLoggedReason),
	)
	return nil
}

// work brings about the effects of every record of the batch that can have them, and sets the
// others aside. It returns nil then, and errLeft when the batch is to be left alone.
func (g *guard) work(msg *message.Message, next message.HandlerFunc, b *record.Batch) error {
	ctx, d := msg.Context(), deliveryOf(msg)
	if err := g.moveUndecodable(ctx, d, b); err != nil {
		return err
	}
	for len(b.Records) > 0 {
		d.batch = b
		_, err := next(msg)
		if err == nil {
			return nil
		}
		if fault.ClassOf(err) == fault.Canceled {
			return errLeft
		}
		if rejections, undone, ok := named(err, len(b.Records)); ok {
			if err := g.moveOut(ctx, d, b, rejections, 0); err != nil {
				return err
			}
			if !undone {
				return nil
			}
			if err := g.exclude(ctx, b, rejections); err != nil {
				return err
			}
			d.first = time.Time{} // what fails next is another record
			continue
		}
		if len(b.Records) > 1 && g.o.Splittable {
			return g.split(msg, next, b)
		}
		unnamed := len(b.Records)
		if unnamed == 1 {
			unnamed = 0 // there is nobody else it could be
		}
		return g.moveOut(ctx, d, b, rejectAll(b, err), unnamed)
	}
	return nil
}

// named returns the records that err lists. A list with an index outside the batch is a mistake of
// the handler's, and trusted in nothing.
func named(err error, records int) ([]fault.Rejection, bool, bool) {
	rejected, ok := rejectedOf(err)
	if !ok {
		return nil, false, false
	}
	for _, r := range rejected.Records {
		if r.Index < 0 || r.Index >= records {
			return nil, false, false
		}
	}
	return rejected.Records, rejected.Undone, true
}

// rejectAll lists every record of the batch.
func rejectAll(b *record.Batch, err error) []fault.Rejection {
	out := make([]fault.Rejection, len(b.Records))
	for i := range out {
		out[i] = fault.Rejection{Index: i, Err: err}
	}
	return out
}

// split finds the offending records by halving: the first half is worked on before the second, so
// order within the batch stays. Each part is tried once, since the whole has had its attempts.
func (g *guard) split(msg *message.Message, next message.HandlerFunc, b *record.Batch) error {
	d := deliveryOf(msg)
	d.max, d.before = 1, d.before+d.attempts
	// Both halves are cut before the first is worked on: taking records out of the batch may move
	// what is behind them.
	middle := len(b.Records) / 2
	for _, part := range []*record.Batch{partOf(b, 0, middle), partOf(b, middle, len(b.Records))} {
		if err := g.work(msg, next, part); err != nil {
			return err
		}
	}
	return nil
}

// partOf returns some records of the batch as a batch. It has the same lease.
func partOf(b *record.Batch, from, to int) *record.Batch {
	p := *b
	p.Records = slices.Clone(b.Records[from:to])
	p.First, p.Last = p.Records[0].Offset, p.Records[len(p.Records)-1].Offset
	p.Repeat = true // the whole may have had effects
	return &p
}

// exclude takes the rejected records out of the batch for good. They are safe elsewhere already:
// the other way round a crash in between would lose them, while this way it only makes them dead
// letters again, under the same id.
func (g *guard) exclude(ctx context.Context, b *record.Batch, rejections []fault.Rejection) error {
	offsets := make([]int64, len(rejections))
	gone := make(map[int]bool, len(rejections))
	for i, r := range rejections {
		offsets[i] = b.Records[r.Index].Offset
		gone[r.Index] = true
	}
	rest := make([]record.Record, 0, len(b.Records)-len(gone))
	for i := range b.Records {
		if !gone[i] {
			rest = append(rest, b.Records[i])
		}
	}
	err := g.insist(
		ctx, b, "commit excluded records",
		func(ctx context.Context) error { return b.Exclude(ctx, offsets...) },
	)
	if fault.ClassOf(err) == fault.Canceled {
		return errLeft
	}
	if err != nil {
		// The same rows are bad at every repeat, so the handler will name them again: worth a line,
		// not worth stopping for.
		g.log.Error(
			"excluded records could not be committed", "topic", b.Topic, "partition",
			b.Partition, "first", b.First, "records", len(offsets), "err", err,
		)
	}
	b.Records = rest
	return nil
}

// maxLoggedReason keeps a flood of panics from drowning the log; the dead letter has more.
const maxLoggedReason = 500

// move writes the rejected records to the group's poison topic, or to the next retry topic.
// unnamed is not 0 when nobody knows which record of so many is offending. It does not return
// before the records are safe, unless we are to stop.
func (g *guard) moveOut(
	ctx context.Context,
	d *delivery,
	b *record.Batch,
	rejections []fault.Rejection,
	unnamed int,
) error {
	var out []record.Record
	var told []Moved
	for _, r := range rejections {
		if rec := &b.Records[r.Index]; rec.Topic == g.deadLetters {
			// It is in the poison topic already: moving it again would bring it back here,
			// without end.
			g.log.Error(
				"a record of the poison topic cannot be processed either, it stays there", "at",
				rec.Position().String(), "err", deadletter.Clip(r.Err.Error(), maxLoggedReason),
			)
			d.moved++
			continue
		}
		moved, e := g.moved(d, b, r, unnamed)
		out, told = append(out, moved), append(told, e)
	}
	if err := b.CheckLease(ctx); err != nil {
		return errLeft // another member may be at work on them
	}
	for start := 0; start < len(out); {
		end := portion(out, start)
		if err := g.emitMoved(ctx, b, out[start:end]); err != nil {
			return err
		}
		start = end
	}
	d.moved += len(out)
	for _, e := range told {
		if e.DeadLetter {
			g.log.Error(
				"record is a dead letter now", "id", e.ID, "at", e.Origin.String(), "class",
				e.Class.String(), "err", deadletter.Clip(e.Err.Error(), maxLoggedReason),
			)
		} else {
			g.log.Warn(
				"record waits in a retry topic", "to", e.Topic, "at", e.Origin.String(), "class",
				e.Class.String(), "err", deadletter.Clip(e.Err.Error(), maxLoggedReason),
			)
		}
		g.o.Hooks.Moved(ctx, e)
	}
	return nil
}

// aside returns the record as it is written elsewhere.
func (g *guard) moved(
	d *delivery,
	b *record.Batch,
	r fault.Rejection,
	unnamed int,
) (record.Record, Moved) {
	rec := &b.Records[r.Index]
	h := deadletter.Headers{Origin: rec.Position(), Time: rec.LogTime(), FirstFailure: d.first}
	h.Origin.Topic = g.names.Topic(rec.Topic)
	visit := g.visits[rec.Topic]
	if visit > 0 || rec.Topic == g.replay {
		// Only our own topics are believed: elsewhere the headers are whatever a producer has
		// written.
		if old, ok := deadletter.HeadersOf(rec); ok {
			h = old
		}
	}
	group := g.names.LetterGroup(g.o.Group)
	h.Group, h.Handler, h.Subscriber = group, g.o.Name, group
	h.Class, h.Reason, h.Unnamed = fault.ClassOf(r.Err), r.Err.Error(), unnamed
	h.Attempts += max(d.before+d.attempts, 1)
	h.LastFailure = d.last
	topic, dead := g.destination(h.Class, visit)
	out := record.Record{
		Topic: topic, Partition: record.AnyPartition, Key: rec.Key, Value: rec.Value,
		Headers: h.On(rec.Headers),
	}
	origin := h.Origin
	origin.Topic = g.names.TopicOfHeader(origin.Topic)
	return out, Moved{
		Handler: g.o.Name, Group: g.o.Group, Topic: topic, Class: h.Class, DeadLetter: dead,
		ID: h.ID(), Origin: origin, Attempts: h.Attempts, Err: r.Err,
	}
}

// destination says where a record goes that has failed at its visit, 0 for the first.
func (g *guard) destination(class fault.Class, visit int) (topic string, dead bool) {
	if g.o.Retry == nil || class == fault.Permanent || visit >= len(g.o.Retry.Delays) {
		return g.deadLetters, true
	}
	return record.RetryTopic(g.o.Group, g.o.Retry.Delays[visit]), false
}

// portion returns the end of the part of out that is written at once: one bad record of a batch
// must not make its whole portion too large.
func portion(out []record.Record, start int) int {
	const maxBytes = 512 << 10
	bytes := 0
	for i := start; i < len(out); i++ {
		bytes += len(out[i].Key) + len(out[i].Value) + headerBytes(out[i].Headers)
		if bytes > maxBytes && i > start {
			return i
		}
	}
	return len(out)
}

// emitMoved writes records that leave their batch. What is too large with the headers of its
// failure leaves its value behind, then its own headers, then its key: better than stopping the
// partition for good.
func (g *guard) emitMoved(ctx context.Context, b *record.Batch, records []record.Record) error {
	emit := func(ctx context.Context) error { return g.o.Emitter.Emit(ctx, records) }
	err := g.insist(ctx, b, "move records", emit)
	switch {
	case err == nil:
		return nil
	case fault.ClassOf(err) == fault.Canceled:
		return errLeft
	case len(records) > 1:
		for i := range records {
			if err := g.emitMoved(ctx, b, records[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	r := records[0]
	h, _ := deadletter.HeadersOf(&r)
	h.Reason = deadletter.Clip(h.Reason, 256)
	own := deadletter.Own(r.Headers)
	r.Topic = g.deadLetters
	for _, part := range []struct {
		name  string
		bytes int
		omit  func()
	}{
		{"value", len(r.Value), func() { r.Value = nil }},
		{"headers", headerBytes(own), func() { own = nil }},
		{"key", len(r.Key), func() { r.Key = nil }},
	} {
		if part.bytes == 0 && part.name != "value" { // without it only the reason gets shorter
			continue
		}
		g.log.Error(
			"a record is too large to be moved whole, a part of it stays in its topic only",
			"at", h.Origin.String(), "part", part.name, "bytes", part.bytes, "err", err,
		)
		part.omit()
		h.OmittedBytes += part.bytes
		r.Headers = h.On(own)
		records = []record.Record{r}
		err = g.insist(ctx, b, "move a record without its "+part.name, emit)
		if err == nil {
			return nil
		}
		if fault.ClassOf(err) == fault.Canceled {
			return errLeft
		}
	}
	// Not even that: leave the batch, loudly. It comes again, and lag is the alarm.
	g.log.Error("a record cannot be moved", "at", h.Origin.String(), "err", err)
	return errLeft
}

func headerBytes(headers []record.Header) (n int) {
	for _, h := range headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// insist calls f until it succeeds, fails for good (a permanent error), or we are to stop (a
// canceled one). Unknown errors count as transient: giving up here would lose a record.
func (g *guard) insist(
	ctx context.Context,
	b *record.Batch,
	what string,
	f func(context.Context) error,
) error {
	wait := fault.Backoff{First: g.o.Backoff.First, Max: g.o.Backoff.Max}
	for attempt := 1; ; attempt++ {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || g.stopping() {
			return errLeft
		}
		if c := fault.ClassOf(err); c == fault.Permanent || c == fault.Canceled {
			return err
		}
		pauseFor, level := wait.Next(), slog.LevelDebug
		if attempt == 1 {
			level = slog.LevelWarn
		}
		g.log.Log(
			ctx, level, "moving records fails, trying again", "step", what, "attempt", attempt,
			"wait", pauseFor, "err", err,
		)
		if !g.pause(ctx, b, pauseFor) {
			return errLeft
		}
	}
}

// retryTopics returns the topics of the delays, in order.
func (o *Options) retryTopics() []string {
	if o.Retry == nil {
		return nil
	}
	var out []string
	for _, d := range o.Retry.Delays {
		out = append(out, record.RetryTopic(o.Group, d))
	}
	return out
}

// retryChain is the chain for records that come back: the same, behind their delay.
func (g *guard) retryChain() []message.HandlerMiddleware {
	return append([]message.HandlerMiddleware{g.delay}, g.chain()...)
}

// delay holds a batch of a retry topic until the youngest of its records has waited long enough.
// All records of one topic have the same delay, so none waits behind one that is due later.
func (g *guard) delay(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		if b := batchOf(msg); b != nil && len(b.Records) > 0 {
			visit, ok := g.visits[b.Topic]
			if !ok {
				return nil, fmt.Errorf(
					"topic %s is not a retry topic of group %s", b.Topic, g.o.Group,
				)
			}
			due := b.Records[len(b.Records)-1].Time.Add(g.o.Retry.Delays[visit-1])
			if wait := time.Until(due); wait > 0 && !g.pause(msg.Context(), b, wait) {
				return nil, errLeft
			}
		}
		return next(msg)
	}
}
