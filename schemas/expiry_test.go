package schemas_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
)

func TestRequestsToWithdrawAList(t *testing.T) {
	t.Parallel()
	x := schemas.RecommendationExpired{
		UserID: "u42", Version: 2_251_799_813_687_092, Partition: 3, Offset: 991, End: 1200,
		AskedAt: time.Date(2026, 11, 28, 20, 15, 0, 0, time.UTC),
	}
	m := x.Message()
	requireGolden(t, m)
	require.True(t, schemas.IsRecommendationExpired(&m))
	got, err := schemas.DecodeRecommendationExpired(&m)
	require.NoError(t, err)
	require.Equal(t, x, got)
	change := (&schemas.ProfileChanged{UserID: "u42"}).Message()
	require.False(t, schemas.IsRecommendationExpired(&change))
	_, err = schemas.DecodeRecommendationExpired(&change)
	require.ErrorContains(t, err, "profile.changed.v1")
	m.Value = []byte(`{"user_id":""}`)
	_, err = schemas.DecodeRecommendationExpired(&m)
	require.ErrorContains(t, err, "user_id")
}
