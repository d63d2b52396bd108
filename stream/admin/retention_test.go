package admin

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/internal/streamtest"
)

// An operator who gives a group more time must not find it taken back at the next start.
func TestALongerRetentionStaysWhereItMay(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, e *engine) {
		for _, c := range []struct{ found, want string }{
			{"1000000", "1000000"}, {"-1", "-1"}, {"10000", "500000"}, {"500000", "500000"},
		} {
			spec := TopicSpec{
				Name: e.newName(), Partitions: 1,
				Config: map[string]string{"retention.ms": c.found},
			}
			require.NoError(t, EnsureTopics(t.Context(), e.Conn, []TopicSpec{spec}))
			spec.Config, spec.RetentionMs, spec.RetentionAtLeast = nil, 500_000, true
			require.NoError(t, EnsureTopics(t.Context(), e.Conn, []TopicSpec{spec}))
			streamtest.Eventually(t, "the retention", func() bool {
				return e.configs(t, spec.Name)["retention.ms"] == c.want
			})
			spec.RetentionAtLeast = false
			require.NoError(t, EnsureTopics(t.Context(), e.Conn, []TopicSpec{spec}))
			streamtest.Eventually(t, "the retention", func() bool {
				return e.configs(t, spec.Name)["retention.ms"] == "500000"
			})
		}
	})
}
