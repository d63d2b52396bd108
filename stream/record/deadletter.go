package record

// Headers of a record that could not be processed: a dead letter, a record that waits in a retry
// topic, a replayed one. They follow the record's own headers. The first four are Watermill's.
// Believe them on a group's own topics only: elsewhere they are whatever a producer has written.
// Topic, group and subscriber are the names on the broker, with the installation's prefix.
const (
	HeaderReason     = "reason_poisoned"
	HeaderTopic      = "topic_poisoned"
	HeaderHandler    = "handler_poisoned"
	HeaderSubscriber = "subscriber_poisoned"
	// HeaderID is the dead letter's id, a function of group, topic, partition and offset: writing
	// the same record to the dead letters again is harmless.
	HeaderID        = "id_poisoned"
	HeaderGroup     = "group_poisoned"
	HeaderPartition = "partition_poisoned"
	HeaderOffset    = "offset_poisoned"
	// HeaderTime is the time of the original record, RFC 3339. A dead letter's own time is that of
	// its writing, by which it is kept.
	HeaderTime         = "time_poisoned"
	HeaderClass        = "class_poisoned"
	HeaderAttempts     = "attempts_poisoned"
	HeaderFirstFailure = "first_failure_poisoned"
	HeaderLastFailure  = "last_failure_poisoned"
	// HeaderUnnamed is how many records became dead letters together because nobody could tell
	// which of them was offending.
	HeaderUnnamed = "unnamed_poisoned"
	// HeaderOmitted is the size of the parts of a record that were too large to be kept with these
	// headers: its value, then its own headers, then its key. They are still in the original topic.
	HeaderOmitted = "omitted_bytes_poisoned"
	// HeaderLastOffset is the last offset of a whole batch that could not be read. HeaderOffset is
	// its first, and the value are its bytes on the log.
	HeaderLastOffset = "last_offset_poisoned"

	// DeadLetterSuffix ends the name of every header of this kind.
	DeadLetterSuffix = "_poisoned"
)

// Headers of a resolution: the record that says what became of a dead letter. It stands in the
// poison topic beside it, with its key, its id and its group.
const (
	HeaderResolution       = "resolution_poisoned"
	HeaderResolutionReason = "resolution_reason_poisoned"
	HeaderResolvedAt       = "resolved_at_poisoned"
	// HeaderResolves is the partition and offset, in the poison topic, of the record that is
	// resolved: a replayed record that fails again at once may become a dead letter before the
	// resolution of the first is written.
	HeaderResolves = "resolves_poisoned"
)
