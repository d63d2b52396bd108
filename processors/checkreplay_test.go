package processors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// A corrected record is decoded as its group decodes it, and keyed by what it says.
func TestCorrectedRecordsAreDecodedAsTheirGroupDoes(t *testing.T) {
	t.Parallel()
	const good = `{"user_id":"ann","item_id":"i1","action":"like"}`
	var olderGradients string // the name of the topic in an older version
	for old, now := range schemas.Renamed().Topics {
		if now == schemas.TopicItemGradients {
			olderGradients = old
		}
	}
	require.NotEmpty(t, olderGradients)
	check := processors.NewReplayCheck(nil)
	friends := schemas.Friendship{UserID: "bob", FriendID: "ann", OccurredAt: noon}.Message()
	for _, x := range []struct {
		name, group, topic, value, key, refused string
	}{
		{"an interaction", "embed", "interactions", good, "ann", ""},
		{"the same of analytics", "analytics", "interactions", good, "ann", ""},
		{"a misplaced one", "embed", "embed.misplaced", good, "ann", ""},
		{
			"a typo", "embed", "interactions", `{"user_id":"ann","item_id":"i","action":"lik"}`, "",
			`"action"`,
		},
		{"no JSON", "analytics", "interactions", `{`, "", "JSON"},
		{"a friendship", "graph", "friendships", string(friends.Value), string(friends.Key), ""},
		{"no friend", "graph", "friendships", `{"user_id":"ann"}`, "", "friend_id"},
		{"an item", "catalog", "items", `{"item_id":"i1","title":"One"}`, "i1", ""},
		{"the same of analytics", "analytics", "items", `{"item_id":"i1","title":"One"}`, "i1", ""},
		{
			"an item for embed", "embed", "interactions", `{"item_id":"i1","title":"One"}`, "",
			"user_id",
		},
		{"gradients", "catalog", "item-gradients", `{}`, "", "unreadable"},
		{"gradients of an older version", "catalog", olderGradients, `{}`, "", "unreadable"},
		{
			"another event", "embed", "interactions",
			`{"event_id":"e-2","user_id":"ann","item_id":"i1","action":"like"}`, "",
			`"event_id" would be "e-2" instead of ""`,
		},
		{
			"another source", "catalog", "items", `{"item_id":"i1","title":"One","source":"a"}`, "",
			`"source" would be "a"`,
		},
		{"a user", "erase", "users", `{"user_id":"ann"}`, "ann", ""},
		{"no group", "nobody", "users", `{"user_id":"ann"}`, "", "no group"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			corrected := record.Record{
				Topic: record.ReplayTopic(x.group), Value: []byte(x.value), Time: noon,
				Key: []byte{0xff}, // what was wrong may be the key
				Headers: []record.Header{
					{Key: record.HeaderTopic, Value: []byte("shop." + x.topic)},
				},
			}
			original := corrected
			original.Value = []byte(`{"user_id":"a"}`)
			key, err := check(x.group, &original, &corrected)
			if x.refused != "" {
				require.ErrorContains(t, err, x.refused)
				return
			}
			require.NoError(t, err)
			require.Equal(t, x.key, string(key))
		})
	}
}

// A corrected record may name an action of the installation's own, within its bounds.
func TestCorrectedRecordsMayNameOwnActions(t *testing.T) {
	t.Parallel()
	actions, err := schemas.NewActions([]schemas.Rule{{
		Action: "listen", To: 1, Meaning: schemas.Interest, Weight: 1, Verb: "listened to",
		Outcome: schemas.OutcomeNone,
	}})
	require.NoError(t, err)
	check := processors.NewReplayCheck(actions)
	for value, refused := range map[string]string{
		`{"user_id":"ann","item_id":"i1","action":"listen","value":0.5}`: "",
		`{"user_id":"ann","item_id":"i1","action":"listen","value":2}`:   `"value"`,
		`{"user_id":"ann","item_id":"i1","action":"like"}`:               `"action"`,
	} {
		for _, group := range []string{"embed", "analytics"} {
			corrected := record.Record{
				Topic: record.ReplayTopic(group), Value: []byte(value), Time: noon,
			}
			_, err := check(group, &corrected, &corrected)
			if refused == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, refused)
			}
		}
	}
}

// A dead letter and its correction are one event, whichever comes first.
func TestAnOriginalAndItsCorrectionCountOnce(t *testing.T) {
	t.Parallel()
	for _, order := range [][2]int{{1, 2}, {2, 1}} {
		a := openAnalytics(t)
		require.NoError(t, a.handle(t, replayOf(like("ann", order[0], noon), "letter")))
		require.NoError(t, a.handle(t, replayOf(like("bob", order[1], noon), "letter")))
		n, err := a.store.CountInteractions(t.Context())
		require.NoError(t, err)
		require.Equal(t, sinks.Counts{Rows: 1, ItemHours: 1, UserDays: 1}, n)
	}
}
