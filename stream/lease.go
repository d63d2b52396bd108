package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/heartbeat"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/internal/wire"
)

// lease is this member's knowledge that it still owns its partitions: the broker gives them to
// nobody else before the session timeout has passed since the last sign of life that it answered.
// Signs of life are heartbeats and commits. The time of sending counts, not that of the answer, and
// the clock is the monotonic one, so that a paused process notices.
type lease struct {
	g *generation

	mu      sync.Mutex
	renewed time.Time
	// rebalancing is when a heartbeat first said that a rebalance has begun. The member is still in
	// the group, but no longer than the rebalance timeout if it does not join again.
	rebalancing time.Time
	revoked     bool

	asking sync.Mutex // one heartbeat at a time
}

func newLease(g *generation) *lease { return &lease{g: g, renewed: time.Now()} }

// run sends heartbeats of our own, since kafka-go does not tell when its own were answered and
// stops them when the generation ends. An error is not reported here: it matters when the lease is
// checked, and kafka-go's own heartbeat ends the generation.
func (l *lease) run() {
	for fault.Sleep(l.g.live, l.g.cfg.HeartbeatInterval) {
		if l.age() >= l.g.cfg.HeartbeatInterval/2 {
			_ = l.beat(l.g.ctx)
		}
	}
	// The generation has ended: because of a rebalance, in which we may still finish what is in
	// work, or because we were expelled?
	_ = l.beat(l.g.ctx)
	for fault.Sleep(l.g.ctx, l.g.cfg.HeartbeatInterval) {
		_ = l.beat(l.g.ctx)
	}
}

func (l *lease) age() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.renewed)
}

// valid reports whether the last sign of life is young enough.
func (l *lease) valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.revoked || l.g.ctx.Err() != nil || time.Since(l.renewed) >= l.g.cfg.SessionTimeout/2 {
		return false
	}
	return l.rebalancing.IsZero() || time.Since(l.rebalancing) < l.g.cfg.RebalanceTimeout/2
}

// renew notes a sign of life that was sent at the given time and answered well.
func (l *lease) renew(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent.After(l.renewed) {
		l.renewed = sent
	}
}

// revoke makes every later check fail.
func (l *lease) revoke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revoked = true
}

// check returns nil while the lease surely holds, after a heartbeat of its own if need be.
func (l *lease) check(ctx context.Context) error {
	if l.valid() {
		return nil
	}
	l.mu.Lock()
	revoked := l.revoked
	l.mu.Unlock()
	if revoked || l.g.ctx.Err() != nil {
		return fault.As(
			fault.Canceled,
			fmt.Errorf(
				"lease of group %s, generation %d: %w", l.g.cfg.Group, l.g.id, errGenerationEnded,
			),
		)
	}
	err := l.beat(ctx)
	if err == nil && l.valid() {
		return nil
	}
	if err == nil {
		err = errors.New("no answered heartbeat that is young enough")
	}
	// Canceled whatever the cause: whether the partition is still ours is not known, so the batch
	// is to be left alone.
	return &fault.Error{
		Class: fault.Canceled,
		Err:   fmt.Errorf("lease of group %s, generation %d: %w", l.g.cfg.Group, l.g.id, err),
	}
}

// beat sends one heartbeat.
func (l *lease) beat(ctx context.Context) error {
	l.asking.Lock()
	defer l.asking.Unlock()
	// A client may return the answer of a fast broker although the context has ended.
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	sent := time.Now()
	m, err := l.g.coordinator.ask(
		ctx,
		min(l.g.cfg.RequestTimeout, l.g.cfg.SessionTimeout/3),
		&heartbeat.Request{
			GroupID: l.g.conn.FullGroup(l.g.cfg.Group), GenerationID: int32(l.g.id),
			MemberID: l.g.member,
		},
	)
	if err == nil {
		err = l.g.coordinator.noted(m.(*heartbeat.Response).ErrorCode)
	}
	switch {
	case err == nil:
		l.renew(sent)
		return nil
	case errors.Is(err, kafka.RebalanceInProgress):
		l.mu.Lock()
		if l.rebalancing.IsZero() {
			l.rebalancing = sent
		}
		l.mu.Unlock()
		l.renew(sent)
		return nil
	case wire.Fenced(err):
		l.g.fence(err)
	}
	return fmt.Errorf("heartbeat: %w", wire.Classify(err))
}
