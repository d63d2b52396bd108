package neo4j

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
)

// TestRealTLS runs against the real engine behind TLS.
func TestRealTLS(t *testing.T) {
	t.Parallel()
	cfg := configForTest(t)
	_, backend, ok := strings.Cut(cfg.URI, "://")
	require.True(t, ok)
	addr, caFile := enginetest.TLSProxy(t, backend)
	cfg.URI, cfg.CAFile, cfg.RetryTime = "bolt+s://"+addr, caFile, 0
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	n, err := s.CountEdges(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, s.Close())

	_, other := enginetest.Certificate(t)
	stranger := cfg
	stranger.CAFile = other
	_, err = Open(t.Context(), stranger)
	require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
	require.ErrorContains(t, err, "certificate")
	require.NotContains(t, err.Error(), cfg.Password)

	trusting := cfg
	trusting.URI, trusting.CAFile = "bolt+ssc://"+addr, ""
	s, err = Open(t.Context(), trusting)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
