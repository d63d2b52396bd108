package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// emitCall is one call of Emit, waiting for its records.
type emitCall struct {
	ctx  context.Context
	errs []error // by index; written by whoever settles the item, read after done
	open atomic.Int64
	done chan struct{} // closed when the last item is settled
}

// sendItem is one record on its way.
type sendItem struct {
	call   *emitCall
	index  int
	record *record.Record
	size   int
	to     record.TopicPartition
	last   error // the last transient error

	settled atomic.Bool
}

// finish reports the item's end to its call. Only the first time counts.
func (i *sendItem) finish(err error) {
	if !i.settled.CompareAndSwap(false, true) {
		return
	}
	i.call.errs[i.index] = err
	if i.call.open.Add(-1) == 0 {
		close(i.call.done)
	}
}

// sendQueue holds what waits for one partition. Guarded by the publisher's mutex.
type sendQueue struct {
	tp    record.TopicPartition
	items []*sendItem
	busy  bool // a request is under way, or a pause after a failed one
	ready bool // listed in Publisher.ready
	// limit is the number of records the next request may carry, 0 for any: it is halved while the
	// broker says that a batch is too large.
	limit    int
	failures int
}

// parcel is what one request carries for one partition.
type parcel struct {
	queue *sendQueue
	items []*sendItem
	err   error
}

// enqueue hands the items to their queues and makes sure that senders run.
func (p *Publisher) enqueue(items []*sendItem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range items {
		q := p.queues[it.to]
		if q == nil {
			q = &sendQueue{tp: it.to}
			p.queues[it.to] = q
		}
		q.items = append(q.items, it)
		p.markReady(q)
	}
	p.startSenders()
}

func (p *Publisher) markReady(q *sendQueue) {
	if !q.busy && !q.ready && len(q.items) > 0 {
		q.ready = true
		p.ready = append(p.ready, q)
	}
}

// startSenders starts a sender for each broker that has ready queues and may have another request
// under way.
func (p *Publisher) startSenders() {
	for _, q := range p.ready {
		leader := p.conn.knownLeader(q.tp)
		if p.senders[leader] < p.cfg.MaxInFlight {
			p.senders[leader]++
			p.working.Add(1)
			go p.send(leader)
			return // it starts the next one after it has taken its share
		}
	}
}

// send sends requests to one broker until nothing is ready for it.
func (p *Publisher) send(leader int32) {
	defer p.working.Done()
	for {
		p.mu.Lock()
		parcels := p.dequeue(leader)
		if len(parcels) == 0 {
			if p.senders[leader]--; p.senders[leader] == 0 {
				delete(p.senders, leader)
			}
			p.startSenders()
			p.mu.Unlock()
			return
		}
		p.startSenders()
		p.mu.Unlock()
		p.exchange(leader, parcels)
		p.finish(parcels)
	}
}

// dequeue removes from the ready queues what the next request to the broker carries.
func (p *Publisher) dequeue(leader int32) []*parcel {
	var parcels []*parcel
	total := 0
	p.ready = slices.DeleteFunc(p.ready, func(q *sendQueue) bool {
		if total >= p.cfg.MaxRequestBytes || p.conn.knownLeader(q.tp) != leader {
			return false
		}
		n, size := 0, 0
		for n < len(q.items) && (q.limit == 0 || n < q.limit) && n < wire.MaxRecords {
			if n > 0 && size+q.items[n].size > p.cfg.MaxBatchBytes {
				break
			}
			size += q.items[n].size
			n++
		}
		parcels = append(parcels, &parcel{queue: q, items: slices.Clone(q.items[:n])})
		q.items = slices.Delete(q.items, 0, n)
		q.busy, q.ready = true, false
		total += size
		return true
	})
	return parcels
}

// exchange sends one request and leaves each parcel's outcome in it.
func (p *Publisher) exchange(leader int32, parcels []*parcel) {
	fail := func(err error) {
		for _, pa := range parcels {
			pa.err = err
		}
	}
	if leader < 0 {
		fail(wire.Classify(protocol.ErrNoLeader))
		return
	}
	req := &rawproduce.Request{
		Acks: int16(kafka.RequireAll), Timeout: int32(p.cfg.RequestTimeout.Milliseconds() / 2),
	}
	if err := p.encode(req, parcels); err != nil {
		fail(err)
		return
	}
	if len(req.Topics) == 0 {
		return
	}
	m, err := p.conn.askBroker(p.requests, p.cfg.RequestTimeout, leader, req)
	if err != nil {
		fail(wire.Classify(err))
		return
	}
	p.outcomes(parcels, m.(*produce.Response))
}

// encode fills the request. Records whose call has given them up are left out: their memory is the
// caller's again.
func (p *Publisher) encode(req *rawproduce.Request, parcels []*parcel) error {
	p.encoding.RLock()
	defer p.encoding.RUnlock()
	byTopic := map[string]int{}
	for _, pa := range parcels {
		pa.items = slices.DeleteFunc(pa.items, func(it *sendItem) bool { return it.settled.Load() })
		if len(pa.items) == 0 {
			continue
		}
		records := make([]*record.Record, len(pa.items))
		size := wire.BatchHeader
		for i, it := range pa.items {
			records[i] = it.record
			size += it.size
		}
		topic := pa.queue.tp.Topic
		codec := p.compression.CodecFor(topic, size)
		body, err := wire.AppendBatch(make([]byte, 4, 4+size), records, codec, time.Now())
		if err != nil {
			return err
		}
		if codec != nil {
			p.compression.Compressed(topic, size, len(body))
		}
		wire.PutSize(body)
		t, ok := byTopic[topic]
		if !ok {
			t = len(req.Topics)
			byTopic[topic] = t
			req.Topics = append(req.Topics, rawproduce.RequestTopic{Topic: p.conn.Full(topic)})
		}
		req.Topics[t].Partitions = append(req.Topics[t].Partitions, rawproduce.RequestPartition{
			Partition: int32(
				pa.queue.tp.Partition,
			), RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(body)},
		})
	}
	return nil
}

