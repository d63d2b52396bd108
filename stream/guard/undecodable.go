package guard

import (
	"context"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// moveUndecodable writes one dead letter for each batch of the log that cannot be read, and takes
// them out of b. It does not return before they are safe, unless we are to stop.
func (g *guard) moveUndecodable(ctx context.Context, d *delivery, b *record.Batch) error {
	for i := range b.Undecodable {
		u := &b.Undecodable[i]
		at := record.Position{TopicPartition: u.TopicPartition, Offset: u.First}
		if u.Topic == g.deadLetters {
			g.log.Error("a batch of the poison topic cannot be read, it stays there",
				"at", at.String(), "last", u.Last, "err", u.Reason)
			d.moved++
			continue
		}
		if err := b.CheckLease(ctx); err != nil {
			return errLeft // another member may be at work on it
		}
		d.failed()
		letter, e := g.undecodable(d, u)
		if err := g.emitMoved(ctx, b, []record.Record{letter}); err != nil {
			return err
		}
		d.moved++
		g.log.Error(
			"a batch that cannot be read is a dead letter now", "id", e.ID, "at", at.String(),
			"last", u.Last, "err", u.Reason,
		)
		g.o.Hooks.Moved(ctx, e)
	}
	if len(b.Undecodable) > 0 {
		b.Undecodable, d.first = nil, time.Time{}
	}
	return nil
}

// undecodable returns the dead letter of a batch.
func (g *guard) undecodable(d *delivery, u *record.Undecodable) (record.Record, Moved) {
	at := record.Position{TopicPartition: u.TopicPartition, Offset: u.First}
	group := g.names.LetterGroup(g.o.Group)
	h := deadletter.Headers{
		Group: group, Handler: g.o.Name, Subscriber: group, Origin: at, Time: u.Time,
		Class: fault.Permanent, Attempts: 1, FirstFailure: d.last, LastFailure: d.last,
		Reason:      fmt.Sprintf("offsets %d to %d cannot be read: %s", u.First, u.Last, u.Reason),
		Undecodable: true, LastOffset: u.Last,
	}
	h.Origin.Topic = g.names.Topic(u.Topic)
	out := record.Record{
		Topic: g.deadLetters, Partition: record.AnyPartition, Value: u.Raw, Headers: h.On(nil),
	}
	return out, Moved{
		Handler: g.o.Name, Group: g.o.Group, Topic: g.deadLetters, Class: h.Class,
		DeadLetter: true, ID: h.ID(), Origin: at, Attempts: 1,
		Err: fault.Permanentf("%s", h.Reason),
	}
}
