package processors_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
)

func TestDeclarationsAreComplete(t *testing.T) {
	t.Parallel()
	topics := make(map[string]bool)
	for _, topic := range processors.Topics(schemas.DefaultTopicsConfig()) {
		require.False(t, topics[topic.Name], "%s is declared twice", topic.Name)
		topics[topic.Name] = true
	}
	names := make(map[string]bool)
	for _, d := range processors.Table() {
		t.Run(d.Name, func(t *testing.T) {
			require.False(t, names[d.Name] || topics[d.Name], "the name is taken")
			names[d.Name] = true
			require.NotEmpty(t, d.Inputs)
			require.NotEmpty(t, d.Fills)
			require.NotNil(t, d.New)
			require.False(
				t, d.BatchIntents && d.RetryTopics,
				"a record that comes back later has left its batch",
			)
			for _, topic := range d.Topics() {
				require.True(t, topics[topic], "%s is not declared", topic)
			}
			found, ok := processors.Declared(d.Name)
			require.True(t, ok)
			require.Equal(t, d.Name, found.Name)
		})
	}
	_, ok := processors.Declared("nobody")
	require.False(t, ok)
}

// Every consumer that can fail has dead letters, their replay and, if it retries later, retry
// topics, and all of them are read by somebody whose lag is measured.
func TestEveryConsumerIsObserved(t *testing.T) {
	t.Parallel()
	delays := []time.Duration{time.Second, time.Minute}
	c := schemas.DefaultTopicsConfig()
	c.RetryDelays = delays
	groups := processors.GroupTopics(delays)
	var declared []string
	for _, topic := range processors.Topics(c) {
		declared = append(declared, topic.Name)
	}
	var read []string
	for _, topics := range groups {
		read = append(read, topics...)
	}
	for _, d := range processors.Table() {
		if d.Internal {
			require.NotContains(t, groups, d.Name)
			continue
		}
		require.Contains(t, groups, d.Name)
		require.Contains(t, processors.Groups(), d.Name)
		require.Subset(t, groups[d.Name], d.Inputs)
		require.Contains(t, groups[d.Name], d.Name+".replay")
		for _, topic := range []string{d.Name + ".poison", d.Name + ".replay"} {
			require.Contains(t, declared, topic)
			require.Contains(t, read, topic, "nobody would notice what waits there")
		}
		retries := []string{d.Name + ".retry.1s", d.Name + ".retry.1m"}
		if d.RetryTopics {
			require.Equal(t, retries, groups[d.Name+".retry"])
			require.Subset(t, declared, retries)
		} else {
			require.NotContains(t, groups, d.Name+".retry")
			require.False(t, slices.ContainsFunc(declared, func(s string) bool {
				return strings.HasPrefix(s, d.Name+".retry.")
			}))
		}
	}
	require.NotContains(
		t, processors.GroupTopics(nil), "recommend.retry", "without delays nobody retries later",
	)
}

func TestErasuresAreMarkedWhereverUsersAre(t *testing.T) {
	t.Parallel()
	marked := schemas.MarkedTopics()
	for _, topic := range schemas.Topics(schemas.DefaultTopicsConfig()) {
		// A compacted topic forgets a person by a tombstone, the topic of users holds the erasure
		// itself.
		users := topic.Key == "user_id" || topic.Name == schemas.TopicFriendships
		require.Equal(t, users && !topic.Compact, slices.Contains(marked, topic.Name), topic.Name)
	}
	require.Contains(t, marked, schemas.TopicInteractions)
}

func TestStoresAreFilledBySomebody(t *testing.T) {
	t.Parallel()
	for _, s := range []processors.Store{
		processors.StoreUsers, processors.StoreItems, processors.StoreGraph,
		processors.StoreAnalytics,
	} {
		require.Len(t, processors.Filling(s), 1, "each store has one writer: %s", s)
	}
}
