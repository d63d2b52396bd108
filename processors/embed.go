package processors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/forward"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// EmbedDeclaration declares the processor of interactions.
func EmbedDeclaration() Declaration {
	return Declaration{
		Name: schemas.GroupEmbed, Inputs: []string{schemas.TopicInteractions},
		BatchIntents: true, Splittable: true, Forwards: schemas.TopicInteractions,
		Writes: []Store{StoreUsers}, Fills: "vectors of users",
		New: func(d Deps) Instance {
			c := DefaultEmbedConfig(d.Settings.Partitions)
			c.RecentIDs, c.Epoch = d.Settings.RecentIDs, d.Settings.Epoch
			c.MaxClockSkew = d.Settings.MaxClockSkew
			c.Corrupt, c.Repaired = d.Hooks.UserCorrupt, d.Hooks.UserRepaired
			c.Misplaced = d.Hooks.Misplaced
			p := NewEmbed(d.Users, d.Streams, d.ItemFactors, d.Erasures, c)
			return Instance{Processor: p, Tasks: []Task{
				{Name: "recheck erased users", Interval: erasureInterval, Run: p.RecheckErasures},
			}}
		},
	}
}

// EmbedConfig holds the settings of Embed.
type EmbedConfig struct {
	// RecentIDs is the size of the deduplication window, in offsets per partition. Default 50,000.
	RecentIDs int
	// CachedUsers is the number of user states cached per partition, about 1 kB each. Default
	// 20,000.
	CachedUsers int
	// ItemPartitions is the number of partitions of items, item-gradients and item-vectors.
	ItemPartitions int
	// UserPartitions is the number of partitions of interactions, embed.misplaced and embed.replay.
	// 0 forwards nothing: every event counts where it stands.
	UserPartitions int
	// MaxClockSkew is forward.Config.MaxClockSkew. Default 5 minutes.
	MaxClockSkew time.Duration
	// Epoch is the epoch of the log (admin.Epoch). It is part of every position written. Default
	// sinks.FirstEpoch.
	Epoch int
	// Corrupt is called when the stored state of a user cannot be decoded and is about to be
	// rebuilt from the log. Repaired is called when it has been rebuilt, with the number of
	// positive events. Both may be called concurrently and must not block. nil is no call.
	Corrupt  func(userID string, err error)
	Repaired func(userID string, events int)
	// Misplaced is called when records have been forwarded to embed.misplaced, once for each source
	// of a batch. It may be called concurrently and must not block. nil is no call.
	Misplaced func(Misplaced)
}

// DefaultEmbedConfig returns the defaults for n item partitions.
func DefaultEmbedConfig(n int) EmbedConfig {
	return EmbedConfig{
		RecentIDs: 50_000, CachedUsers: 20_000, ItemPartitions: n, UserPartitions: n,
		Epoch: sinks.FirstEpoch, MaxClockSkew: 5 * time.Minute,
	}
}

// UserStore is what Embed needs of the store of users. sinktest.Users says what its methods
// promise.
type UserStore interface {
	GetUsers(ctx context.Context, ids []string) ([]sinks.User, error)
	PutUsers(ctx context.Context, src sinks.Source, batch []sinks.User) error
	ForgetUsers(ctx context.Context, src sinks.Source, batch []sinks.UserErasure) error
}

// Embed learns from interactions. Each one updates its user's state at once and adds gradients for
// item factors. The sums go to the items' owner as one message per range and item partition. The
// order of effects is: sums acknowledged, user states written, range closed (by the caller). In any
// other order a crash could lose gradients.
type Embed struct {
	users    UserStore
	emit     Emitter
	log      Log
	streams  Streams
	factors  *ItemFactors
	erasures *Erasures
	cfg      EmbedConfig
	forward  *forward.Forwarder

	mu    sync.Mutex
	parts map[int]*embedPart
	// seeded is set when the ring of negatives has been filled once.
	seeded bool
}

var _ Processor = (*Embed)(nil)

// NewEmbed returns the processor of the topics interactions, embed.misplaced and embed.replay.
func NewEmbed(
	users UserStore, streams Streams, factors *ItemFactors, erasures *Erasures, cfg EmbedConfig,
) *Embed {
	if cfg.Corrupt == nil {
		cfg.Corrupt = func(string, error) {}
	}
	if cfg.Repaired == nil {
		cfg.Repaired = func(string, int) {}
	}
	if cfg.Misplaced == nil {
		cfg.Misplaced = func(Misplaced) {}
	}
	return &Embed{
		users: users, emit: streams.Emit, log: streams.Log, streams: streams, factors: factors,
		erasures: erasures, cfg: cfg, parts: make(map[int]*embedPart),
		forward: newForwarder(schemas.GroupEmbed, streams, cfg.UserPartitions, cfg.MaxClockSkew),
	}
}

