package processors

import (
	"context"
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/recommend"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Declaration declares a processor, once. The router, topics and their documents, lag, status,
// trace, rebuilds, --only, the torture and the benchmarks all derive from it.
type Declaration struct {
	// Name is the name of the processor and of its consumer group.
	Name string
	// Inputs are the topics that it reads, besides the replay topic of its dead letters.
	Inputs []string
	// ReadsDeadLetters adds the dead-letter topic of every processor to the inputs.
	ReadsDeadLetters bool
	// Internal processors read a topic only to own its partition. Nothing can fail, so they have no
	// dead letters, no replay topic and no lag.
	Internal bool
	// BatchIntents commits the range of a batch before its effects, so that a repeated batch is the
	// same batch. It is for effects that depend on order or count what they see.
	BatchIntents bool
	// Splittable batches may be handled in parts. The guard splits a batch to find an offending
	// record that the processor does not name.
	Splittable bool
	// Forwards names the input whose misplaced records (in a partition that their key does not
	// choose) the processor writes again to <name>.misplaced, which it reads too. "" is none.
	Forwards string
	// RetryTopics lets a failing record wait in <name>.retry.<delay> while the others go on. It is
	// for effects that do not depend on order.
	RetryTopics bool
	// Writes names the stores that it fills.
	Writes []Store
	// Fills describes for people what it writes.
	Fills string
	// Tune adapts the subscriber; nil leaves the configured settings.
	Tune func(Deps) Tuning
	// New makes the processor. It must not start work of its own.
	New func(Deps) Instance
}

// Store names one of the contracts.
type Store string

// The stores.
const (
	StoreUsers     Store = "users"
	StoreItems     Store = "items"
	StoreGraph     Store = "graph"
	StoreAnalytics Store = "analytics"
)

// Tuning overrides the configured batching for a processor. The zero value changes nothing.
type Tuning struct {
	// MinLinger is the least time that a batch waits for more records.
	MinLinger time.Duration
	// TopicLinger replaces the linger for a topic.
	TopicLinger map[string]time.Duration
	// BatchFactor multiplies the records of a batch; 0 means 1.
	BatchFactor int
	// FetchMinBytes is the least data that a broker returns before its wait expires. Raise it when
	// batches linger anyway: fewer requests.
	FetchMinBytes int
	// BatchBytes bounds the bytes of a batch of a topic, up to the configured bound; 0 is the
	// configured bound.
	BatchBytes func(topic string) int
}

// Task is a periodic task of every process that runs the processor.
type Task struct {
	Name     string
	Interval time.Duration
	Run      func(ctx context.Context) error
	// AtEnd runs once, after the last batch and before the stores close; of a task that one
	// instance runs, when it is another instance's. May be nil.
	AtEnd func(ctx context.Context) error
	// Begun tells whether Run has found something to work on. Until then Run is called more often.
	// May be nil.
	Begun func() bool
}

// Instance is a processor in a running process, with its periodic tasks.
type Instance struct {
	Processor
	Tasks []Task
	// Pending returns the number of effects that are not in the store yet although their batches
	// are done; nil means there are never any.
	Pending func() int
}

// Streams reads and writes the log.
type Streams struct {
	Log  Log
	Emit Emitter
	// Letters knows what became dead letters; nil: nothing did.
	Letters LetterLog
}

// LetterLog knows the dead letters of a group.
type LetterLog interface {
	// LettersOf reads the group's dead letters. The function tells of a record whether it became
	// one when the group handled it, and may be called concurrently.
	LettersOf(ctx context.Context, group string) (func(r *record.Record) bool, error)
}

func (s *Streams) lettersOf(
	ctx context.Context, group string,
) (func(r *record.Record) bool, error) {
	if s.Letters == nil {
		return func(*record.Record) bool { return false }, nil
	}
	return s.Letters.LettersOf(ctx, group)
}

// AnalyticsStore is what the processors need of the analytics store.
type AnalyticsStore interface {
	RowStore
	TrendSource
}

// UsersStore is what the processors need of the store of users.
type UsersStore interface {
	UserStore
	UserExpirer
	ChangedUsers
}

// LostHandler is a processor that can make up for records that were deleted before it read them.
type LostHandler interface {
	// Lost is called with the lost range, a batch without records, before the batches behind it.
	Lost(ctx context.Context, b *record.Batch) error
}

// Deps are the dependencies of processors. A process fills those that its processors need.
type Deps struct {
	Streams   Streams
	Users     UsersStore
	Items     ItemStore
	Graph     EdgeStore
	Analytics AnalyticsStore

	ItemFactors *ItemFactors
	Erasures    *Erasures
	Recommender *recommend.Recommender
	Settings    Settings
	Hooks       Hooks
	// Repeat runs a task at its interval until ctx ends.
	Repeat func(ctx context.Context, t Task)
	// OnOne are tasks of the process that one instance runs at a time, beside those of periodic.
	OnOne []Task
	// Pace waits until n more lists may be made for a gap, or ctx ends. nil is at once.
	Pace func(ctx context.Context, n int) error
	// Now is the wall clock.
	Now func() time.Time
}

// Settings are what processors take from the configuration.
type Settings struct {
	// Partitions is the partition count of the topics keyed by user and by item.
	Partitions int
	// RecentIDs is the size of the deduplication window, in offsets per partition.
	RecentIDs int
	// Epoch is the epoch of the log (admin.Epoch).
	Epoch int
	// InsertInterval is how long rows for analysts accumulate before they are inserted.
	InsertInterval time.Duration
	// LearnInterval is the maximum time that gradients accumulate before item factors are updated.
	LearnInterval time.Duration
	// Trending is the query for trending items, run every TrendingInterval.
	Trending         sinks.TrendingQuery
	TrendingInterval time.Duration
	// Actions is the table of actions; nil is that of the built-in ones.
	Actions *schemas.Actions
	// UserTTL is the time without events after which a user is deleted; 0 is never.
	UserTTL time.Duration
	// ItemTTL is CatalogConfig.ItemTTL.
	ItemTTL time.Duration
	// MaxClockSkew is forward.Config.MaxClockSkew.
	MaxClockSkew time.Duration
}

// Hooks are callbacks for observation. A nil hook is not called. Hooks must not block.
type Hooks struct {
	// ListPublished is called for each list once the log has it.
	ListPublished func(list *schemas.Recommendation)
	// Gap is RecommendConfig.Gap.
	Gap func(GapProgress)
	// UserCorrupt and UserRepaired are EmbedConfig.Corrupt and EmbedConfig.Repaired.
	UserCorrupt  func(userID string, err error)
	UserRepaired func(userID string, events int)
	// Misplaced is called when a processor has forwarded misplaced records.
	Misplaced func(Misplaced)
	// ItemsCounted is CatalogConfig.Counted.
	ItemsCounted func(ItemCounts)
}

// Table declares the processors of Slipstream. The order is that of status and of documents.
func Table() []Declaration {
	return []Declaration{
		EmbedDeclaration(),
		CatalogDeclaration(),
		GraphDeclaration(),
		AnalyticsDeclaration(),
		RecommendDeclaration(),
		EraseDeclaration(),
		PeriodicDeclaration(),
	}
}

// Declared returns the declaration of a name.
func Declared(name string) (Declaration, bool) {
	for _, d := range Table() {
		if d.Name == name {
			return d, true
		}
	}
	return Declaration{}, false
}

// Topics returns all topics that the processor reads, including those of misplaced and of replayed
// records.
func (d Declaration) Topics() []string {
	topics := slices.Clone(d.Inputs)
	if d.Internal {
		return topics
	}
	if d.Forwards != "" {
		topics = append(topics, record.MisplacedTopic(d.Name))
	}
	topics = append(topics, record.ReplayTopic(d.Name))
	if d.ReadsDeadLetters {
		for _, name := range Groups() {
			topics = append(topics, record.PoisonTopic(name))
		}
	}
	return topics
}

// Groups names the processors that have dead letters, in the order of the table.
func Groups() []string {
	var names []string
	for _, d := range Table() {
		if !d.Internal {
			names = append(names, d.Name)
		}
	}
	return names
}

// Topics returns all topics: those of package schemas, and the dead-letter, replay and retry topics
// of each processor and those of their misplaced records.
func Topics(c schemas.TopicsConfig) []schemas.Topic {
	shared := schemas.Topics(c)
	topics := slices.Clone(shared)
	for _, d := range Table() {
		if d.Internal {
			continue
		}
		topics = append(topics, schemas.GroupTopics(c, d.Name, d.RetryTopics)...)
		for _, source := range shared {
			if source.Name == d.Forwards {
				topics = append(topics, schemas.MisplacedTopic(d.Name, source))
			}
		}
	}
	return topics
}

// GroupTopics returns what each consumer group reads. Retry topics have a group of their own.
func GroupTopics(retryDelays []time.Duration) map[string][]string {
	groups := make(map[string][]string)
	for _, d := range Table() {
		if d.Internal {
			continue
		}
		groups[d.Name] = d.Topics()
		if d.RetryTopics && len(retryDelays) > 0 {
			retry := record.RetryGroup(d.Name)
			for _, delay := range retryDelays {
				groups[retry] = append(groups[retry], record.RetryTopic(d.Name, delay))
			}
		}
	}
	return groups
}

// Readers names the processors that handle the records of a topic. A record that cannot be decoded
// becomes a dead letter of each.
func Readers(topic string) []string {
	var names []string
	for _, d := range Table() {
		if !d.Internal && slices.Contains(d.Inputs, topic) {
			names = append(names, d.Name)
		}
	}
	return names
}

// Filling names the processors that write to any of the stores.
func Filling(stores ...Store) []string {
	var names []string
	for _, d := range Table() {
		if slices.ContainsFunc(d.Writes, func(s Store) bool { return slices.Contains(stores, s) }) {
			names = append(names, d.Name)
		}
	}
	return names
}
