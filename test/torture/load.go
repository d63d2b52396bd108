//go:build linux

package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

// load plays the audience until ctx ends.
type load struct {
	cfg    Config
	world  world
	ledger *ledger
	sender func(name string, seed uint64) *sender
	// pace is how much of the configured rate is sent, in percent.
	pace atomic.Int64
	// progress is how much of the run is over, from 0 to 1.
	progress func() float64
}

const (
	senders     = 4
	transactors = 2
)

// run returns when every event that was begun is acknowledged or hard has ended; no new ones begin
// after ctx.
func (l *load) run(ctx, hard context.Context) {
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() { l.audience(ctx, hard, i) })
	}
	for i := range transactors {
		wg.Go(func() { l.transact(ctx, hard, i) })
	}
	wg.Go(func() { l.friends(ctx, hard) })
	wg.Go(func() { l.catalog(ctx, hard) })
	wg.Go(func() { l.badRequests(ctx) })
	wg.Go(func() { l.ask(ctx) })
	for i := range l.world.leavers {
		wg.Go(func() { l.leave(ctx, hard, i) })
	}
	wg.Wait()
}

// publishCatalog writes every item once.
func (l *load) publishCatalog(ctx context.Context) error {
	s := l.sender("catalog", 1)
	var batch []schemas.Event
	for i := range l.world.items {
		x := l.world.catalog(i, 0)
		batch = append(batch, &x)
	}
	if !s.send(ctx, batch...) {
		return fmt.Errorf("write the catalog: %w", ctx.Err())
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// audience sends the interactions of a part of the users, in small batches, and some of them twice.
func (l *load) audience(ctx, hard context.Context, part int) {
	s := l.sender(fmt.Sprintf("audience%d", part), uint64(100+part))
	held := make(map[int]map[string]bool)
	var before schemas.Event
	for {
		n := 1 + s.rand.IntN(10)
		if s.rand.IntN(50) == 0 {
			n = 150
		}
		pace := time.Duration(float64(n) * senders / l.cfg.Rate * float64(time.Second))
		if p := l.pace.Load(); p > 0 {
			pace = pace * 100 / time.Duration(p)
		}
		if !wait(ctx, pace) {
			return
		}
		batch := make([]schemas.Event, n)
		for i := range batch {
			u := part + senders*s.rand.IntN((l.world.users-part+senders-1)/senders)
			if held[u] == nil {
				held[u] = l.world.heldOutOf(u)
			}
			x := l.world.interaction(s.rand, u, held[u])
			batch[i] = &x
		}
		if !s.send(hard, batch...) {
			return
		}
		if before != nil && s.rand.IntN(4) == 0 {
			if !s.again(hard, before) {
				return
			}
			l.ledger.count(func(g *ledger) { g.twice++ })
		}
		before = batch[s.rand.IntN(n)]
	}
}

// friends adds and removes friendships among the users.
func (l *load) friends(ctx, hard context.Context) {
	s := l.sender("friends", 200)
	for wait(ctx, time.Duration(float64(8)/l.cfg.Rate*float64(time.Second))) {
		a, b := s.rand.IntN(l.world.users), s.rand.IntN(l.world.users)
		if a == b {
			continue
		}
		// A third are removals, some of them of what is not there.
		x := schemas.Friendship{
			UserID: l.world.user(a), FriendID: l.world.user(b % (a + 1)),
			Removed: s.rand.IntN(3) == 0, OccurredAt: stamp(),
		}
		if x.UserID == x.FriendID {
			continue
		}
		if s.rand.IntN(10) == 0 {
			// comes late
			x.OccurredAt = x.OccurredAt.Add(-time.Duration(s.rand.IntN(60)) * time.Second)
		}
		if !s.send(hard, &x) {
			return
		}
	}
}

// catalog changes items now and then.
func (l *load) catalog(ctx, hard context.Context) {
	s := l.sender("items", 300)
	for version := 1; wait(ctx, 700*time.Millisecond); version++ {
		x := l.world.catalog(s.rand.IntN(l.world.items), version)
		if !s.send(hard, &x) {
			return
		}
	}
}

// badRequests asks the API to take what it must refuse.
func (l *load) badRequests(ctx context.Context) {
	s := l.sender("bad", 400)
	bodies := []string{
		`{"user_id":"u0001"`, `{"user_id":"u0001","item_id":"i0001","action":"adore"}`,
		`{"user_id":"u0001","action":"like"}`,
		`{"user_id":"u0001","item_id":"i0001","action":"like","context":{"x":"` + string(
			bytes.Repeat([]byte("x"), 300_000),
		) + `"}}`,
	}
	for wait(ctx, 3*time.Second) {
		status, err := s.request(
			ctx, http.MethodPost, "/v1/events", schemas.ContentTypeJSON,
			[]byte(bodies[s.rand.IntN(len(bodies))]),
		)
		if err != nil {
			continue
		}
		l.ledger.count(func(g *ledger) {
			switch {
			case status >= 400 && status < 500:
				g.refusals++
			case status < 300:
				g.wronglyTaken++
			}
		})
	}
}

// ask asks for recommendations all the time, of whatever instance runs.
func (l *load) ask(ctx context.Context) {
	s := l.sender("ask", 500)
	for wait(ctx, 250*time.Millisecond) {
		to := s.target(s.rand)
		if to == "" {
			continue
		}
		list, err := l.recommendations(ctx, to, l.world.user(s.rand.IntN(l.world.users)))
		if ctx.Err() != nil {
			return
		}
		l.ledger.count(func(g *ledger) {
			switch {
			case err != nil:
				g.answers.Refused++
			case len(list.Degraded) > 0:
				g.answers.Degraded++
			default:
				g.answers.Whole++
			}
		})
	}
}

func (l *load) recommendations(
	ctx context.Context,
	of, user string,
) (list schemas.Recommendation, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodGet,
		"http://"+of+"/v1/users/"+user+"/recommendations?n=10",
		nil,
	)
	if err != nil {
		return list, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return list, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return list, fmt.Errorf("answer %d", res.StatusCode)
	}
	return list, json.NewDecoder(res.Body).Decode(&list)
}

// leave is the life of one person who is erased: actions, friends, the erasure, events from before
// it that come late, and for every third one a new life.
func (l *load) leave(ctx, hard context.Context, i int) {
	s := l.sender(fmt.Sprintf("leaver%d", i), uint64(1000+i))
	s.strays = func(schemas.Event) bool { return true }
	me := l.world.leaver(i)
	for l.progress() < 0.9*float64(i)/float64(max(l.world.leavers, 1)) {
		if !wait(ctx, 200*time.Millisecond) {
			return
		}
	}
	act := func(at time.Time) bool {
		return s.send(
			hard,
			&schemas.Interaction{
				UserID: me, ItemID: l.world.leaversItem(s.rand.IntN(100)), Action: schemas.Like,
				OccurredAt: at,
			},
		)
	}
	for n := range 6 {
		if !act(stamp()) || !wait(hard, 100*time.Millisecond) {
			return
		}
		if n%3 == 0 && !s.send(
			hard,
			&schemas.Friendship{
				UserID: me, FriendID: l.world.user(s.rand.IntN(l.world.users)), OccurredAt: stamp(),
			},
		) {
			return
		}
	}
	_ = s.send(
		hard,
		&schemas.User{UserID: me, Attributes: map[string]any{"country": "ch"}, OccurredAt: stamp()},
	)
	at := stamp()
	if !s.send(hard, &schemas.User{UserID: me, Erased: true, OccurredAt: at}) {
		return
	}
	s.clocks = false // an event that says it is later than the erasure is a return
	for n := range 3 {
		if !act(at.Add(-time.Duration(n)*time.Millisecond)) || !s.send(
			hard,
			&schemas.Friendship{
				UserID: me, FriendID: l.world.user(0), OccurredAt: at.Add(-time.Second),
			},
		) {
			return
		}
		if !wait(hard, time.Second) {
			return
		}
	}
	if i%3 != 0 {
		return
	}
	// Forwarded events are not in line with the erasure, so what comes of those that a person who
	// returns has in other partitions depends on who is faster.
	s.strays = func(schemas.Event) bool { return false }
	s.clocks = true
	for range 4 {
		if !act(stamp()) || !wait(hard, 500*time.Millisecond) {
			return
		}
	}
	_ = s.send(
		hard, &schemas.Friendship{UserID: me, FriendID: l.world.user(1), OccurredAt: stamp()},
	)
}