// embedPart is the state of one partition number, for interactions and the topics of misplaced and
// of replayed events together: all hold the same users.
type embedPart struct {
	mu      sync.Mutex
	learner *model.Learner
	sums    *model.Sums
	windows map[string]*window
	cache   *simplelru.LRU[string, *userState]
	// erased are the users erased recently.
	erased map[string]*erasedUser
	// next is the offset after the last batch handled, by topic. unfinished are the topics whose
	// next batch has started and may have had effects.
	next       map[string]int64
	unfinished map[string]bool
	// repair is the rebuild that the current batch of the replay topic works on, or nil.
	repair *repair
}

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

// userState is a user's point, decoded.
type userState struct {
	point sinks.User
	model model.User
	// repaired is set when the state was rebuilt because the stored one is corrupt. pending are the
	// events still to be learned from then (see repair).
	repaired bool
	pending  []pendingEvent
}

// position returns the position of an offset in the current epoch.
func (p *Embed) position(offset int64) sinks.Position {
	return sinks.PositionOf(p.cfg.Epoch, offset)
}

func (p *Embed) part(partition int) *embedPart {
	p.mu.Lock()
	defer p.mu.Unlock()
	if part := p.parts[partition]; part != nil {
		return part
	}
	cache, err := simplelru.NewLRU[string, *userState](max(p.cfg.CachedUsers, 1), nil)
	if err != nil {
		panic(err) // the size is positive
	}
	part := &embedPart{
		learner: model.NewLearner(p.factors.table), sums: model.NewSums(p.factors.table),
		windows: make(map[string]*window), cache: cache, erased: make(map[string]*erasedUser),
		next: make(map[string]int64), unfinished: make(map[string]bool),
	}
	p.parts[partition] = part
	return part
}

// Assign rebuilds the deduplication window and, the first time, the ring of negatives from the log.
// It drops cached users: another member may have changed them.
func (p *Embed) Assign(ctx context.Context, parts []record.Assignment) error {
	seeded := p.seedNegatives(len(parts))
	for _, a := range parts {
		part := p.part(a.Partition)
		part.mu.Lock()
		part.cache.Purge()
		part.next[a.Topic], part.unfinished[a.Topic], part.repair = a.Next, false, nil
		w := newWindow(p.cfg.RecentIDs)
		err := p.log.Read(
			ctx,
			a.Topic,
			a.Partition,
			max(0, a.Next-int64(p.cfg.RecentIDs)),
			a.Next,
			func(r *record.Record) error {
				x, _, err := p.interaction(r)
				if errors.Is(err, schemas.ErrErasureMarker) {
					u, err := schemas.DecodeUser(r)
					if err == nil && p.checkMarker(r, u.UserID) == nil {
						w.seen(r.Offset, markerIdentity(&u))
						part.erased[u.UserID] = &erasedUser{a.Topic, sinks.UserErasure{
							ID: u.UserID, Position: p.position(r.Offset), At: u.OccurredAt,
						}, erasureRechecks}
					}
					return nil
				}
				if err == nil { // else it became a dead letter when first read
					w.seen(r.Offset, identity(r, &x))
					if a.Next-r.Offset <= seeded {
						p.addNegative(&x)
					}
				}
				return nil
			},
		)
		if err == nil {
			part.windows[a.Topic] = w
		}
		part.mu.Unlock()
		if err != nil {
			return fmt.Errorf("rebuild recent ids of %s/%d: %w", a.Topic, a.Partition, err)
		}
	}
	return nil
}

// seedNegatives fills the ring of negatives by the items' counts, once, and returns how many of the
// latest events of each of n partitions to add. Later the ring follows the events learned here and,
// through the counts, those learned elsewhere.
func (p *Embed) seedNegatives(n int) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seeded || n == 0 {
		return 0
	}
	p.seeded = true
	p.factors.mu.RLock()
	defer p.factors.mu.RUnlock()
	p.factors.table.FillNegatives(p.factors.table.Config().Seed)
	return int64(p.factors.table.Config().Buffer / n)
}

