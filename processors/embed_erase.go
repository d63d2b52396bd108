package processors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/sinks"
)

// erasedUser is the place and time of an erasure, and how many more times RecheckErasures checks
// that no late write has restored the user.
type erasedUser struct {
	topic    string
	erasure  sinks.UserErasure
	rechecks int
}

// erasureInterval is the time between two checks of recent erasures.
const erasureInterval = 10 * time.Second

// erasureRechecks times erasureInterval is far longer than a write of a member that has lost its
// partition can take.
const erasureRechecks = 30

// forget removes users' points as of their erasures. The store compares: a member that has lost the
// partition cannot delete what its successor has learned about a user who returned.
func (p *Embed) forget(ctx context.Context, src sinks.Source, erased []sinks.UserErasure) error {
	if err := p.users.ForgetUsers(ctx, src, erased); err != nil {
		return fmt.Errorf("erase %d users: %w", len(erased), err)
	}
	return nil
}

// RecheckErasures checks whether a late write has restored a recently erased user, and removes the
// point again. Call it every ten seconds.
func (p *Embed) RecheckErasures(ctx context.Context) error {
	p.mu.Lock()
	parts := maps.Clone(p.parts)
	p.mu.Unlock()
	var errs []error
	for n, part := range parts {
		errs = append(errs, p.recheckErased(ctx, n, part))
	}
	return errors.Join(errs...)
}

func (p *Embed) recheckErased(ctx context.Context, partition int, part *embedPart) error {
	part.mu.Lock()
	defer part.mu.Unlock()
	if len(part.erased) == 0 {
		return nil
	}
	points, err := p.users.GetUsers(ctx, slices.Collect(maps.Keys(part.erased)))
	if err != nil {
		return fmt.Errorf("look for %d erased users: %w", len(part.erased), err)
	}
	back := make(map[string][]sinks.UserErasure)
	for _, point := range points {
		if !p.erasures.Covers(point.ID, point.LastEventAt, point.ChangedAt) {
			continue // the user has returned since
		}
		e := part.erased[point.ID]
		back[e.topic] = append(back[e.topic], e.erasure)
		part.cache.Remove(point.ID)
	}
	for topic, users := range back {
		src := sinks.Source{Topic: topic, Partition: partition}
		if err := p.forget(ctx, src, users); err != nil {
			return err
		}
	}
	for id, e := range part.erased {
		if e.rechecks--; e.rechecks <= 0 {
			delete(part.erased, id)
		}
	}
	return nil
}
