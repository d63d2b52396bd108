package stream

import (
	"github.com/slipstream-rec/slipstream/stream/record"
)

// lostRange are offsets, inclusive, whose records were deleted before the group read them.
type lostRange struct{ first, last int64 }

// expires tells whether the records of a partition are deleted by time, read or not.
func (g *generation) expires(tp record.TopicPartition) bool {
	return g.cfg.Expires != nil && g.cfg.Expires(tp.Topic)
}

// tellLost reports a lost range.
func (g *generation) tellLost(tp record.TopicPartition, first, last int64) {
	if g.cfg.Hooks.RecordsLost != nil {
		g.cfg.Hooks.RecordsLost(tp, first, last)
		return
	}
	g.log.Error(
		"records were deleted before they were read: going on behind them", "topic", tp.Topic,
		"partition", tp.Partition, "first", first, "last", last,
	)
}

// lose notes that the records from the offset to fetch next up to first are gone. The range is
// handed out behind the records that are in the queue; nothing is fetched until then.
func (p *partition) lose(from, first, end int64) {
	p.g.tellLost(p.tp, from, first-1)
	p.mu.Lock()
	p.lost = &lostRange{from, first - 1}
	p.mu.Unlock()
	p.jump(first, end)
}

// deliverLost hands out the lost range, if there is one. It returns false when the generation ended
// before it was acknowledged: the next owner of the partition gets it.
func (p *partition) deliverLost() bool {
	p.mu.Lock()
	lost := p.lost
	p.mu.Unlock()
	if lost == nil {
		return true
	}
	b := p.batch(nil, record.Intent{First: lost.first, Last: lost.last})
	b.Lost = true
	if !p.deliver(b) {
		return false
	}
	p.mu.Lock()
	p.lost = nil
	p.mu.Unlock()
	p.acknowledged(lost.last)
	p.uncertain = p.repeat != nil // what is left of the range to repeat comes next
	p.g.fetch.wakeUp()
	return true
}

func (p *partition) setNote(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note = text
}

func (p *partition) currentNote() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.note
}
