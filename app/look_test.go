package app

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/stream/record"
)

// away is a store that does not answer.
type away struct {
	Store
	err error
}

func (s *away) Ping(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	return s.Store.Ping(ctx)
}

func TestReadinessIsAMetric(t *testing.T) {
	t.Parallel()
	a := embeddedApp(t)
	require.Contains(t, metricsOf(a), "\nslipstream_ready 0\n", "it is not started yet")
	close(a.ready)
	require.NoError(t, a.look(t.Context()))
	require.Contains(t, metricsOf(a), "\nslipstream_ready 1\n")
	require.Contains(t, metricsOf(a), `slipstream_check_ok{check="embedded"} 1`)
	require.Contains(t, metricsOf(a), `slipstream_check_ok{check="kafka"} 1`)
	require.Contains(t, metricsOf(a), `slipstream_waiting_partitions{group="embed"} 0`)

	a.engines.Stores[0].Store = &away{a.engines.Stores[0].Store, errors.New("connection refused")}
	a.health.waits(
		inGroup{"embed", record.TopicPartition{Topic: "interactions"}}, errors.New("newer"),
	)
	require.NoError(t, a.look(t.Context()))
	require.Contains(t, metricsOf(a), "\nslipstream_ready 1\n", "lists are made from what is left")
	require.Contains(t, metricsOf(a), `slipstream_check_ok{check="embedded"} 0`)
	require.Contains(t, metricsOf(a), `slipstream_check_ok{check="partitions"} 0`)
	require.Contains(t, metricsOf(a), `slipstream_waiting_partitions{group="embed"} 1`)
}
