package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/processors"
)

func TestStatusSaysHowManyItemsHaveNoEntry(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]processors.ItemCounts{
		"\n7 items can be recommended. 2 of them have no catalog entry: only events name them": {
			Items: 7, WithoutEntry: 2,
		},
		"\n7 items can be recommended. 0 of them have no catalog entry.\n": {Items: 7},
	} {
		var out strings.Builder
		require.NoError(t, printStatus(&out, app.Status{Items: n}))
		require.Contains(t, out.String(), want)
	}
	var out strings.Builder
	require.NoError(t, printStatus(&out, app.Status{}))
	require.NotContains(t, out.String(), "items", "no catalog has run yet")
}
