package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/schemas"
)

func TestTraceOfAMisplacedEvent(t *testing.T) {
	t.Parallel()
	five := 5
	x := app.Traced{
		Topic: schemas.TopicInteractions, Partition: 3, Offset: 1, BelongsIn: &five, Key: "u42",
		AcceptedAt: time.Date(2026, 11, 28, 14, 2, 31, 0, time.UTC),
		Groups: []app.TracedGroup{
			{Group: schemas.GroupAnalytics, Store: "rows", State: "done"},
			{
				Group: schemas.GroupEmbed, Store: "vectors", State: "waiting",
				Forwarded: &app.TracedForward{
					Topic: "embed.misplaced", Partition: 5, Offset: 12, Position: 12,
				},
			},
		},
	}
	var out strings.Builder
	printTraced(&out, &x)
	require.Equal(t, `interactions partition 3 offset 1, key u42, accepted at 2026-11-28T14:02:31Z
  misplaced: it belongs in partition 5
  analytics  done         rows
  embed      waiting      vectors
             forwarded to embed.misplaced partition 5 offset 12
`, out.String())

	x.Groups[1].Forwarded, x.Groups[1].State = nil, "done"
	out.Reset()
	printTraced(&out, &x)
	require.Contains(t, out.String(), "not forwarded: it came twice")
	x.Groups[1].State = "waiting"
	out.Reset()
	printTraced(&out, &x)
	require.NotContains(t, out.String(), "not forwarded")
}
