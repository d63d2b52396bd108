// Package stream is Watermill on kafka-go: the connection, the publisher, the subscriber of a
// consumer group, and readers of the log. It knows no business words. Around it stand record (the
// words for the log), guard (what follows from failures), deadletter, admin and embedded (the
// broker in the process).
//
// The unit of work is a record.Batch: the next records of one partition, in order, carried by one
// Watermill message. See docs/ARCHITECTURE.md for the life of one event, and docs/adr/0001 to 0003
// for the decisions.
package stream
