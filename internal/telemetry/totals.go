package telemetry

import (
	"fmt"

	dto "github.com/prometheus/client_model/go"
)

// Totals are sums over all labels, for a line on a terminal.
type Totals struct {
	// Produced, Served, Poisoned and Retries count since the start of the process.
	Produced, Served, Poisoned, Retries int64
	// Consumed counts by group.
	Consumed map[string]int64
	// Lag is the sum by group, as of the last SetLag.
	Lag map[string]int64
}

// Totals reads the metrics.
func (m *Metrics) Totals() (Totals, error) {
	families, err := m.registry.Gather()
	if err != nil {
		return Totals{}, fmt.Errorf("gather metrics: %w", err)
	}
	t := Totals{Consumed: map[string]int64{}, Lag: map[string]int64{}}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			switch f.GetName() {
			case namespace + "_produced_events_total":
				t.Produced += int64(metric.GetCounter().GetValue())
			case namespace + "_recommendations_served_total":
				t.Served += int64(metric.GetCounter().GetValue())
			case namespace + "_poisoned_events_total":
				t.Poisoned += int64(metric.GetCounter().GetValue())
			case namespace + "_retries_total":
				t.Retries += int64(metric.GetCounter().GetValue())
			case namespace + "_consumed_events_total":
				t.Consumed[label(metric, "group")] += int64(metric.GetCounter().GetValue())
			case namespace + "_lag_events":
				t.Lag[label(metric, "group")] += int64(metric.GetGauge().GetValue())
			}
		}
	}
	return t, nil
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