// addNegative adds the item of a past positive event to the ring of negatives.
func (p *Embed) addNegative(x *schemas.Interaction) {
	p.factors.mu.RLock()
	defer p.factors.mu.RUnlock()
	if i := p.factors.table.Lookup(model.KeyOf(x.ItemID)); i != model.None && p.strength(x) > 0 {
		p.factors.table.AddNegative(i)
	}
}

// Revoke drops the state of the partitions.
func (p *Embed) Revoke(parts []record.TopicPartition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range parts {
		delete(p.parts, a.Partition)
	}
}

// identity returns the key for deduplication: source and id, the id of a replayed dead letter with
// the attempts it had been charged with, or the origin of a forwarded event, which was judged by
// its id where it stood before. A dead letter that fails when it is replayed is charged with more,
// and is another event then when it is replayed once more.
func identity(r *record.Record, x *schemas.Interaction) [2]uint64 {
	switch r.Topic {
	case schemas.TopicInteractions:
	case misplacedInteractions:
		if o, err := record.OriginOf(r); err == nil {
			return eventKey("forwarded", o.String())
		}
	default:
		if id := r.Header(record.HeaderID); id != "" {
			return eventKey("replay", id+"/"+r.Header(record.HeaderAttempts))
		}
	}
	return eventKey(x.Source, x.EventID)
}

// markerIdentity returns the key for deduplicating an erasure marker. After a crash the marker is
// written again, and must not erase what the user has done since.
func markerIdentity(u *schemas.User) [2]uint64 {
	return eventKey("erasure of "+u.Source, u.EventID)
}

// embedEvent is one step of a batch: an event to learn from, an erasure (erased is set), or a
// request to rebuild the user if the stored state is corrupt (repair is set).
type embedEvent struct {
	index int
	x     schemas.Interaction
	// recorded is when the log took the event, at its origin if it was forwarded.
	recorded time.Time
	erased   bool
	repair   bool
	// older is set when the items have learned from the event where it stood, see ForwardOlder.
	older bool
}

// Handle learns from the batch. A user whose stored state is corrupt is skipped and rebuilt from
// the log, see repair. If a newer version of the program wrote a user's state, the partition waits:
// only the newer version may update it.
func (p *Embed) Handle(ctx context.Context, b *record.Batch) error {
	part := p.part(b.Partition)
	if err := p.prepareRepair(ctx, part, b); err != nil {
		return err
	}
	part.mu.Lock()
	defer part.mu.Unlock()
	if err := p.finishRepair(ctx, part, b); err != nil {
		return err
	}
	w := part.windows[b.Topic]
	if w == nil {
		w = newWindow(p.cfg.RecentIDs)
		part.windows[b.Topic] = w
	}
	events, moves, rejects := p.decode(w, b)
	if err := moves.forward(ctx, p.forward, b, rejects, p.cfg.Misplaced); err != nil {
		return err
	}
	states, corrupt, err := p.load(ctx, part, b, events)
	if err != nil {
		return err
	}
	part.unfinished[b.Topic] = true
	events, deferred := p.leaveOut(b, events, corrupt, states)
	changed, erased := p.learn(part, b, events, states)
	if err := p.commit(ctx, part, b, changed, erased, deferred); err != nil {
		// The store does not have what was learned. Drop it from the cache: the range is delivered
		// again.
		for _, s := range changed {
			part.cache.Remove(s.state.point.ID)
		}
		return err
	}
	part.next[b.Topic], part.unfinished[b.Topic] = b.Last+1, false
	if part.repairFor(b) != nil {
		part.repair = nil
	}
	return rejects.Err()
}

