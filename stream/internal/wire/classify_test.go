package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := l.Addr().String()
	require.NoError(t, l.Close())
	_, refused := net.Dial("tcp", closed)
	require.Error(t, refused)

	for _, tt := range []struct {
		name string
		err  error
		want fault.Class
	}{
		{"record too large", kafka.MessageSizeTooLarge, fault.Permanent},
		{"record list too large", kafka.RecordListTooLarge, fault.Permanent},
		{"record refused", kafka.InvalidRecord, fault.Permanent},
		{"time refused", kafka.InvalidTimestamp, fault.Permanent},
		{"policy", kafka.PolicyViolation, fault.Permanent},
		{"metadata too long", kafka.OffsetMetadataTooLarge, fault.Permanent},
		{"corrupted on the way", kafka.InvalidMessage, fault.Transient},
		{"leader moved", kafka.NotLeaderForPartition, fault.Transient},
		{"no leader", kafka.LeaderNotAvailable, fault.Transient},
		{"topic unknown", kafka.UnknownTopicOrPartition, fault.Transient},
		{"no topic in the layout", protocol.NewErrNoTopic("x"), fault.Transient},
		{"no partition in the layout", protocol.NewErrNoPartition("x", 1), fault.Transient},
		{"no leader in the layout", protocol.NewErrNoLeader("x", 1), fault.Transient},
		{"replicas missing", kafka.NotEnoughReplicas, fault.Transient},
		{"replicas missing after", kafka.NotEnoughReplicasAfterAppend, fault.Transient},
		{"request timed out", kafka.RequestTimedOut, fault.Transient},
		{"coordinator loading", kafka.GroupLoadInProgress, fault.Transient},
		{"coordinator missing", kafka.GroupCoordinatorNotAvailable, fault.Transient},
		{"coordinator moved", kafka.NotCoordinatorForGroup, fault.Transient},
		{"rebalance", kafka.RebalanceInProgress, fault.Transient},
		{"broker unknown", kafka.BrokerNotAvailable, fault.Transient},
		{"no rights", kafka.TopicAuthorizationFailed, fault.Transient},
		{"wrong password", kafka.SASLAuthenticationFailed, fault.Transient},
		{"old generation", kafka.IllegalGeneration, fault.Canceled},
		{"expelled", kafka.UnknownMemberId, fault.Canceled},
		{"group closed", kafka.ErrGroupClosed, fault.Canceled},
		{"generation ended", kafka.ErrGenerationEnded, fault.Canceled},
		{"canceled", context.Canceled, fault.Canceled},
		{"deadline", context.DeadlineExceeded, fault.Transient},
		{"refused", refused, fault.Transient},
		{"reset", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, fault.Transient},
		{"broken pipe", syscall.EPIPE, fault.Transient},
		{"end of file", io.EOF, fault.Transient},
		{"cut off", fmt.Errorf("read: %w", io.ErrUnexpectedEOF), fault.Transient},
		{"closed", net.ErrClosed, fault.Transient},
		{
			"the broker's certificate has expired",
			&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{}}, fault.Transient,
		},
		{"no TLS spoken", tls.RecordHeaderError{}, fault.Transient},
		{"broker's unknown, also a full disk", kafka.Unknown, fault.Transient},
		{"the broker's disk", kafka.KafkaStorageError, fault.Transient},
		{"a code of a later Kafka", kafka.Error(1234), fault.Transient},
		{"something else", errors.New("something else"), fault.Unknown},
		{"known already", fault.Permanentf("x: %w", io.EOF), fault.Permanent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, fault.ClassOf(Classify(tt.err)))
			require.Equal(t, tt.want, fault.ClassOf(Classify(fmt.Errorf("wrapped: %w", tt.err))))
			require.ErrorIs(t, Classify(tt.err), tt.err)
		})
	}
	// not comparable, hence not in the table
	require.Equal(t, fault.Permanent, fault.ClassOf(Classify(kafka.MessageTooLargeError{})))
	require.NoError(t, Classify(nil))
}
