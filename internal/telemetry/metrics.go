package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "slipstream"

// The states of a circuit breaker, as SetBreaker takes them.
const (
	BreakerClosed   = "closed"
	BreakerHalfOpen = "half-open"
	BreakerOpen     = "open"
)

// Metrics holds every metric of the process in a registry of its own. Its methods are safe for
// concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	lag      *lagCollector

	produced    *prometheus.CounterVec
	consumed    *prometheus.CounterVec
	batchEvents *prometheus.HistogramVec
	batchBytes  *prometheus.HistogramVec
	stage       *prometheus.HistogramVec
	freshness   prometheus.Histogram
	served      *prometheus.CounterVec
	poisoned    *prometheus.CounterVec
	retries     *prometheus.CounterVec
	breaker     *prometheus.GaugeVec
	partitions  *prometheus.GaugeVec
	stopped     *prometheus.GaugeVec
	waiting     *prometheus.GaugeVec
	ready       prometheus.Gauge
	checks      *prometheus.GaugeVec
	requests    *prometheus.HistogramVec
	failed      prometheus.Counter
	refused     *prometheus.CounterVec
	repaired    prometheus.Counter
	lost        *prometheus.CounterVec
	gapLists    prometheus.Counter
	ages        *ageCollector
	unread      *prometheus.CounterVec
	misplaced   *prometheus.CounterVec
}

// fine are the bounds of durations from half a millisecond to some ten seconds, which is what
// stages and requests take.
func fine() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

// NewMetrics returns the metrics with those of the Go runtime and the process beside them. Version
// is shown in slipstream_build_info.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), lag: newLagCollector()}
	m.produced = counter(
		"produced_events_total", "Events that Kafka has acknowledged, by topic and kind.", "topic",
		"kind",
	)
	m.consumed = counter(
		"consumed_events_total",
		"Events that a group has finished, by topic; a repeat counts again.", "group", "topic",
	)
	m.batchEvents = histogram(
		"batch_events", "Events in a micro-batch.", prometheus.ExponentialBuckets(1, 2, 14),
		"group", "topic",
	)
	m.batchBytes = histogram(
		"batch_bytes", "Size of a micro-batch.", prometheus.ExponentialBuckets(256, 4, 10), "group",
		"topic",
	)
	m.stage = histogram("stage_duration_seconds",
		"Time that a stage of the pipeline took: fetch, wait, handle, commit, produce, or a "+
			"call of a store.", fine(), "stage", "group")
	m.freshness = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "event_to_recommendation_seconds",
		Help: "From the time an event was produced to the publication of the list that " +
			"reflects it; the oldest event that the list answers counts.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
	})
	m.served = counter(
		"recommendations_served_total",
		"Lists served, by way (event or request), strategy and variant.", "via", "strategy",
		"variant", "degraded",
	)
	m.poisoned = counter(
		"poisoned_events_total", "Events that became dead letters, by class of the failure.",
		"group", "topic", "class",
	)
	m.retries = counter(
		"retries_total", "Attempts that failed and are made again, by class of the failure.",
		"group", "class",
	)
	m.breaker = gauge(
		"breaker_state", "State of a circuit breaker: 1 for the state it is in.", "group", "state",
	)
	m.partitions = gauge("assigned_partitions", "Partitions that this process works on.", "group")
	m.stopped = gauge(
		"stopped_partitions",
		"Partitions that wait for an operator, since their offsets do not fit the log or the "+
			"stores, or the log is damaged. The group followers is that of readers without one.",
		"group",
	)
	m.waiting = gauge(
		"waiting_partitions", "Partitions that wait and go on by themselves.", "group",
	)
	m.ready = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "ready",
		Help: "Whether /readyz answers that this process is ready or degraded: 1 or 0.",
	})
	m.checks = gauge(
		"check_ok", "Whether a part of /readyz is well, such as an engine: 1 or 0.", "check",
	)
	m.requests = histogram(
		"http_request_duration_seconds", "Time to answer HTTP requests, by route and status.",
		fine(), "method", "route", "code",
	)
	m.failed = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "failed_requests_total",
		Help: "HTTP requests that were answered with a status of 500 and more; probes that say " +
			"no are left out.",
	})
	m.refused = counter(
		"refused_events_total", "Events that the gateway refused, by cause.", "cause",
	)
	m.repaired = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "repaired_users_total",
		Help: "Users whose stored state was corrupt and was rebuilt from the log.",
	})
	m.lost = counter(
		"lost_offsets_total",
		"Offsets whose records were deleted by time before a group read them.", "group", "topic",
	)
	m.gapLists = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "gap_lists_total",
		Help: "Lists made for users whose profile changes were deleted before they were read.",
	})
	m.ages = newAgeCollector()
	m.unread = counter(
		"skipped_batches_total",
		"Batches of the log whose records cannot be read and that were skipped.", "topic",
	)
	m.misplaced = counter(
		"misplaced_events_total",
		"Events in a partition that their key does not choose, which a group has forwarded; a "+
			"repeat counts again.", "group", "topic",
	)
	build := gauge("build_info", "Version of this process: always 1.", "version")
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(
		m.lag, m.produced, m.consumed, m.batchEvents, m.batchBytes, m.stage, m.freshness, m.served,
		m.poisoned, m.retries,
		m.breaker, m.partitions, m.stopped, m.waiting, m.ready, m.checks, m.requests, m.failed,
		m.refused, m.repaired, m.unread,
		m.lost, m.gapLists, m.ages, m.misplaced, build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(
		prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels,
	)
}

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(
		prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels,
	)
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(
		prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets},
		labels,
	)
}

