package app

import (
	"sync"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// unread is a set of batches that could not be read. A reader may meet one several times. The zero
// value is empty. Safe for concurrent use.
type unread struct {
	mu   sync.Mutex
	last map[record.Position]struct{} // by their last offset
}

// maxUnread bounds the set: more are counted together with the last.
const maxUnread = 10_000

// add reports whether the batch is new.
func (u *unread) add(b *record.Undecodable) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := record.Position{TopicPartition: b.TopicPartition, Offset: b.Last}
	if _, ok := u.last[at]; ok || len(u.last) >= maxUnread {
		return false
	}
	if u.last == nil {
		u.last = make(map[record.Position]struct{})
	}
	u.last[at] = struct{}{}
	return true
}

func (u *unread) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.last)
}

// skipped takes note of a batch that a reader without a group could not read.
func (k *Kafka) skipped(b *record.Undecodable) {
	if k.unread.add(b) && k.metrics != nil {
		k.metrics.SkippedBatches(b.Topic, 1)
	}
}

// SkippedBatches returns how many batches of the log the readers of this connection have skipped,
// because their records cannot be read. Those of groups are dead letters and do not count here.
func (k *Kafka) SkippedBatches() int { return k.unread.count() }
