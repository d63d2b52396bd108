package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

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
		{"broker's unknown", kafka.Unknown, fault.Unknown},
		{"no such code", kafka.Error(1234), fault.Unknown},
		{"something else", errors.New("something else"), fault.Unknown},
		{"known already", fault.Permanentf("x: %w", io.EOF), fault.Permanent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, fault.ClassOf(classify(tt.err)))
			require.Equal(t, tt.want, fault.ClassOf(classify(fmt.Errorf("wrapped: %w", tt.err))))
			require.ErrorIs(t, classify(tt.err), tt.err)
		})
	}
	require.Equal(t, fault.Permanent, fault.ClassOf(classify(kafka.MessageTooLargeError{}))) // not comparable, hence not in the table
	require.NoError(t, classify(nil))
}

func TestClassifyWriteErrors(t *testing.T) {
	t.Parallel()
	err := classify(kafka.WriteErrors{nil, kafka.MessageSizeTooLarge, nil, kafka.NotLeaderForPartition})
	require.Equal(t, fault.Transient, fault.ClassOf(err), "one to try again")
	var failed *EmitError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 4, failed.Total)
	require.Equal(t, 1, failed.Failed[0].Index)
	require.Equal(t, fault.Permanent, fault.ClassOf(failed.Failed[0].Err))
	require.Equal(t, 3, failed.Failed[1].Index)
	require.NoError(t, classify(kafka.WriteErrors{nil, nil}))
}

func TestOpenSaysWhereItLooked(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig("127.0.0.1:1")
	cfg.OpenTimeout = 300 * time.Millisecond
	_, err := Open(t.Context(), cfg)
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.ErrorContains(t, err, "KAFKA_BROKERS")
	require.Equal(t, fault.Transient, fault.ClassOf(err))
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, DefaultConfig("a:1").Validate())
	for want, change := range map[string]func(*Config){
		"no brokers":             func(c *Config) { c.Brokers = nil },
		"not host:port":          func(c *Config) { c.Brokers = []string{"kafka"} },
		"unknown SASL mechanism": func(c *Config) { c.SASL.Mechanism = "GSSAPI" },
		"needs a user name":      func(c *Config) { c.SASL.Mechanism = SASLPlain },
		"client certificate":     func(c *Config) { c.TLS.CertFile = "x" },
		"dial time-out":          func(c *Config) { c.DialTimeout = 0 },
	} {
		c := DefaultConfig("a:1")
		change(&c)
		require.ErrorContains(t, c.Validate(), want)
	}
	require.NoError(t, DefaultPublisherConfig().Validate())
	p := DefaultPublisherConfig()
	p.Compression = "brotli"
	require.ErrorContains(t, p.Validate(), "brotli")
	require.NoError(t, DefaultSubscriberConfig("g").Validate())
	for want, change := range map[string]func(*SubscriberConfig){
		"no group":          func(c *SubscriberConfig) { c.Group = "" },
		"MaxRecords":        func(c *SubscriberConfig) { c.MaxRecords = 0 },
		"HeartbeatInterval": func(c *SubscriberConfig) { c.HeartbeatInterval = c.SessionTimeout },
		"DrainTimeout":      func(c *SubscriberConfig) { c.DrainTimeout = c.SessionTimeout },
		"FetchMaxBytes":     func(c *SubscriberConfig) { c.FetchMaxBytes = 2000 },
	} {
		c := DefaultSubscriberConfig("g")
		change(&c)
		require.ErrorContains(t, c.Validate(), want)
	}
}
