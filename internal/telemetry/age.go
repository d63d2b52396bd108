package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Age is for how long the oldest record that a group has not read on a topic could have been read;
// 0 when it has read all.
type Age struct {
	Group, Topic string
	Age          time.Duration
	// Retention is how long the records of the topic are kept; 0 is for good.
	Retention time.Duration
}

// ageCollector shows the ages of the last call of SetAges and no others.
type ageCollector struct {
	age, retention *prometheus.Desc

	mu   sync.Mutex
	ages []Age
}

func newAgeCollector() *ageCollector {
	labels := []string{"group", "topic"}
	return &ageCollector{
		age: prometheus.NewDesc(namespace+"_lag_seconds",
			"For how long the oldest record that a group has not read could have been read. One "+
				"process tells it for all.", labels, nil),
		retention: prometheus.NewDesc(namespace+"_retention_seconds",
			"How long the records of a topic that a group reads are kept; not there where they "+
				"are kept for good.", labels, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *ageCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.age
	ch <- c.retention
}

// Collect implements prometheus.Collector.
func (c *ageCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	ages := c.ages
	c.mu.Unlock()
	for _, a := range ages {
		ch <- prometheus.MustNewConstMetric(
			c.age, prometheus.GaugeValue, max(a.Age, 0).Seconds(), a.Group, a.Topic,
		)
		if a.Retention > 0 {
			ch <- prometheus.MustNewConstMetric(
				c.retention, prometheus.GaugeValue, a.Retention.Seconds(), a.Group, a.Topic,
			)
		}
	}
}

// SetAges replaces all ages. Each group and topic may come once. The slice must not be changed
// afterwards.
func (m *Metrics) SetAges(ages []Age) {
	m.ages.mu.Lock()
	defer m.ages.mu.Unlock()
	m.ages.ages = ages
}
