package qdrant

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFieldOf(t *testing.T) {
	t.Parallel()
	require.Equal(t, "pos_interactions", fieldOf("interactions"))
	require.Equal(t, "pos_embed_2ereplay", fieldOf("embed.replay"))
	for _, topic := range []string{
		"interactions", "embed.replay", "a_b-c.d", "", "ü", "_2e", `"[]`,
	} {
		got, ok := topicOf(fieldOf(topic))
		require.True(t, ok, topic)
		require.Equal(t, topic, got)
	}
	for _, field := range []string{"id", "state", "pos", "pos_a_", "pos_a_2", "pos_a_zz"} {
		_, ok := topicOf(field)
		require.False(t, ok, field)
	}
}

func TestSplitVersion(t *testing.T) {
	t.Parallel()
	for _, v := range []uint64{0, 1, 1<<32 - 1, 1 << 32, 1<<53 + 1, 1<<64 - 1} {
		high, low := splitVersion(v)
		require.Equal(t, v, uint64(high)<<32|uint64(low))
		require.Less(t, low, int64(1)<<32)
		require.Less(t, high, int64(1)<<32)
	}
}

func TestVersionOf(t *testing.T) {
	t.Parallel()
	c := collection{s: &Store{cfg: Config{CollectionPrefix: "a_"}}, name: "users"}
	for name, want := range map[string]int{
		"a_users_v1": 1, "a_users_v12": 12, "a_users_v0": 0, "a_users_v01": 0, "a_users": 0,
		"a_items_v1": 0, "b_users_v1": 0, "a_users_vx": 0,
	} {
		got, ok := c.versionOf(name)
		require.Equal(t, want > 0, ok, name)
		if ok {
			require.Equal(t, want, got, name)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	ok := DefaultConfig()
	ok.Addr = "localhost:6334"
	require.NoError(t, ok.Validate())
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(noPEM, []byte("x"), 0o600))
	for _, tc := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"no address", func(c *Config) { c.Addr = "" }, "6334"},
		{"no port", func(c *Config) { c.Addr = "localhost" }, "host:port"},
		{"a word as port", func(c *Config) { c.Addr = "localhost:grpc" }, "port"},
		{"prefix", func(c *Config) { c.CollectionPrefix = "a/b" }, "prefix"},
		{"dim", func(c *Config) { c.Dim = 0 }, "dim 0"},
		{"content dim", func(c *Config) { c.ContentDim = 0 }, "content dim 0"},
		{"connections", func(c *Config) { c.Connections = 0 }, "connections"},
		{"timeout", func(c *Config) { c.Timeout = 0 }, "timeouts"},
		{"write batch", func(c *Config) { c.WriteBatch = 0 }, "write batch"},
		{"shards", func(c *Config) { c.Shards = 0 }, "shards"},
		{"CA without TLS", func(c *Config) { c.CAFile = noPEM }, "TLS is off"},
		{"m", func(c *Config) { c.Users.M = 1 }, "users: m 1"},
		{"ef construct", func(c *Config) { c.Items.EfConstruct = 1 }, "items: ef construct"},
		{"ef", func(c *Config) { c.Items.Ef = 0 }, "items: ef 0"},
		{"threshold", func(c *Config) { c.Items.IndexingThreshold = 0 }, "threshold"},
		{"oversampling", func(c *Config) { c.Items.Oversampling = 0.5 }, "oversampling"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := ok
			tc.change(&c)
			require.ErrorContains(t, c.Validate(), tc.says)
		})
	}
	c := ok
	c.TLS, c.CAFile = true, noPEM
	_, err := Open(t.Context(), c)
	require.ErrorContains(t, err, "no certificate")
}

func TestLengthen(t *testing.T) {
	t.Parallel()
	query := []float32{2, -1, 1}
	for _, v := range [][]float32{{1, 2, 3}, {0, 0, 0}, {-9, 9, 9}} {
		before := slices.Clone(v)
		long, q := lengthen(v, 10), lengthenQuery(query)
		require.Equal(t, before, v)
		require.Equal(t, v, shorten(long))
		dot, square := float32(0), float64(0)
		for i := range long {
			dot += long[i] * q[i]
			square += float64(long[i]) * float64(long[i])
		}
		require.InDelta(t, 2*v[0]-v[1]+v[2], dot, 0)
		require.InDelta(
			t, max(10, math.Sqrt(float64(v[0]*v[0]+v[1]*v[1]+v[2]*v[2]))), math.Sqrt(square), 1e-5,
		)
	}
	require.Nil(t, shorten(nil))
}
