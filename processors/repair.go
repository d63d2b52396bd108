package processors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// How embed rebuilds a user whose stored state is corrupt, while the other users go on.
//
// The positions of the point can be read without the state. They split the user's events on the log
// in two. Those up to a position have been absorbed: their gradients are on the log, and a rebuild
// replays them for the user's side alone. Those after it have not been learned from: they are
// pending. The rebuild learns from them and emits their gradients.
//
//  1. A batch that touches the user skips the user's events, so they become pending, and writes a
//     repair request to the same partition of embed's replay topic before its range is closed.
//     So the log always has an unhandled request, whoever owns the partition.
//  2. The batch that holds the request reads the user's history, over several attempts if needed.
//     Meanwhile only this partition of the replay topic waits, and it is mostly empty. New events
//     of the user become pending too.
//  3. When it has caught up with what the batches of interactions and of misplaced events have
//     handled, it learns from the pending events in order, as if they stood in this batch, and
//     writes the point with the offset of the request as the new position in the replay topic. The
//     stored position is lower, so the point counts, and that of a late writer does not. Its
//     gradient sums have the position of this batch, and the owners of the items apply them once.
//
// Nothing is learned twice or lost: at each moment an event of the user is absorbed or pending by
// the positions that are stored, and step 3 changes both with one write. All topics of a partition
// belong to the same member, and embedPart.mu keeps their batches apart.
//
// keepReturned makes the states of some erased users anew in the same way.

// repairTopic holds the requests. learnedTopics are the other topics of a user's history.
var (
	repairTopic   = record.ReplayTopic(schemas.GroupEmbed)
	learnedTopics = []string{schemas.TopicInteractions, misplacedInteractions}
)

// RepairRequest returns the message that asks embed to check the stored state of a user, and to
// rebuild it if it is corrupt. x is the profile change that found the corrupt state.
func RepairRequest(x *schemas.ProfileChanged) record.Record {
	m := x.Message()
	m.Topic = repairTopic
	return m
}

// decodeRepairRequest reads a request; ok is false for any other record.
func decodeRepairRequest(r *record.Record) (x schemas.ProfileChanged, ok bool) {
	if r.Topic != repairTopic ||
		r.Header(schemas.HeaderType) != string(schemas.KindProfileChanged) {
		return x, false
	}
	x, err := schemas.DecodeProfileChanged(r)
	return x, err == nil
}

// repair reads the history of users of one partition. It lives across the attempts of the batch
// that needs their states.
type repair struct {
	embed       *Embed
	topic       string
	first, last int64 // the batch
	users       map[string]*userRepair
	learner     *model.Learner
	windows     map[string]*window
	// next is the offset up to which the history has been read, by topic.
	next map[string]int64
	// letter tells which records of the history became dead letters.
	letter func(*record.Record) bool
}

func (p *Embed) newRepair(b *record.Batch, users map[string]*userRepair) *repair {
	return &repair{
		embed: p, topic: b.Topic, first: b.First, last: b.Last, users: users,
		learner: model.NewLearner(p.factors.table), windows: make(map[string]*window),
		next: make(map[string]int64),
	}
}

// userRepair is the history of a user whose state is made anew.
type userRepair struct {
	// stored are the positions of the stored point, absorbed those up to which its events have
	// been absorbed. They differ when the stored ones are damaged: then everything that was handled
	// counts as absorbed, so that nothing is learned twice.
	stored, absorbed map[string]sinks.Position
	// until is the offset of the erasure marker at which the state is made, in the batch's topic;
	// 0 if it is not made at a marker.
	until  int64
	events []pendingEvent
}

// sameAs tells whether two users ask for the same.
func (u *userRepair) sameAs(other *userRepair) bool {
	return u.until == other.until && maps.Equal(u.stored, other.stored) &&
		maps.Equal(u.absorbed, other.absorbed)
}

// pendingEvent is an event that is in no state and whose gradients were not emitted.
type pendingEvent struct {
	schemas.Interaction
	topic     string
	partition int
	offset    int64
	recorded  time.Time
	older     bool // embedEvent.older
}

