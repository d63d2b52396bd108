package app

import "sync"

// writers lets the writing to some topics be held back. The zero value holds none. hold is called
// before anybody writes; the rest is safe for concurrent use.
type writers struct{ topics map[string]*sync.RWMutex }

// hold makes a topic one that can be stopped.
func (w *writers) hold(topic string) {
	if w.topics == nil {
		w.topics = make(map[string]*sync.RWMutex)
	}
	w.topics[topic] = new(sync.RWMutex)
}

// enter waits until the topic may be written to; leave must be called after the write.
func (w *writers) enter(topic string) (leave func(), held bool) {
	mu := w.topics[topic]
	if mu == nil {
		return nil, false
	}
	mu.RLock()
	return mu.RUnlock, true
}

// stop waits for the writes under way and holds others back until resume; ok is false for a topic
// that cannot be stopped.
func (w *writers) stop(topic string) (resume func(), ok bool) {
	mu := w.topics[topic]
	if mu == nil {
		return nil, false
	}
	mu.Lock()
	return mu.Unlock, true
}

// HoldWrites makes a topic one whose writes StopWrites can hold back. Call it before anybody
// writes.
func (k *Kafka) HoldWrites(topic string) { k.writers.hold(topic) }

// StopWrites waits for the writes to a topic that are under way and holds others back until resume.
// ok is false for a topic that HoldWrites was not called for.
func (k *Kafka) StopWrites(topic string) (resume func(), ok bool) { return k.writers.stop(topic) }
