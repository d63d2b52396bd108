// Package schemas is the vocabulary of Slipstream: the kinds of events, what each holds, how it is written on the log, and the topics. It
// imports nothing else of ours.
//
// On Kafka an event is a CloudEvent 1.0 in binary mode: its attributes are headers (ce_id, ce_source, ce_type, ce_time), its
// data is the value, as JSON. A plain JSON value without headers is accepted too: the topic tells its kind.
package schemas

import (
	"time"

	"github.com/cespare/xxhash/v2"
)

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of the log as processors see it. Topic is the logical name, without the configured prefix.
type Record struct {
	Topic     string
	Partition int
	Offset    int64
	// Time is the time of producing, in UTC.
	Time       time.Time
	Key, Value []byte
	Headers    []Header
}

// Header returns the value of the first header named key, or "".
func (r *Record) Header(key string) string {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}

// Message is one record on its way to the log.
type Message struct {
	// Topic is the logical name, without the configured prefix.
	Topic string
	// Partition is a partition number, or AnyPartition to let the key decide.
	Partition int
	Key       []byte
	// Value nil is a tombstone: compaction forgets the key.
	Value   []byte
	Headers []Header
}

// AnyPartition lets the key of a Message choose its partition.
const AnyPartition = -1

// Range is the part of one partition whose effects a store takes as one: bounds are inclusive offsets. Two deliveries of a range have
// the same bounds, so it identifies them.
type Range struct {
	// LogID identifies the log: a wiped broker gets another one.
	LogID     string
	Topic     string
	Partition int
	First     int64
	Last      int64
	// Repeat is true when an earlier delivery of the range may have had effects. It is no part of the range's identity.
	Repeat bool
}

// Key returns the 64-bit key of a user or item id (xxHash64). It identifies points and rows; the chance that any two of ten million ids
// share a key is below one in 300,000.
func Key(id string) uint64 { return xxhash.Sum64String(id) }

// MaxIDLength is the longest user, item, session or event id, in bytes.
const MaxIDLength = 256
