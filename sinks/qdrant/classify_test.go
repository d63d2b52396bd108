package qdrant

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	pb "github.com/qdrant/go-client/qdrant"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/sinks"
)

// answering serves gRPC on loopback: every call ends with err. The errors a test sees are then what
// the driver makes of real answers.
func answering(t *testing.T, err error, trailer metadata.MD) string {
	t.Helper()
	l, lerr := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, lerr)
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		stream.SetTrailer(trailer)
		if err == nil {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		return err
	}))
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return l.Addr().String()
}

// connect is Open without the ping.
func connect(t *testing.T, addr string, timeout time.Duration) *Store {
	t.Helper()
	host, port, err := (&Config{Addr: addr}).hostPort()
	require.NoError(t, err)
	c, err := pb.NewGrpcClient(&pb.Config{Host: host, Port: port, SkipCompatibilityCheck: true})
	require.NoError(t, err)
	cfg := DefaultConfig()
	cfg.Timeout = timeout
	s := newStore(cfg, &conn{clients: []*pb.GrpcClient{c}}, 0)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		answer  error
		trailer metadata.MD
		want    fault.Class
		says    string
	}{
		{
			"unavailable", status.Error(codes.Unavailable, "shard is loading"), nil,
			fault.Transient, "shard is loading",
		},
		{
			"rate limit without a time", status.Error(codes.ResourceExhausted, "rate limited"), nil,
			fault.Transient, "rate limited",
		},
		{
			"rate limit with a time", status.Error(codes.ResourceExhausted, "rate limited"),
			metadata.Pairs("retry-after", "3"), fault.Transient, "3 seconds",
		},
		{"aborted", status.Error(codes.Aborted, "consensus"), nil, fault.Transient, "consensus"},
		{
			"deadline of the server", status.Error(codes.DeadlineExceeded, "timeout: 5s"), nil,
			fault.Transient, "timeout",
		},
		{
			"canceled by the server", status.Error(codes.Canceled, "stopping"), nil,
			fault.Transient, "stopping",
		},
		{
			"collection gone",
			status.Error(codes.NotFound, "Not found: Collection `users` doesn't exist!"), nil,
			fault.Transient, "slipstream migrate",
		},
		{
			"wrong key", status.Error(codes.Unauthenticated, "Invalid API key or JWT"), nil,
			fault.Transient, "API key",
		},
		{
			"read-only key", status.Error(codes.PermissionDenied, "Forbidden"), nil,
			fault.Transient, "API key",
		},
		{
			"old server", status.Error(codes.Unimplemented, "unknown method"), nil, fault.Transient,
			"1.16",
		},
		{
			"other dimension",
			status.Error(
				codes.InvalidArgument,
				"Wrong input: Vector dimension error: expected dim: 65, got 33",
			),
			nil, fault.Transient, "slipstream rebuild",
		},
		{
			"bad point", status.Error(codes.InvalidArgument, "Wrong input: payload"), nil,
			fault.Permanent, "payload",
		},
		{
			"disk full",
			status.Error(codes.Internal, "Service internal error: No space left on device"), nil,
			fault.Transient, "No space",
		},
		{
			"server's panic", status.Error(codes.Internal, "Service internal error: task panicked"),
			nil, fault.Unknown, "panicked",
		},
		{"unknown", status.Error(codes.Unknown, "?"), nil, fault.Unknown, "?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := connect(t, answering(t, tc.answer, tc.trailer), time.Minute)
			_, err := s.Users().CountUsers(t.Context())
			require.Error(t, err)
			require.Equal(t, tc.want, fault.ClassOf(err), "%v", err)
			require.ErrorContains(t, err, tc.says)
			require.ErrorContains(t, err, "qdrant count users: ")
		})
	}
}

func TestClassifyConnection(t *testing.T) {
	t.Parallel()
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := l.Addr().String()
		require.NoError(t, l.Close())
		_, err = connect(t, addr, time.Minute).Users().GetUsers(t.Context(), []string{"u"})
		require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
		require.ErrorContains(t, err, "connection refused")

		cfg := DefaultConfig()
		cfg.Addr = addr
		_, err = Open(t.Context(), cfg)
		require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
	})
	t.Run("no answer in time", func(t *testing.T) {
		t.Parallel()
		err := connect(t, answering(t, nil, nil), 20*time.Millisecond).Ping(t.Context())
		require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
	})
	t.Run("we stop", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := connect(t, answering(t, nil, nil), time.Minute).Ping(ctx)
		require.Equal(t, fault.Canceled, fault.ClassOf(err), "%v", err)
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		s := connect(t, answering(t, nil, nil), time.Minute)
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
		err := s.Ping(t.Context())
		require.Equal(t, fault.Canceled, fault.ClassOf(err), "%v", err)
	})
	t.Run("not an address", func(t *testing.T) {
		t.Parallel()
		require.Equal(
			t, fault.Unknown, fault.ClassOf(classify(t.Context(), errors.New("something else"))),
		)
	})
}

func TestPutRefusesWhatCannotBeFoundAgain(t *testing.T) {
	t.Parallel()
	s := connect(t, "127.0.0.1:1", time.Second)
	src := sinks.Source{Topic: "interactions"}
	pos := map[string]sinks.Position{"interactions": sinks.PositionOf(sinks.FirstEpoch, 1)}
	inf := make([]float32, s.cfg.Dim)
	inf[3] = 1 / inf[0]
	for name, u := range map[string]sinks.User{
		"no id":       {Positions: pos},
		"bytes as id": {ID: "\xff\xfe", Positions: pos},
		"no position": {
			ID: "u", Positions: map[string]sinks.Position{"embed.replay": pos["interactions"]},
		},
		"low position":   {ID: "u", Positions: map[string]sinks.Position{"interactions": -1}},
		"short vector":   {ID: "u", Positions: pos, Vector: []float32{1}},
		"empty vector":   {ID: "u", Positions: pos, Vector: []float32{}},
		"endless vector": {ID: "u", Positions: pos, Vector: inf},
	} {
		err := s.Users().PutUsers(t.Context(), src, []sinks.User{u})
		require.Equal(t, fault.Permanent, fault.ClassOf(err), "%s: %v", name, err)
	}
}
