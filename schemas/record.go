// Package schemas is the vocabulary of Slipstream: the kinds of events, what each holds, how it is
// written on the log, and the topics. Of our own packages it imports stream/record only.
//
// On Kafka an event is a CloudEvent 1.0 in binary mode: its attributes are headers (ce_id,
// ce_source, ce_type, ce_time), its data is the value, as JSON. Applications may also write it in
// structured mode, where the value holds both, or as a plain JSON value without headers: its field
// "kind" tells its kind, or else the topic.
package schemas

import "github.com/cespare/xxhash/v2"

// Key returns the 64-bit key of a user or item id (xxHash64). It identifies points and rows. The
// chance that any two of ten million ids share a key is below one in 300,000.
func Key(id string) uint64 { return xxhash.Sum64String(id) }

// MaxIDLength is the longest user, item, session or event id, in bytes.
const MaxIDLength = 256
