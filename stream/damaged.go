package stream

import (
	"errors"
	"fmt"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// decode returns what a broker has answered for one partition, from an offset on. An error says
// that the log is damaged there and what to do, and that nothing has been read.
func (c *Conn) decode(res *wire.Fetched, from int64) (wire.Decoded, error) {
	got, err := res.Decode(from, c.cfg.MaxDecompressedBytes, c.skipped(res.TP)...)
	var d *wire.Damaged
	if errors.As(err, &d) {
		err = fault.Wait(fmt.Errorf(
			"%w: it is tried again. Make a replica that has them whole the leader of the "+
				"partition, or restore its segment. If no copy is whole, give them up, which "+
				"makes a dead letter: kafka.skip_damaged=%s:%d-%d",
			err, d.TopicPartition, d.First, d.Last,
		))
	}
	return got, err
}

// skipped returns the offsets of a partition that an operator has given up.
func (c *Conn) skipped(tp record.TopicPartition) (out []record.Range) {
	for _, r := range c.cfg.SkipDamaged {
		if r.TopicPartition() == tp {
			out = append(out, r)
		}
	}
	return out
}

// Damaged tells whether err says that bytes of the log are not what a broker has taken.
func Damaged(err error) bool {
	var d *wire.Damaged
	return errors.As(err, &d)
}

// damaged puts off the next fetch after an error, and reports a partition as stopped that stays
// damaged. It is fetched on: an operator may make another replica its leader, or restore the
// segment.
func (f *fetcher) damaged(p *partition, err error) {
	if n := f.delay(p, err); Damaged(err) && fetchBackoff.Lasts(n) && p.setDamaged(true) {
		f.g.stopPartition(p.tp, err)
	}
}

// readable ends the time in which a partition was damaged.
func (f *fetcher) readable(p *partition) {
	if !p.setDamaged(false) {
		return
	}
	f.g.resumePartition(p.tp)
}

// resumePartition reports that a partition which had stopped is worked on again.
func (g *generation) resumePartition(tp record.TopicPartition) {
	g.log.Info("partition resumed", "topic", tp.Topic, "partition", tp.Partition)
	if g.cfg.Hooks.PartitionResumed != nil {
		g.cfg.Hooks.PartitionResumed(tp)
	}
}

// setDamaged notes whether the log is damaged where it is to be read, and returns whether that is
// new.
func (p *partition) setDamaged(is bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.damaged
	p.damaged = is
	return was != is
}
