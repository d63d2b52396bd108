package app

import (
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
)

// startCounters makes the counters of a processor that runs here, at 0. Prometheus takes the first
// value of a counter for its beginning: one that is born at eight has never increased.
func (a *App) startCounters(d processors.Declaration) {
	for _, topic := range d.Topics() {
		for _, class := range []fault.Class{fault.Permanent, fault.Unknown} {
			a.metrics.Poisoned(d.Name, topic, class.String(), 0)
		}
		a.metrics.Consumed(d.Name, topic, 0)
		if a.kafka.expires(topic) {
			a.metrics.Lost(d.Name, topic, 0)
		}
	}
	for _, class := range []fault.Class{fault.Transient, fault.Permanent, fault.Unknown} {
		a.metrics.Retried(d.Name, class.String(), 0)
	}
	if d.Forwards != "" {
		a.metrics.Misplaced(d.Name, d.Forwards, 0)
	}
}

// startSkipped makes the counters of batches that cannot be read, at 0.
func (a *App) startSkipped() {
	for _, t := range processors.Topics(TopicsConfig(a.cfg)) {
		a.metrics.SkippedBatches(t.Name, 0)
	}
}

// startRefused makes the counters of refused events, at 0.
func (a *App) startRefused() {
	for _, kind := range append(schemas.WritableKinds(), "") {
		a.metrics.Refused(cause(kind), 0)
	}
}
