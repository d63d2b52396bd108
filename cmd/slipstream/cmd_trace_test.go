package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/internal/apptest"
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

// TestTraceSaysThatATransactionIsOpen: an event behind its beginning is on the log, but cannot be
// read.
func TestTraceSaysThatATransactionIsOpen(t *testing.T) {
	in, _ := apptest.StartEmbedded(t, t.TempDir(), nil)
	producer, err := kgo.NewClient(
		kgo.SeedBrokers(in.Config().Kafka.Brokers...), kgo.TransactionalID("elsewhere"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	require.NoError(t, err)
	defer producer.Close()
	trace := func(id string, more ...string) (out, said string, err error) {
		line := []string{"trace", id, "--brokers", in.Config().Kafka.Brokers[0]}
		return runLine(t, append(line, more...)...)
	}
	_, _, err = trace("e-1")
	require.ErrorContains(t, err, `no event with the id "e-1" is on the log`)

	require.NoError(t, producer.BeginTransaction())
	for _, partition := range []int32{1, 2} {
		require.NoError(t, producer.ProduceSync(t.Context(), &kgo.Record{
			Topic: in.Kafka().Conn().Full(schemas.TopicInteractions), Partition: partition,
			Key: []byte("ann"), Value: fmt.Appendf(nil,
				`{"event_id":"e-%d","user_id":"ann","item_id":"film","action":"like"}`, partition),
		}).FirstErr())
	}
	out, said, err := trace("e-1")
	require.NoError(t, err, "as for an event that waits")
	require.Empty(t, said)
	require.Contains(t, out, `no event with the id "e-1" can be read so far`)
	require.Contains(t, out, "  interactions/1: 1 offset\n  interactions/2: 1 offset\n")
	require.Contains(t, out, "describe-producers")
	out, said, err = trace("e-1", "--json")
	require.NoError(t, err)
	require.JSONEq(t, "[]", out)
	require.Contains(t, said, "interactions/1: 1 offset")

	require.NoError(t, producer.EndTransaction(t.Context(), kgo.TryCommit))
	out, _, err = trace("e-1")
	require.NoError(t, err)
	require.Contains(t, out, "interactions partition 1 offset 0, key ann")
	_, _, err = trace("e-3")
	require.ErrorContains(t, err, "is on the log")
}
