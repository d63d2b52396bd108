package telemetry_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/telemetry"
)

// exercised returns metrics in which every family has a sample.
func exercised() *telemetry.Metrics {
	m := telemetry.NewMetrics("v1.2.3")
	m.Produced("interactions", "interaction.recorded.v1", 3)
	m.Consumed("embed", "interactions", 3)
	m.Consumed("embed", "items", 2)
	m.Batch("embed", "interactions", 3, 750)
	m.Stage("handle", "embed", 12*time.Millisecond)
	m.Freshness(80 * time.Millisecond)
	m.Freshness(-time.Second)
	m.Served("event", "blend", "default", false)
	m.Poisoned("embed", "interactions", "permanent", 1)
	m.Retried("embed", "transient", 1)
	m.SetBreaker("embed", telemetry.BreakerOpen)
	m.SetBreaker("embed", telemetry.BreakerHalfOpen)
	m.SetAssigned("embed", 8)
	m.SetStopped("embed", 0)
	m.SetWaiting("embed", 1)
	m.SetReady(true)
	m.SetCheck("kafka", false)
	m.Repaired()
	m.Lost("recommend", "profile-changes", 5)
	m.GapLists(1)
	m.SkippedBatches("interactions", 1)
	m.Misplaced("embed", "interactions", 3)
	m.Request("GET", "/v1/trending", 200, time.Millisecond)
	m.Request("GET", "/v1/trending", 503, time.Millisecond)
	m.Request("GET", "/readyz", 503, time.Millisecond)
	m.Refused("schema", 2)
	m.SetLag(
		[]telemetry.Lag{
			{Group: "embed", Topic: "interactions", Partition: 3, Events: 7, End: 100},
			{Group: "analytics", Topic: "interactions", Partition: 3, Events: 0, End: 90},
			{Group: "embed", Topic: "interactions", Partition: 4, Events: 0, End: 20},
			{Group: "embed", Topic: "items", Partition: 0, Events: 1, Undecided: 1},
		},
	)
	m.SetAges([]telemetry.Age{
		{Group: "embed", Topic: "interactions", Age: 90 * time.Second},
		{Group: "recommend", Topic: "profile-changes", Retention: 24 * time.Hour},
	})
	return m
}

func TestHandlerServesEveryFamily(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	exercised().Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body := w.Body.String()
	for _, want := range []string{
		`slipstream_produced_events_total{kind="interaction.recorded.v1",topic="interactions"} 3`,
		`slipstream_consumed_events_total{group="embed",topic="interactions"} 3`,
		`slipstream_batch_events_bucket{group="embed",topic="interactions",le="4"} 1`,
		`slipstream_batch_bytes_sum{group="embed",topic="interactions"} 750`,
		`slipstream_stage_duration_seconds_count{group="embed",stage="handle"} 1`,
		`slipstream_event_to_recommendation_seconds_count 2`,
		`slipstream_event_to_recommendation_seconds_sum 0.08`,
		`slipstream_recommendations_served_total{degraded="false",strategy="blend",` +
			`variant="default",via="event"} 1`,
		`slipstream_poisoned_events_total{class="permanent",group="embed",topic="interactions"} 1`,
		`slipstream_repaired_users_total 1`,
		`slipstream_misplaced_events_total{group="embed",topic="interactions"} 3`,
		`slipstream_retries_total{class="transient",group="embed"} 1`,
		`slipstream_breaker_state{group="embed",state="half-open"} 1`,
		`slipstream_breaker_state{group="embed",state="open"} 0`,
		`slipstream_assigned_partitions{group="embed"} 8`,
		`slipstream_http_request_duration_seconds_count{code="200",method="GET",` +
			`route="/v1/trending"} 1`,
		`slipstream_failed_requests_total 1`,
		`slipstream_refused_events_total{cause="schema"} 2`,
		`slipstream_lag_events{group="embed",partition="3",topic="interactions"} 7`,
		`slipstream_written_events_total{topic="interactions"} 120`,
		`slipstream_lag_seconds{group="embed",topic="interactions"} 90`,
		`slipstream_lag_seconds{group="recommend",topic="profile-changes"} 0`,
		`slipstream_retention_seconds{group="recommend",topic="profile-changes"} 86400`,
		`slipstream_waiting_partitions{group="embed"} 1`,
		`slipstream_ready 1`,
		`slipstream_check_ok{check="kafka"} 0`,
		`slipstream_build_info{version="v1.2.3"} 1`,
		`go_goroutines`,
	} {
		require.Contains(t, body, want)
	}
	require.NotContains(t, body, `retention_seconds{group="embed"`, "it is kept for good")
}

func TestNamesEndInAUnit(t *testing.T) {
	t.Parallel()
	families, err := exercised().Registry().Gather()
	require.NoError(t, err)
	unit := regexp.MustCompile(`_(total|seconds|bytes|events|partitions|info|state|ready|ok)$`)
	ours := 0
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "slipstream_") {
			continue
		}
		ours++
		require.Regexp(t, unit, f.GetName())
		require.NotEmpty(t, f.GetHelp(), f.GetName())
	}
	require.Equal(t, 29, ours, "every family is exercised")
	problems, err := testutil.GatherAndLint(exercised().Registry())
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestSetLagForgetsPartitionsThatAreGone(t *testing.T) {
	t.Parallel()
	m := exercised()
	m.SetLag([]telemetry.Lag{{Group: "embed", Topic: "items", Partition: 0, Events: 5}})
	got, err := m.Totals()
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"embed": 5}, got.Lag)
}

func TestTotals(t *testing.T) {
	t.Parallel()
	got, err := exercised().Totals()
	require.NoError(t, err)
	require.Equal(t, telemetry.Totals{
		Produced: 3, Served: 1, Poisoned: 1, Retries: 1,
		Consumed: map[string]int64{"embed": 5}, Lag: map[string]int64{"analytics": 0, "embed": 8},
	}, got)
}

func TestNewLogger(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log, err := telemetry.NewLogger(&b, "warn", telemetry.FormatJSON)
	require.NoError(t, err)
	log.Info("not this")
	log.Warn("this", "topic", "items")
	var line map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &line))
	require.Equal(t, "this", line["msg"])
	require.Equal(t, "items", line["topic"])

	b.Reset()
	log, err = telemetry.NewLogger(&b, "debug", telemetry.FormatText)
	require.NoError(t, err)
	log.Debug("seen")
	require.Contains(t, b.String(), "msg=seen")

	_, err = telemetry.NewLogger(&b, "loud", telemetry.FormatText)
	require.ErrorContains(t, err, "use debug, info, warn or error")
	_, err = telemetry.NewLogger(&b, "info", "xml")
	require.ErrorContains(t, err, "use text or json")
}
