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
	// Events is the newest offset minus the committed one.
	Events int64
}

// lagCollector shows the lags of the last call of SetLag and no others: a partition that is gone
// must not keep its last value.
type lagCollector struct {
	desc *prometheus.Desc

	mu   sync.Mutex
	lags []Lag
}

func newLagCollector() *lagCollector {
	return &lagCollector{desc: prometheus.NewDesc(namespace+"_lag_events",
		"Newest offset minus committed offset.", []string{"group", "topic", "partition"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *lagCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *lagCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	lags := c.lags
	c.mu.Unlock()
	for _, l := range lags {
		ch <- prometheus.MustNewConstMetric(
			c.desc, prometheus.GaugeValue, float64(l.Events), l.Group, l.Topic,
			strconv.Itoa(l.Partition),
		)
	}
}

// SetLag replaces all lags. Each group, topic and partition may come once. The slice must not be
// changed afterwards.
func (m *Metrics) SetLag(lags []Lag) {
	m.lag.mu.Lock()
	defer m.lag.mu.Unlock()
	m.lag.lags = lags
}