func (p *Publisher) outcomes(parcels []*parcel, res *produce.Response) {
	for _, pa := range parcels {
		pa.err = fault.Transientf("the broker's answer leaves out %s", pa.queue.tp)
	}
	for _, t := range res.Topics {
		for _, part := range t.Partitions {
			i := slices.IndexFunc(parcels, func(pa *parcel) bool {
				return pa.queue.tp == record.TopicPartition{
					Topic: p.conn.Logical(t.Topic), Partition: int(part.Partition),
				}
			})
			switch {
			case i < 0:
			case part.ErrorCode == 0:
				parcels[i].err = nil
			case part.ErrorMessage != "":
				parcels[i].err = wire.Classify(
					fmt.Errorf("%w (%s)", kafka.Error(part.ErrorCode), part.ErrorMessage),
				)
			default:
				parcels[i].err = wire.Classify(kafka.Error(part.ErrorCode))
			}
		}
	}
}

// finish reports what is final and puts back, in front, what is to be tried again.
func (p *Publisher) finish(parcels []*parcel) {
	for _, pa := range parcels {
		q := pa.queue
		switch {
		case pa.err == nil:
			for _, it := range pa.items {
				it.finish(nil)
			}
			p.release(q, nil, false)
		case len(pa.items) > 1 && fault.ClassOf(pa.err) == fault.Permanent:
			// One record is too large or refused, or all together are: halve until it stands alone,
			// so that the others do not pay for it.
			p.mu.Lock()
			q.limit = max(1, len(pa.items)/2)
			p.mu.Unlock()
			p.release(q, pa.items, false)
		case fault.ClassOf(pa.err) == fault.Transient:
			p.retry(q, pa)
		default:
			for _, it := range pa.items {
				it.finish(fmt.Errorf("emit to %s: %w", q.tp, pa.err))
			}
			p.release(q, nil, false)
		}
	}
}

// sendBackoff is how long a queue waits after failures in a row.
var sendBackoff = fault.Backoff{First: 40 * time.Millisecond, Max: time.Second}

// retry tries the items again after a pause, without holding up the sender. Those whose call has
// ended are settled by the call.
func (p *Publisher) retry(q *sendQueue, pa *parcel) {
	p.mu.Lock()
	q.failures++
	wait := sendBackoff.After(q.failures)
	for _, it := range pa.items {
		it.last = pa.err
	}
	p.mu.Unlock()
	p.working.Add(1)
	go func() {
		defer p.working.Done()
		if len(pa.items) > 0 {
			ctx, cancel := context.WithTimeout(pa.items[0].call.ctx, wait)
			<-ctx.Done()
			cancel()
			// Ask for the leader here, so that the queue is offered to the right broker.
			lookup, cancel := context.WithTimeout(p.requests, p.cfg.RequestTimeout)
			_, _ = p.conn.leaders(lookup, q.tp.Topic, true)
			cancel()
		}
		p.release(q, pa.items, true)
	}()
}

// expired is the error of an item whose call ended before the cluster took it.
func (i *sendItem) expired() error {
	err := i.call.ctx.Err()
	switch {
	case i.last != nil && errors.Is(err, context.Canceled):
		//nolint:errorlint // the class is that of the end
		return fault.As(
			fault.Canceled, fmt.Errorf("emit to %s: %w; before that: %v", i.to, err, i.last),
		)
	case i.last != nil:
		return fmt.Errorf("emit to %s: gave up: %w", i.to, i.last)
	}
	return wire.Classify(fmt.Errorf("emit to %s: %w", i.to, err))
}

// release ends the queue's turn; back goes in front of what has come in since.
func (p *Publisher) release(q *sendQueue, back []*sendItem, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	back = slices.DeleteFunc(back, func(it *sendItem) bool { return it.settled.Load() })
	if len(back) > 0 {
		q.items = append(slices.Clone(back), q.items...)
	} else if q.limit > 0 {
		q.limit = min(q.limit*2, wire.MaxRecords)
		if q.limit >= 4096 {
			q.limit = 0
		}
	}
	if !failed {
		q.failures = 0
	}
	q.busy = false
	p.markReady(q)
	p.startSenders()
}

// abandon settles what is left of a call that has ended. What is in a request may still land.
func (p *Publisher) abandon(items []*sendItem) {
	p.mu.Lock()
	for _, it := range items {
		it.finish(it.expired())
	}
	seen := map[record.TopicPartition]bool{}
	for _, it := range items {
		if seen[it.to] {
			continue
		}
		seen[it.to] = true
		q := p.queues[it.to]
		q.items = slices.DeleteFunc(
			q.items, func(other *sendItem) bool { return other.settled.Load() },
		)
	}
	p.mu.Unlock()
	// The caller may change the records from now on: wait for an encoder that still reads them.
	p.encoding.Lock()
	p.encoding.Unlock() //nolint:staticcheck // an empty critical section is the point
}
