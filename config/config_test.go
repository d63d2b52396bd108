package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/slipstream-rec/slipstream/config"
)

var update = flag.Bool("update", false, "write docs/CONFIGURATION.md anew")

func none() []string { return nil }

func environ(pairs ...string) func() []string { return func() []string { return pairs } }

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestLoadWithoutAnythingGivesTheDefaults(t *testing.T) {
	t.Parallel()
	got, err := config.Load(config.Options{Environ: none})
	require.NoError(t, err)
	want := config.Default()
	want.HTTP.APIKeys = got.HTTP.APIKeys // nil or empty
	require.Empty(t, got.HTTP.APIKeys)
	require.Equal(t, want, got)
}

func TestLoadOrder(t *testing.T) {
	t.Parallel()
	file := write(
		t, "c.yaml",
		"kafka:\n  brokers: [file:1]\n  client_id: file\n  topic_prefix: file.\nlog:\n  level: "+
			"warn\nstream:\n",
	)
	got, err := config.Load(config.Options{
		Defaults: func(c *config.Config) { c.HTTP.Addr, c.Kafka.ClientID = ":1234", "default" },
		File:     file,
		Environ: environ(
			"KAFKA_BROKERS=env:1, env:2", "SLIPSTREAM_KAFKA_TOPIC_PREFIX=env.", "UNRELATED=1",
			"SLIPSTREAM_SERVICE_HOST=10.0.0.1",
		),
		Set: map[string]string{"kafka.topic_prefix": "flag."},
	})
	require.NoError(t, err)
	require.Equal(t, ":1234", got.HTTP.Addr, "changed defaults")
	require.Equal(t, "warn", got.Log.Level, "file")
	require.Equal(t, "file", got.Kafka.ClientID, "file before defaults")
	require.Equal(t, []string{"env:1", "env:2"}, got.Kafka.Brokers, "environment before file")
	require.Equal(t, "flag.", got.Kafka.TopicPrefix, "flags before environment")
}

func TestLoadTypes(t *testing.T) {
	t.Parallel()
	type check func(t *testing.T, c config.Config)
	for _, tc := range []struct {
		name, key, value string
		check            check
	}{
		{
			"days", "topics.retention", "30d",
			func(t *testing.T, c config.Config) {
				require.Equal(t, 720*time.Hour, c.Topics.Retention)
			},
		},
		{
			"duration", "stream.linger", "5ms",
			func(t *testing.T, c config.Config) {
				require.Equal(t, 5*time.Millisecond, c.Stream.Linger)
			},
		},
		{"durations", "topics.retry_delays", "1s,1m", func(t *testing.T, c config.Config) {
			require.Equal(t, []time.Duration{time.Second, time.Minute}, c.Topics.RetryDelays)
		}},
		{
			"no durations", "topics.retry_delays", "",
			func(t *testing.T, c config.Config) { require.Empty(t, c.Topics.RetryDelays) },
		},
		{
			"size", "http.max_body_bytes", "16MiB",
			func(t *testing.T, c config.Config) {
				require.Equal(t, config.Bytes(16<<20), c.HTTP.MaxBodyBytes)
			},
		},
		{
			"plain size", "http.max_body_bytes", "1000000",
			func(t *testing.T, c config.Config) {
				require.EqualValues(t, 1000000, c.HTTP.MaxBodyBytes)
			},
		},
		{
			"bool", "recommend.allow_taken", "true",
			func(t *testing.T, c config.Config) { require.True(t, c.Recommend.AllowTaken) },
		},
		{
			"number", "recommend.holdout_share", "0",
			func(t *testing.T, c config.Config) { require.Zero(t, c.Recommend.HoldoutShare) },
		},
		{
			"actions", "actions", `[{name: listen, to: 0.5, meaning: doubt, weight: 0.1}, ` +
				`{"name":"listen","from":0.5,"meaning":"love","verb":"listened to",` +
				`"verbs":{"de":"gehört"},"takes":false,"counts":"click"}]`,
			func(t *testing.T, c config.Config) {
				require.Equal(t, []config.Action{
					{Name: "listen", To: 0.5, Meaning: "doubt", Weight: new(0.1)},
					{
						Name: "listen", From: 0.5, Meaning: "love", Verb: "listened to",
						Verbs: map[string]string{"de": "gehört"}, Takes: new(false),
						Counts: "click",
					},
				}, c.Actions)
			},
		},
		{
			"keys", "http.api_keys", "shop:emit+read:0123456789abcdef,ops:operate:fedcba9876543210",
			func(t *testing.T, c config.Config) {
				require.Equal(t, []config.APIKey{
					{Name: "shop", Key: "0123456789abcdef", Roles: []string{"emit", "read"}},
					{Name: "ops", Key: "fedcba9876543210", Roles: []string{"operate"}},
				}, c.HTTP.APIKeys)
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			byFlag, err := config.Load(
				config.Options{Environ: none, Set: map[string]string{tc.key: tc.value}},
			)
			require.NoError(t, err)
			tc.check(t, byFlag)
			if tc.value == "" {
				return // an empty variable counts as absent
			}
			name := "SLIPSTREAM_" + strings.ToUpper(strings.ReplaceAll(tc.key, ".", "_"))
			byEnv, err := config.Load(config.Options{Environ: environ(name + "=" + tc.value)})
			require.NoError(t, err)
			require.Equal(t, byFlag, byEnv)
			line := fmt.Sprintf("%s: %q\n", tc.key, tc.value)
			if section, key, ok := strings.Cut(tc.key, "."); ok {
				line = fmt.Sprintf("%s:\n  %s: %q\n", section, key, tc.value)
			}
			byFile, err := config.Load(
				config.Options{Environ: none, File: write(t, "c.yaml", line)},
			)
			require.NoError(t, err)
			require.Equal(t, byFlag, byFile)
		})
	}
}

