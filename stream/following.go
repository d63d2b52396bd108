package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// partitionFails is what is logged, once, when partitions of a followed topic cannot be read. It is
// for developers: Progress tells of failures, and an outage concerns many followers.
const partitionFails = "partitions of a followed topic cannot be read: trying again"

// following is a follower at work. Requests run in goroutines of their own, at most one for each
// broker, and what they bring is applied by the goroutine of Run: a broker that does not answer
// holds up nothing but its own partitions.
type following struct {
	*Follower
	answers  chan func() error
	requests sync.WaitGroup

	asking   bool           // whether the layout is being asked for
	layoutAt time.Time      // when to ask for it again
	busy     map[int32]bool // the brokers that have been asked and have not answered
	turns    map[int32]int  // of each broker
}

// follow returns nil when ctx ends, or the error of fn.
func (f *Follower) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	w := &following{
		Follower: f, answers: make(chan func() error),
		busy: map[int32]bool{}, turns: map[int32]int{},
	}
	defer w.requests.Wait()
	defer cancel()
	for {
		t := time.NewTimer(time.Until(w.dispatch(ctx, time.Now())))
		select {
		case apply := <-w.answers:
			t.Stop()
			if err := apply(); err != nil {
				return err
			}
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// request runs f beside the loop, which then applies what f returns.
func (w *following) request(ctx context.Context, f func() (apply func() error)) {
	w.requests.Go(func() {
		apply := f()
		select {
		case w.answers <- apply:
		case <-ctx.Done():
		}
	})
}

// dispatch starts the requests that are due and returns when the next ones are.
func (w *following) dispatch(ctx context.Context, now time.Time) (next time.Time) {
	next = now.Add(w.conn.cfg.MetadataTTL)
	ready := map[int32][]*followed{}
	for _, p := range w.partitions {
		switch {
		case p.asked, w.busy[p.leader]:
		case now.Before(p.retry.until):
			next = earlier(next, p.retry.until)
		case p.leader < 0:
			w.relayout(now)
		default:
			ready[p.leader] = append(ready[p.leader], p)
		}
	}
	for leader, parts := range ready {
		w.ask(ctx, leader, parts)
	}
	if at := later(w.layoutAt, w.layout.until); w.asking {
		return next
	} else if now.Before(at) {
		return earlier(next, at)
	}
	w.asking = true
	w.request(ctx, func() func() error {
		leaders, err := w.conn.leaders(ctx, w.topic, false)
		return func() error { w.setLayout(leaders, err); return nil }
	})
	return next
}

// relayout has the layout asked for again as soon as may be.
func (w *following) relayout(now time.Time) {
	if !w.asking {
		w.conn.Forget(w.topic)
		w.layoutAt = now
	}
}

// setLayout takes in who leads the partitions.
func (w *following) setLayout(leaders []int32, err error) {
	w.asking = false
	now := time.Now()
	if err != nil {
		w.conn.Forget(w.topic)
		w.mu.Lock()
		warn := w.layout.failed(now, err, w.slowest)
		w.mu.Unlock()
		if warn {
			w.log.Debug("a followed topic cannot be looked up: trying again",
				"topic", w.topic, "error", err)
		}
		return
	}
	w.layoutAt = now.Add(w.conn.cfg.MetadataTTL)
	w.mu.Lock()
	logged := w.layout.succeeded()
	for i := len(w.partitions); i < len(leaders); i++ {
		w.partitions = append(
			w.partitions,
			&followed{tp: record.TopicPartition{Topic: w.topic, Partition: i}, target: -1},
		)
	}
	w.mu.Unlock()
	if logged {
		w.log.Debug("a followed topic can be looked up again", "topic", w.topic)
	}
	var lost []*followed
	for i, p := range w.partitions {
		p.leader = -1
		if i < len(leaders) {
			p.leader = leaders[i]
		}
		if p.leader < 0 && !p.asked && !now.Before(p.retry.until) {
			lost = append(lost, p)
		}
	}
	w.note(now, wire.Classify(kafka.LeaderNotAvailable), lost)
	w.noteCaughtUp()
}

// ask sends one broker a request for partitions that it leads: for the ends of those whose ends are
// not known, if there are any, else for records.
func (w *following) ask(ctx context.Context, leader int32, parts []*followed) {
	var unknown []*followed
	for _, p := range parts {
		if !p.known {
			unknown = append(unknown, p)
		}
	}
	if len(unknown) > 0 {
		parts = unknown
	}
	// A response is filled in order: the partitions take turns in being first.
	turn := w.turns[leader] % len(parts)
	w.turns[leader]++
	parts = append(parts[turn:len(parts):len(parts)], parts[:turn]...)

	asks := make([]wire.Ask, len(parts))
	tps := make([]record.TopicPartition, len(parts))
	for i, p := range parts {
		p.asked = true
		tps[i], asks[i] = p.tp, wire.Ask{TP: p.tp, Offset: p.next}
	}
	w.busy[leader] = true
	answered := func(f func() error) func() error {
		return func() error {
			delete(w.busy, leader)
			for _, p := range parts {
				p.asked = false
			}
			return f()
		}
	}
	w.request(ctx, func() func() error {
		if len(unknown) > 0 {
			ends, failed, err := w.conn.ends(ctx, leader, tps)
			return answered(func() error { w.setEnds(parts, ends, failed, err); return nil })
		}
		results, empty, err := w.conn.fetch(ctx, leader, asks)
		return answered(func() error { return w.takeAll(parts, results, empty, err) })
	})
}

// setEnds takes in where the logs of partitions begin and end. The follower goes to their
// beginnings.
func (w *following) setEnds(
	parts []*followed,
	ends map[record.TopicPartition]Bounds,
	failed map[record.TopicPartition]error,
	err error,
) {
	if err != nil {
		w.fail(err, parts...)
		return
	}
	for _, p := range parts {
		if err := failed[p.tp]; err != nil {
			w.fail(err, p)
			continue
		}
		b := ends[p.tp]
		if p.target >= 0 {
			w.log.Warn("starting again at the first offset",
				"topic", w.topic, "partition", p.tp.Partition, "at", p.next, "first", b.First)
		}
		w.mu.Lock()
		if p.target < 0 {
			p.first, p.target = b.First, b.End
		}
		// A log that was cut does not reach the old target.
		p.target = min(p.target, b.End)
		p.first = min(p.first, p.target)
		p.known, p.next, p.clock = true, b.First, record.Clock{}
		p.retry.until = time.Time{} // the fetch may follow at once
		w.mu.Unlock()
	}
	w.noteCaughtUp()
}

// takeAll hands on what a broker has answered to a fetch.
func (w *following) takeAll(
	parts []*followed,
	results []wire.Fetched,
	empty bool,
	err error,
) error {
	if err != nil {
		w.fail(err, parts...)
		return nil
	}
	missing := map[int]*followed{}
	for _, p := range parts {
		missing[p.tp.Partition] = p
	}
	for i := range results {
		res := &results[i]
		p := missing[res.TP.Partition]
		if p == nil {
			continue
		}
		delete(missing, res.TP.Partition)
		if err := w.accept(p, res, empty); err != nil {
			return err
		}
	}
	for _, p := range missing {
		w.fail(fault.Transientf("fetch %s: the broker's answer leaves it out", p.tp), p)
	}
	w.noteCaughtUp()
	return nil
}

// accept hands on the records of one partition. Its error is that of fn.
func (w *following) accept(p *followed, res *wire.Fetched, empty bool) error {
	if res.Code != 0 {
		err := wire.Code(res.Code)
		if errors.Is(err, kafka.OffsetOutOfRange) {
			p.known = false
		}
		w.fail(fmt.Errorf("fetch %s: %w", p.tp, wire.Classify(err)), p)
		return nil
	}
	got, err := w.conn.decode(res, p.next)
	if err != nil {
		w.fail(err, p)
		return nil
	}
	w.conn.bound(got.Records)
	p.clock.Raise(got.Records) // it began at the first offset
	for i := range got.Records {
		if err := w.fn(&got.Records[i]); err != nil {
			return fmt.Errorf("offset %d of %s: %w", got.Records[i].Offset, p.tp, err)
		}
	}
	for i := range got.Undecodable {
		u := &got.Undecodable[i]
		w.log.Error("a batch of a followed topic cannot be read and is skipped", "topic", w.topic,
			"partition", u.Partition, "first", u.First, "last", u.Last, "reason", u.Reason)
		w.conn.skip(u)
	}
	w.mu.Lock()
	p.next = p.gap.Next(got.Next, res.LastStable, empty)
	logged := p.retry.succeeded()
	w.mu.Unlock()
	if logged {
		w.log.Debug("a partition of a followed topic can be read again",
			"topic", w.topic, "partition", p.tp.Partition)
	}
	return nil
}

// fail notes that partitions could not be read. Their leaders may be others by now.
func (w *following) fail(err error, parts ...*followed) {
	now := time.Now()
	w.note(now, err, parts)
	w.relayout(now)
}

// note has partitions wait after a failure.
func (w *following) note(now time.Time, err error, parts []*followed) {
	var warn []int
	w.mu.Lock()
	for _, p := range parts {
		if p.retry.failed(now, err, w.slowest) {
			warn = append(warn, p.tp.Partition)
		}
	}
	w.mu.Unlock()
	if len(warn) > 0 {
		w.log.Debug(partitionFails, "topic", w.topic, "partitions", warn, "error", err)
	}
}

// noteCaughtUp closes caughtUp when every partition has reached its target.
func (w *following) noteCaughtUp() {
	select {
	case <-w.caughtUp:
		return
	default:
	}
	for _, p := range w.partitions {
		if p.target < 0 || !p.known || p.next < p.target {
			return
		}
	}
	close(w.caughtUp)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
