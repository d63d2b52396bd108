package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Why the context of a generation ended.
var (
	errGenerationEnded = fault.As(fault.Canceled, errors.New("the group's generation has ended"))
	errDrained         = fault.As(
		fault.Canceled,
		errors.New("the group's generation has ended and the time to drain has passed"),
	)
	errFenced        = errors.New("this member has lost its place in the group")
	errNewPartitions = errors.New("the topics' partitions have changed")
)

// subscription is one member of the group, from Subscribe to the closing of its channel.
type subscription struct {
	*Subscriber
	topics []string
	out    chan *message.Message
	values context.Context // the subscriber's values, without its end
	conns  connTracker
	warned atomic.Int64           // when the log was last told of a failure
	member atomic.Pointer[string] // as the broker calls it, since the first generation
	// known are the partitions of the topics as they were before the member joined, or as watch saw
	// them last: whoever assigns looks later, so a change in between is noticed, at the price of
	// joining once more.
	known map[string]int
}

// run takes part in generation after generation until ctx ends or the subscriber is closed.
func (s *subscription) run(ctx context.Context, group *kafka.ConsumerGroup) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	left := make(chan struct{})
	go func() {
		defer close(left)
		select {
		case <-ctx.Done():
		case <-s.closing:
			cancel()
		}
		s.leave(group)
	}()
	for {
		gen, err := group.Next(ctx)
		if err == nil {
			done := make(chan struct{})
			gen.Start(func(ended context.Context) {
				defer close(done)
				s.takePart(ended, gen)
			})
			<-done
			continue
		}
		if ctx.Err() != nil || errors.Is(err, kafka.ErrGroupClosed) {
			break
		}
		if !errors.Is(err, kafka.RebalanceInProgress) {
			s.failed(fmt.Errorf("join group %s: %w", s.cfg.Group, wire.Classify(err)))
		}
	}
	cancel()
	<-left
	close(s.out)
}

// leave ends the generation, which drains, and leaves the group. When the member is just joining
// again, that can take as long as the other members take; then the broker is told directly that it
// leaves, and at last the connections are cut. A member that is cut off during its first join is
// taken for gone when its session expires.
func (s *subscription) leave(group *kafka.ConsumerGroup) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		group.Close()
	}()
	for i, wait := range []time.Duration{
		2 * s.cfg.DrainTimeout, 2*s.cfg.DrainTimeout + time.Second,
	} {
		timer := time.NewTimer(wait)
		select {
		case <-done:
			timer.Stop()
			return
		case <-timer.C:
		}
		if i == 0 {
			s.resign()
		} else {
			s.conns.cut()
		}
	}
	<-done
}

// resign tells the broker that the member leaves, whatever it is doing.
func (s *subscription) resign() {
	member := s.member.Load()
	if member == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.values, s.cfg.RequestTimeout)
	defer cancel()
	_, err := s.conn.client.LeaveGroup(ctx, &kafka.LeaveGroupRequest{
		GroupID: s.conn.FullGroup(s.cfg.Group),
		Members: []kafka.LeaveGroupRequestMember{{ID: *member}},
	})
	if err != nil {
		s.log.Warn("leaving the group", "member", *member, "error", err)
	}
}

// failed reports something that is tried again: to the hook, or else to the log every ten seconds.
// An outage is one piece of news, not hundreds.
func (s *subscription) failed(err error) {
	if s.cfg.Hooks.Error != nil {
		s.cfg.Hooks.Error(err)
		return
	}
	now := time.Now().UnixNano()
	if last := s.warned.Load(); now-last < int64(10*time.Second) ||
		!s.warned.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("consumer group: trying again", "topics", s.topics, "error", err)
}

// generation is the time between two rebalances, in which this member owns some partitions.
//
// Its two contexts: live ends when the generation does; from then on nothing new is begun. ctx ends
// DrainTimeout later, or at once when the member is fenced; then nothing may act any more.
type generation struct {
	*subscription
	id      int
	member  string
	ctx     context.Context
	end     context.CancelCauseFunc
	live    context.Context
	endLive context.CancelCauseFunc
	lease   *lease
	commits *committer
	fetch   *fetcher
	parts   []*partition

	coordinator *coordinator
}

