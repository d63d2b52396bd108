package stream

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// partition is one partition in one generation: the queue that the fetcher fills and the worker
// that empties it.
type partition struct {
	g       *generation
	tp      record.TopicPartition
	repeat  *record.Intent
	changed chan struct{} // the queue has changed; capacity 1

	mu       sync.Mutex
	chunks   [][]record.Record    // fetched and not handed out
	bad      []record.Undecodable // likewise
	records  int
	bytes    int
	next     int64 // the offset to fetch next; everything before is in chunks or handed out
	end      int64 // the last stable offset
	fetching bool
	retryAt  time.Time
	failures int
	stopped  bool
	damaged  bool       // that the log is damaged here has been reported
	lost     *lostRange // offsets that were deleted unread, behind what is in chunks
	note     string

	// The fetcher's own.
	gap   wire.EndGap
	clock logClock // behind what has been fetched

	// The worker's own.
	position int64 // the next offset to hand out
	// how long the batch before took, from committing its intent to its acknowledgement
	worked    time.Duration
	uncertain bool // a range is committed whose batch is not acknowledged
	closed    bool // the broker has, or is about to have, the position without a range
}

func newPartition(g *generation, a record.Assignment) *partition {
	p := &partition{
		g: g, tp: a.TopicPartition, repeat: a.Repeat, changed: make(chan struct{}, 1),
		next: a.Next, end: a.End, position: a.Next, uncertain: a.Repeat != nil,
		closed: a.Repeat == nil && a.Committed == a.Next, note: a.Note,
		clock: clockFrom(a.Next, a.First),
	}
	if a.Lost {
		p.lost = &lostRange{a.Committed, a.First - 1}
		// Nothing may be committed before the range is dealt with.
		p.position, p.closed = a.Committed, true
	}
	return p
}

// hasRoom reports whether the fetcher may ask for more: until the next batch is there, or the range
// to repeat is complete.
func (p *partition) hasRoom(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fetching || p.stopped || p.lost != nil || now.Before(p.retryAt) {
		return false
	}
	if p.repeat != nil && p.next <= p.repeat.Last {
		return true
	}
	return p.records < max(p.g.cfg.MaxRecords, 64) && len(p.bad) == 0 &&
		p.bytes < max(p.g.cfg.batchBytes(p.tp), 64<<10)
}

// add takes what was fetched from p.next on.
func (p *partition) add(got wire.Decoded, end int64) {
	p.mu.Lock()
	if len(got.Records) > 0 {
		p.chunks = append(p.chunks, got.Records)
		p.records += len(got.Records)
		for i := range got.Records {
			p.bytes += wire.SizeOf(&got.Records[i])
		}
	}
	p.bad = append(p.bad, got.Undecodable...)
	p.next, p.end, p.failures = got.Next, end, 0
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// jump goes on fetching elsewhere.
func (p *partition) jump(next, end int64) {
	p.mu.Lock()
	p.next = next
	p.mu.Unlock()
	p.add(wire.Decoded{Next: next}, end)
}

// stop ends fetching for this generation.
func (p *partition) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
}

// fetchBackoff is how long a partition is not fetched after failures in a row.
var fetchBackoff = fault.Backoff{First: 40 * time.Millisecond, Max: 2 * time.Second}

// fail puts off the next fetch and returns the number of failures in a row.
func (p *partition) fail() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures++
	p.retryAt = time.Now().Add(fetchBackoff.After(p.failures))
	return p.failures
}

func (p *partition) setFetching(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetching = on
}

func (p *partition) fetchOffset() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

func (p *partition) logEnd() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

// run hands out the partition's batches until the generation ends.
func (p *partition) run() {
	if !p.deliverLost() {
		return
	}
	if p.repeat != nil && !p.repeatRange() {
		return
	}
	for {
		b := p.nextBatch()
		if b == nil {
			break
		}
		began := time.Now()
		if p.g.cfg.Intents {
			p.closed = false
			p.uncertain = true
			if !p.commitIntent(b.Lease.(*batchLease).intent) {
				break
			}
		}
		if !p.deliver(b) {
			break
		}
		p.worked = time.Since(began)
		p.acknowledged(b.Last)
	}
	p.close()
}

// repeatRange hands out the uncertain intent, with the same bounds and the same records left out.
func (p *partition) repeatRange() bool {
	r := *p.repeat
	if p.await(nil, func() bool { return p.next > r.Last }) != ready {
		return false
	}
	records := p.dequeue(func(rec *record.Record, _, _ int) bool { return rec.Offset <= r.Last })
	p.mu.Lock()
	p.repeat = nil
	p.mu.Unlock()
	p.g.fetch.wakeUp()
	records = slices.DeleteFunc(
		records, func(rec record.Record) bool { return r.Excludes(rec.Offset) },
	)
	bad := p.dequeueBad(r.Last + 1)
	if len(records)+len(bad) > 0 { // else compaction or retention has left nothing to repeat
		b := p.batch(records, r)
		b.Undecodable = bad
		b.Repeat = true
		if !p.deliver(b) {
			return false
		}
	}
	p.acknowledged(r.Last)
	return true
}

// acknowledged moves the position after a batch.
func (p *partition) acknowledged(last int64) {
	p.position, p.uncertain, p.closed = last+1, false, false
	if !p.g.cfg.Intents {
		p.close()
	}
}

// close commits the position without a range, unless one is uncertain.
func (p *partition) close() {
	if !p.closed && !p.uncertain {
		p.g.commits.set(p.tp, p.position, p.currentNote())
		p.closed = true
	}
}