// decode returns the steps of a batch, and the records to be forwarded. w is the deduplication
// window of its partition.
func (p *Embed) decode(
	w *window, b *record.Batch,
) (events []embedEvent, moves *misplaced, rejects *fault.Reject) {
	rejects = new(fault.Reject)
	moves = &misplaced{group: schemas.GroupEmbed, topic: b.Topic}
	w.rewind(b.First)
	events = make([]embedEvent, 0, len(b.Records))
	for i := range b.Records {
		r := &b.Records[i]
		dead := b.IsDeadLetter(r)
		if x, ok := decodeRepairRequest(r); ok {
			if !dead && !p.erasures.coversChange(&x) {
				events = append(events, embedEvent{index: i, repair: true, x: schemas.Interaction{
					UserID: x.UserID, EventID: x.EventID, OccurredAt: x.OccurredAt,
				}})
			}
			continue
		}
		x, recorded, err := p.interaction(r)
		if errors.Is(err, schemas.ErrErasureMarker) {
			var u schemas.User
			if u, err = schemas.DecodeUser(r); err == nil {
				err = p.checkMarker(r, u.UserID)
			}
			if err == nil {
				p.erasures.Add(
					schemas.Erasure{UserKey: schemas.Key(u.UserID), ErasedAt: u.OccurredAt},
				)
				if w.seen(r.Offset, markerIdentity(&u)) || dead {
					continue
				}
				events = append(
					events,
					embedEvent{
						index:  i,
						x:      schemas.Interaction{UserID: u.UserID, OccurredAt: u.OccurredAt},
						erased: true,
					},
				)
				continue
			}
		}
		if err != nil {
			if !dead {
				rejects.Add(i, fault.As(fault.Permanent, err))
			}
			continue
		}
		if w.seen(r.Offset, identity(r, &x)) || dead ||
			p.erasures.Covers(x.UserID, x.OccurredAt, recorded) || p.strength(&x) == 0 {
			continue
		}
		if !p.owns(b.Partition, x.UserID) {
			moves.add(forward.Move{Index: i, Key: []byte(x.UserID)}, x.Source)
			continue
		}
		events = append(events, embedEvent{
			index: i, x: x, recorded: recorded,
			older: wasForwarded(r, schemas.GroupEmbed) && record.IsOlder(r),
		})
	}
	return events, moves, rejects
}

// interaction decodes an event, a forwarded one as of its origin, and returns when the log took it.
func (p *Embed) interaction(r *record.Record) (x schemas.Interaction, at time.Time, err error) {
	origin, err := atOrigin(r, schemas.GroupEmbed)
	if err != nil {
		return x, at, err
	}
	x, err = schemas.DecodeInteraction(origin)
	if err == nil && r.Topic == misplacedInteractions {
		err = checkForwarded(r, x.UserID, p.cfg.UserPartitions)
	}
	return x, recordedAt(origin, x.OccurredAt), err
}

// checkMarker rejects an erasure marker that erase has not written: it stands in a partition of
// others, or was forwarded. Its position says nothing of what the user's point has absorbed.
func (p *Embed) checkMarker(r *record.Record, userID string) error {
	if r.Topic != misplacedInteractions && p.owns(r.Partition, userID) {
		return nil
	}
	return fault.Permanentf("an erasure marker of %q does not belong in partition %d of %s: "+
		"erase users on the topic %s", userID, r.Partition, r.Topic, schemas.TopicUsers)
}

// owns tells whether the user's events belong in the partition.
func (p *Embed) owns(partition int, userID string) bool {
	return p.cfg.UserPartitions == 0 ||
		record.PartitionOf([]byte(userID), p.cfg.UserPartitions) == partition
}

func (p *Embed) strength(x *schemas.Interaction) float32 {
	var value float64
	if x.Value != nil {
		value = *x.Value
	}
	signals := p.factors.table.Config().Signals
	return signals.Strength(string(x.Action), value, x.Value != nil)
}

// load returns the states of the events' users, from the cache or the store, with new states for
// unknown users. corrupt holds the points whose states cannot be decoded.
func (p *Embed) load(
	ctx context.Context, part *embedPart, b *record.Batch, events []embedEvent,
) (states map[string]*userState, corrupt map[string]*sinks.User, err error) {
	states, corrupt = make(map[string]*userState, len(events)), make(map[string]*sinks.User)
	var missing []string
	for i := range events {
		id := events[i].x.UserID
		if _, ok := states[id]; ok {
			continue
		}
		s, ok := part.cache.Get(id)
		if !ok {
			missing = append(missing, id)
		}
		states[id] = s
	}
	points, err := p.users.GetUsers(ctx, missing)
	if err != nil {
		return nil, nil, fmt.Errorf("read %d users: %w", len(missing), err)
	}
	for i, point := range points {
		s := &userState{point: point}
		if point.Damaged == nil &&
			p.erasures.Covers(point.ID, point.LastEventAt, point.ChangedAt) {
			continue // a late write restored an erased user
		}
		if point.Erased() {
			states[point.ID] = s
			continue
		}
		err := s.model.Decode(point.State)
		if point.Damaged != nil && !errors.Is(err, model.ErrNewerFormat) {
			err = point.Damaged
		}
		switch {
		case errors.Is(err, model.ErrNewerFormat):
			return nil, nil, newerState(point.ID, err)
		case err != nil:
			if s = part.repairFor(b).result(&points[i]); s == nil {
				corrupt[point.ID] = &points[i]
				p.cfg.Corrupt(point.ID, err)
				continue
			}
		}
		states[point.ID] = s
	}
	for _, id := range missing {
		switch {
		case corrupt[id] != nil:
			delete(states, id)
		case states[id] == nil:
			states[id] = &userState{point: sinks.User{ID: id}}
		}
	}
	return states, corrupt, nil
}

