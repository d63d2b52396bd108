package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
)

func TestOpenSaysWhereItLooked(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig("127.0.0.1:1")
	cfg.OpenTimeout = 300 * time.Millisecond
	_, err := Open(t.Context(), cfg)
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.ErrorContains(t, err, "KAFKA_BROKERS")
	require.Equal(t, fault.Transient, fault.ClassOf(err))
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, DefaultConfig("a:1").Validate())
	for want, change := range map[string]func(*Config){
		"no brokers":             func(c *Config) { c.Brokers = nil },
		"not host:port":          func(c *Config) { c.Brokers = []string{"kafka"} },
		"unknown SASL mechanism": func(c *Config) { c.SASL.Mechanism = "GSSAPI" },
		"needs a user name":      func(c *Config) { c.SASL.Mechanism = SASLPlain },
		"client certificate":     func(c *Config) { c.TLS.CertFile = "x" },
		"dial timeout":           func(c *Config) { c.DialTimeout = 0 },
	} {
		c := DefaultConfig("a:1")
		change(&c)
		require.ErrorContains(t, c.Validate(), want)
	}
	require.NoError(t, DefaultPublisherConfig().Validate())
	p := DefaultPublisherConfig()
	p.Compression = "brotli"
	require.ErrorContains(t, p.Validate(), "brotli")
	require.NoError(t, DefaultSubscriberConfig("g").Validate())
	for want, change := range map[string]func(*SubscriberConfig){
		"no group":          func(c *SubscriberConfig) { c.Group = "" },
		"MaxRecords":        func(c *SubscriberConfig) { c.MaxRecords = 0 },
		"HeartbeatInterval": func(c *SubscriberConfig) { c.HeartbeatInterval = c.SessionTimeout },
		"DrainTimeout":      func(c *SubscriberConfig) { c.DrainTimeout = c.SessionTimeout },
		"FetchMaxBytes":     func(c *SubscriberConfig) { c.FetchMaxBytes = 2000 },
	} {
		c := DefaultSubscriberConfig("g")
		change(&c)
		require.ErrorContains(t, c.Validate(), want)
	}
}
