package app

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/api"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/telemetry"
	"github.com/slipstream-rec/slipstream/stream/guard"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Readiness names a partition that waits for the end of a rolling upgrade until it continues.
func TestReadinessNamesAWaitingPartition(t *testing.T) {
	t.Parallel()
	a := &App{
		metrics: telemetry.NewMetrics("test"),
		kafka:   &Kafka{},
		engines: &Engines{},
	}
	var partitions api.Check
	for _, c := range a.checks() {
		if c.Name == "partitions" {
			partitions = c
		}
	}
	require.False(t, partitions.Required, "the process still answers: it is degraded")
	hooks := a.guardHooks()
	tp := record.TopicPartition{Topic: "interactions", Partition: 3}
	retrying := func(err error) {
		hooks.Retrying(
			t.Context(),
			guard.Retrying{
				Handler: "embed", Group: "embed", TopicPartition: tp,
				Class: fault.ClassOf(err), Err: err,
			},
		)
	}
	done := func(partition int) {
		hooks.Done(t.Context(), guard.BatchDone{
			Handler: "embed", Group: "embed",
			TopicPartition: record.TopicPartition{
				Topic:     tp.Topic,
				Partition: partition,
			}, Outcome: guard.OutcomeDone,
		})
	}

	require.NoError(t, partitions.Ping(t.Context()))
	retrying(fault.Transientf("connection refused"))
	require.NoError(t, partitions.Ping(t.Context()), "the store's own check tells of an outage")
	for range 3 {
		retrying(fault.Wait(errors.New(`the state of user "ann" was written by a newer version`)))
	}
	done(4)
	err := partitions.Ping(t.Context())
	require.ErrorContains(t, err, "embed at "+tp.String()+" waits")
	require.ErrorContains(t, err, `user "ann" was written by a newer version`)
	done(3)
	require.NoError(t, partitions.Ping(t.Context()))

	retrying(fault.Transientf("connection refused"))
	hooks.Breaker("embed", "open")
	require.ErrorContains(t, partitions.Ping(t.Context()), "embed keeps failing")
	hooks.Breaker("embed", "half-open")
	require.ErrorContains(t, partitions.Ping(t.Context()), "connection refused")
	hooks.Breaker("embed", "closed")
	require.NoError(t, partitions.Ping(t.Context()))
}
