package slipstream_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/producers/gateway"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks/clickhouse"
)

// config knows no other package, so what is a default there and elsewhere is held together here.
func TestDefaultsOfTheConfigurationAreThoseOfThePackages(t *testing.T) {
	t.Parallel()
	c := config.Default()

	m := model.Default()
	require.Equal(t, config.Model{
		Dim: m.Dim, Negatives: m.Negatives, Rate: m.Rate, Seed: m.Seed, MaxSeen: m.MaxSeen,
		ContentWeight: m.ContentWeight, FriendWeight: m.FriendWeight,
	}, c.Model, "change config.Default, then go test ./config -update")

	require.InDelta(
		t, model.DefaultBlend().Diversity, c.Recommend.Diversity, 0,
		"what is served is what eval measures",
	)
	require.InDelta(t, model.DefaultBlend().NewShare, c.Recommend.NewShare, 0)

	topics := schemas.DefaultTopicsConfig()
	require.Equal(t, topics.Partitions, c.Topics.Partitions)
	require.Equal(t, topics.Retention, c.Topics.Retention)
	require.Equal(t, topics.RetryDelays, c.Topics.RetryDelays)

	h := gateway.DefaultConfig()
	require.EqualValues(t, h.MaxRequestBytes, c.HTTP.MaxBodyBytes)
	require.EqualValues(t, h.MaxEventBytes, c.HTTP.MaxEventBytes)
	require.EqualValues(t, h.MaxInFlightBytes, c.HTTP.MaxInflightBytes)

	ch := clickhouse.DefaultConfig()
	require.Equal(t, []any{
		ch.Database, ch.InteractionDays, ch.RecommendationDays, ch.DeadLetterDays,
	},
		[]any{
			c.ClickHouse.Database, c.ClickHouse.InteractionDays, c.ClickHouse.RecommendationDays,
			c.ClickHouse.DeadLetterDays,
		})
}
