package processors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// profile-changes are kept for a day. When recommend is behind for longer, changes are deleted
// before it reads them: a gap. Then the users who have changed since the last change that was
// answered get a list each, before the group goes on behind the gap:
//
//  1. Users whose vector has changed are asked of the users store, the latest first: those who are
//     active now do not wait for the others.
//  2. Users whose friendships have changed, and those of replayed and of misplaced events, are read
//     from the log: such events change a user as of the time when the log took them first.
//
// Where to begin is in a note that is committed beside the group's offset. Without one, which is so
// for groups of older versions, everybody gets a list. Each partition reads all changed users and
// all friendships since, and keeps its own users: with n partitions that is n times the reading.
// A page of users is in memory at a time.

// ChangedUsers lists users who have changed. sinktest.UserLister says what its method promises.
type ChangedUsers interface {
	ChangedUsers(
		ctx context.Context, since time.Time, after *sinks.UserChange, limit int,
	) ([]sinks.UserChange, error)
}

// ProfileStore is what Recommend needs of the store of users.
type ProfileStore interface {
	UserReader
	ChangedUsers
}

// GapProgress tells how far the lists for a gap are.
type GapProgress struct {
	Partition int
	// First and Last are the offsets of profile-changes that were deleted unread.
	First, Last int64
	// Since is the log's time from which on users have changed; zero is everybody.
	Since time.Time
	// Lists is the number of lists made so far. At is the time of change of the last user, Since
	// being the end; zero while friendships are read.
	Lists int
	At    time.Time
	Done  bool
}

// gapMargin is how far back of the last change answered users are asked for: the log's times of
// events are in order up to the clocks of their producers.
const gapMargin = 10 * time.Minute

// gapPage is the number of users read at once.
const gapPage = 1000

// gapSources are the inputs, besides interactions, whose events change profiles. They are kept for
// good, so they say whom their events concern.
func gapSources() []string {
	return []string{
		schemas.TopicFriendships, record.ReplayTopic(schemas.GroupGraph),
		record.ReplayTopic(schemas.GroupEmbed), misplacedInteractions,
	}
}

// answeredNote is what is committed beside the offset of a partition of profile-changes.
type answeredNote struct {
	// Users is the log's time, in Unix milliseconds, of the last event of the partition of
	// interactions whose change was answered.
	Users int64 `json:"users,omitempty"`
	// Next has, for each partition of the other sources, the offset after the last event whose
	// change was answered.
	Next map[string][]int64 `json:"next,omitempty"`
	Gap  *gapNote           `json:"gap,omitempty"`
}

// gapNote is the progress in a gap.
type gapNote struct {
	Last  int64 `json:"last"` // the gap's last offset
	Lists int   `json:"lists"`
	// User and Changed are the last user who has got a list. Sources is set behind the last one.
	User    string `json:"user,omitempty"`
	Changed int64  `json:"changed,omitempty"` // Unix microseconds
	Sources bool   `json:"sources,omitempty"`
}

// parseNote reads a note. One that is not ours says nothing.
func parseNote(text string) *answeredNote {
	n := &answeredNote{}
	if json.Unmarshal([]byte(text), n) != nil {
		return &answeredNote{}
	}
	return n
}

// String returns the note as it is committed. With so many partitions that it would be too long, it
// says nothing of the other sources: they would be read from their beginning.
func (n *answeredNote) String() string {
	text, err := json.Marshal(n)
	if err == nil && len(text) > record.MaxNote {
		short := *n
		short.Next = nil
		text, err = json.Marshal(short)
	}
	if err != nil {
		return ""
	}
	return string(text)
}

// answered notes a change of a batch of the partition of profile-changes.
func (n *answeredNote) answered(x *schemas.ProfileChanged, r *record.Record) {
	if x.Topic == schemas.TopicInteractions {
		at := x.AcceptedAt
		if r.Time.Before(at) {
			at = r.Time
		}
		if x.Partition == r.Partition {
			n.Users = max(n.Users, at.UnixMilli())
		}
		return
	}
	if x.Partition < 0 || x.Partition > maxNumber>>16 {
		return
	}
	next := n.Next[x.Topic]
	for len(next) <= x.Partition {
		next = append(next, 0)
	}
	next[x.Partition] = max(next[x.Partition], x.Offset+1)
	if n.Next == nil {
		n.Next = make(map[string][]int64)
	}
	n.Next[x.Topic] = next
}

