package qdrant

import (
	"net"
	"testing"

	pb "github.com/qdrant/go-client/qdrant"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
)

// TestTLSAndKey holds that a server behind TLS is reached with its authority only, and that each
// call carries the API key.
func TestTLSAndKey(t *testing.T) {
	t.Parallel()
	keys := make(chan []string, 100)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(stream.Context())
		keys <- md.Get("api-key")
		return stream.SendMsg(&pb.HealthCheckReply{})
	}))
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-done })

	cfg := DefaultConfig()
	cfg.APIKey, cfg.TLS = "open sesame", true
	cfg.Addr, cfg.CAFile = enginetest.TLSProxy(t, l.Addr().String(), "h2")
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Equal(t, []string{"open sesame"}, <-keys)

	_, other := enginetest.Certificate(t)
	stranger := cfg
	stranger.CAFile = other
	_, err = Open(t.Context(), stranger)
	require.ErrorContains(t, err, "certificate")
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	require.NotContains(t, err.Error(), cfg.APIKey)
	require.Empty(t, keys)
}

// TestRealTLS runs against the real engine behind TLS.
func TestRealTLS(t *testing.T) {
	t.Parallel()
	backend := enginetest.Addr(t, "QDRANT_ADDR")
	s := openForTest(t, func(c *Config) {
		c.TLS = true
		c.Addr, c.CAFile = enginetest.TLSProxy(t, backend, "h2")
	})
	putUser(t, s, "u", 1)
	require.EqualValues(t, 1, countUsers(t, s))
}
