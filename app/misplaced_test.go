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
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
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
		"since the one before, or the first batch", "slipstream_misplaced_events_total counts all",
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
	add("interactions", "log", 1)
	require.Contains(t, lines()[0], `source="log (the events name none)"`)

	for n := range 2 * misplacedSources {
		add("interactions", fmt.Sprint("generated ", n), 1)
	}
	require.Len(t, lines(), misplacedSources-4, "sources that nobody bounds")
	clock = clock.Add(time.Hour)
	add("interactions", "a new one", 1)
	require.Len(t, lines(), 1)

	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Contains(t, w.Body.String(),
		`slipstream_misplaced_events_total{group="embed",topic="items"} 1`)
	require.Contains(t, w.Body.String(), fmt.Sprintf(
		`slipstream_misplaced_events_total{group="embed",topic="interactions"} %d`,
		3+2+2+1+1+1+2*misplacedSources+1))
}

// A plain value has no kind of its own. Where it is forwarded it counts under its topic's first.
func TestForwardedEventsCountUnderTheirKind(t *testing.T) {
	t.Parallel()
	k := &Kafka{metrics: telemetry.NewMetrics("test")}
	var batch []record.Record
	for topic, group := range map[string]string{
		schemas.TopicInteractions: schemas.GroupEmbed, schemas.TopicItems: schemas.GroupCatalog,
	} {
		batch = append(batch, record.Forwarded(
			&record.Record{Topic: topic, Partition: 1, Value: []byte(`{}`)},
			record.TopicPartition{Topic: record.MisplacedTopic(group)}, []byte("key"),
		))
	}
	k.count(batch)
	w := httptest.NewRecorder()
	k.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`{kind="interaction.recorded.v1",topic="embed.misplaced"} 1`,
		`{kind="item.updated.v1",topic="catalog.misplaced"} 1`,
	} {
		require.Contains(t, w.Body.String(), "slipstream_produced_events_total"+want)
	}
}
