package processors

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

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
			c.MaxClockSkew, c.Actions = d.Settings.MaxClockSkew, d.Settings.Actions
			c.Corrupt, c.Repaired = d.Hooks.UserCorrupt, d.Hooks.UserRepaired
			c.Misplaced = d.Hooks.Misplaced
			p := NewEmbed(d.Users, d.Streams, d.ItemFactors, d.Erasures, c)
			return Instance{Processor: p, Tasks: []Task{
				{Name: "recheck erased users", Interval: erasureInterval, Run: p.RecheckErasures},
				{
					Name: "forget unpublished rows", Interval: forgetRowsInterval,
					Run: d.ItemFactors.ForgetUnpublished,
				},
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
	// Actions is the table of actions. nil, the default, is that of the built-in ones.
	Actions *schemas.Actions
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
	cfg.Actions = orBuiltIn(cfg.Actions)
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
	// repair is the rebuild that the current batch of the replay topic works on, or nil. returning
	// is the same for users who have come back before their marker in the current batch of a topic.
	repair, returning *repair
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
	events, err = p.keepReturned(ctx, part, b, events, states, corrupt)
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
