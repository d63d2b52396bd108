package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
)

// Data with another number of partitions names the setting that fits it.
func TestAnotherNumberOfPartitionsNamesTheSetting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, openOn(t, dir, func(*config.Config) {}, "graph"))
	err := openOn(t, dir, func(c *config.Config) { c.Topics.Partitions = 4 }, "graph")
	require.ErrorContains(t, err, "has 2 partitions, not 4")
	require.ErrorContains(
		t, err, "Set SLIPSTREAM_TOPICS_PARTITIONS=2, or choose another folder or topic prefix",
	)
}
