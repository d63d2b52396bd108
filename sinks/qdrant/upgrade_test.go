package qdrant

import (
	"testing"

	pb "github.com/qdrant/go-client/qdrant"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/sinks/sinktest"
)

func TestRealUsersUpgrade(t *testing.T) {
	open := func(t *testing.T) sinktest.Users { return openForTest(t, forSuite).Users() }
	sinktest.TestUsersUpgrade(t, open, putPlainUser)
}

// putPlainUser is the write of the version before epochs: its condition compared the numbers as
// they stand.
func putPlainUser(t *testing.T, s sinktest.Users, src sinks.Source, u sinks.User) {
	t.Helper()
	users, field := s.(*Users), fieldOf(src.Topic)
	point := userPoint(schemas.Key(u.ID), &u, users.layout.config.NormBound)
	for topic, p := range u.Positions {
		point.Payload[fieldOf(topic)] = pb.NewValueInt(p.Offset())
	}
	unless := &pb.Filter{Should: []*pb.Condition{
		pb.NewRange(field, &pb.Range{Lt: pb.PtrOf(float64(u.Positions[src.Topic].Offset()))}),
		pb.NewIsEmpty(field),
	}}
	require.NoError(t, users.upsert(t.Context(), []*pb.PointStruct{point}, unless))
}