// Registry returns the registry, for metrics of one's own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Produced counts events that Kafka has acknowledged.
func (m *Metrics) Produced(topic, kind string, events int) {
	m.produced.WithLabelValues(topic, kind).Add(float64(events))
}

// Consumed counts a batch that a group has finished.
func (m *Metrics) Consumed(group, topic string, events int) {
	m.consumed.WithLabelValues(group, topic).Add(float64(events))
}

// Batch tells the size of a batch that was handed to a group's processor.
func (m *Metrics) Batch(group, topic string, events, bytes int) {
	m.batchEvents.WithLabelValues(group, topic).Observe(float64(events))
	m.batchBytes.WithLabelValues(group, topic).Observe(float64(bytes))
}

// Stage tells how long a stage took: fetch, handle, commit, produce, or store.call such as
// qdrant.put_users.
func (m *Metrics) Stage(stage, group string, d time.Duration) {
	m.stage.WithLabelValues(stage, group).Observe(d.Seconds())
}

// Freshness tells how long it took from an event to the publication of the list that reflects it. A
// negative time counts as none.
func (m *Metrics) Freshness(d time.Duration) { m.freshness.Observe(max(d, 0).Seconds()) }

// Served counts a list. Via is event or request.
func (m *Metrics) Served(via, strategy, variant string, degraded bool) {
	m.served.WithLabelValues(via, strategy, variant, strconv.FormatBool(degraded)).Inc()
}

// Poisoned counts events that became dead letters.
func (m *Metrics) Poisoned(group, topic, class string, events int) {
	m.poisoned.WithLabelValues(group, topic, class).Add(float64(events))
}

// Repaired counts a user who was rebuilt from the log.
func (m *Metrics) Repaired() { m.repaired.Inc() }

// Lost counts offsets whose records were deleted before a group read them.
func (m *Metrics) Lost(group, topic string, offsets int64) {
	m.lost.WithLabelValues(group, topic).Add(float64(offsets))
}

// GapLists counts lists made for users whose profile changes were deleted unread.
func (m *Metrics) GapLists(n int) { m.gapLists.Add(float64(n)) }

// SkippedBatches counts batches of the log that could not be read.
func (m *Metrics) SkippedBatches(topic string, batches int) {
	m.unread.WithLabelValues(topic).Add(float64(batches))
}

// Misplaced counts events that a group has forwarded from a topic.
func (m *Metrics) Misplaced(group, topic string, events int) {
	m.misplaced.WithLabelValues(group, topic).Add(float64(events))
}

// Retried counts attempts that failed and are made again.
func (m *Metrics) Retried(group, class string, attempts int) {
	m.retries.WithLabelValues(group, class).Add(float64(attempts))
}

// SetBreaker tells the state that a group's circuit breaker has come to.
func (m *Metrics) SetBreaker(group, state string) {
	for _, s := range []string{BreakerClosed, BreakerHalfOpen, BreakerOpen} {
		m.breaker.WithLabelValues(group, s).Set(number(s == state))
	}
}

// SetAssigned tells how many partitions of a group this process works on.
func (m *Metrics) SetAssigned(group string, partitions int) {
	m.partitions.WithLabelValues(group).Set(float64(partitions))
}

// SetStopped tells how many partitions of a group wait for an operator.
func (m *Metrics) SetStopped(group string, partitions int) {
	m.stopped.WithLabelValues(group).Set(float64(partitions))
}

// SetWaiting tells how many partitions of a group wait and go on by themselves.
func (m *Metrics) SetWaiting(group string, partitions int) {
	m.waiting.WithLabelValues(group).Set(float64(partitions))
}

// SetReady tells whether the process is ready, or degraded.
func (m *Metrics) SetReady(is bool) { m.ready.Set(number(is)) }

// SetCheck tells whether a part of the readiness is well.
func (m *Metrics) SetCheck(check string, ok bool) {
	m.checks.WithLabelValues(check).Set(number(ok))
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Request tells of an answered request. Route is the pattern, not the path: paths have no bound.
func (m *Metrics) Request(method, route string, code int, d time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(code)).Observe(d.Seconds())
	if code >= http.StatusInternalServerError && route != "/readyz" {
		m.failed.Inc()
	}
}

// Refused counts events that the gateway refused.
func (m *Metrics) Refused(cause string, events int) {
	m.refused.WithLabelValues(cause).Add(float64(events))
}
