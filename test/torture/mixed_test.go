//go:build linux

package torture

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

func TestWhatWasAcknowledgedIsOnTheLog(t *testing.T) {
	t.Parallel()
	byHTTP := schemas.Interaction{
		EventID: "1", Source: source, UserID: "ann", ItemID: "a", Action: schemas.Like,
		OccurredAt: noon,
	}.Message()
	plain := record.Record{
		Topic: schemas.TopicInteractions, Partition: 1, Time: noon, Value: []byte(`{"a":1}`),
	}
	log := theLog{topics: map[string][]record.Record{
		schemas.TopicInteractions: {byHTTP, plain},
	}}
	over := mixedEvent{viaHTTP: true, id: "1"}
	by := mixedEvent{foreignRecord: foreignRecord{
		Topic: schemas.TopicInteractions, Value: string(plain.Value),
	}}
	for _, tc := range []struct {
		name          string
		e             evidence
		lost, doubled int
	}{
		{"both", evidence{
			events: []mixedEvent{over, by}, deliveries: []delivery{{Partition: 1}},
		}, 0, 0},
		{"one over HTTP is missing", evidence{
			events:     []mixedEvent{{viaHTTP: true, id: "2"}, by},
			deliveries: []delivery{{Partition: 1}},
		}, 1, 0},
		{"another stands where the client's should", evidence{
			events: []mixedEvent{over, by}, deliveries: []delivery{{Partition: 0}},
		}, 1, 0},
		{"the client has sent nothing", evidence{events: []mixedEvent{over}}, 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.e.log = log
			v := new(MixedVerdict)
			tc.e.verifyAcknowledged(v)
			require.Equal(t, []int{tc.lost, tc.doubled}, []int{v.Lost.Count, v.Doubled.Count})
		})
	}
}

func TestWhatWasSeenIsNotOffered(t *testing.T) {
	t.Parallel()
	x := &expected{users: make(map[string]*person)}
	for user, item := range map[string]string{"ann": "a", "bob": "b"} {
		x.users[user] = &person{User: new(model.User)}
		x.users[user].MarkSeen(model.KeyOf(item), 10)
	}
	current := schemas.TopicRecommendationsCurrent
	e := evidence{log: theLog{topics: make(map[string][]record.Record)}}
	offer := func(user string, version int64, items ...string) {
		list := schemas.Recommendation{
			UserID: user, RecommendationID: fmt.Sprint(user, version), Version: version,
			GeneratedAt: noon,
		}
		for _, id := range items {
			list.Items = append(list.Items, schemas.RecommendedItem{ItemID: id})
		}
		e.log.topics[current] = append(e.log.topics[current], list.Message(current))
	}
	problems := func() int {
		v := new(MixedVerdict)
		require.NoError(t, e.verifyOffers(v, x))
		require.Len(t, v.Problems(), min(v.Offers.Count, 1))
		return v.Offers.Count
	}
	require.Equal(t, 2, problems(), "nobody has a list")
	offer("ann", 7, "b", "c")
	require.Equal(t, 1, problems())
	offer("bob", 8, "c", "b")
	require.Equal(t, 1, problems(), "bob is offered what he has seen")
	offer("bob", 7, "c")
	require.Equal(t, 1, problems(), "an older list does not count")
	offer("bob", 8, "c")
	require.Zero(t, problems())
}
