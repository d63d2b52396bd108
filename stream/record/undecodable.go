package record

import "time"

// Undecodable is a batch on the log, as a producer has written it, whose records cannot be read: it
// does not decompress with the codec that it names, is larger than a reader takes, or holds
// something else than records. Its offsets are known all the same, so a reader goes on behind it.
type Undecodable struct {
	TopicPartition
	// First and Last are the inclusive offsets of its records.
	First, Last int64
	// Time is that of its newest record, as the batch says.
	Time time.Time
	// Raw are its bytes on the log, with the header of the batch.
	Raw []byte
	// Reason says what is wrong with it.
	Reason string
}
