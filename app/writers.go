package app

import "sync"

// writers can block writes to some topics. The zero value blocks none. Call hold before the first
// write; the other methods are safe for concurrent use.
type writers struct{ topics map[string]*sync.RWMutex }

// hold registers a topic whose writes can be stopped.
func (w *writers) hold(topic string) {
	if w.topics == nil {
		w.topics = make(map[string]*sync.RWMutex)
	}
	w.topics[topic] = new(sync.RWMutex)
}

// enter waits until writes to the topic are allowed. Call leave after the write.
func (w *writers) enter(topic string) (leave func(), held bool) {
	mu := w.topics[topic]
	if mu == nil {
		return nil, false
	}
	mu.RLock()
	return mu.RUnlock, true
}

// stop waits for the writes in flight and blocks others until resume. ok is false for a topic that
// is not registered.
func (w *writers) stop(topic string) (resume func(), ok bool) {
	mu := w.topics[topic]
	if mu == nil {
		return nil, false
	}
	mu.Lock()
	return mu.Unlock, true
}

// HoldWrites registers a topic for StopWrites. Call it before the first write.
func (k *Kafka) HoldWrites(topic string) { k.writers.hold(topic) }

// StopWrites waits for the writes to a topic that are in flight and blocks others until resume. ok
// is false for a topic that HoldWrites was not called for.
func (k *Kafka) StopWrites(topic string) (resume func(), ok bool) { return k.writers.stop(topic) }
