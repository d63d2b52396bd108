package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/processors"
)

func TestMisplacedEventsAreToldOnceAnHourForEachTopicAndSource(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	clock := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	m := telemetry.NewMetrics("test")
	r := newMisplacedReport(
		m, slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return clock },
	)
	lines := func() []string {
		text := strings.TrimSpace(out.String())
		out.Reset()
		if text == "" {
			return nil
		}
		return strings.Split(text, "\n")
	}
	add := func(topic, source string, n int) {
		r.add(processors.Misplaced{Group: "embed", Topic: topic, Source: source, Records: n})
	}
	add("interactions", "shop", 3)
	got := lines()
	require.Len(t, got, 1)
	for _, want := range []string{
		"topic=interactions", "source=shop", "records=3", "partitioner=murmur2_random", "user_id",
	} {
		require.Contains(t, got[0], want)
	}
	add("interactions", "shop", 2)
	clock = clock.Add(59 * time.Minute)
	add("interactions", "shop", 2)
	require.Empty(t, lines())
	add("interactions", "app", 1)
	add("items", "shop", 1)
	require.Len(t, lines(), 2, "another source, another topic")
	clock = clock.Add(time.Minute)
	add("interactions", "shop", 1)
	got = lines()
	require.Len(t, got, 1)
	require.Contains(t, got[0], "records=5", "with those that were not told")

	for n := range 2 * misplacedSources {
		add("interactions", fmt.Sprint("generated ", n), 1)
	}
	require.Len(t, lines(), misplacedSources-3, "sources that nobody bounds")
	clock = clock.Add(time.Hour)
	add("interactions", "a new one", 1)
	require.Len(t, lines(), 1)

	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Contains(t, w.Body.String(),
		`slipstream_misplaced_events_total{group="embed",topic="items"} 1`)
	require.Contains(t, w.Body.String(), fmt.Sprintf(
		`slipstream_misplaced_events_total{group="embed",topic="interactions"} %d`,
		3+2+2+1+1+2*misplacedSources+1))
}
