package schemas

import (
	"slices"
	"time"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// Logical names of the topics. On the broker each has the configured prefix.
const (
	TopicInteractions           = "interactions"
	TopicFriendships            = "friendships"
	TopicItems                  = "items"
	TopicUsers                  = "users"
	TopicItemGradients          = "item-gradients"
	TopicItemVectors            = "item-vectors"
	TopicProfileChanges         = "profile-changes"
	TopicRecommendations        = "recommendations"
	TopicRecommendationsCurrent = "recommendations.current"
	TopicTrending               = "trending"
	TopicErasures               = "erasures"
	TopicMeta                   = "meta"
)

// Names of the consumer groups: one per processor.
const (
	GroupEmbed     = "embed"
	GroupCatalog   = "catalog"
	GroupGraph     = "graph"
	GroupAnalytics = "analytics"
	GroupRecommend = "recommend"
	GroupErase     = "erase"
	GroupPeriodic  = "periodic"
)

// Topic declares one topic: the single source for migrate, for the start of every process and for
// the AsyncAPI document.
type Topic struct {
	Name string
	// Key says in words what orders the records.
	Key        string
	Partitions int
	// Compact keeps the latest record of each key for good; otherwise Retention counts from the
	// time of producing; 0: forever.
	Compact   bool
	Retention time.Duration
	// LogAppendTime makes the time of each record the broker's, whatever the producer's clock says.
	// Where events have a time, or records are compared by theirs, it must be.
	LogAppendTime bool
	// AtLeast lets a longer retention on the broker stay: an operator gives a group more time.
	AtLeast bool
	// Kinds are what the records hold. A plain value without headers is taken for the first. Topics
	// fills it in: a kind names its topics.
	Kinds []Kind
	// ErasureMarkers puts a person's erasure into the topic, in line with what the person did, so
	// that each reader erases in order.
	ErasureMarkers bool
	// Public topics are in the AsyncAPI document: applications write (In) or read (Out) them.
	In, Out     bool
	Description string
}

// TopicsConfig sizes the topics.
type TopicsConfig struct {
	// Partitions of the busy topics; 8 by default. It cannot be changed later without a rebuild:
	// keys would move.
	Partitions int
	// Retention of interactions and friendships; a rebuild needs the whole history that is to be
	// kept. Default 0: forever.
	Retention time.Duration
	// RetryDelays are the delays of the retry topics of the groups whose effects are free of order,
	// growing.
	RetryDelays []time.Duration
}

// DefaultTopicsConfig returns the defaults.
func DefaultTopicsConfig() TopicsConfig {
	return TopicsConfig{
		Partitions: 8, RetryDelays: []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute},
	}
}

