//go:build linux

package torture

import "sync"

// ledger is what was sent. An event is acknowledged when Kafka or the API said that the log has it;
// one that is not may be there or not.
type ledger struct {
	mu     sync.Mutex
	events map[string]*entry // by event id
	// refusals are requests that had to be refused, and were.
	refusals, wronglyTaken int
	// planted counts the records that nobody can digest, twice the events that were sent a second
	// time on purpose.
	planted, twice int
	// overHTTP and overKafka count acknowledged events.
	overHTTP, overKafka int
	// answers are the recommendations asked for while things broke.
	answers answers
}

type entry struct {
	topic string
	acked bool
}

// answers counts what came of asking for recommendations.
type answers struct {
	Whole, Degraded, Refused int
}

func newLedger() *ledger { return &ledger{events: make(map[string]*entry)} }

func (l *ledger) sent(topic, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events[id] = &entry{topic: topic}
}

func (l *ledger) acked(viaHTTP bool, ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.events[id].acked = true
	}
	if viaHTTP {
		l.overHTTP += len(ids)
	} else {
		l.overKafka += len(ids)
	}
}

func (l *ledger) count(f func(*ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

// totals returns how many events were sent and how many were acknowledged.
func (l *ledger) totals() (sent, acked int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		sent++
		if e.acked {
			acked++
		}
	}
	return sent, acked
}