// next returns the offset from which on a source is read.
func (n *answeredNote) next(topic string, partition int) int64 {
	if next := n.Next[topic]; partition < len(next) {
		return next[partition]
	}
	return 0
}

// since returns the time from which on users are asked for.
func (n *answeredNote) since() time.Time {
	if n.Users <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(n.Users).Add(-gapMargin).UTC()
}

// Assign remembers what was noted beside the offsets.
func (p *Recommend) Assign(_ context.Context, parts []record.Assignment) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range parts {
		if a.Topic == schemas.TopicProfileChanges {
			p.notes[a.Partition] = parseNote(a.Note)
		}
	}
	return nil
}

// note returns the note of a partition of profile-changes. Its batches come one at a time.
func (p *Recommend) note(partition int) *answeredNote {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.notes[partition]
	if n == nil {
		n = &answeredNote{}
		p.notes[partition] = n
	}
	return n
}

// noteAnswered notes the changes of a batch that is done.
func (p *Recommend) noteAnswered(b *record.Batch, w *recommendWork) {
	if b.Topic != schemas.TopicProfileChanges {
		return
	}
	n := p.note(b.Partition)
	for i := range w.changes {
		n.answered(&w.changes[i].ProfileChanged, w.changes[i].record)
	}
	n.Gap = nil
	b.SetNote(n.String())
}

// errDraining ends the work on a gap whose partition is handed over.
var errDraining = fault.As(fault.Canceled, errors.New("the partition is handed over"))

// Lost makes lists for the users whose changes were deleted unread. The lists have the position of
// the last offset that was lost as their version: every change behind the gap is newer. Lost goes
// on where it was when it is called again for the same gap, also by another member. It returns an
// error of class canceled when the partition is to be handed over.
//
// What is lost in a retry or replay topic has had a list, or a dead letter, or is too old for one.
func (p *Recommend) Lost(ctx context.Context, b *record.Batch) error {
	if b.Topic != schemas.TopicProfileChanges {
		return nil
	}
	n := p.note(b.Partition)
	if n.Gap == nil || n.Gap.Last != b.Last {
		n.Gap = &gapNote{Last: b.Last}
	}
	g := &gap{
		p: p, b: b, note: n, since: n.since(),
		version: int64(sinks.PositionOf(p.cfg.Epoch, b.Last)),
	}
	g.tell(time.Time{}, false)
	if !n.Gap.Sources {
		if err := g.changedUsers(ctx); err != nil {
			return fmt.Errorf("lists for users who have changed since %s: %w", g.since, err)
		}
	}
	for _, topic := range gapSources() {
		for partition := range p.cfg.Partitions {
			if err := g.source(ctx, topic, partition); err != nil {
				return fmt.Errorf("lists for the users of %s/%d: %w", topic, partition, err)
			}
		}
	}
	g.tell(time.Time{}, true)
	n.Gap = nil
	b.SetNote(n.String())
	return nil
}

// gap is the work on one gap.
type gap struct {
	p       *Recommend
	b       *record.Batch
	note    *answeredNote
	since   time.Time
	version int64
}

func (g *gap) tell(at time.Time, done bool) {
	g.p.cfg.Gap(GapProgress{
		Partition: g.b.Partition, First: g.b.First, Last: g.b.Last, Since: g.since,
		Lists: g.note.Gap.Lists, At: at, Done: done,
	})
}

// own tells whether the changes of a user are in the partition.
func (g *gap) own(userID string) bool {
	return record.PartitionOf([]byte(userID), g.p.cfg.Partitions) == g.b.Partition
}

// changedUsers makes the lists of the users whose vector has changed.
func (g *gap) changedUsers(ctx context.Context) error {
	var after *sinks.UserChange
	if at := g.note.Gap; at.User != "" {
		after = &sinks.UserChange{ID: at.User, ChangedAt: time.UnixMicro(at.Changed).UTC()}
	}
	for {
		page, err := g.p.users.ChangedUsers(ctx, g.since, after, gapPage)
		if err != nil {
			return err
		}
		var requests []recommend.Request
		for i := range page {
			u := &page[i]
			if g.own(u.ID) && !g.p.erasures.Covers(u.ID, u.LastEventAt, u.ChangedAt) {
				requests = append(requests, g.requestFor(u))
			}
		}
		if err := g.lists(ctx, requests); err != nil {
			return err
		}
		if len(page) < gapPage {
			g.note.Gap.Sources = true
			g.b.SetNote(g.note.String())
			return nil
		}
		after = &page[len(page)-1]
		g.note.Gap.User, g.note.Gap.Changed = after.ID, after.ChangedAt.UnixMicro()
		g.b.SetNote(g.note.String())
		g.tell(after.ChangedAt, false)
	}
}

