package processors

import (
	"context"
	"fmt"
	"sync"

	"github.com/slipstream-rec/slipstream/sinks"
)

// recentErasures are erasures that are applied again for a while. An older event may stand in
// another partition than the marker of the erasure: a member that does not know of the erasure yet
// may write it to the store after the member with the marker has erased. The zero value is empty.
// Safe for concurrent use.
type recentErasures struct {
	mu sync.Mutex
	// users are the users, each with the number of remaining rechecks.
	users map[string]*recentErasure
}

type recentErasure struct {
	sinks.Erasure
	rechecks int
}

func (r *recentErasures) remember(erased []sinks.Erasure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range erased {
		if old := r.users[e.UserID]; old == nil || !e.At.Before(old.At) {
			if r.users == nil {
				r.users = make(map[string]*recentErasure)
			}
			r.users[e.UserID] = &recentErasure{e, erasureRechecks}
		}
	}
}

// again erases all of them once more.
func (r *recentErasures) again(
	ctx context.Context, erase func(context.Context, []sinks.Erasure) error,
) error {
	r.mu.Lock()
	again := make([]sinks.Erasure, 0, len(r.users))
	for _, e := range r.users {
		again = append(again, e.Erasure)
	}
	r.mu.Unlock()
	if len(again) == 0 {
		return nil
	}
	if err := erase(ctx, again); err != nil {
		return fmt.Errorf("erase %d users again: %w", len(again), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range again {
		if x := r.users[e.UserID]; x != nil && x.At.Equal(e.At) {
			if x.rechecks--; x.rechecks <= 0 {
				delete(r.users, e.UserID)
			}
		}
	}
	return nil
}
