package processors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// RecommendDeclaration declares the processor that publishes lists.
func RecommendDeclaration() Declaration {
	return Declaration{
		Name: schemas.GroupRecommend, Inputs: []string{schemas.TopicProfileChanges},
		Splittable: true, RetryTopics: true,
		Fills: "recommendations",
		Tune: func(Deps) Tuning {
			// Profile changes are small, so their batches are larger and linger longer. In a
			// backlog, one list then answers several changes of a user.
			return Tuning{MinLinger: 250 * time.Millisecond, BatchFactor: 4}
		},
		New: func(d Deps) Instance {
			return Instance{
				Processor: NewRecommend(
					d.Recommender, d.Users, d.Streams, d.Erasures, RecommendConfig{
						Epoch: d.Settings.Epoch, Partitions: d.Settings.Partitions,
						Published: d.Hooks.ListPublished, Gap: d.Hooks.Gap, Pace: d.Pace,
					},
				),
			}
		},
	}
}

// RecommendConfig holds the settings of Recommend.
type RecommendConfig struct {
	// Epoch is the epoch of the log (admin.Epoch), a part of the version of every list. Default
	// sinks.FirstEpoch.
	Epoch int
	// Partitions is the number of partitions of profile-changes. Default 1.
	Partitions int
	// Published is called for each list once it is on the log. It must not block. nil is no call.
	Published func(list *schemas.Recommendation)
	// Gap is told how far the lists for a gap are. It must not block. nil is no call.
	Gap func(GapProgress)
	// Pace waits until n more lists may be made for a gap, or ctx ends. nil is at once.
	Pace func(ctx context.Context, n int) error
}

// UserReader is what Recommend needs of the store of users. sinktest.Users says what its method
// promises.
type UserReader interface {
	GetUsers(ctx context.Context, ids []string) ([]sinks.User, error)
}

// Recommend publishes a list for each changed profile. A user's changes within a batch are
// conflated: one list answers them all, and its freshness is measured from the oldest.
type Recommend struct {
	recommender *recommend.Recommender
	users       ProfileStore
	log         Log
	emit        Emitter
	erasures    *Erasures
	cfg         RecommendConfig

	mu sync.Mutex
	// answered holds, by partition, the users of the current batch whose lists are already
	// published.
	answered map[partitionKey]*answered
	// currents are the partitions of recommendations.current.
	currents map[int]*currentLists
	// notes are those of the partitions of profile-changes.
	notes map[int]*answeredNote
}

// answered is the progress of a batch.
type answered struct {
	first, last int64
	users       map[string]struct{}
	// withdrawn is set when the lists of erased users have been withdrawn: another tombstone would
	// remove lists that were published since.
	withdrawn bool
}

var _ Processor = (*Recommend)(nil)

// NewRecommend returns the processor of changed profiles.
func NewRecommend(
	recommender *recommend.Recommender, users ProfileStore, streams Streams, erasures *Erasures,
	cfg RecommendConfig,
) *Recommend {
	if cfg.Epoch == 0 {
		cfg.Epoch = sinks.FirstEpoch
	}
	cfg.Partitions = max(cfg.Partitions, 1)
	if cfg.Published == nil {
		cfg.Published = func(*schemas.Recommendation) {}
	}
	if cfg.Gap == nil {
		cfg.Gap = func(GapProgress) {}
	}
	if cfg.Pace == nil {
		cfg.Pace = func(ctx context.Context, _ int) error { return ctx.Err() }
	}
	return &Recommend{
		recommender: recommender, users: users, log: streams.Log, emit: streams.Emit,
		erasures: erasures, cfg: cfg, answered: make(map[partitionKey]*answered),
		currents: make(map[int]*currentLists), notes: make(map[int]*answeredNote),
	}
}

// listsAtOnce bounds the lists made in one call to the stores, so that a large batch does not run
// into their timeouts.
const listsAtOnce = 50

