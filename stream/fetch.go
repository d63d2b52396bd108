package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// maxFetches bounds the exchanges under way at once with one broker: one that waits for idle
// partitions, and some for busy ones.
const maxFetches = 3

// fetcher fills the partitions' queues. It asks only for partitions with room, which is how a slow
// handler holds the flow back.
type fetcher struct {
	g     *generation
	wake  chan struct{}
	turn  int // where the next request begins, for fairness: a response is filled in order
	tasks sync.WaitGroup

	mu       sync.Mutex
	underWay map[int32]int // exchanges by broker
}

func newFetcher(g *generation) *fetcher {
	return &fetcher{g: g, wake: make(chan struct{}, 1), underWay: map[int32]int{}}
}

func (f *fetcher) wakeUp() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run works until the generation ends.
func (f *fetcher) run() {
	defer f.tasks.Wait()
	for f.g.live.Err() == nil {
		timer := time.NewTimer(f.start())
		select {
		case <-f.wake:
		case <-timer.C:
		case <-f.g.live.Done():
		}
		timer.Stop()
	}
}

// start begins an exchange with each broker that has partitions to ask for, and returns when to
// look again at the latest.
func (f *fetcher) start() time.Duration {
	now := time.Now()
	byLeader := map[int32][]*partition{}
	f.turn++
	for i := range f.g.parts {
		p := f.g.parts[(i+f.turn)%len(f.g.parts)]
		if p.hasRoom(now) {
			leader, err := f.leader(p.tp)
			if err != nil || leader < 0 {
				f.delay(p, cmp.Or(err, fault.Transientf("partition %s has no leader", p.tp)))
				continue
			}
			byLeader[leader] = append(byLeader[leader], p)
		}
	}
	for leader, parts := range byLeader {
		f.mu.Lock()
		free := f.underWay[leader] < maxFetches
		if free {
			f.underWay[leader]++
		}
		f.mu.Unlock()
		if !free {
			continue // an exchange that ends wakes us
		}
		byTopic(parts)
		for _, p := range parts {
			p.setFetching(true)
		}
		f.tasks.Go(func() { f.exchange(leader, parts) })
	}
	return 100 * time.Millisecond
}

// byTopic puts the partitions of a topic together, as the request needs them, and leaves the topics
// in the order of their turn.
func byTopic(parts []*partition) {
	order := map[string]int{}
	for _, p := range parts {
		if _, ok := order[p.tp.Topic]; !ok {
			order[p.tp.Topic] = len(order)
		}
	}
	slices.SortStableFunc(
		parts,
		func(a, b *partition) int { return cmp.Compare(order[a.tp.Topic], order[b.tp.Topic]) },
	)
}

func (f *fetcher) leader(tp record.TopicPartition) (int32, error) {
	ctx, cancel := context.WithTimeout(f.g.live, f.g.cfg.RequestTimeout)
	defer cancel()
	l, err := f.g.conn.leaders(ctx, tp.Topic, false)
	if err != nil {
		return -1, err
	}
	if tp.Partition >= len(l) {
		return -1, fmt.Errorf("partition %s: %w", tp, wire.Classify(kafka.UnknownTopicOrPartition))
	}
	return l[tp.Partition], nil
}

// exchange performs one fetch.
func (f *fetcher) exchange(leader int32, parts []*partition) {
	defer f.wakeUp()
	defer func() {
		f.mu.Lock()
		f.underWay[leader]--
		f.mu.Unlock()
	}()
	c := f.g.cfg
	req := &wire.Fetch{
		Leader: leader, ClientID: f.g.conn.cfg.ClientID, Names: f.g.conn.names,
		MaxWaitMillis: int32(c.FetchMaxWait.Milliseconds()), MinBytes: int32(c.FetchMinBytes),
		MaxBytes: int32(c.FetchMaxBytes), PartitionMax: int32(c.FetchPartitionBytes),
	}
	byName := make(map[record.TopicPartition]*partition, len(parts))
	for _, p := range parts {
		req.Asks = append(req.Asks, wire.Ask{TP: p.tp, Offset: p.fetchOffset()})
		byName[p.tp] = p
	}
	start := time.Now()
	_, err := f.g.conn.roundTrip(f.g.live, c.FetchMaxWait+c.RequestTimeout, req)
	if err != nil {
		for _, p := range parts {
			f.delay(p, err)
			p.setFetching(false)
		}
		return
	}
	records := 0
	var topics []string
	for i := range req.Results {
		res := &req.Results[i]
		p := byName[res.TP]
		if p == nil {
			continue
		}
		delete(byName, res.TP)
		if n := f.accept(p, res, req.Empty); n > 0 {
			records += n
			if !slices.Contains(topics, res.TP.Topic) {
				topics = append(topics, res.TP.Topic)
			}
		}
		p.setFetching(false)
	}
	for _, p := range byName { // left out of the response
		p.setFetching(false)
	}
	if c.Hooks.Fetched != nil && records > 0 {
		c.Hooks.Fetched(topics, records, req.Bytes, time.Since(start))
	}
}

