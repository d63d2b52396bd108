package record

import (
	"strings"
	"time"
)

// The bounds of the times that records may have. A time outside them says nothing of when the
// record was written: producers leave the field empty (-1 or 0), or write seconds, microseconds or
// nanoseconds where Kafka has milliseconds.
var (
	earliestTime = time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	latestTime   = time.Date(2105, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
)

// TimeOf returns the time of a record from its timestamp on the wire, in milliseconds since 1970.
// A timestamp before 2010 or after 2104 counts as absent: the zero time.
func TimeOf(ms int64) time.Time {
	if ms < earliestTime || ms >= latestTime {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// LogTime returns when the log took the record first, in UTC. In a group's topic of replayed,
// retried or misplaced records that is the time of the original record, which stands in a header:
// the topic has a time of its own. Elsewhere, and where the header has no time, it is Time. Zero:
// no time is known.
func (r *Record) LogTime() time.Time {
	if strings.HasSuffix(r.Topic, MisplacedTopic("")) {
		at, err := AtOrigin(r)
		if err != nil || at.Time.IsZero() || strings.HasSuffix(at.Topic, MisplacedTopic("")) {
			return r.Time
		}
		return at.LogTime() // it may have been replayed, or retried, there
	}
	if !strings.HasSuffix(r.Topic, ReplayTopic("")) &&
		!strings.Contains(r.Topic, RetryGroup("")+".") {
		return r.Time // there the headers are whatever a producer has written
	}
	t, err := time.Parse(time.RFC3339Nano, r.Header(HeaderTime))
	if err != nil {
		return r.Time
	}
	if t = TimeOf(t.UnixMilli()); t.IsZero() {
		return r.Time
	}
	return t
}