// takePart works through one generation and returns when nothing of it is running any more.
func (s *subscription) takePart(ended context.Context, kg *kafka.Generation) {
	g := &generation{subscription: s, id: int(kg.ID), member: kg.MemberID}
	s.member.Store(&kg.MemberID)
	g.ctx, g.end = context.WithCancelCause(s.values)
	g.live, g.endLive = context.WithCancelCause(g.ctx)
	defer g.end(errGenerationEnded)
	defer context.AfterFunc(ended, func() { g.endLive(errGenerationEnded) })()
	g.coordinator = &coordinator{conn: s.conn, group: s.cfg.Group}
	g.lease = newLease(g)
	g.commits = newCommitter(g)
	g.fetch = newFetcher(g)

	var helpers sync.WaitGroup
	helpers.Go(g.lease.run)
	helpers.Go(g.commits.run)
	tps := s.conn.assignedTo(kg)
	if s.cfg.Hooks.Generation != nil {
		s.cfg.Hooks.Generation(g.id, len(tps))
	}
	s.log.Debug("joined", "generation", g.id, "member", g.member, "partitions", len(tps))
	if g.prepare(tps) {
		g.work()
	} else {
		<-g.live.Done()
	}
	g.finish(&helpers)
	if s.cfg.Hooks.Generation != nil {
		s.cfg.Hooks.Generation(g.id, 0)
	}
	if s.cfg.Revoked != nil && len(tps) > 0 {
		s.cfg.Revoked(tps)
	}
}

func (c *Conn) assignedTo(kg *kafka.Generation) []record.TopicPartition {
	var tps []record.TopicPartition
	for topic, parts := range kg.Assignments {
		for _, p := range parts {
			tps = append(tps, record.TopicPartition{Topic: c.Logical(topic), Partition: p.ID})
		}
	}
	sortPartitions(tps)
	return tps
}

// work runs the workers and the fetcher until the generation ends and the workers are done.
func (g *generation) work() {
	var workers, helpers sync.WaitGroup
	helpers.Go(g.fetch.run)
	helpers.Go(g.watch)
	for _, p := range g.parts {
		workers.Go(p.run)
	}
	<-g.live.Done()
	// From here on at most one batch per partition is out. It may finish, for a while.
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		workers.Wait()
	}()
	timer := time.NewTimer(g.cfg.DrainTimeout)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
		g.end(errDrained)
		<-drained
	}
	helpers.Wait()
}

// finish commits what was acknowledged and gives up everything else.
func (g *generation) finish(helpers *sync.WaitGroup) {
	if !errors.Is(context.Cause(g.ctx), errFenced) {
		ctx, cancel := context.WithTimeout(
			g.values, min(g.cfg.RequestTimeout, g.cfg.SessionTimeout/6),
		)
		g.commits.last(ctx)
		cancel()
	}
	g.lease.revoke()
	g.endLive(errGenerationEnded)
	g.end(errGenerationEnded)
	helpers.Wait()
}

// fence drops everything of the generation: another member may own the partitions.
func (g *generation) fence(err error) {
	g.lease.revoke()
	g.end(fault.As(fault.Canceled, fmt.Errorf("%w: %w", errFenced, err)))
}

// watch ends the generation when a topic gets partitions or comes into being, so that they are
// assigned.
func (g *generation) watch() {
	for {
		for topic, n := range g.conn.counts(g.live, g.topics) {
			before, ok := g.known[topic]
			if g.known[topic] = n; ok && before != n {
				g.log.Info(
					"partitions changed, joining again", "topic", topic, "before", before, "now", n,
				)
				g.endLive(errNewPartitions)
				return
			}
		}
		if !fault.Sleep(g.live, g.cfg.WatchInterval) {
			return
		}
	}
}

// connTracker knows the network connections of one member, so that they can be cut.
type connTracker struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

type trackedConn struct {
	net.Conn
	tracker *connTracker
}

func (c *trackedConn) Close() error {
	c.tracker.closed(c)
	return c.Conn.Close()
}

func (t *connTracker) closed(c *trackedConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, c)
}

// dialer returns a copy of d whose connections are tracked.
func (t *connTracker) dialer(d *kafka.Dialer) *kafka.Dialer {
	tracked := *d
	tracked.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := d.DialFunc(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c := &trackedConn{Conn: raw, tracker: t}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.open == nil {
			t.open = map[net.Conn]struct{}{}
		}
		t.open[c] = struct{}{}
		return c, nil
	}
	return &tracked
}

func (t *connTracker) cut() {
	t.mu.Lock()
	var conns []net.Conn
	for c := range t.open {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}
