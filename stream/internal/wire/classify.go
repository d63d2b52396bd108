// Package wire speaks Kafka's protocol where kafka-go is too slow or too general: record batches,
// fetches, and requests to one broker. It classifies kafka-go's errors.
package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/slipstream-rec/slipstream/fault"
)

// Classify gives an error from kafka-go its class. This is the only place that does.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return fault.As(classOf(err), err)
}

func classOf(err error) fault.Class {
	var tooLarge kafka.MessageTooLargeError
	var code kafka.Error
	var netErr net.Error
	var certificate *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.Is(err, context.Canceled),
		errors.Is(err, kafka.ErrGroupClosed),
		errors.Is(err, kafka.ErrGenerationEnded):
		return fault.Canceled
	case errors.As(err, &tooLarge):
		return fault.Permanent
	case errors.As(err, &code):
		return classOfCode(code)
	case errors.Is(err, protocol.ErrNoTopic),
		errors.Is(err, protocol.ErrNoPartition),
		errors.Is(err, protocol.ErrNoLeader):
		return fault.Transient // the layout is a moment old, or the topic is about to be made
	case errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, net.ErrClosed),
		errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, syscall.ECONNREFUSED),
		errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE),
		errors.As(err, &certificate), // expired, or of another authority: a person is renewing it
		errors.As(err, &noTLS),
		errors.As(err, &netErr):
		return fault.Transient
	}
	return fault.Unknown
}

// classOfCode names the codes that say something about what was sent, and those that say that
// another one has taken over. Every other code is transient, also one that this version does not
// know: a record is never to blame for the state of the cluster, for a full disk (the embedded
// broker answers it with -1, Kafka with a storage error), for a missing topic or for missing
// rights, so none of these may make it a dead letter.
func classOfCode(code kafka.Error) fault.Class {
	switch code {
	// The record or the commit itself.
	case kafka.MessageSizeTooLarge,
		kafka.RecordListTooLarge,
		kafka.InvalidTimestamp,
		kafka.InvalidRecord,
		kafka.OffsetMetadataTooLarge,
		kafka.InvalidCommitOffsetSize,
		kafka.UnsupportedForMessageFormat,
		kafka.PolicyViolation:
		return fault.Permanent
	// An administrative request that will be refused again. No handler sends one.
	case kafka.TopicAlreadyExists,
		kafka.InvalidPartitionNumber,
		kafka.InvalidReplicationFactor,
		kafka.InvalidReplicaAssignment,
		kafka.InvalidConfiguration,
		kafka.TopicDeletionDisabled:
		return fault.Permanent
	// Another member or producer has taken over: the work is theirs now.
	case kafka.IllegalGeneration,
		kafka.UnknownMemberId,
		kafka.FencedInstanceID,
		kafka.ProducerFenced,
		kafka.InvalidProducerEpoch:
		return fault.Canceled
	}
	return fault.Transient
}

// Fenced reports whether err says that this member has lost its place in the group.
func Fenced(err error) bool {
	return errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.UnknownMemberId) ||
		errors.Is(err, kafka.FencedInstanceID)
}