func (g *gap) requestFor(u *sinks.UserChange) recommend.Request {
	cause := schemas.CausedBy{
		Trigger: "event", Topic: schemas.TopicInteractions, Partition: g.b.Partition,
		OccurredAt: u.LastEventAt, RecordedAt: u.ChangedAt, AcceptedAt: u.ChangedAt,
	}
	if at := u.Positions[schemas.TopicInteractions]; at.IsValid() {
		cause.Offset = at.Offset()
	}
	return recommend.Request{UserID: u.ID, CausedBy: cause, Version: g.version}
}

// source makes the lists of the users whom the events of a partition of another source concern.
func (g *gap) source(ctx context.Context, topic string, partition int) error {
	found := make(map[string]recommend.Request)
	err := g.p.log.Read(ctx, topic, partition, g.note.next(topic, partition), -1,
		func(r *record.Record) error {
			for _, q := range g.concerned(r) {
				found[q.UserID] = q
			}
			if len(found) < gapPage {
				return nil
			}
			err := g.flush(ctx, found)
			clear(found)
			return err
		})
	if err != nil {
		return err
	}
	return g.flush(ctx, found)
}

// concerned returns requests for the users of the partition whom an event concerns. Of a record
// that cannot be read there was no change.
func (g *gap) concerned(r *record.Record) []recommend.Request {
	cause := schemas.CausedBy{
		Trigger: "event", Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		AcceptedAt: r.Time,
	}
	var users []string
	if f, err := schemas.DecodeFriendship(r); err == nil {
		users = []string{f.UserID, f.FriendID}
		cause.EventID, cause.OccurredAt = f.EventID, f.OccurredAt
	} else if x, err := schemas.DecodeInteraction(r); err == nil {
		users = []string{x.UserID}
		cause.EventID, cause.OccurredAt = x.EventID, x.OccurredAt
	} else if x, ok := decodeRepairRequest(r); ok {
		users = []string{x.UserID}
		cause.EventID, cause.OccurredAt = x.EventID, x.OccurredAt
		cause.RecordedAt = x.RecordedAt
	}
	if cause.RecordedAt.IsZero() {
		cause.RecordedAt = recordedAt(r, cause.OccurredAt)
	}
	var out []recommend.Request
	for _, id := range users {
		if g.own(id) && !g.p.erasures.coversList(id, &cause) {
			out = append(out, recommend.Request{UserID: id, CausedBy: cause, Version: g.version})
		}
	}
	return out
}

// flush makes the lists of users, without those who have got one for their vector.
func (g *gap) flush(ctx context.Context, found map[string]recommend.Request) error {
	if len(found) == 0 {
		return nil
	}
	ids := make([]string, 0, len(found))
	for id := range found {
		ids = append(ids, id)
	}
	points, err := g.p.users.GetUsers(ctx, ids)
	if err != nil {
		return err
	}
	for i := range points {
		if !points[i].ChangedAt.Before(g.since) {
			delete(found, points[i].ID)
		}
	}
	requests := make([]recommend.Request, 0, len(found))
	for _, q := range found {
		requests = append(requests, q)
	}
	return g.lists(ctx, requests)
}

// lists makes and publishes lists, as fast as it may.
func (g *gap) lists(ctx context.Context, requests []recommend.Request) error {
	for len(requests) > 0 {
		some := requests[:min(len(requests), listsAtOnce)]
		requests = requests[len(some):]
		select {
		case <-g.b.Draining():
			return errDraining
		default:
		}
		if err := g.p.cfg.Pace(ctx, len(some)); err != nil {
			return fault.As(fault.Canceled, err)
		}
		newer, err := g.p.lists(ctx, g.b, some)
		if err != nil {
			return err
		}
		for id, err := range newer {
			return newerState(id, err)
		}
		g.note.Gap.Lists += len(some)
		g.tell(some[len(some)-1].CausedBy.AcceptedAt, false)
	}
	return nil
}
