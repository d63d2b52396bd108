package deadletter_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Whoever filters by the name that a group had in an older version is told the new one.
func TestFilterByAnOldNameOfAGroup(t *testing.T) {
	t.Parallel()
	renamed := record.Renamed{Groups: map[string]string{"aggregate": "analytics"}}
	store := deadletter.New(nil, nil, renamed.Names("", nil), []string{"analytics", "embed"}, nil)
	_, err := store.List(t.Context(), deadletter.Filter{Group: "aggregate"})
	require.ErrorIs(t, err, deadletter.ErrFilter)
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	require.ErrorContains(t, err, `the group "aggregate" is "analytics" since a later version`)
	_, err = store.List(t.Context(), deadletter.Filter{Group: "nope"})
	require.ErrorContains(t, err, `there is no group "nope", only analytics, embed`)
}
