package qdrant

import (
	"testing"
	"time"

	pb "github.com/qdrant/go-client/qdrant"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
)

// One damaged point does not keep the others from being read, and it is written anew.
func TestRealDamagedPointIsAlone(t *testing.T) {
	src := sinks.Source{Topic: schemas.TopicInteractions}
	for name, damage := range map[string]map[string]*pb.Value{
		"positions":           {fieldOf(src.Topic): pb.NewValueString("garbage")},
		"a negative position": {fieldOf(src.Topic): pb.NewValueInt(-5)},
		"the state":           {fieldState: pb.NewValueString("?")},
		"a time":              {fieldChanged: pb.NewValueString("x")},
		"content":             {fieldContent: pb.NewValueString("{")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openForTest(t, forSuite)
			user := func(id string, offset int64) sinks.User {
				v := make([]float32, s.cfg.Dim)
				v[0] = 1
				return sinks.User{
					ID: id, Vector: v, State: []byte(id), LastEventAt: time.Unix(9, 0),
					ChangedAt: time.Unix(9, 0), Positions: map[string]sinks.Position{
						src.Topic: sinks.PositionOf(sinks.FirstEpoch, offset),
					},
				}
			}
			require.NoError(t, s.Users().PutUsers(
				t.Context(), src, []sinks.User{user("a", 1), user("b", 1)},
			))
			v := make([]float32, s.cfg.Dim)
			v[0] = 1
			require.NoError(t, s.Items().PutItems(t.Context(), []sinks.Item{
				{Content: schemas.Item{ItemID: "a"}, Vector: v, Version: 1},
				{Content: schemas.Item{ItemID: "b"}, Vector: v, Version: 1},
			}))
			c := s.Users().collection
			if name == "content" {
				c = s.Items().collection
			}
			_, err := s.client().Points().SetPayload(t.Context(), &pb.SetPayloadPoints{
				CollectionName: c.ref(), Wait: pb.PtrOf(true), Payload: damage,
				PointsSelector: pb.NewPointsSelector(pb.NewIDNum(schemas.Key("a"))),
			})
			require.NoError(t, err)

			users, err := s.Users().GetUsers(t.Context(), []string{"a", "b"})
			require.NoError(t, err)
			require.Len(t, users, 2)
			items, err := s.Items().GetItems(t.Context(), []string{"a", "b"})
			require.NoError(t, err)
			broken := 2 - len(items)
			for i := range users {
				if users[i].Damaged != nil {
					require.Equal(t, "a", users[i].ID)
					broken++
				}
			}
			require.Equal(t, 1, broken)
			hits, err := s.Items().SearchItems(t.Context(), []sinks.ItemQuery{{Vector: v, N: 5}})
			require.NoError(t, err)
			require.Len(t, hits[0], len(items))

			require.NoError(
				t, s.Users().PutUsers(t.Context(), src, []sinks.User{user("a", 2)}),
			)
			users, err = s.Users().GetUsers(t.Context(), []string{"a"})
			require.NoError(t, err)
			require.NoError(t, users[0].Damaged)
			require.Equal(
				t, sinks.PositionOf(sinks.FirstEpoch, 2), users[0].Positions[src.Topic],
			)
		})
	}
}
