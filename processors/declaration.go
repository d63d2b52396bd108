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

// Declaration declares a processor, once. Whatever must know of it derives from the declaration:
// the router, topics and their documents, lag, status, trace, rebuilds, --only, the torture and the
// benchmarks.
type Declaration struct {
	// Name is the name of the processor and of its consumer group.
	Name string
	// Inputs are the topics that it reads, beside the replay topic of its dead letters.
	Inputs []string
	// ReadsDeadLetters adds the dead-letter topic of every processor to the inputs.
	ReadsDeadLetters bool
	// Internal processors read records for the sake of owning a partition: there is nothing to
	// fail, so they have no dead letters, no replay topic and no lag.
	Internal bool
	// BatchIntents commits the range of a batch before its effects, so that a repeated batch is the
	// same batch. It is for effects that depend on order or count what they see.
	BatchIntents bool
	// Splittable batches may be handled in parts: that is how an offending record is found that the
	// processor does not name itself.
	Splittable bool
	// RetryTopics lets a failing record wait in <name>.retry.<delay> while the others go on. It is
	// for effects that do not depend on order.
	RetryTopics bool
	// Writes names the stores that it fills.
	Writes []Store
	// Fills says in words what it fills, for people.
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

// Tuning is how the batches of a processor differ from the configured ones. The zero value changes
// nothing.
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
	// BatchBytes bounds the bytes of a batch of a topic; 0 leaves the configured bound, which it
	// never exceeds.
	BatchBytes func(topic string) int
}

// Task is work that recurs in every process that runs the processor.
type Task struct {
	Name     string
	Interval time.Duration
	Run      func(ctx context.Context) error
	// AtEnd runs once, after the last batch and before the stores close; nil: nothing.
	AtEnd func(ctx context.Context) error
	// Begun, where it is set, tells whether Run has found something to work on. Until then it runs
	// more often.
	Begun func() bool
}

// Instance is a processor with what belongs to it in a running process.
type Instance struct {
	Processor
	Tasks []Task
	// Pending is how many effects are not in the store yet although their batches are done; nil
	// means none, ever.
	Pending func() int
}

// Streams reads and writes the log.
type Streams struct {
	Log  Log
	Emit Emitter
}

// AnalyticsStore is what the processors need of the analytics store.
type AnalyticsStore interface {
	RowStore
	TrendSource
}

// Deps is what processors are made of. A process fills what the processors that it runs need.
type Deps struct {
	Streams   Streams
	Users     UserStore
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
	// Now is the wall clock.
	Now func() time.Time
}

// Settings are what processors take from the configuration.
type Settings struct {
	// Partitions is the partition count of the topics keyed by user and by item.
	Partitions int
	// RecentIDs is over how many offsets of a partition an event that was sent twice counts once.
	RecentIDs int
	// Epoch is the log's (admin.Epoch).
	Epoch int
	// InsertInterval is how long rows for analysts gather before they are inserted.
	InsertInterval time.Duration
	// LearnInterval is the maximum time that gradients accumulate before item factors are updated.
	LearnInterval time.Duration
	// Trending is what is popular, recomputed every TrendingInterval.
	Trending         sinks.TrendingQuery
	TrendingInterval time.Duration
	// UserTTL is after how long without an event a user is forgotten; 0 is never.
	UserTTL time.Duration
}

// Hooks tell of happenings. A nil hook tells nobody. They must not block.
type Hooks struct {
	// ListPublished is called for each list once the log has it.
	ListPublished func(list *schemas.Recommendation)
	// UserCorrupt and UserRepaired are EmbedConfig.Corrupt and EmbedConfig.Repaired.
	UserCorrupt  func(userID string, err error)
	UserRepaired func(userID string, events int)
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

// Topics returns everything that the processor reads, replayed dead letters included.
func (d Declaration) Topics() []string {
	topics := slices.Clone(d.Inputs)
	if d.Internal {
		return topics
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

// Topics declares every topic: those of schemas, and of each processor its dead letters, their
// replay and its retries.
func Topics(c schemas.TopicsConfig) []schemas.Topic {
	topics := schemas.Topics(c)
	for _, d := range Table() {
		if !d.Internal {
			topics = append(topics, schemas.GroupTopics(c, d.Name, d.RetryTopics)...)
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

// Readers names the processors that handle the records of a topic. A record that cannot be read is
// a dead letter of each.
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