// accept takes one partition's part of a response and returns the number of records in it.
func (f *fetcher) accept(p *partition, res *wire.Fetched, empty bool) int {
	if res.Code != 0 {
		f.refused(p, res)
		return 0
	}
	from := p.fetchOffset()
	got, err := f.g.conn.decode(res, from)
	if err != nil {
		f.damaged(p, err)
		return 0
	}
	clock, err := f.g.conn.date(f.g.live, p.tp, p.clock, got.Records)
	if err != nil {
		f.damaged(p, err) // they are fetched again
		return 0
	}
	p.clock = clock
	if err := f.g.conn.passGap(f.g.live, &p.gap, &got, res, empty); err != nil {
		f.damaged(p, err)
		return 0
	}
	f.readable(p)
	next := got.Next
	if next > from || res.LastStable != p.logEnd() {
		p.add(got, res.LastStable)
	}
	if h := f.g.cfg.Hooks.Waiting; h != nil && res.LastStable >= 0 && next >= res.LastStable &&
		next < res.HighWatermark {
		h(p.tp, next, res.HighWatermark)
	}
	return len(got.Records)
}

// refused deals with a partition's error.
func (f *fetcher) refused(p *partition, res *wire.Fetched) {
	err := wire.Code(res.Code)
	if !errors.Is(err, kafka.OffsetOutOfRange) {
		f.delay(p, err)
		return
	}
	ctx, cancel := context.WithTimeout(f.g.live, f.g.cfg.RequestTimeout)
	defer cancel()
	bounds, err := f.g.conn.Bounds(ctx, map[string][]int{p.tp.Topic: {p.tp.Partition}})
	if err != nil {
		f.delay(p, err)
		return
	}
	b, at := bounds[p.tp], p.fetchOffset()
	switch {
	case at < b.First && f.g.expires(p.tp):
		p.lose(at, b.First, b.End)
		return
	case at < b.First:
		err = fmt.Errorf(
			"%w: reading %s at %d, but it begins at %d now: records were deleted before they "+
				"were read; a longer retention or a faster group helps",
			ErrOffsetExpired,
			p.tp,
			at,
			b.First,
		)
	case at > b.HighWatermark:
		err = fmt.Errorf(
			"%w: reading %s at %d, but it ends at %d now: the log was replaced or cut; "+
				"`slipstream rebuild` starts over from the log",
			ErrOffsetBeyondEnd,
			p.tp,
			at,
			b.HighWatermark,
		)
	default: // it fits again
		f.delay(p, kafka.OffsetOutOfRange)
		return
	}
	if f.g.cfg.OffsetPolicy == GoToFirst {
		f.g.log.Warn(
			"starting again at the first offset", "topic", p.tp.Topic, "partition", p.tp.Partition,
			"first", b.First, "reason", err,
		)
		p.clock = clockFrom(b.First, b.First)
		p.jump(b.First, b.End)
		return
	}
	p.stop()
	f.g.stopPartition(p.tp, fault.As(fault.Permanent, err))
}

// delay puts off the next fetch of a partition after a failure, and reports one that lasts. It
// returns how many there were in a row.
func (f *fetcher) delay(p *partition, err error) (failures int) {
	if f.g.live.Err() != nil {
		return 0
	}
	f.g.conn.Forget(p.tp.Topic)
	n := p.fail()
	if n == 3 || n%20 == 0 {
		f.g.failed(fmt.Errorf("fetch %s: %w", p.tp, wire.Classify(err)))
	}
	return n
}