// itemsOf returns the items of the events.
func itemsOf(events []pendingEvent) []string {
	ids := make([]string, len(events))
	for i := range events {
		ids[i] = events[i].ItemID
	}
	return ids
}

var _ Processor = (*repair)(nil)

func (*repair) Assign(context.Context, []record.Assignment) error { return nil }
func (*repair) Revoke([]record.TopicPartition)                    {}

// Handle collects what the users of the repair have done in a batch of the history. An erasure
// needs nothing: what it covers is left out in the end.
func (r *repair) Handle(_ context.Context, b *record.Batch) error {
	w := r.windows[b.Topic]
	if w == nil {
		w = newWindow(r.embed.cfg.RecentIDs)
		r.windows[b.Topic] = w
	}
	// What is rejected again became a dead letter, and what is misplaced was forwarded.
	events, _, _ := r.embed.decode(w, b)
	for i := range events {
		e, offset := &events[i], b.Records[events[i].index].Offset
		u := r.users[e.x.UserID]
		if u == nil || e.repair || e.erased ||
			u.until > 0 && b.Topic == r.topic && offset >= u.until {
			continue
		}
		u.events = append(
			u.events, pendingEvent{e.x, b.Topic, b.Partition, offset, e.recorded, e.older},
		)
	}
	r.next[b.Topic] = b.Last + 1
	return nil
}

// read brings the users up to the offsets. It keeps what it has read when ctx ends before.
func (r *repair) read(ctx context.Context, partition int, to map[string]int64) error {
	var spans []Span
	for _, topic := range slices.Sorted(maps.Keys(to)) {
		if r.next[topic] < to[topic] {
			spans = append(
				spans,
				Span{Topic: topic, Partition: partition, From: r.next[topic], To: to[topic]},
			)
		}
	}
	cfg := DefaultReplayConfig()
	cfg.DeadLetter = r.letter
	err := NewReplay(r, r.embed.log, "", cfg).Run(ctx, spans)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.Wait(
			fmt.Errorf(
				"read the history of %d users: at %v of %v",
				len(r.users),
				r.next,
				to,
			),
		)
	}
	if err != nil {
		return fmt.Errorf("read the history of %d users: %w", len(r.users), err)
	}
	for _, s := range spans {
		r.next[s.Topic] = s.To
	}
	return nil
}

// result returns the rebuilt user as of the offsets read, or nil when the repair is not for this
// point.
func (r *repair) result(point *sinks.User) *userState {
	if r == nil {
		return nil
	}
	u := r.users[point.ID]
	if u == nil || !maps.Equal(u.stored, point.Positions) {
		return nil
	}
	return r.stateOf(point.ID)
}

// stateOf makes the state of a user of what no erasure covers. Every attempt of the batch gets its
// own.
func (r *repair) stateOf(id string) *userState {
	u, p := r.users[id], r.embed
	u.events = slices.DeleteFunc(u.events, func(e pendingEvent) bool {
		return p.erasures.Covers(id, e.OccurredAt, e.recorded)
	})
	s := &userState{repaired: true}
	rows := p.factors.rlockRows(itemsOf(u.events))
	defer p.factors.mu.RUnlock()
	for i := range u.events {
		e := &u.events[i]
		at := p.position(e.offset)
		if absorbed, ok := u.absorbed[e.topic]; !ok || at > absorbed {
			s.pending = append(s.pending, *e)
			continue
		}
		r.learner.Replay(&s.model, p.modelEvent(rows[i], e))
		s.moved(e.topic, at, e.OccurredAt, e.recorded)
	}
	s.point.ID = id
	positions := make(map[string]sinks.Position)
	maps.Copy(positions, u.stored) // never lower than they were
	for topic, at := range s.point.Positions {
		positions[topic] = max(at, positions[topic])
	}
	s.point.Positions = positions
	return s
}

