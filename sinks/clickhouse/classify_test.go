package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/internal/enginetest"
)

// listen starts a server on the loopback address that treats each connection as serve says.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			serve(c)
		}
	}()
	return l.Addr().String()
}

func TestClassifyConnections(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := free.Addr().String()
	require.NoError(t, free.Close())
	for _, c := range []struct {
		name, addr string
	}{
		{"refused", refused},
		{"closed at once", listen(t, func(c net.Conn) { _ = c.Close() })},
		{"never answers", listen(t, func(net.Conn) {})},
		{"no such host", "host.invalid:9000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Addr, cfg.DialTimeout = c.addr, 300*time.Millisecond
			_, err := Open(t.Context(), cfg)
			require.Error(t, err)
			require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
			require.ErrorContains(t, err, c.addr)
		})
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	stopping, cancel := context.WithCancel(t.Context())
	cancel()
	server := func(code int32) error {
		return fmt.Errorf("send: %w", &ch.Exception{Code: code, Message: "m"})
	}
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want fault.Class
	}{
		{"text that is no number", t.Context(), server(6), fault.Permanent},
		{"violated constraint", t.Context(), server(469), fault.Permanent},
		{"too many parts", t.Context(), server(252), fault.Transient},
		{"memory limit", t.Context(), server(241), fault.Transient},
		{"read-only table", t.Context(), server(242), fault.Transient},
		{"disk full", t.Context(), server(243), fault.Transient},
		{"killed by an operator", t.Context(), server(394), fault.Transient},
		{"unknown status of insert", t.Context(), server(319), fault.Transient},
		{"unknown table", t.Context(), server(60), fault.Transient},
		{"wrong password", t.Context(), server(516), fault.Transient},
		{"logical error", t.Context(), server(49), fault.Unknown},
		{"a view that throws", t.Context(), server(395), fault.Unknown},
		{"pool exhausted", t.Context(), ch.ErrAcquireConnTimeout, fault.Transient},
		{"our own deadline", t.Context(), context.DeadlineExceeded, fault.Transient},
		{"stopping", stopping, net.ErrClosed, fault.Canceled},
		{"something new", t.Context(), errors.New("boom"), fault.Unknown},
		{"classified before", t.Context(), fault.Permanentf("x"), fault.Permanent},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := classify(c.ctx, c.err)
			require.Equal(t, c.want, fault.ClassOf(got))
			require.ErrorIs(t, got, c.err)
		})
	}
	require.NoError(t, classify(stopping, nil))
}

// TestRealClassify holds the table to what the server really answers.
func TestRealClassify(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Addr = enginetest.Addr(t, "CLICKHOUSE_ADDR")
	cfg.Username = enginetest.Env("CLICKHOUSE_USERNAME")
	cfg.Password = enginetest.Env("CLICKHOUSE_PASSWORD")
	cfg.Database = "slipstream_test_that_nobody_created"
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	for _, c := range []struct {
		name, query string
		timeout     time.Duration
		want        fault.Class
		says        string
	}{
		{
			"unknown database", "SELECT 1 FROM " + s.table(tableMeta), time.Second, fault.Transient,
			"slipstream migrate",
		},
		{
			"unknown table", "SELECT 1 FROM system.nothing_of_this_name", time.Second,
			fault.Transient, "slipstream migrate",
		},
		{
			"unknown column", "SELECT nothing FROM system.one", time.Second, fault.Transient,
			"slipstream migrate",
		},
		{"number out of text", "SELECT toUInt8('x')", time.Second, fault.Permanent, "x"},
		{"syntax", "SELEKT 1", time.Second, fault.Unknown, "SELEKT"},
		{
			"server's deadline", "SELECT sleep(3) SETTINGS max_execution_time = 1", 5 * time.Second,
			fault.Transient, "",
		},
		{"our deadline", "SELECT sleep(3)", 100 * time.Millisecond, fault.Transient, ""},
		{
			"memory",
			"SELECT groupArray(number) FROM numbers(10000000) SETTINGS max_memory_usage = 1000000",
			5 * time.Second, fault.Transient, "memory",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := s.exec(t.Context(), c.timeout, c.query)
			require.Error(t, err)
			require.Equal(t, c.want, fault.ClassOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
		})
	}
	wrong := cfg
	wrong.Password = "wrong"
	_, err = Open(t.Context(), wrong)
	require.Error(t, err)
	require.Equal(t, fault.Transient, fault.ClassOf(err), "%v", err)
	require.ErrorContains(t, err, "CLICKHOUSE_PASSWORD")
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, DefaultConfig().Validate())
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"no address":         {func(c *Config) { c.Addr = " " }, "CLICKHOUSE_ADDR"},
		"odd database":       {func(c *Config) { c.Database = "a`b" }, "plain name"},
		"compression":        {func(c *Config) { c.Compression = "rar" }, "lz4, zstd, none"},
		"no connections":     {func(c *Config) { c.MaxConns = 0 }, "at least 1"},
		"no deadline":        {func(c *Config) { c.InsertTimeout = 0 }, "insert timeout"},
		"negative days":      {func(c *Config) { c.InteractionDays = -1 }, "interactions are kept"},
		"CA without TLS":     {func(c *Config) { c.CAFile = "x" }, "TLS is off"},
		"two things at once": {func(c *Config) { c.MaxConns, c.Database = 0, "" }, "plain name"},
	} {
		cfg := DefaultConfig()
		c.change(&cfg)
		require.ErrorContains(t, cfg.Validate(), c.says, name)
	}
	cfg := DefaultConfig()
	cfg.Addr, cfg.TLS, cfg.CAFile = "a:9440, b:9440", true, "/nowhere.pem"
	_, err := cfg.options("")
	require.ErrorContains(t, err, "CA file")
	cfg.CAFile, cfg.ServerName = "", "clickhouse.example"
	o, err := cfg.options("")
	require.NoError(t, err)
	require.Equal(t, []string{"a:9440", "b:9440"}, o.Addr)
	require.Equal(t, "clickhouse.example", o.TLS.ServerName)
}
