package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// metricsOf returns what a process serves at /metrics.
func metricsOf(a *App) string {
	w := httptest.NewRecorder()
	a.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// Eight bad records come at once: without a 0 before them, increase() sees nothing.
func TestCountersAreBornAtZero(t *testing.T) {
	t.Parallel()
	a := embeddedApp(t)
	_, _, err := a.router()
	require.NoError(t, err)
	_, err = a.newServer()
	require.NoError(t, err)
	metrics := metricsOf(a)
	for _, want := range []string{
		`poisoned_events_total{class="permanent",group="embed",topic="interactions"}`,
		`poisoned_events_total{class="unknown",group="analytics",topic="embed.poison"}`,
		`poisoned_events_total{class="permanent",group="graph",topic="graph.replay"}`,
		`retries_total{class="unknown",group="catalog"}`,
		`misplaced_events_total{group="embed",topic="interactions"}`,
		`skipped_batches_total{topic="item-vectors"}`,
		`lost_offsets_total{group="recommend",topic="profile-changes"}`,
		`refused_events_total{cause="unreadable"}`,
		`refused_events_total{cause="interaction.recorded.v1"}`,
		`failed_requests_total`,
		`repaired_users_total`,
	} {
		require.Contains(t, metrics, "\nslipstream_"+want+" 0\n")
	}
	a.metrics.Poisoned("embed", "interactions", "permanent", 8)
	require.Equal(t, strings.Count(metrics, "\n"), strings.Count(metricsOf(a), "\n"),
		"the counter was there before")
}