// newerState is the error with which a partition waits when a newer version of the program wrote
// the state of one of its users.
func newerState(userID string, err error) error {
	return fault.Wait(fmt.Errorf("the state of user %q was written by a newer version; "+
		"finish the rolling upgrade, the partition waits until then: %w", userID, err))
}

// intern returns the table index of each event's item. New items are added to the table.
func (p *Embed) intern(events []embedEvent) []model.Index {
	indexes := make([]model.Index, len(events))
	p.factors.mu.Lock()
	defer p.factors.mu.Unlock()
	for i := range events {
		if !events[i].erased && !events[i].repair {
			indexes[i] = p.factors.table.Intern(events[i].x.ItemID)
		}
	}
	return indexes
}

// changedUser is a user whose state changed in this batch, or in an earlier, interrupted delivery
// of it.
type changedUser struct {
	state *userState
	// moved is false when the store already has the new state. Then only the profile change is
	// emitted, in case the earlier delivery did not.
	moved bool
	// first and last are the indexes of the oldest and newest record of the user.
	first, last int
	event       schemas.Interaction
}

// learn updates states and collects gradient sums. It returns the changed users and those to erase.
func (p *Embed) learn(
	part *embedPart, b *record.Batch, events []embedEvent, states map[string]*userState,
) (changed []*changedUser, erased map[string]sinks.UserErasure) {
	indexes := p.intern(events)
	pending := make(map[string][]model.Index)
	p.factors.mu.Lock()
	for id, s := range states {
		for i := range s.pending {
			pending[id] = append(pending[id], p.factors.table.Intern(s.pending[i].ItemID))
		}
	}
	p.factors.mu.Unlock()

	p.factors.mu.RLock()
	defer p.factors.mu.RUnlock()
	part.sums.Reset()
	for id, indexes := range pending {
		s := states[id]
		for i := range s.pending {
			p.step(part, s, indexes[i], &s.pending[i])
		}
	}
	byUser := make(map[string]*changedUser, len(states))
	erased = make(map[string]sinks.UserErasure)
	for i := range events {
		e, r := &events[i], &b.Records[events[i].index]
		s := states[e.x.UserID]
		at := p.position(r.Offset)
		absorbed, ok := s.point.Positions[b.Topic]
		repeated := ok && at <= absorbed // the user's state already has it
		if e.erased && repeated {
			delete(byUser, e.x.UserID)
			continue
		}
		if e.erased {
			*s = userState{point: sinks.User{ID: e.x.UserID}}
			delete(byUser, e.x.UserID)
			erased[e.x.UserID] = sinks.UserErasure{
				ID: e.x.UserID, Position: at, At: e.x.OccurredAt,
			}
			continue
		}
		if e.repair && !repeated && !s.repaired {
			continue // the state is sound: an earlier request repaired it
		}
		delete(erased, e.x.UserID)
		c := byUser[e.x.UserID]
		if c == nil {
			c = &changedUser{state: s, first: e.index}
			byUser[e.x.UserID] = c
		}
		c.last, c.event = e.index, e.x
		if repeated {
			continue
		}
		c.moved = true
		if e.repair {
			s.absorbed(b.Topic, at)
			continue
		}
		p.step(part, s, indexes[i], &pendingEvent{
			e.x, b.Topic, b.Partition, r.Offset, e.recorded, e.older,
		})
	}
	dim := p.factors.table.Config().Dim
	for _, c := range byUser {
		changed = append(changed, c)
		if !c.moved {
			continue
		}
		c.state.point.State = c.state.model.Append(nil)
		c.state.point.Vector = make([]float32, dim+1)
		part.learner.Query(&c.state.model, c.state.point.Vector)
	}
	// In the order of their events: what recommend has answered tells what it has not, see
	// answeredNote.
	slices.SortFunc(changed, func(a, b *changedUser) int { return cmp.Compare(a.first, b.first) })
	return changed, erased
}