// Topics declares the topics that belong to no consumer group: those below, then those that a kind
// declares itself.
func Topics(c TopicsConfig) []Topic {
	kinds := definitions()
	const day = 24 * time.Hour
	n := c.Partitions
	ts := []Topic{
		{
			Name: TopicInteractions, Key: "user_id", Partitions: n, Retention: c.Retention,
			LogAppendTime:  true,
			ErasureMarkers: true, In: true,
			Description: "What users do with items. Emit by HTTP, by the Go client, or straight " +
				"to this topic.",
		},
		{
			Name: TopicFriendships, Key: "the two user ids, lower first, joined by |",
			LogAppendTime: true, Partitions: n, Retention: c.Retention,
			ErasureMarkers: true, In: true,
			Description: "Friendship edges, added and removed.",
		},
		{
			Name: TopicItems, Key: "item_id", Partitions: n, Compact: true, In: true,
			LogAppendTime: true,
			Description:   "The catalog: the latest state of each item.",
		},
		{
			Name: TopicUsers, Key: "user_id", Partitions: n, Compact: true, In: true,
			LogAppendTime: true,
			Description:   "Attributes of users, and their erasure.",
		},
		{
			Name: TopicItemGradients, Key: "item partition", Partitions: n, Retention: 7 * day,
			AtLeast:     true,
			Description: "Gradient sums of the learner, one message per range and item partition.",
		},
		{
			Name: TopicItemVectors, Key: "item_id", Partitions: n, Compact: true,
			Description: "The learned rows of each item: what embed caches and catalog restores.",
		},
		{
			Name: TopicProfileChanges, Key: "user_id", Partitions: n, Retention: day,
			LogAppendTime: true, AtLeast: true, ErasureMarkers: true,
			Description: "Users whose vector moved and who are due a new list, and expired " +
				"lists that are to be withdrawn.",
		},
		{
			Name: TopicRecommendations, Key: "user_id", Partitions: n, Retention: 30 * day,
			LogAppendTime:  true,
			ErasureMarkers: true, Out: true,
			Description: "Every list that was served, by event or by request, kept by time.",
		},
		{
			Name: TopicRecommendationsCurrent, Key: "user_id", Partitions: n, Compact: true,
			Out: true,
			Description: "The latest list of each user; a tombstone when the user was erased or " +
				"the list expired.",
		},
		{
			Name: TopicTrending, Key: "scope", Partitions: 1, Compact: true, Out: true,
			Description: "What is popular now, with decay; recomputed periodically.",
		},
		{
			Name: TopicErasures, Key: "hash of the user_id", Partitions: 1, Compact: true,
			LogAppendTime: true,
			Description:   "Who was erased and when, as hashes: events from before are dropped.",
		},
		{
			Name: TopicMeta, Key: "name", Partitions: 1, Compact: true, LogAppendTime: true,
			Description: "The log id, its epoch, what all readers must have in common, and how " +
				"many items there are.",
		},
	}
	for _, d := range kinds {
		if d.declares != nil {
			ts = append(ts, d.declares(c))
		}
	}
	for i := range ts {
		t := &ts[i]
		for _, d := range kinds {
			if slices.Contains(d.topics, t.Name) {
				t.Kinds = append(t.Kinds, d.kind)
			}
		}
		if t.ErasureMarkers {
			t.Kinds = append(t.Kinds, KindUserErased)
		}
	}
	return ts
}

// GroupTopics declares the topics that belong to a consumer group: its dead letters, their replay
// and, with retries, one for each delay.
func GroupTopics(c TopicsConfig, group string, retries bool) []Topic {
	const day = 24 * time.Hour
	ts := []Topic{
		{
			Name: record.PoisonTopic(group), Key: "as the original", Partitions: 1,
			LogAppendTime: true, Retention: 30 * day,
			Description: "Dead letters of " + group + ".",
		},
		{
			Name: record.ReplayTopic(group), Key: "as the original", Partitions: c.Partitions,
			LogAppendTime: true, Retention: c.Retention,
			Description: "Dead letters of " + group + " that were replayed: part of the history " +
				"like what they were.",
		},
	}
	if !retries {
		return ts
	}
	for _, d := range c.RetryDelays {
		ts = append(ts, Topic{
			Name: record.RetryTopic(group, d), Key: "as the original", Partitions: c.Partitions,
			Retention:   7 * day,
			Description: "Failing records of " + group + ", tried again after " + d.String() + ".",
		})
	}
	return ts
}

// MisplacedTopic declares the topic to which a group forwards misplaced records of a source. Its
// partitions and its retention are those of the source.
func MisplacedTopic(group string, source Topic) Topic {
	return Topic{
		Name: record.MisplacedTopic(group), Key: source.Key, Partitions: source.Partitions,
		Compact: source.Compact, Retention: source.Retention, LogAppendTime: true,
		Description: "Records of " + source.Name + " that stood in a partition which their key " +
			"does not choose: " + group + " forwards them here, with their origin in headers.",
	}
}

// MarkedTopics are the topics that a person's erasure is marked in, so that each processor erases
// in line, in order.
func MarkedTopics() []string {
	var names []string
	for _, t := range Topics(DefaultTopicsConfig()) {
		if t.ErasureMarkers {
			names = append(names, t.Name)
		}
	}
	return names
}