func TestLoadFileLists(t *testing.T) {
	t.Parallel()
	got, err := config.Load(config.Options{Environ: none, File: write(t, "c.yaml", `
http:
  max_body_bytes: 9000000
  api_keys:
    - {name: shop, key: 0123456789abcdef, roles: [emit]}
topics:
  retry_delays: [10s, 20s]
actions:
  - {name: save, meaning: interest, weight: 0.4, verb: saved}
`)})
	require.NoError(t, err)
	require.Equal(
		t, []config.APIKey{{Name: "shop", Key: "0123456789abcdef", Roles: []string{"emit"}}},
		got.HTTP.APIKeys,
	)
	require.Equal(t, []time.Duration{10 * time.Second, 20 * time.Second}, got.Topics.RetryDelays)
	require.EqualValues(t, 9000000, got.HTTP.MaxBodyBytes)
	require.Equal(t, []config.Action{
		{Name: "save", Meaning: "interest", Weight: new(0.4), Verb: "saved"},
	}, got.Actions)
}

func TestLoadMistakes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		o    config.Options
		want string
	}{
		{"no file", config.Options{File: "absent.yaml"}, "read absent.yaml"},
		{
			"file named by a variable",
			config.Options{Environ: environ("SLIPSTREAM_CONFIG=other.yaml")},
			"read other.yaml",
		},
		{"no YAML", config.Options{File: write(t, "a.yaml", "a: [")}, "a.yaml"},
		{
			"unknown section",
			config.Options{File: write(t, "a.yaml", "kafak:\n  brokers: [a:1]\n")},
			"unknown key kafak.brokers: at the top there are data_dir, actions, log, kafka",
		},
		{
			"unknown key",
			config.Options{File: write(t, "a.yaml", "stream:\n  linge: 5ms\n")},
			"unknown key stream.linge: stream has max_records, max_bytes, linger",
		},
		{
			"unknown nested key",
			config.Options{File: write(t, "a.yaml", "kafka:\n  tls: {on: true}\n")},
			"unknown key kafka.tls.on: kafka.tls has enabled, ca_file",
		},
		{
			"number for a duration",
			config.Options{File: write(t, "a.yaml", "stream:\n  linger: 5\n")},
			"stream.linger: 5 is not a duration such as",
		},
		{
			"text for a number",
			config.Options{Environ: environ("SLIPSTREAM_TOPICS_PARTITIONS=many")},
			"SLIPSTREAM_TOPICS_PARTITIONS: many is not a whole number",
		},
		{
			"variable of a duration",
			config.Options{Environ: environ("SLIPSTREAM_STREAM_LINGER=soon")},
			"SLIPSTREAM_STREAM_LINGER: soon is not a duration",
		},
		{
			"flag",
			config.Options{Set: map[string]string{"log.size": "1"}},
			"command line: unknown key log.size: log has level, format",
		},
		{
			"flag's value",
			config.Options{Set: map[string]string{"stream.max_bytes": "big"}},
			"command line: stream.max_bytes: big is not a size such as 64MiB",
		},
		{
			"actions",
			config.Options{Set: map[string]string{"actions": "view"}},
			`is not a list of actions`,
		},
		{
			"actions' keys",
			config.Options{Set: map[string]string{"actions": "[{name: view, wieght: 1}]"}},
			`wieght`,
		},
		{
			"retired key",
			config.Options{Set: map[string]string{"model.weights": "view=1"}},
			"model.weights is retired: weights stand in the table of actions",
		},
		{
			"retired variable",
			config.Options{Environ: environ("SLIPSTREAM_MODEL_WEIGHTS=view=1")},
			"SLIPSTREAM_MODEL_WEIGHTS: weights stand in the table of actions",
		},
		{
			"keys",
			config.Options{Environ: environ("SLIPSTREAM_HTTP_API_KEYS=secretsecretsecret")},
			"entry 1 is not name:role+role:key",
		},
		{
			"secret file",
			config.Options{Environ: environ("NEO4J_PASSWORD_FILE=absent")},
			"NEO4J_PASSWORD_FILE: open absent",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.o.Environ == nil {
				tc.o.Environ = none
			}
			_, err := config.Load(tc.o)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "secretsecretsecret")
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*config.Config)
		want   string
	}{
		{
			"log level", func(c *config.Config) { c.Log.Level = "loud" },
			`log.level: "loud" is not debug`,
		},
		{"log format", func(c *config.Config) { c.Log.Format = "xml" }, `log.format: "xml"`},
		{"data", func(c *config.Config) { c.DataDir = "" }, "data_dir"},
		{
			"brokers", func(c *config.Config) { c.Kafka.Brokers = nil },
			"set KAFKA_BROKERS to host:port",
		},
		{
			"broker",
			func(c *config.Config) { c.Kafka.Brokers = []string{"kafka"} },
			`kafka.brokers: "kafka" is not host:port`,
		},
		{"prefix", func(c *config.Config) { c.Kafka.TopicPrefix = "a/b" }, "kafka.topic_prefix"},
		{
			"offsets of no partition",
			func(c *config.Config) { c.Kafka.SkipDamaged = []string{"interactions:1-2"} },
			`kafka.skip_damaged: "interactions:1-2" is not topic/partition:first-last`,
		},
		{
			"offsets that end before they begin",
			func(c *config.Config) { c.Kafka.SkipDamaged = []string{"interactions/0:3-2"} },
			"kafka.skip_damaged",
		},
		{
			"mechanism", func(c *config.Config) { c.Kafka.SASL.Mechanism = "GSSAPI" },
			"kafka.sasl.mechanism",
		},
		{
			"no user", func(c *config.Config) { c.Kafka.SASL.Mechanism = "PLAIN" },
			"kafka.sasl.username",
		},
		{
			"half a certificate",
			func(c *config.Config) {
				c.Kafka.TLS = config.TLS{Enabled: true, CertFile: os.DevNull}
			},
			"both cert_file and key_file",
		},
		{
			"no CA",
			func(c *config.Config) {
				c.Qdrant.TLS = config.StoreTLS{Enabled: true, CAFile: "absent.pem"}
			},
			"qdrant.tls.ca_file: open absent.pem",
		},
		{"partitions", func(c *config.Config) { c.Topics.Partitions = 0 }, "topics.partitions"},
		{
			"retention", func(c *config.Config) { c.Topics.Retention = time.Second },
			"topics.retention",
		},
		{
			"delays",
			func(c *config.Config) {
				c.Topics.RetryDelays = []time.Duration{time.Minute, time.Second}
			},
			"1s comes after 1m",
		},
		{"records", func(c *config.Config) { c.Stream.MaxRecords = 0 }, "stream.max_records"},
		{
			"heartbeat",
			func(c *config.Config) { c.Stream.HeartbeatInterval = time.Minute },
			"stream.heartbeat_interval",
		},
		{
			"late writes", func(c *config.Config) { c.Qdrant.Timeout = time.Minute },
			"qdrant.timeout: 1m is not below stream.session_timeout (30s)",
		},
		{"attempts", func(c *config.Config) { c.Guard.MaxAttempts = 0 }, "guard.max_attempts"},
		{
			"back-off",
			func(c *config.Config) { c.Guard.MaxBackoff = time.Millisecond }, "guard.max_backoff",
		},
		{"uri", func(c *config.Config) { c.Neo4j.URI = "http://x:7474" }, "neo4j.uri"},
		{
			"ClickHouse's addresses", func(c *config.Config) { c.ClickHouse.Addr = "a:9000,b" },
			`clickhouse.addr: "b" is not host:port`,
		},
		{
			"days", func(c *config.Config) { c.ClickHouse.InteractionDays = -1 },
			"clickhouse.interaction_days: -1 is below 0",
		},
		{"database", func(c *config.Config) { c.ClickHouse.Database = "" }, "clickhouse.database"},
		{"address", func(c *config.Config) { c.HTTP.Addr = "8080" }, "http.addr"},
		{
			"half of HTTPS", func(c *config.Config) { c.HTTP.CertFile = os.DevNull },
			"HTTPS needs both",
		},
		{
			"event above Kafka's limit", func(c *config.Config) { c.HTTP.MaxEventBytes = 2 << 20 },
			"http.max_event_bytes: 2MiB",
		},
		{"body", func(c *config.Config) { c.HTTP.MaxBodyBytes = 1 << 10 }, "http.max_body_bytes"},
		{"short key", func(c *config.Config) {
			c.HTTP.APIKeys = []config.APIKey{{Name: "a", Key: "b", Roles: []string{"read"}}}
		}, "openssl rand -hex 32"},
		{"role", func(c *config.Config) {
			c.HTTP.APIKeys = []config.APIKey{
				{Name: "a", Key: "0123456789abcdef", Roles: []string{"root"}},
			}
		}, `role "root"`},
		{"hash", func(c *config.Config) {
			c.HTTP.APIKeys = []config.APIKey{
				{Name: "a", Key: "sha256:xyz", Roles: []string{"read"}},
			}
		}, "64 digits"},
		{"twice", func(c *config.Config) {
			k := config.APIKey{Name: "a", Key: "0123456789abcdef", Roles: []string{"read"}}
			c.HTTP.APIKeys = []config.APIKey{k, k}
		}, "the name a comes twice"},
		{"dim", func(c *config.Config) { c.Model.Dim = 65 }, "model.dim"},
		{
			"candidates", func(c *config.Config) { c.Recommend.Candidates = 1 },
			"recommend.candidates",
		},
		{
			"share", func(c *config.Config) { c.Recommend.HoldoutShare = 2 },
			"recommend.holdout_share",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := config.Default()
			require.NoError(t, c.Validate())
			tc.change(&c)
			require.ErrorContains(t, c.Validate(), tc.want)
		})
	}
}

