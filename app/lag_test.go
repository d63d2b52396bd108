package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// instance is a process that runs the periodic tasks, if no other does.
type instance struct {
	*App
	addr string
	stop func()
}

// instances starts so many on one broker, and leaves five events unread.
func instances(t *testing.T, n int) []instance {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	bc := embedded.DefaultConfig(t.TempDir())
	bc.Addr, bc.Log = "127.0.0.1:0", quiet
	broker, err := embedded.Start(t.Context(), bc)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	out := make([]instance, n)
	for i := range out {
		cfg := config.Default()
		cfg.DataDir, cfg.Topics.Partitions, cfg.HTTP.Addr = t.TempDir(), 3, "127.0.0.1:0"
		cfg.Kafka.Brokers = []string{broker.Addr()}
		a, err := Open(t.Context(), cfg, Options{
			Only: []string{schemas.GroupPeriodic}, Embedded: true, Version: "test", Log: quiet,
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		stopped := false
		stop := func() {
			if !stopped {
				stopped = true
				cancel()
				require.NoError(t, errors.Join(fault.IgnoreCanceled(<-ended), a.Close()))
			}
		}
		t.Cleanup(stop)
		<-a.Ready()
		out[i] = instance{a, <-a.Listening(), stop}
	}
	batch := make([]record.Record, 5)
	for i := range batch {
		batch[i] = record.Record{
			Topic: schemas.TopicInteractions, Partition: i % 3, Value: []byte("{}"),
		}
	}
	require.NoError(t, out[0].kafka.Emit(t.Context(), batch))
	return out
}

// lag returns the sum of what the instances say of a group's lag and whether any says something.
func lag(t *testing.T, group string, of ...instance) (sum int64, told bool) {
	t.Helper()
	for _, in := range of {
		got, err := in.metrics.Totals()
		require.NoError(t, err)
		n, ok := got.Lag[group]
		sum, told = sum+n, told || ok
	}
	return sum, told
}

// A sum over instances counts each event once, whichever instance measures.
func TestOneInstanceTellsTheLag(t *testing.T) {
	t.Parallel()
	both := instances(t, 2)
	first, second := both[0], both[1]
	fiveBehind := func(of ...instance) func() bool {
		return func() bool {
			n, _ := lag(t, schemas.GroupEmbed, of...)
			return n == 5
		}
	}
	require.Eventually(t, fiveBehind(both...), time.Minute, 10*time.Millisecond)
	for range 3 { // it stays so: each measures every five seconds
		require.NoError(t, first.look(t.Context()))
		n, _ := lag(t, schemas.GroupEmbed, both...)
		require.EqualValues(t, 5, n)
	}
	first.stop()
	_, told := lag(t, schemas.GroupEmbed, first)
	require.False(t, told, "who stops forgets what it knew")
	require.Eventually(t, fiveBehind(second), time.Minute, 10*time.Millisecond)
}

// What is known of an outage is nothing: a lag of before would be a lie.
func TestAnUnknownLagIsNotShown(t *testing.T) {
	t.Parallel()
	a := embeddedApp(t)
	require.NoError(t, a.measureLag(t.Context()))
	require.NoError(t, a.measureAge(t.Context()))
	require.Contains(t, metricsOf(a), "slipstream_lag_events")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, a.measureLag(ctx))
	require.Error(t, a.measureAge(ctx))
	require.NotContains(t, metricsOf(a), "slipstream_lag_")
}

// Events that any client writes are "events in"; what processors write to each other is not.
func TestWrittenEventsAreThoseOfTheLog(t *testing.T) {
	t.Parallel()
	a := embeddedApp(t)
	for range 2 { // past the counter of this process, like another client
		require.NoError(t, a.kafka.Publisher().Emit(t.Context(), []record.Record{
			{Topic: schemas.TopicInteractions, Partition: 1, Value: []byte("{}")},
		}))
	}
	require.NoError(t, a.kafka.Emit(t.Context(), []record.Record{
		{Topic: schemas.TopicItemGradients, Partition: 1, Value: []byte("x")},
	}))
	require.NoError(t, a.measureLag(t.Context()))
	require.Contains(t, metricsOf(a), `slipstream_written_events_total{topic="interactions"} 2`)
}

// A retry topic holds its records back for its delay: only what is due is late.
func TestTheAgeOnARetryTopicBeginsWhenItIsDue(t *testing.T) {
	t.Parallel()
	a := embeddedApp(t)
	age := func(topic string, since time.Duration) time.Duration {
		require.NoError(t, a.kafka.Emit(t.Context(), []record.Record{
			{Topic: topic, Partition: 0, Value: []byte("{}"), Time: now().Add(-since)},
		}))
		require.NoError(t, a.measureAge(t.Context()))
		seconds := a.measured(
			t, "slipstream_lag_seconds", record.RetryGroup(schemas.GroupGraph), topic,
		)
		return time.Duration(seconds * float64(time.Second))
	}
	delay := 10 * time.Minute
	require.Zero(t, age(record.RetryTopic(schemas.GroupGraph, delay), 9*time.Minute))
	soon := record.RetryTopic(schemas.GroupGraph, time.Minute)
	require.InDelta(t, 8*time.Minute, age(soon, 9*time.Minute), float64(time.Minute))
}

// TestRealPrometheusShowsLagOnce: a Prometheus scrapes two processes and loads the alerts.
func TestRealPrometheusShowsLagOnce(t *testing.T) {
	t.Parallel()
	binary := enginetest.Addr(t, "PROMETHEUS")
	both := instances(t, 2)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	dir := t.TempDir()
	rules, err := filepath.Abs("../infra/prometheus/alerts.yml")
	require.NoError(t, err)
	settings := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(settings, fmt.Appendf(nil, `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: slipstream
    static_configs: [{targets: [%q, %q]}]
`, rules, both[0].addr, both[1].addr), 0o600))
	cmd := exec.CommandContext(
		t.Context(), binary, "--config.file="+settings, "--web.listen-address="+addr,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--log.level=error",
	)
	cmd.Stderr = t.Output()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })

	defer http.DefaultClient.CloseIdleConnections()
	value := func(query string) float64 {
		var answer struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
			"http://"+addr+"/api/v1/query?query="+url.QueryEscape(query), nil)
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return -1
		}
		defer res.Body.Close()
		if json.NewDecoder(res.Body).Decode(&answer) != nil || len(answer.Data.Result) != 1 {
			return -1
		}
		text, _ := answer.Data.Result[0].Value[1].(string)
		n, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		return n
	}
	require.Eventually(t, func() bool {
		return value(`count(slipstream_ready == 1)`) == 2 &&
			value(`sum(slipstream_lag_events{group="embed"})`) == 5
	}, 2*time.Minute, 100*time.Millisecond)
	require.InDelta(t, 5, value(`sum(slipstream_written_events_total{topic="interactions"})`), 0)
	require.InDelta(t, 5, value(`sum by (group) (slipstream_lag_events{group="embed"})`), 0)
	require.InDelta(t, 0, value(`sum(slipstream_poisoned_events_total) or vector(0)`), 0)
	// Pending it may be: the rules may have been read before the first scrape.
	down := value(`ALERTS{alertname="SlipstreamDown",alertstate="firing"}`)
	require.InDelta(t, -1, down, 0, "nothing is wrong")
}
