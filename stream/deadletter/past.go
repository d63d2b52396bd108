package deadletter

import (
	"context"
	"fmt"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Past knows which records had no effect when a group handled them, because they became dead
// letters. Whoever reads the log again must leave them out, whether or not they can be processed
// today: a dead letter that was replayed comes again in the group's replay topic, and one that was
// dropped never does.
//
// Has may be called concurrently, but not together with Update.
type Past struct {
	log   Log
	names record.Names
	group string
	// attempts holds, for each origin of a dead letter, the highest number of charged attempts that
	// is known.
	attempts map[record.Position]int
	// next is where Update goes on.
	next map[record.TopicPartition]int64
}

// NewPast returns the past of a group, still empty. names are those of the log's connection.
func NewPast(log Log, names record.Names, group string) *Past {
	return &Past{
		log: log, names: names, group: group, attempts: make(map[record.Position]int),
		next: make(map[record.TopicPartition]int64),
	}
}

// Update reads what has been added to the group's poison and replay topics since the last call. The
// replay topic is kept for longer than the poison topic, so what was replayed stays known.
func (p *Past) Update(ctx context.Context) error {
	for _, topic := range []string{record.PoisonTopic(p.group), record.ReplayTopic(p.group)} {
		ok, err := p.log.Exists(ctx, topic)
		if err != nil {
			return fmt.Errorf("dead letters of %s: %w", p.group, err)
		}
		if !ok {
			continue
		}
		n, err := p.log.Partitions(ctx, topic)
		if err != nil {
			return fmt.Errorf("dead letters of %s: %w", p.group, err)
		}
		for i := range n {
			tp := record.TopicPartition{Topic: topic, Partition: i}
			if err := p.log.Read(ctx, tp, p.next[tp], -1, p.add); err != nil {
				return fmt.Errorf("dead letters of %s in %s: %w", p.group, tp, err)
			}
		}
	}
	return nil
}

func (p *Past) add(r *record.Record) error {
	p.next[r.Position().TopicPartition] = r.Offset + 1
	if h, ok := HeadersOf(r); ok && p.names.GroupOfHeader(h.Group) == p.group {
		at := p.origin(&h)
		p.attempts[at] = max(p.attempts[at], h.Attempts)
	}
	return nil
}

func (p *Past) origin(h *Headers) record.Position {
	at := h.Origin
	at.Topic = p.names.TopicOfHeader(at.Topic)
	return at
}

// Has tells whether a record became a dead letter when the group handled it. A replayed record did
// if its dead letter has been charged with more attempts since: attempts add up over all visits.
func (p *Past) Has(r *record.Record) bool {
	if r.Topic == record.ReplayTopic(p.group) {
		if h, ok := HeadersOf(r); ok {
			return p.attempts[p.origin(&h)] > h.Attempts
		}
	}
	_, ok := p.attempts[r.Position()]
	return ok
}
