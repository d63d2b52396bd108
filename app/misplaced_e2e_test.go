package app_test

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestEventsOfOtherPartitionersAreLearned(t *testing.T) {
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	otherPartitioners(t, in)
}

func TestRealEventsOfOtherPartitionersAreLearned(t *testing.T) {
	otherPartitioners(t, apptest.StartReal(t, nil))
}

// consistentRandom is the default partitioner of librdkafka, which kcat and the confluent-kafka
// clients for Python, .NET, JavaScript and Go have: CRC-32 of the key, and any partition without a
// key. Here that is one after the other.
type consistentRandom struct{ next int }

func (c *consistentRandom) partition(key []byte, n int) int {
	if len(key) == 0 {
		c.next++
		return c.next % n
	}
	return int(crc32.ChecksumIEEE(key) % uint32(n))
}

// produce writes plain JSON values with a client that is not ours.
func produce(t *testing.T, in *apptest.Installation, topic string, records ...*kgo.Record) {
	t.Helper()
	c, err := kgo.NewClient(
		kgo.SeedBrokers(in.Config().Kafka.Brokers...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	require.NoError(t, err)
	defer c.Close()
	partitioner := &consistentRandom{}
	for _, r := range records {
		r.Topic = in.Config().Kafka.TopicPrefix + topic
		r.Partition = int32(partitioner.partition(r.Key, in.Config().Topics.Partitions))
	}
	require.NoError(t, c.ProduceSync(t.Context(), records...).FirstErr())
}

// otherPartitioners has each user like five films by a foreign producer, and then five over HTTP.
func otherPartitioners(t *testing.T, in *apptest.Installation) {
	const users = 12
	id := func(kind string, n int) string { return fmt.Sprintf("%s-%d", kind, n) }
	keys := map[string]func(user, film string) []byte{
		"user key": func(user, _ string) []byte { return []byte(user) },
		"item key": func(_, film string) []byte { return []byte(film) },
		"no key":   func(string, string) []byte { return nil },
	}
	var films, likes []*kgo.Record
	for n := range 10 {
		value, err := json.Marshal(schemas.Item{ItemID: id("film", n), Title: id("Film", n)})
		require.NoError(t, err)
		films = append(films, &kgo.Record{Key: []byte(id("film", n)), Value: value})
	}
	for kind, key := range keys {
		for u := range users {
			user := id(kind, u)
			for n := range 5 {
				value, err := json.Marshal(map[string]string{
					"user_id": user, "item_id": id("film", n), "action": "like",
				})
				require.NoError(t, err)
				likes = append(likes, &kgo.Record{Key: key(user, id("film", n)), Value: value})
			}
		}
	}
	produce(t, in, schemas.TopicItems, films...)
	produce(t, in, schemas.TopicInteractions, likes...)
	in.AwaitIdle(t, time.Minute)
	for kind := range keys {
		for u := range users {
			for n := 5; n < 10; n++ {
				code, body := in.Call(t, http.MethodPost, "/v1/events", map[string]string{
					"user_id": id(kind, u), "item_id": id("film", n), "action": "like",
				})
				require.Equal(t, http.StatusAccepted, code, string(body))
			}
		}
	}
	in.AwaitIdle(t, time.Minute)

	misplaced := 0
	for p := range in.Config().Topics.Partitions {
		require.NoError(t, in.Kafka().Read(t.Context(), schemas.TopicInteractions, p, 0, -1,
			func(r *record.Record) error {
				x, err := schemas.DecodeInteraction(r)
				require.NoError(t, err)
				if record.PartitionOf([]byte(x.UserID), in.Config().Topics.Partitions) != p {
					misplaced++
				}
				return nil
			}))
	}
	require.Greater(t, misplaced, users*5, "most of what the foreign producer has written")

	learned := make(map[string]*model.User)
	require.NoError(t, in.Engines().Users.(sinktest.UserLister).EachUser(
		t.Context(), func(u sinks.User) error {
			learned[u.ID] = new(model.User)
			require.NotEmpty(t, u.Vector)
			return learned[u.ID].Decode(u.State)
		}))
	require.Len(t, learned, users*len(keys))
	for kind := range keys {
		for u := range users {
			user := id(kind, u)
			require.Contains(t, learned, user)
			require.EqualValues(t, 10, learned[user].Events, user)
			for n := range 10 {
				require.True(t, learned[user].Seen(model.KeyOf(id("film", n))), "%s, %d", user, n)
			}
			require.Equal(t, 10, in.RowsOf(t, user)["interactions"], user)
			code, body := in.Call(t, http.MethodGet, "/v1/users/"+user+"/recommendations", nil)
			require.Equal(t, http.StatusOK, code, string(body))
			var list schemas.Recommendation
			require.NoError(t, json.Unmarshal(body, &list))
			require.Empty(t, list.Items, "nothing is offered again")
		}
	}
	n, err := in.Engines().Analytics.CountInteractions(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 10*users*len(keys), n.Rows, "each counts once")

	require.Equal(t, misplaced, countForwarded(t, in))

	var ids []string
	for n := range 10 {
		ids = append(ids, id("film", n))
	}
	items, err := in.Engines().Items.GetItems(t.Context(), ids)
	require.NoError(t, err)
	require.Len(t, items, 10)
	for i := range items {
		require.NotEmpty(t, items[i].Content.Title, items[i].Content.ItemID)
	}
	for _, group := range processors.Groups() {
		require.Empty(t, lettersOn(t, in, record.PoisonTopic(group)), group)
	}
}

// countForwarded counts the records on embed.misplaced, and checks that each origin is there once.
func countForwarded(t *testing.T, in *apptest.Installation) int {
	t.Helper()
	origins := make(map[record.Origin]bool)
	for p := range in.Config().Topics.Partitions {
		topic := record.MisplacedTopic(schemas.GroupEmbed)
		require.NoError(t, in.Kafka().Read(t.Context(), topic, p, 0, -1,
			func(r *record.Record) error {
				o, err := record.OriginOf(r)
				require.NoError(t, err)
				require.False(t, origins[o], "%v was forwarded twice", o)
				origins[o] = true
				return nil
			}))
	}
	return len(origins)
}

// lettersOn returns the values on a topic of dead letters.
func lettersOn(t *testing.T, in *apptest.Installation, topic string) (out []string) {
	t.Helper()
	require.NoError(t, in.Kafka().Read(t.Context(), topic, 0, 0, -1, func(r *record.Record) error {
		out = append(out, r.Header(record.HeaderReason))
		return nil
	}))
	return out
}
