package processors

import (
	"context"
	"fmt"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/forward"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// older forwards the misplaced events of spans of interactions that an older version has handled.
type older struct {
	embed   *Embed
	emit    Emitter
	windows map[int]*window
	// standing are the offsets of interactions that stand in embed.misplaced, by partition.
	standing  map[int]map[int64]struct{}
	forwarded int
}

// ForwardOlder forwards the misplaced events of spans of interactions, which begin at the first
// offset, unless they were forwarded before, and returns how many it has forwarded. They are judged
// as Handle does. Nothing else may forward meanwhile. When it fails it may be called again. Items
// have learned from them already, as far as they will: Handle learns for their users alone.
func (p *Embed) ForwardOlder(ctx context.Context, emit Emitter, spans []Span) (int, error) {
	if len(spans) == 0 {
		return 0, nil
	}
	o := &older{
		embed: p, emit: emit, windows: make(map[int]*window),
		standing: make(map[int]map[int64]struct{}),
	}
	until := make(map[int]int64)
	for _, s := range spans {
		until[s.Partition] = s.To
		o.standing[s.Partition] = make(map[int64]struct{})
	}
	for n := range p.cfg.UserPartitions {
		err := p.log.Read(ctx, misplacedInteractions, n, 0, -1, func(r *record.Record) error {
			x, err := record.OriginOf(r)
			if err == nil && x.Topic == schemas.TopicInteractions && x.Offset < until[x.Partition] {
				o.standing[x.Partition][x.Offset] = struct{}{}
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("look for what was forwarded: %w", err)
		}
	}
	cfg := DefaultReplayConfig()
	var err error
	if cfg.DeadLetter, err = p.streams.lettersOf(ctx, schemas.GroupEmbed); err != nil {
		return 0, err
	}
	err = NewReplay(o, p.log, "", cfg).Run(ctx, spans)
	return o.forwarded, err
}

// Handle forwards what is misplaced in a batch.
func (o *older) Handle(ctx context.Context, b *record.Batch) error {
	w := o.windows[b.Partition]
	if w == nil {
		w = newWindow(o.embed.cfg.RecentIDs)
		o.windows[b.Partition] = w
	}
	// Rejected records became dead letters when first read, and dead letters stay what they are.
	_, moves, _ := o.embed.decode(w, b)
	var out []record.Record
	for _, m := range moves.moves {
		r := &b.Records[m.Index]
		if _, ok := o.standing[b.Partition][r.Offset]; !ok {
			out = append(out, record.ForwardedOlder(r, o.embed.target(m), m.Key))
		}
	}
	if err := o.emit.Emit(ctx, out); err != nil {
		return fmt.Errorf("forward %d events: %w", len(out), err)
	}
	o.forwarded += len(out)
	return nil
}

// target returns where an event is forwarded to.
func (p *Embed) target(m forward.Move) record.TopicPartition {
	return record.TopicPartition{
		Topic:     misplacedInteractions,
		Partition: record.PartitionOf(m.Key, p.cfg.UserPartitions),
	}
}