func TestSecretFile(t *testing.T) {
	t.Parallel()
	file := write(t, "password", "from-a-file\n")
	got, err := config.Load(config.Options{Environ: environ("NEO4J_PASSWORD_FILE=" + file)})
	require.NoError(t, err)
	require.Equal(t, "from-a-file", got.Neo4j.Password)
	got, err = config.Load(
		config.Options{Environ: environ("NEO4J_PASSWORD_FILE="+file, "NEO4J_PASSWORD=plain")},
	)
	require.NoError(t, err)
	require.Equal(t, "plain", got.Neo4j.Password, "the variable itself wins")
}

func TestRedacted(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Kafka.SASL = config.SASL{Mechanism: "PLAIN", Username: "u", Password: "S3CRET-1"}
	c.Qdrant.APIKey, c.Neo4j.Password, c.ClickHouse.Password = "S3CRET-2", "S3CRET-3", "S3CRET-4"
	c.Neo4j.URI = "bolt://neo4j:S3CRET-5@db:7687"
	c.HTTP.APIKeys = []config.APIKey{
		{Name: "shop", Key: "S3CRET-6-0123456789", Roles: []string{"emit"}},
	}
	c.Actions = []config.Action{{Name: "view", Meaning: "nothing", Weight: new(0.5)}}
	got := c.Redacted()
	require.NotContains(t, got, "S3CRET")
	require.Contains(t, got, "name: shop")
	require.Contains(t, got, "retry_delays:\n    - 5s\n    - 1m\n    - 10m\n")
	require.Contains(t, got, "max_body_bytes: 8MiB")
	require.Contains(t, got, "  - meaning: nothing\n    name: view\n    weight: 0.5\n")

	var read map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(got), &read))
	again, err := config.Load(
		config.Options{Environ: none, File: write(t, "again.yaml", config.Default().Redacted())},
	)
	require.NoError(t, err)
	want := config.Default()
	require.Empty(t, again.HTTP.APIKeys)
	require.Empty(t, again.Actions)
	want.HTTP.APIKeys, want.Actions = again.HTTP.APIKeys, again.Actions // nil or empty
	require.Equal(t, want, again, "what is printed can be read")
}

func TestFlags(t *testing.T) {
	t.Parallel()
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	flags := config.AddFlags(fs, config.AddressFlags())
	require.NoError(
		t,
		fs.Parse(
			[]string{
				"--kafka-brokers", "k:9092", "--set", "stream.linger=1ms", "--set",
				"actions=[{name: a, meaning: nothing}]",
			},
		),
	)
	o, err := flags.Options()
	require.NoError(t, err)
	o.Environ = environ("KAFKA_BROKERS=other:1")
	got, err := config.Load(o)
	require.NoError(t, err)
	require.Equal(t, []string{"k:9092"}, got.Kafka.Brokers)
	require.Equal(t, time.Millisecond, got.Stream.Linger)
	require.Equal(t, []config.Action{{Name: "a", Meaning: "nothing"}}, got.Actions)

	require.NoError(t, fs.Parse([]string{"--set", "nonsense"}))
	_, err = flags.Options()
	require.ErrorContains(t, err, "key=value")
}

func TestReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	const path = "../docs/CONFIGURATION.md"
	want := config.Reference()
	require.NotContains(t, want, "|  |\n", "every setting has help")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "run go test ./config -update")
}
