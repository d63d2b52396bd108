package app

import (
	"log/slog"
	"sync"
	"time"

	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
)

const (
	// misplacedEvery is the time between two lines of the log about one topic and source.
	misplacedEvery = time.Hour
	// misplacedSources bounds how many sources are remembered: events name their source freely.
	misplacedSources = 1000
)

// misplacedReport counts misplaced records and tells the operator about them, once an hour for each
// topic and source. It is safe for concurrent use.
type misplacedReport struct {
	metrics *telemetry.Metrics
	log     *slog.Logger
	now     func() time.Time

	mu    sync.Mutex
	since map[topicSource]*misplacedCount
}

type topicSource struct{ topic, source string }

// misplacedCount is what has come in since the last line.
type misplacedCount struct {
	told    time.Time
	records int
}

func newMisplacedReport(
	m *telemetry.Metrics, log *slog.Logger, now func() time.Time,
) *misplacedReport {
	return &misplacedReport{
		metrics: m, log: log, now: now, since: make(map[topicSource]*misplacedCount),
	}
}

// add is processors.Hooks.Misplaced.
func (r *misplacedReport) add(x processors.Misplaced) {
	r.metrics.Misplaced(x.Group, x.Topic, x.Records)
	records, due := r.count(x)
	if !due {
		return
	}
	source := x.Source
	if source == schemas.SourceLog {
		source += " (the events name none)"
	}
	r.log.Warn(
		"events stand in partitions that their keys do not choose. They were forwarded and are "+
			"learned, at the cost of being written twice. The order of a user's events is lost. "+
			"Let the producer use the user_id (or item_id) as the key and the partitioner of "+
			"Kafka's Java client, murmur2: partitioner=murmur2_random in librdkafka. "+
			"This line comes at most once an hour for a topic and source. records counts those "+
			"of the batches since the one before, or the first batch; "+
			"slipstream_misplaced_events_total counts all",
		"topic", x.Topic, "source", source, "records", records,
	)
}

// count returns how many records there were since the last line, and whether the next one is due.
func (r *misplacedReport) count(x processors.Misplaced) (records int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, key := r.now(), topicSource{x.Topic, x.Source}
	c := r.since[key]
	if c == nil {
		if len(r.since) >= misplacedSources && !r.forget(now) {
			return 0, false
		}
		c = &misplacedCount{told: now.Add(-misplacedEvery)}
		r.since[key] = c
	}
	c.records += x.Records
	if now.Sub(c.told) < misplacedEvery {
		return 0, false
	}
	records = c.records
	c.told, c.records = now, 0
	return records, true
}

// forget drops the sources whose next line would be due, and returns whether there were any.
func (r *misplacedReport) forget(now time.Time) bool {
	before := len(r.since)
	for key, c := range r.since {
		if now.Sub(c.told) >= misplacedEvery {
			delete(r.since, key)
		}
	}
	return len(r.since) < before
}