// prepareRepair reads the history of the users that the batch asks to repair. It does not hold the
// part's lock while reading, so batches of interactions go on.
func (p *Embed) prepareRepair(ctx context.Context, part *embedPart, b *record.Batch) error {
	requests := make(map[string]sinks.Position)
	for i := range b.Records {
		x, ok := decodeRepairRequest(&b.Records[i])
		if ok && !p.erasures.coversChange(&x) {
			requests[x.UserID] = p.position(b.Records[i].Offset)
		}
	}
	if len(requests) == 0 {
		return nil
	}
	part.mu.Lock()
	r, err := p.repairOf(ctx, part, b, requests)
	to := part.handled(b)
	part.mu.Unlock()
	if r == nil || err != nil {
		return err
	}
	for _, topic := range learnedTopics {
		if _, ok := to[topic]; !ok {
			return fault.Wait(
				fmt.Errorf(
					"rebuild users: partition %d of %s is not assigned yet", b.Partition, topic,
				),
			)
		}
	}
	return r.read(ctx, b.Partition, to)
}

// repairOf returns the repair of the batch, nil when there is nothing to repair.
func (p *Embed) repairOf(
	ctx context.Context,
	part *embedPart,
	b *record.Batch,
	requests map[string]sinks.Position,
) (*repair, error) {
	for id := range requests {
		part.cache.Remove(id) // it is the stored state that counts
	}
	if r := part.repairFor(b); r != nil {
		return r, nil
	}
	part.repair = nil
	points, err := p.users.GetUsers(ctx, slices.Collect(maps.Keys(requests)))
	if err != nil {
		return nil, fmt.Errorf("read %d users: %w", len(requests), err)
	}
	r := p.newRepair(b, make(map[string]*userRepair))
	for i := range points {
		x := &points[i]
		at, absorbed := x.Positions[b.Topic]
		if x.Erased() || absorbed && at >= requests[x.ID] || !isCorrupt(x) {
			continue
		}
		u := &userRepair{stored: x.Positions, absorbed: x.Positions}
		if len(x.Positions) == 0 {
			u.absorbed = p.handledPositions(part, b)
		}
		r.users[x.ID] = u
	}
	if len(r.users) == 0 {
		return nil, nil
	}
	// Records handled from now on by this version that become dead letters cannot be decoded here
	// either.
	if r.letter, err = p.streams.lettersOf(ctx, schemas.GroupEmbed); err != nil {
		return nil, err
	}
	part.repair = r
	return r, nil
}

// isCorrupt tells whether a user has to be rebuilt from the log.
func isCorrupt(x *sinks.User) bool {
	var u model.User
	err := u.Decode(x.State)
	return errors.Is(err, model.ErrCorrupt) ||
		x.Damaged != nil && !errors.Is(err, model.ErrNewerFormat)
}

// handledPositions returns the positions up to which a partition has been handled, by topic.
func (p *Embed) handledPositions(part *embedPart, b *record.Batch) map[string]sinks.Position {
	out := make(map[string]sinks.Position)
	for topic, next := range part.handled(b) {
		if next > 0 {
			out[topic] = p.position(next - 1)
		}
	}
	return out
}

// finishRepair reads the events handled since prepareRepair. The caller holds part.mu, so
// there are no more after that.
func (p *Embed) finishRepair(ctx context.Context, part *embedPart, b *record.Batch) error {
	r := part.repairFor(b)
	if r == nil {
		return nil
	}
	for _, topic := range learnedTopics {
		if part.unfinished[topic] {
			// The batch skipped these users and its gradient sums may be on the log already, so its
			// retry must skip them again.
			return fault.Wait(
				fmt.Errorf("rebuild users: a batch of %s is being tried again", topic),
			)
		}
	}
	return r.read(ctx, b.Partition, part.handled(b))
}

// repairFor returns the repair that belongs to batch b, or nil. Another batch must not use it: it
// may have read only a part of the history.
func (part *embedPart) repairFor(b *record.Batch) *repair {
	r := part.repair
	if r == nil || b.Topic != repairTopic || r.first != b.First || r.last != b.Last {
		return nil
	}
	return r
}

// handled returns the offsets, by topic, up to which a repair by batch b of the replay topic reads.
func (part *embedPart) handled(b *record.Batch) map[string]int64 {
	to := map[string]int64{b.Topic: b.First}
	for _, topic := range learnedTopics {
		if next, ok := part.next[topic]; ok {
			to[topic] = next
		}
	}
	return to
}