// Handle publishes a list for every user of the batch, to recommendations and
// recommendations.current, the oldest change first. A retry in this process makes only the missing
// lists. A batch that is delivered again after a crash gets new lists with the same versions, which
// stand since they are later on the topic. When the vectors cannot be read, Handle fails and the
// batch waits: the current list is better than one made without vectors.
//
// A user whose state cannot be decoded does not hold up the other users. If a newer version of the
// program wrote the state, the partition waits after the other lists are published: only the newer
// version can make this list. If the state is corrupt, the current list stays and embed is asked to
// rebuild the user. The rebuild changes the profile, which leads to a new list.
func (p *Recommend) Handle(ctx context.Context, b *record.Batch) error {
	w, err := p.work(ctx, b)
	if err != nil {
		return err
	}
	out := p.resume(b)
	if !out.withdrawn {
		if err := p.publish(ctx, b, w.erased.tombstones()); err != nil {
			return fmt.Errorf("withdraw the lists of %d erased users: %w", len(w.erased), err)
		}
		out.withdrawn = true
	}
	if err := p.expire(ctx, b, w.expired, w.listed); err != nil {
		return err
	}
	returned, err := p.returned(ctx, w, b.Partition)
	if err != nil {
		return err
	}
	requests := slices.DeleteFunc(
		append(w.requests, returned...),
		func(q recommend.Request) bool { _, ok := out.users[q.UserID]; return ok },
	)
	var waiting error
	for some := range slices.Chunk(requests, listsAtOnce) {
		newer, err := p.lists(ctx, b, some)
		if err != nil {
			return err
		}
		for i := range some {
			if newer[some[i].UserID] == nil {
				out.users[some[i].UserID] = struct{}{}
			} else if waiting == nil {
				waiting = newerState(some[i].UserID, newer[some[i].UserID])
			}
		}
	}
	if waiting != nil {
		return waiting
	}
	p.mu.Lock()
	delete(p.answered, partitionKey{b.Topic, b.Partition})
	p.mu.Unlock()
	p.noteAnswered(b, w)
	return w.rejects.Err()
}

// resume returns the progress of the batch, empty at the first attempt. A partition has one batch
// at a time.
func (p *Recommend) resume(b *record.Batch) *answered {
	key := partitionKey{b.Topic, b.Partition}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.answered[key]
	if a == nil || a.first != b.First || a.last != b.Last {
		a = &answered{first: b.First, last: b.Last, users: make(map[string]struct{})}
		p.answered[key] = a
	}
	return a
}

// Revoke drops the progress of the partitions: another member starts their batches from the
// beginning.
func (p *Recommend) Revoke(parts []record.TopicPartition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range parts {
		delete(p.answered, partitionKey{a.Topic, a.Partition})
	}
}

// lists makes and publishes lists. newer holds the users whose states a newer version of the
// program wrote, with the error.
func (p *Recommend) lists(
	ctx context.Context, b *record.Batch, requests []recommend.Request,
) (newer map[string]error, err error) {
	answers, err := p.recommender.Answers(ctx, requests)
	if err != nil {
		return nil, fmt.Errorf("make %d lists: %w", len(requests), err)
	}
	newer = make(map[string]error)
	out := make([]record.Record, 0, 2*len(answers))
	published := make([]*schemas.Recommendation, 0, len(answers))
	for i := range answers {
		list := &answers[i].List
		// The user may have been erased while the list was made.
		if p.erasures.coversList(list.UserID, &list.CausedBy) {
			continue
		}
		switch err := answers[i].StateErr; {
		case errors.Is(err, model.ErrNewerFormat):
			newer[list.UserID] = err
			continue
		case err != nil:
			cause := &list.CausedBy
			out = append(out, RepairRequest(&schemas.ProfileChanged{
				UserID: list.UserID, Topic: cause.Topic, Partition: cause.Partition,
				Offset: cause.Offset, EventID: cause.EventID,
				OccurredAt: cause.OccurredAt, RecordedAt: cause.RecordedAt,
				AcceptedAt: cause.AcceptedAt,
			}))
			continue
		case slices.Contains(list.Degraded, recommend.DegradedVectors):
			return nil, fault.Transientf("make %d lists: the vectors are out of reach",
				len(requests))
		}
		kept := list.Message(schemas.TopicRecommendations)
		current := kept // encoded once: the same key, value and headers on both
		current.Topic = schemas.TopicRecommendationsCurrent
		out = append(out, kept, current)
		published = append(published, list)
	}
	if err := p.publish(ctx, b, out); err != nil {
		return nil, fmt.Errorf("publish %d lists: %w", len(published), err)
	}
	for _, list := range published {
		p.cfg.Published(list)
	}
	return newer, nil
}

