package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// logLines collects a log of JSON.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// lines returns the fields of each line without its time. A plain line fails the test.
func (l *logLines) lines(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []map[string]any
	for _, line := range strings.Split(strings.TrimSpace(l.text.String()), "\n") {
		if line == "" {
			continue
		}
		fields := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		delete(fields, "time")
		out = append(out, fields)
	}
	return out
}

// with returns the lines that have a message.
func (l *logLines) with(t *testing.T, message string) (out []map[string]any) {
	t.Helper()
	for _, fields := range l.lines(t) {
		if fields["msg"] == message {
			out = append(out, fields)
		}
	}
	return out
}

// freePort returns an address at which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// readyz returns the answer of a process, or nothing if it does not answer.
func readyz(t *testing.T, addr string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(
		t.Context(), http.MethodGet, "http://"+addr+"/readyz", nil,
	)
	require.NoError(t, err)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(raw)
}

// Kafka is away when a process starts, and again when it runs. The log has one line when it goes
// and one when it is back, each a line of JSON; /readyz says since when, also during the start.
func TestOutagesOfKafkaAreTold(t *testing.T) {
	t.Parallel()
	dir, broker, addr := t.TempDir(), freePort(t), freePort(t)
	start := func() *embedded.Broker {
		bc := embedded.DefaultConfig(dir)
		bc.Addr, bc.Log = broker, slog.New(slog.DiscardHandler)
		b, err := embedded.Start(t.Context(), bc)
		require.NoError(t, err)
		return b
	}
	cfg := config.Default()
	cfg.DataDir, cfg.Topics.Partitions, cfg.HTTP.Addr = t.TempDir(), 2, addr
	cfg.Kafka.Brokers = []string{broker}
	var l logLines
	type opened struct {
		*App
		error
	}
	done := make(chan opened, 1)
	go func() {
		a, err := Open(t.Context(), cfg, Options{
			Embedded: true, Version: "test", Log: l.logger(), WaitForEngines: 5 * time.Minute,
		})
		done <- opened{a, err}
	}()
	says := func(want string) func() bool {
		return func() bool {
			_, body := readyz(t, addr)
			return strings.Contains(body, want)
		}
	}
	require.Eventually(t, says("kafka is away since 20"), time.Minute, 100*time.Millisecond)
	code, _ := readyz(t, addr)
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Len(t, l.with(t, "an engine is away"), 1)
	require.Empty(t, l.with(t, "an engine is back"))
	b := start()
	o := <-done
	require.NoError(t, o.error)
	a := o.App
	require.Len(t, l.with(t, "an engine is back"), 1)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	<-a.Ready()
	require.Eventually(t, says(`"status":"ready"`), time.Minute, 100*time.Millisecond)
	require.NoError(t, a.kafka.Emit(t.Context(), []record.Record{
		{Topic: schemas.TopicInteractions, Value: []byte("{}")},
	}))

	require.NoError(t, b.Close())
	require.Eventually(t, func() bool {
		return len(l.with(t, "an engine is away")) == 2
	}, time.Minute, 100*time.Millisecond)
	require.Eventually(t, says(`"kafka":"away since 20`), time.Minute, 100*time.Millisecond)
	require.Contains(t, metricsOf(a), "\nslipstream_ready 0\n")
	require.Contains(t, metricsOf(a), `slipstream_check_ok{check="kafka"} 0`)
	b = start()
	require.Eventually(t, func() bool {
		return len(l.with(t, "an engine is back")) == 2
	}, 2*time.Minute, 100*time.Millisecond)
	require.Contains(t, l.with(t, "an engine is back")[1], "changes_behind")
	require.Eventually(t, says(`"kafka":"back since 20`), time.Minute, 100*time.Millisecond)
	cancel()
	require.NoError(t, fault.IgnoreCanceled(<-ended))
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	for _, fields := range l.lines(t) {
		require.Contains(t, []any{
			"an engine is away", "an engine is back", "record is a dead letter now",
			waitingForTopic, // on a machine without time
		}, fields["msg"], fields)
	}
}