// step learns from one event.
func (p *Embed) step(part *embedPart, s *userState, item model.Index, e *pendingEvent) {
	event := model.Event{
		Item: item, Strength: p.strength(&e.Interaction), At: e.OccurredAt.Unix(),
		Seed: seedOf(e.topic, e.partition, e.offset),
	}
	if e.older {
		part.learner.Replay(&s.model, event)
	} else {
		part.learner.Gradients(&s.model, event, part.sums)
	}
	s.moved(e.topic, p.position(e.offset), e.OccurredAt, e.recorded)
}

func (s *userState) moved(topic string, at sinks.Position, occurred, recorded time.Time) {
	s.absorbed(topic, at)
	s.point.LastEventAt = latest(s.point.LastEventAt, occurred)
	s.point.ChangedAt = latest(s.point.ChangedAt, recorded)
}

func (s *userState) absorbed(topic string, at sinks.Position) {
	positions := make(map[string]sinks.Position, len(s.point.Positions)+1)
	for k, v := range s.point.Positions {
		positions[k] = v
	}
	positions[topic] = at
	s.point.Positions = positions
}

// seedOf derives the seed from the event's position, so that a retry draws the same negatives.
func seedOf(topic string, partition int, offset int64) uint64 {
	return uint64(offset)*0x9e3779b97f4a7c15 ^ uint64(partition)<<32 ^ schemas.Key(topic)
}

// commit applies the effects in the order that loses nothing (see Embed).
func (p *Embed) commit(
	ctx context.Context, part *embedPart, b *record.Batch, changed []*changedUser,
	erased map[string]sinks.UserErasure, deferred map[string]*deferral,
) error {
	if len(changed)+len(erased)+len(deferred) == 0 {
		return nil
	}
	if err := b.CheckLease(ctx); err != nil {
		return err
	}
	gradients, err := p.gradientMessages(part, b)
	if err != nil {
		return err
	}
	if err := p.emit.Emit(ctx, gradients); err != nil {
		return fmt.Errorf("emit gradient sums: %w", err)
	}
	points := make([]sinks.User, 0, len(changed))
	due := make([]record.Record, 0, len(changed)+len(deferred))
	for _, c := range changed {
		if c.moved {
			points = append(points, c.state.point)
		}
		due = append(due, profileChange(b, c.first, c.last, &c.event).Message())
	}
	for _, d := range deferred {
		m := RepairRequest(profileChange(b, d.first, d.last, &d.event))
		m.Partition = b.Partition
		due = append(due, m)
	}
	if err := b.CheckLease(ctx); err != nil {
		return err
	}
	src := sinks.Source{Topic: b.Topic, Partition: b.Partition}
	if err := p.users.PutUsers(ctx, src, points); err != nil {
		return fmt.Errorf("write %d users: %w", len(points), err)
	}
	for _, c := range changed {
		if c.state.repaired && c.moved {
			c.state.repaired, c.state.pending = false, nil
			p.cfg.Repaired(c.state.point.ID, int(c.state.model.Events))
		}
	}
	if err := p.forget(ctx, src, slices.Collect(maps.Values(erased))); err != nil {
		return err
	}
	if err := p.emit.Emit(ctx, due); err != nil {
		return fmt.Errorf("emit %d changed profiles: %w", len(due), err)
	}
	for _, c := range changed {
		part.cache.Add(c.state.point.ID, c.state)
	}
	for id, e := range erased {
		part.cache.Remove(id)
		part.erased[id] = &erasedUser{b.Topic, e, erasureRechecks}
	}
	return nil
}

// profileChange returns the change of a user's profile by the records of a batch from index first
// to last.
func profileChange(
	b *record.Batch,
	first, last int,
	x *schemas.Interaction,
) *schemas.ProfileChanged {
	r, oldest := causeOf(&b.Records[last]), causeOf(&b.Records[first])
	return &schemas.ProfileChanged{
		UserID: x.UserID, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		EventID: x.EventID, OccurredAt: x.OccurredAt, RecordedAt: recordedAt(r, x.OccurredAt),
		AcceptedAt: oldest.Time,
	}
}

// causeOf returns a record of a batch as of its origin: what analysts know it by.
func causeOf(r *record.Record) *record.Record {
	if origin, err := atOrigin(r, schemas.GroupEmbed); err == nil {
		return origin
	}
	return r
}

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
