//go:build linux

package torture

import (
	"maps"
	"sync"
)

// ledger is what was sent. An event is acknowledged when Kafka or the API said that the log has it;
// one that is not may be there or not, unless its transaction was aborted.
type ledger struct {
	mu     sync.Mutex
	events map[string]*entry // by event id
	// refusals are requests that had to be refused, and were.
	refusals, wronglyTaken int
	// planted counts the records that nobody can digest, bombs the batches, twice the events that
	// were sent a second time on purpose.
	planted, bombs, twice int
	// overHTTP and overKafka count acknowledged events; of the latter overOthers were written by a
	// producer that is not ours, and inTransactions in transactions that were committed.
	overHTTP, overKafka, overOthers, inTransactions int
	// transactions counts those that were ended, by how.
	transactions transactions
	// answers are the recommendations asked for while things broke.
	answers answers
}

// fate is what is known of an event.
type fate int

const (
	uncertain    fate = iota // it may be on the log or not
	acknowledged             // it is on the log
	aborted                  // it must not count: its transaction was not committed
)

type entry struct {
	topic string
	fate  fate
}

// route is the way on which events were sent.
type route int

const (
	overHTTP route = iota
	overKafka
	overOthers
	inTransactions
)

// transactions counts transactions by how they ended, and those that stayed open for some seconds.
type transactions struct {
	Committed, Aborted, Uncertain, Open int
}

// answers counts what came of asking for recommendations.
type answers struct {
	Whole, Degraded, Refused int
}

func newLedger() *ledger { return &ledger{events: make(map[string]*entry)} }

// sent notes an event that is about to be sent. One that was acknowledged before stays so.
func (l *ledger) sent(topic, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.events[id]; e == nil || e.fate != acknowledged {
		l.events[id] = &entry{topic: topic}
	}
}

func (l *ledger) acked(via route, ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.events[id].fate = acknowledged
	}
	switch via {
	case overHTTP:
		l.overHTTP += len(ids)
	case inTransactions:
		l.inTransactions += len(ids)
		l.overKafka += len(ids)
	case overOthers:
		l.overOthers += len(ids)
		l.overKafka += len(ids)
	case overKafka:
		l.overKafka += len(ids)
	}
}

// dropped notes events whose transaction was aborted.
func (l *ledger) dropped(ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.events[id].fate = aborted
	}
}

// acknowledgedNow returns the events that are acknowledged by now.
func (l *ledger) acknowledgedNow() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]bool)
	for id, e := range l.events {
		if e.fate == acknowledged {
			out[id] = true
		}
	}
	return out
}

// keep forgets all events but these, of whose fate nothing is known after a log was lost. It
// returns how many are left.
func (l *ledger) keep(ids map[string]bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.events, func(id string, _ *entry) bool { return !ids[id] })
	return len(l.events)
}

func (l *ledger) count(f func(*ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

// totals returns how many events were sent, how many of them were acknowledged, and how many must
// not count.
func (l *ledger) totals() (sent, acked, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		sent++
		switch e.fate {
		case acknowledged:
			acked++
		case aborted:
			dropped++
		case uncertain:
		}
	}
	return sent, acked, dropped
}
