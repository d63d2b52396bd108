// Package simulator plays an audience with latent tastes, friends and a movie-like catalog.
package simulator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/slipstream-rec/slipstream/producers"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Config says how large the simulated world is and how fast it turns. Take DefaultConfig and change
// what you need.
type Config struct {
	// Seed decides the world: catalog, people, tastes. The same seed gives the same world.
	Seed uint64
	// Run tells one run over a world from another: it decides what people do, and is part of the
	// ids of events. The same seed and run give the same events as long as Lists answers the same.
	// Default: the time of the start.
	Run string
	// Users and Items are the sizes of the world at the start. Default 300 and 400.
	Users, Items int
	// Rate is the number of events per second; 0 is as many as the log takes. Default 50.
	Rate float64
	// Warmup is the number of events emitted at once at the start, dated over the hours before it,
	// so that there is something to learn from.
	Warmup int
	// Limit and Duration end the run after so many events or so long; 0 for never.
	Limit    int
	Duration time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Seed: 1, Users: 300, Items: 400, Rate: 50}
}

// Validate returns an error that says what to change, or nil.
func (c Config) Validate() error {
	var errs []error
	if c.Users < 2 || c.Items < 20 {
		errs = append(
			errs,
			fmt.Errorf(
				"the world needs at least 2 users and 20 items, not %d and %d", c.Users, c.Items,
			),
		)
	}
	if c.Rate < 0 || c.Warmup < 0 || c.Limit < 0 || c.Duration < 0 {
		errs = append(errs, errors.New("rate, warm-up, limit and duration must not be negative"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	return nil
}

// Lists gives people their current recommendations, so that the simulated ones can look at them.
type Lists interface {
	// Latest returns the list that the user would be shown now; nil when there is none.
	Latest(ctx context.Context, userID string) (*schemas.Recommendation, error)
}

// SimulatorSource is the source of every simulated event.
const SimulatorSource = "simulator"

// Simulator is an audience with tastes, friends and a catalog of films. People look at their
// recommendations when they have some, and browse when not; what they like follows from hidden
// tastes for genres and people, which a recommender can learn. It is not safe for concurrent use.
type Simulator struct {
	cfg   Config
	world *world
	lists Lists
	now   func() time.Time

	rng      *rand.Rand
	events   int
	sessions []*session
	visits   int
}

// New makes the world. lists may be nil: then people only browse.
func New(cfg Config, lists Lists, now func() time.Time) (*Simulator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	if cfg.Run == "" {
		cfg.Run = strconv.FormatInt(now().UnixMilli(), 36)
	}
	return &Simulator{
		cfg: cfg, lists: lists, now: now, world: newWorld(cfg.Seed, cfg.Users, cfg.Items),
		rng: rand.New(rand.NewPCG(cfg.Seed, schemas.Key(cfg.Run))),
	}, nil
}

// Affinity tells how much a user likes an item, from -1 to 1: the truth that a recommender tries to
// learn. It is 0 for ids that are not of this world.
func (s *Simulator) Affinity(userID, itemID string) float64 {
	u, i := s.world.userIndex(userID), s.world.itemIndex(itemID)
	if u < 0 || i < 0 {
		return 0
	}
	return s.world.affinity(u, i)
}

// World yields the catalog and the friendships at the start as records, the same for the same
// seed.
func (s *Simulator) World() []record.Record {
	start := s.now().UTC()
	out := make([]record.Record, 0, len(s.world.films)+len(s.world.friends))
	for i := range s.world.films {
		out = append(out, s.world.item(i, s.cfg.Seed, start).Message())
	}
	for _, p := range s.world.friends {
		f := schemas.Friendship{
			EventID: fmt.Sprintf("%d/friends/%d/%d", s.cfg.Seed, p[0], p[1]),
			Source:  SimulatorSource,
			UserID:  userID(p[0]), FriendID: userID(p[1]), OccurredAt: start,
		}
		out = append(out, f.Message())
	}
	return out
}

// tick is how often a running simulator emits what is due.
const tick = 50 * time.Millisecond

// Run emits the world, the warm-up, and then events at the configured rate until ctx ends, or limit
// or duration is reached. The end of ctx is no error. While the log is failing it waits.
func (s *Simulator) Run(ctx context.Context, emitter producers.Emitter) error {
	if err := s.run(ctx, emitter); ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *Simulator) run(ctx context.Context, emitter producers.Emitter) error {
	if err := emitChunks(ctx, emitter, s.World()); err != nil {
		return err
	}
	started := s.now()
	const past = 6 * time.Hour
	var warm []record.Record
	for i := range s.cfg.Warmup {
		if s.done(started) {
			break
		}
		at := started.Add(-past + time.Duration(float64(past)*float64(i)/float64(s.cfg.Warmup)))
		warm = append(warm, s.next(ctx, at))
	}
	if err := emitChunks(ctx, emitter, warm); err != nil {
		return err
	}
	paced, sent := s.now(), 0
	for !s.done(started) {
		due := 500
		if s.cfg.Rate > 0 {
			if err := producers.Wait(ctx, tick); err != nil {
				return err
			}
			due = int(s.now().Sub(paced).Seconds()*s.cfg.Rate) - sent
			// After an outage the audience does not catch up: it was not there.
			if behind := int(s.cfg.Rate) + 1; due > behind {
				sent += due - behind
				due = behind
			}
		}
		var batch []record.Record
		for range due {
			if s.done(started) {
				break
			}
			batch = append(batch, s.next(ctx, s.now()))
		}
		sent += len(batch)
		if err := emitChunks(ctx, emitter, batch); err != nil {
			return err
		}
	}
	return nil
}

func (s *Simulator) done(started time.Time) bool {
	return s.cfg.Limit > 0 && s.events >= s.cfg.Limit ||
		s.cfg.Duration > 0 && s.now().Sub(started) >= s.cfg.Duration
}

func emitChunks(ctx context.Context, emitter producers.Emitter, all []record.Record) error {
	for len(all) > 0 {
		n := min(len(all), 500)
		if err := producers.EmitAll(ctx, emitter, all[:n]); err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
		all = all[n:]
	}
	return ctx.Err()
}

// next returns the next event, at the given time.
func (s *Simulator) next(ctx context.Context, at time.Time) record.Record {
	at = at.UTC().Truncate(time.Millisecond)
	s.events++
	id := s.cfg.Run + "/" + strconv.Itoa(s.events)
	switch {
	case s.rng.IntN(600) == 0:
		i := s.world.release()
		x := s.world.item(i, s.cfg.Seed, at)
		x.EventID, x.PublishedAt = id, at
		return x.Message()
	case s.rng.IntN(250) == 0:
		if f, ok := s.world.meet(s.rng); ok {
			f.EventID, f.Source, f.OccurredAt = id, SimulatorSource, at
			return f.Message()
		}
	}
	x := s.act(ctx)
	x.EventID, x.Source, x.OccurredAt = id, SimulatorSource, at
	return x.Message()
}

// open is how many people are about at the same time.
const open = 12

// act lets one of the people who are about do the next thing.
func (s *Simulator) act(ctx context.Context) schemas.Interaction {
	for len(s.sessions) < open {
		s.sessions = append(s.sessions, s.begin(ctx))
	}
	i := s.rng.IntN(len(s.sessions))
	current := s.sessions[i]
	x := current.events[0]
	if current.events = current.events[1:]; len(current.events) == 0 {
		s.sessions[i] = s.sessions[len(s.sessions)-1]
		s.sessions = s.sessions[:len(s.sessions)-1]
	}
	return x
}

// session is one visit: what its user will do, in order.
type session struct{ events []schemas.Interaction }

// begin lets somebody come by. Active people come more often.
func (s *Simulator) begin(ctx context.Context) *session {
	u := s.world.someone(s.rng)
	s.visits++
	v := &visit{Simulator: s, user: u, id: s.cfg.Run + "-" + strconv.Itoa(s.visits)}
	if s.lists != nil && s.rng.Float64() < 0.8 {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		list, err := s.lists.Latest(ctx, userID(u))
		cancel()
		// Somebody who cannot be shown a list browses.
		if err == nil && list != nil && len(list.Items) > 0 {
			v.look(list)
		}
	}
	if len(v.events) == 0 || s.rng.Float64() < 0.3 {
		v.browse()
	}
	return &session{events: v.events}
}
