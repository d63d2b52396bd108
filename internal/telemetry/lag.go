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
	// End is the offset after the last record that can be read.
	End int64
}

// lagCollector shows the lags of the last call of SetLag and no others: a partition that is gone
// must not keep its last value.
type lagCollector struct {
	events, undecided, written *prometheus.Desc

	mu   sync.Mutex
	lags []Lag
}

func newLagCollector() *lagCollector {
	labels := []string{"group", "topic", "partition"}
	return &lagCollector{
		events: prometheus.NewDesc(
			namespace+"_lag_events", "End of the log minus committed offset. One process tells "+
				"it for all.", labels, nil,
		),
		undecided: prometheus.NewDesc(
			namespace+"_undecided_events", "Offsets that wait for the end of a transaction.",
			labels, nil,
		),
		written: prometheus.NewDesc(
			namespace+"_written_events_total", "Records that stand on a topic or have stood "+
				"there, by whomever they were written. One process tells it for all.",
			[]string{"topic"}, nil,
		),
	}
}

// Describe implements prometheus.Collector.
func (c *lagCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.events
	ch <- c.undecided
	ch <- c.written
}

// Collect implements prometheus.Collector.
func (c *lagCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	lags := c.lags
	c.mu.Unlock()
	ends := make(map[string]map[int]int64) // several groups read a topic
	for _, l := range lags {
		if ends[l.Topic] == nil {
			ends[l.Topic] = make(map[int]int64)
		}
		ends[l.Topic][l.Partition] = max(ends[l.Topic][l.Partition], l.End)
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
	for topic, partitions := range ends {
		var written int64
		for _, end := range partitions {
			written += end
		}
		ch <- prometheus.MustNewConstMetric(
			c.written, prometheus.CounterValue, float64(written), topic,
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