// nextBatch waits for the next batch; nil means that the generation has ended. While nothing comes
// the last range is closed. What cannot be read is a batch of its own, so that no store sees it
// among others.
func (p *partition) nextBatch() *record.Batch {
	for {
		idle := time.NewTimer(p.g.cfg.IdleClose)
		queued := false
		outcome := p.await(idle.C, func() bool {
			queued = p.records > 0 || len(p.bad) > 0
			return queued || p.lost != nil
		})
		idle.Stop()
		if outcome == ended {
			return nil
		}
		if outcome == ready && queued {
			break
		}
		if outcome == ready {
			if !p.deliverLost() {
				return nil
			}
			continue
		}
		p.skipGap()
		p.close()
	}
	if bad := p.dequeueBad(p.firstOffset()); len(bad) > 0 {
		// Several may follow one another.
		b := p.batch(nil, p.intent(bad[0].First, bad[len(bad)-1].Last))
		b.Undecodable = bad
		p.g.fetch.wakeUp()
		return b
	}
	maxBytes := p.g.cfg.batchBytes(p.tp)
	if wait := p.g.cfg.linger(p.tp.Topic, p.worked); wait > 0 {
		linger := time.NewTimer(wait)
		defer linger.Stop()
		if p.await(
			linger.C,
			func() bool {
				return p.records >= p.g.cfg.MaxRecords || p.bytes >= maxBytes || len(p.bad) > 0
			},
		) == ended {
			return nil
		}
	}
	records := p.dequeue(func(r *record.Record, n, bytes int) bool {
		return n <= p.g.cfg.MaxRecords && (n == 1 || bytes <= maxBytes) &&
			(len(p.bad) == 0 || r.Offset < p.bad[0].First)
	})
	p.g.fetch.wakeUp()
	return p.batch(records, p.intent(records[0].Offset, records[len(records)-1].Offset))
}

// firstOffset returns the offset of the first record in the queue, or one behind everything.
func (p *partition) firstOffset() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.chunks) == 0 {
		return math.MaxInt64
	}
	return p.chunks[0][0].Offset
}

// dequeueBad removes the batches that cannot be read and begin before an offset.
func (p *partition) dequeueBad(before int64) []record.Undecodable {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.bad) && p.bad[n].First < before {
		n++
	}
	out := p.bad[:n:n]
	if p.bad = p.bad[n:]; len(p.bad) == 0 {
		p.bad = nil // its bytes are those of a whole answer
	}
	return out
}

// skipGap moves the position over offsets that hold no records, at the end of what was fetched:
// compacted ones, transaction markers, or what was aborted.
func (p *partition) skipGap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.records == 0 && len(p.bad) == 0 && p.next > p.position {
		p.position = p.next
		p.closed = false
	}
}

type awaited int

const (
	ready awaited = iota
	timedOut
	ended
)

// await waits until cond, called under the lock, is true.
func (p *partition) await(timeout <-chan time.Time, cond func() bool) awaited {
	for {
		p.mu.Lock()
		ok := cond()
		p.mu.Unlock()
		if p.g.live.Err() != nil {
			return ended
		}
		if ok {
			return ready
		}
		select {
		case <-p.changed:
		case <-timeout:
			return timedOut
		case <-p.g.live.Done():
			return ended
		}
	}
}

// dequeue removes records from the front of the queue while more, called with the record and the
// number and size including it, is true.
func (p *partition) dequeue(more func(rec *record.Record, n, bytes int) bool) []record.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []record.Record
	n, bytes := 0, 0
	for len(p.chunks) > 0 {
		chunk, i := p.chunks[0], 0
		for i < len(chunk) {
			size := wire.SizeOf(&chunk[i])
			if !more(&chunk[i], n+1, bytes+size) {
				break
			}
			n, bytes, i = n+1, bytes+size, i+1
		}
		if out == nil {
			out = chunk[:i:i] // the usual case: no copy
		} else {
			out = append(out, chunk[:i]...)
		}
		if i < len(chunk) {
			p.chunks[0] = chunk[i:]
			break
		}
		p.chunks[0] = nil
		p.chunks = p.chunks[1:]
	}
	p.records -= n
	p.bytes -= bytes
	return out
}

// intent returns the intent of a batch that begins now.
func (p *partition) intent(first, last int64) record.Intent {
	in := record.Intent{First: first, Last: last}
	if p.g.cfg.Intents {
		in.Begun = p.g.cfg.Now().UTC().Truncate(time.Millisecond)
	}
	return in
}

// batch makes a batch of the records of an intent.
func (p *partition) batch(records []record.Record, in record.Intent) *record.Batch {
	p.mu.Lock()
	end := p.end
	p.mu.Unlock()
	b := &record.Batch{
		Range: record.Range{
			LogID: p.g.cfg.LogID, Topic: p.tp.Topic, Partition: p.tp.Partition, First: in.First,
			Last: in.Last,
		},
		Group: p.g.cfg.Group, Records: records, End: end, Begun: in.Begun,
	}
	b.Lease = &batchLease{p: p, intent: in, batch: b}
	return b
}

// commitIntent commits the range before its effects. Whatever range stood there before is closed by
// it.
func (p *partition) commitIntent(r record.Intent) bool {
	err := p.g.commits.write(p.g.ctx, p.tp, r.First, r.String())
	if err != nil && p.g.ctx.Err() == nil {
		p.g.stopPartition(p.tp, fmt.Errorf("commit intent %v: %w", r, err))
	}
	return err == nil
}
