package telemetry

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Lag is how far a group is behind the end of a partition.
type Lag struct {
	Group, Topic string
	Partition    int
	// Events is the last offset that can be read minus the committed one.
	Events int64
	// Undecided is how many offsets wait for the end of an open transaction.
	Undecided int64
}

// lagCollector shows the lags of the last call of SetLag and no others: a partition that is gone
// must not keep its last value.
type lagCollector struct {
	events, undecided *prometheus.Desc

	mu   sync.Mutex
	lags []Lag
}

func newLagCollector() *lagCollector {
	labels := []string{"group", "topic", "partition"}
	return &lagCollector{
		events: prometheus.NewDesc(
			namespace+"_lag_events", "End of the log minus committed offset.", labels, nil,
		),
		undecided: prometheus.NewDesc(
			namespace+"_undecided_events", "Offsets that wait for the end of a transaction.",
			labels, nil,
		),
	}
}

// Describe implements prometheus.Collector.
func (c *lagCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.events
	ch <- c.undecided
}

// Collect implements prometheus.Collector.
func (c *lagCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	lags := c.lags
	c.mu.Unlock()
	for _, l := range lags {
		partition := strconv.Itoa(l.Partition)
		ch <- prometheus.MustNewConstMetric(
			c.events, prometheus.GaugeValue, float64(l.Events), l.Group, l.Topic, partition,
		)
		if l.Undecided > 0 { // nearly always 0, and a series for each partition
			ch <- prometheus.MustNewConstMetric(
				c.undecided, prometheus.GaugeValue, float64(l.Undecided), l.Group, l.Topic,
				partition,
			)
		}
	}
}

// SetLag replaces all lags. Each group, topic and partition may come once. The slice must not be
// changed afterwards.
func (m *Metrics) SetLag(lags []Lag) {
	m.lag.mu.Lock()
	defer m.lag.mu.Unlock()
	m.lag.lags = lags
}