// publish writes lists and tombstones to the log, as the owner of the batch's partition.
func (p *Recommend) publish(ctx context.Context, b *record.Batch, out []record.Record) error {
	c := p.current(b.Partition)
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.emitOwned(ctx, b, out)
}

// emitOwned checks the lease of the batch and writes to the log.
func (p *Recommend) emitOwned(ctx context.Context, b *record.Batch, out []record.Record) error {
	if len(out) == 0 {
		return nil
	}
	if err := b.CheckLease(ctx); err != nil {
		return err
	}
	return p.emit.Emit(ctx, out)
}

// recommendWork is what a batch asks for.
type recommendWork struct {
	// versions are those of the records.
	versions []sinks.Position
	// requests has one request per user, in order of the oldest change. listed are their users.
	requests []recommend.Request
	listed   map[string]struct{}
	erased   erasedUsers
	expired  []schemas.RecommendationExpired
	// changes are those of profiles, of erased users too.
	changes []readChange
	rejects fault.Reject
}

type readChange struct {
	schemas.ProfileChanged
	record *record.Record
}

// work reads a batch.
func (p *Recommend) work(ctx context.Context, b *record.Batch) (*recommendWork, error) {
	w := &recommendWork{listed: make(map[string]struct{}), erased: make(erasedUsers)}
	var err error
	if w.versions, err = p.versions(ctx, b); err != nil {
		return nil, err
	}
	places := make(map[string]int)
	for i := range b.Records {
		r := &b.Records[i]
		var err error
		if schemas.IsRecommendationExpired(r) {
			err = w.addExpired(r)
		} else {
			err = p.addChange(w, places, r, i)
		}
		if err != nil {
			w.rejects.Add(i, fault.As(fault.Permanent, err))
		}
	}
	w.requests = slices.DeleteFunc(w.requests, func(q recommend.Request) bool {
		return q.UserID == ""
	})
	for i := range w.requests {
		w.listed[w.requests[i].UserID] = struct{}{}
	}
	return w, nil
}

// addExpired adds a request to withdraw a list. In a retry topic, which another member may read, it
// is dropped: the next run of expiry asks again.
func (w *recommendWork) addExpired(r *record.Record) error {
	x, err := schemas.DecodeRecommendationExpired(r)
	if err == nil && (r.Topic == schemas.TopicProfileChanges ||
		r.Topic == record.ReplayTopic(schemas.GroupRecommend)) {
		w.expired = append(w.expired, x)
	}
	return err
}

// addChange adds a change of a profile, or an erasure. places are the indexes of the users'
// requests.
func (p *Recommend) addChange(
	w *recommendWork, places map[string]int, r *record.Record, index int,
) error {
	x, err := schemas.DecodeProfileChanged(r)
	if errors.Is(err, schemas.ErrErasureMarker) {
		u, err := schemas.DecodeUser(r)
		if err != nil {
			return err
		}
		p.erasures.Add(schemas.Erasure{UserKey: schemas.Key(u.UserID), ErasedAt: u.OccurredAt})
		w.erased[u.UserID] = erasureMarker{u.OccurredAt, index}
		if at, ok := places[u.UserID]; ok {
			w.requests[at].UserID = ""
			delete(places, u.UserID)
		}
		return nil
	}
	if err != nil {
		return err
	}
	w.changes = append(w.changes, readChange{x, r})
	if p.erasures.coversChange(&x) {
		return nil
	}
	cause := schemas.CausedBy{
		Trigger: "event", Topic: x.Topic, Partition: x.Partition, Offset: x.Offset,
		EventID: x.EventID, OccurredAt: x.OccurredAt, RecordedAt: x.RecordedAt,
		AcceptedAt: x.AcceptedAt,
	}
	version := int64(w.versions[index])
	at, ok := places[x.UserID]
	if !ok {
		places[x.UserID] = len(w.requests)
		w.requests = append(w.requests, recommend.Request{
			UserID: x.UserID, CausedBy: cause, Version: version,
		})
		return nil
	}
	if oldest := w.requests[at].CausedBy.AcceptedAt; oldest.Before(cause.AcceptedAt) {
		cause.AcceptedAt = oldest
	}
	w.requests[at].CausedBy = cause
	w.requests[at].Version = max(w.requests[at].Version, version)
	return nil
}
