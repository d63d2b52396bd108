package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIgnoreCanceled(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	wrapped := fmt.Errorf("put: %w", context.Canceled)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, dialed := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:1")
	require.Error(t, dialed)
	for _, tc := range []struct {
		name   string
		err    error
		ignore bool
	}{
		{"nothing", nil, true},
		{"a cancellation", context.Canceled, true},
		{"wrapped", fmt.Errorf("embed: %w", As(Canceled, wrapped)), true},
		{"joined with another", errors.Join(context.Canceled, wrapped), true},
		{"of the net package", dialed, true},
		{"a failure", boom, false},
		{"a deadline", context.DeadlineExceeded, false},
		{"joined with a failure", errors.Join(context.Canceled, boom), false},
		{"after a failure", errors.Join(boom, context.Canceled), false},
		{"a failure deep inside", fmt.Errorf("a: %w", errors.Join(fmt.Errorf("b: %w",
			errors.Join(context.Canceled, boom)), context.Canceled)), false},
		{"a failure because of one", fmt.Errorf("%w: %w", boom, context.Canceled), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := IgnoreCanceled(tc.err); tc.ignore {
				require.NoError(t, got)
			} else {
				require.Equal(t, tc.err, got)
			}
		})
	}
}
