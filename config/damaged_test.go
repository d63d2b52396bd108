package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
)

func TestDamagedOffsets(t *testing.T) {
	t.Parallel()
	k := config.Kafka{SkipDamaged: []string{"interactions/3:1200-1263", " embed.misplaced/0:5-5"}}
	got, err := k.DamagedOffsets()
	require.NoError(t, err)
	require.Equal(t, []config.Offsets{
		{Topic: "interactions", Partition: 3, First: 1200, Last: 1263},
		{Topic: "embed.misplaced", Partition: 0, First: 5, Last: 5},
	}, got)
	for _, text := range []string{
		"", "a", "a/0", "a/0:", "a/0:1", "a/0:1-", "a/0:-1", "a/0:1--2", "a/0:-1-2", "/0:1-2",
		"a/x:1-2", "a/-1:1-2", "a/0:2-1", "a/0:1-2-3",
	} {
		k.SkipDamaged = []string{text}
		_, err := k.DamagedOffsets()
		require.ErrorContains(t, err, "interactions/3:1200-1263", text)
	}
}
