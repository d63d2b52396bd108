package app_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestCloudEventsInStructuredMode(t *testing.T) {
	t.Parallel()
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	structuredMode(t, in)
}

func TestRealCloudEventsInStructuredMode(t *testing.T) {
	structuredMode(t, apptest.StartReal(t, nil))
}

// cloudEvent is a record of a producer that writes CloudEvents in structured mode.
func cloudEvent(contentType, key, id string, kind schemas.Kind, data string) *kgo.Record {
	r := &kgo.Record{Value: fmt.Appendf(nil,
		`{"specversion":"1.0","id":%q,"source":"/shop","type":%q,"time":%q,"data":%s}`,
		id, kind, time.Now().Format(time.RFC3339Nano), data)}
	if key != "" {
		r.Key = []byte(key)
	}
	if contentType != "" {
		r.Headers = []kgo.RecordHeader{
			{Key: schemas.HeaderContentType, Value: []byte(contentType)},
		}
	}
	return r
}

// structuredMode writes CloudEvents with a client that is not ours: every processor takes them, in
// partitions of others too, and trace finds them.
func structuredMode(t *testing.T, in *apptest.Installation) {
	knative, python1 := schemas.ContentTypeCloudEvent, ""
	like := func(n int) string {
		return fmt.Sprintf(`{"user_id":"ann","item_id":"film-%d","action":"like"}`, n)
	}
	produce(t, in, schemas.TopicItems,
		cloudEvent(knative, "film-0", "item-0", schemas.KindItemUpdated,
			`{"item_id":"film-0","title":"Zero"}`),
		cloudEvent(python1, "film-9", "item-9", schemas.KindItemUpdated,
			`{"item_id":"film-9","title":"Nine"}`),
		cloudEvent(knative, "film-9", "item-9b", schemas.KindItemWithdrawn,
			`{"item_id":"film-9"}`),
	)
	var likes []*kgo.Record
	for n := range 6 { // without a key: in every partition
		likes = append(likes, cloudEvent([]string{knative, python1}[n%2], "",
			fmt.Sprintf("like-%d", n), schemas.KindInteraction, like(n)))
	}
	likes = append(likes, cloudEvent(knative, "ann", "bad", schemas.KindInteraction, `{}`))
	produce(t, in, schemas.TopicInteractions, likes...)
	produce(t, in, schemas.TopicFriendships, cloudEvent(knative, "ann|bob", "friends",
		schemas.KindFriendshipAdded, `{"user_id":"ann","friend_id":"bob"}`))
	produce(t, in, schemas.TopicUsers, cloudEvent(knative, "ann", "attributes",
		schemas.KindUserUpdated, `{"user_id":"ann","attributes":{"plan":"free"}}`))
	in.AwaitIdle(t, time.Minute)

	require.Equal(t, 6, learnedBy(t, in, "ann"))
	rows := in.RowsOf(t, "ann")
	require.Equal(t, 6, rows["interactions"])
	require.Equal(t, 1, rows["users"], rows)
	items, err := in.Engines().Items.GetItems(t.Context(), []string{"film-0", "film-9"})
	require.NoError(t, err)
	titles := make(map[string]string)
	for i := range items {
		if c := items[i].Content; !c.Withdrawn {
			titles[c.ItemID] = c.Title
		}
	}
	require.Equal(t, map[string]string{"film-0": "Zero"}, titles)
	friends, err := in.Engines().Graph.Friends(t.Context(), []string{"ann"}, 10)
	require.NoError(t, err)
	require.Len(t, friends["ann"], 1)

	for id, group := range map[string]string{
		"like-0": schemas.GroupEmbed, "like-1": schemas.GroupEmbed, "like-2": schemas.GroupEmbed,
		"friends": schemas.GroupGraph, "item-9": schemas.GroupCatalog,
		"attributes": schemas.GroupErase,
	} {
		g := tracesOf(t, in.Kafka(), id, 1)[0].by(t, group)
		require.Equal(t, "done", g.State, id)
	}
	for _, group := range processors.Groups() {
		reasons := lettersOn(t, in, record.PoisonTopic(group))
		if group == schemas.GroupEmbed || group == schemas.GroupAnalytics {
			require.Len(t, reasons, 1, group)
			require.Contains(t, reasons[0], `"user_id" is missing`)
			g := tracesOf(t, in.Kafka(), "bad", 1)[0].by(t, group)
			require.Equal(t, "dead letter (open)", g.State)
			continue
		}
		require.Empty(t, reasons, group)
	}

	produce(t, in, schemas.TopicUsers, cloudEvent(knative, "ann", "bye", schemas.KindUserErased,
		`{"user_id":"ann"}`))
	in.AwaitIdle(t, time.Minute)
	for table, n := range in.RowsOf(t, "ann") {
		require.Zero(t, n, table)
	}
	points, err := in.Engines().Users.GetUsers(t.Context(), []string{"ann"})
	require.NoError(t, err)
	require.Empty(t, points)
}
