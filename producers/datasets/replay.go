package datasets

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Source is a history to replay; datasets.Dataset is one.
type Source interface {
	// Messages yields the records in the order in which they are to stand on the log: what does not
	// move first (items, users, friendships), then the interactions.
	Messages() iter.Seq[record.Record]
	// Preamble is the number of messages before the first interaction, Total that of all.
	Preamble() int
	Total() int
}

// ReplayOptions says how to replay. The zero value replays everything as fast as the log takes it.
type ReplayOptions struct {
	// Rate is the number of interactions per second, 0 for as many as the log takes. What comes
	// before the interactions is not slowed down.
	Rate float64
	// Limit is the number of interactions to replay, 0 for all.
	Limit int
	// Batch is the largest number of messages handed to the emitter at once. Default 1000.
	Batch int
	// Progress is called after each batch, unless nil.
	Progress func(ReplayProgress)
}

// ReplayProgress tells how far a replay has come.
type ReplayProgress struct {
	// Done and Total count messages; Interactions are those of Done that are interactions.
	Done, Total, Interactions int
	Elapsed                   time.Duration
}

// Replay writes a history to the log, in order, and returns how far it came. While the log is
// failing it waits and tries again; it ends early when ctx ends or when the log refuses a message
// for good. Replaying the same history again is safe when its events have ids of their own.
func Replay(
	ctx context.Context,
	source Source,
	emitter producers.Emitter,
	o ReplayOptions,
) (ReplayProgress, error) {
	if o.Batch <= 0 {
		o.Batch = 1000
	}
	p := ReplayProgress{Total: source.Total()}
	if interactions := p.Total - source.Preamble(); o.Limit > 0 && o.Limit < interactions {
		p.Total -= interactions - o.Limit
	}
	batch := o.Batch
	if o.Rate > 0 {
		batch = min(batch, max(1, int(o.Rate/10)))
	}
	started := time.Now()
	var paced time.Time
	var pending []record.Record
	flush := func() error {
		if err := producers.EmitAll(ctx, emitter, pending); err != nil {
			return fmt.Errorf("replay, after %d of %d messages: %w", p.Done, p.Total, err)
		}
		p.Done += len(pending)
		p.Interactions = max(0, p.Done-source.Preamble())
		p.Elapsed = time.Since(started)
		pending = pending[:0]
		if o.Progress != nil {
			o.Progress(p)
		}
		return nil
	}
	n := 0
	for m := range source.Messages() {
		if n == p.Total {
			break
		}
		n++
		pending = append(pending, m)
		interaction := n > source.Preamble()
		if n == source.Preamble() || len(pending) >= o.Batch ||
			interaction && len(pending) >= batch {
			if interaction && o.Rate > 0 {
				if paced.IsZero() {
					paced = time.Now()
				}
				due := paced.Add(
					time.Duration(float64(p.Interactions) / o.Rate * float64(time.Second)),
				)
				if err := producers.Wait(ctx, time.Until(due)); err != nil {
					return p, err
				}
			}
			if err := flush(); err != nil {
				return p, err
			}
		}
	}
	if len(pending) > 0 {
		if err := flush(); err != nil {
			return p, err
		}
	}
	return p, nil
}
