//go:build linux

package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// sender writes events and keeps at it until they are acknowledged: sending the same event again is
// safe, that is one of the promises.
type sender struct {
	name string
	rand *rand.Rand
	n    int
	pub  *stream.Publisher
	// target returns the address of an instance's API, or "".
	target func(*rand.Rand) string
	ledger *ledger
}

const source = "torture"

// id gives an event an id of its own.
func (s *sender) id(x schemas.Event) {
	id, src, _ := x.Identity()
	s.n++
	*id, *src = fmt.Sprintf("%s-%d", s.name, s.n), source
}

// send gives the events ids, writes them in order, and returns when all are acknowledged or ctx has
// ended.
func (s *sender) send(ctx context.Context, events ...schemas.Event) bool {
	for _, x := range events {
		s.id(x)
	}
	return s.again(ctx, events...)
}

// again is send for events that have ids already.
func (s *sender) again(ctx context.Context, events ...schemas.Event) bool {
	ids := make([]string, len(events))
	for i, x := range events {
		id, _, _ := x.Identity()
		ids[i] = *id
		s.ledger.sent(x.Record().Topic, *id)
	}
	viaHTTP := s.rand.IntN(2) == 0
	for attempt := 0; ctx.Err() == nil; attempt++ {
		if attempt > 2 {
			viaHTTP = s.rand.IntN(2) == 0
		}
		var err error
		if viaHTTP {
			err = s.post(ctx, events)
		} else {
			err = s.emit(ctx, events)
		}
		if err == nil {
			s.ledger.acked(viaHTTP, ids...)
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50+s.rand.IntN(250)) * time.Millisecond):
		}
	}
	return false
}

func (s *sender) emit(ctx context.Context, events []schemas.Event) error {
	records := make([]record.Record, len(events))
	for i, x := range events {
		records[i] = x.Record()
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return s.pub.Emit(ctx, records)
}

// structured is a CloudEvent in structured mode, which carries every kind.
type structured struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        schemas.Kind    `json:"type"`
	Time        time.Time       `json:"time"`
	Data        json.RawMessage `json:"data"`
}

func (s *sender) post(ctx context.Context, events []schemas.Event) error {
	batch := make([]structured, len(events))
	for i, x := range events {
		id, src, at := x.Identity()
		batch[i] = structured{"1.0", *id, *src, x.Kind(), *at, x.Record().Value}
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	status, err := s.request(
		ctx, http.MethodPost, "/v1/events", schemas.ContentTypeCloudEventBatch, body,
	)
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("answer %d", status)
	}
	return err
}

func (s *sender) request(
	ctx context.Context,
	method, path, media string,
	body []byte,
) (int, error) {
	to := s.target(s.rand)
	if to == "" {
		return 0, errors.New("no instance runs")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+to+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

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

const senders = 4

// run returns when every event that was begun is acknowledged or hard has ended; no new ones begin
// after ctx.
func (l *load) run(ctx, hard context.Context) {
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() { l.audience(ctx, hard, i) })
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
	for range 4 {
		if !act(stamp()) || !wait(hard, 500*time.Millisecond) {
			return
		}
	}
	_ = s.send(
		hard, &schemas.Friendship{UserID: me, FriendID: l.world.user(1), OccurredAt: stamp()},
	)
}

// plant writes a record that nobody can digest straight to Kafka.
func (s *sender) plant(ctx context.Context, p plant) error {
	s.n++
	m := record.Record{
		Topic: p.topic, Partition: record.AnyPartition, Key: fmt.Appendf(nil, "%s-%d", s.name, s.n),
		Value:   []byte(p.value),
		Headers: []record.Header{{Key: plantedHeader, Value: []byte(p.name)}},
	}
	if p.kind != "" {
		m.Headers = append(m.Headers, schemas.Envelope{
			ID: fmt.Sprintf("%s-%d", s.name, s.n), Source: source, Kind: p.kind,
		}.Headers(schemas.ContentTypeJSON)...)
	}
	for {
		short, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := s.pub.Emit(short, []record.Record{m})
		cancel()
		if err == nil {
			s.ledger.count(func(l *ledger) { l.planted++ })
			return nil
		}
		if !wait(ctx, 300*time.Millisecond) {
			return err
		}
	}
}
