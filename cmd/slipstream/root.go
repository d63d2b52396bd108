package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/telemetry"
)

// version is set at build time: -ldflags "-X main.version=v1.2.3".
var version = "dev"

// newRoot returns the command line, which writes results to out and everything else to errOut.
func newRoot(out, errOut io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "slipstream",
		Short: "An event-driven streaming recommender",
		Long: `Slipstream turns what people do into recommendations within a second. Events flow
through Kafka into processors that keep embeddings in Qdrant, friendships in Neo4j and aggregates in
ClickHouse.

  slipstream dev --demo   everything in one process, nothing to install, a simulated audience
  slipstream run          the same on Kafka, Qdrant, Neo4j and ClickHouse

Settings come from defaults, a YAML file (--config), the environment and flags. "slipstream config"
shows the result.`,
		Version: version, SilenceUsage: true, SilenceErrors: true,
	}
	root.SetOut(out)
	root.SetErr(errOut)
	root.AddCommand(
		newDev(), newRun(), newMigrate(), newReplay(), newSimulate(), newRecommend(), newStatus(),
		newTrace(), newPoison(), newConfig(), newEval(), newHealth(), newRebuild(), newOffsets(),
	)
	return root
}

// settings is how a command reads the configuration: flags of its own beside --config and --set.
type settings struct {
	flags    *config.Flags
	defaults func(*config.Config)
}

func addSettings(
	cmd *cobra.Command,
	named map[string]string,
	defaults func(*config.Config),
) *settings {
	return &settings{flags: config.AddFlags(cmd.Flags(), named), defaults: defaults}
}

// kafkaFlags and storeFlags name the addresses.
func kafkaFlags(more ...map[string]string) map[string]string {
	flags := map[string]string{
		"brokers": "kafka.brokers", "topic-prefix": "kafka.topic_prefix", "log-level": "log.level",
		"log-format": "log.format",
	}
	for _, m := range more {
		for k, v := range m {
			flags[k] = v
		}
	}
	return flags
}

func storeFlags() map[string]string {
	return map[string]string{
		"qdrant": "qdrant.addr", "neo4j": "neo4j.uri", "clickhouse": "clickhouse.addr",
		"clickhouse-database": "clickhouse.database",
	}
}

// loggerKey is the key of the context for what wants the logger of the command.
type loggerKey struct{}

// withLogger has f called with the logger of a command, once it is configured. Libraries write to
// the default one, which must not put plain lines between lines of JSON.
func withLogger(ctx context.Context, f func(*slog.Logger)) context.Context {
	return context.WithValue(ctx, loggerKey{}, f)
}

func (s *settings) load(cmd *cobra.Command) (config.Config, *slog.Logger, error) {
	o, err := s.flags.Options()
	if err != nil {
		return config.Config{}, nil, err
	}
	o.Defaults = s.defaults
	cfg, err := config.Load(o)
	if err != nil {
		return cfg, nil, err
	}
	log, err := telemetry.NewLogger(cmd.ErrOrStderr(), cfg.Log.Level, cfg.Log.Format)
	if f, ok := cmd.Context().Value(loggerKey{}).(func(*slog.Logger)); ok && err == nil {
		f(log)
	}
	return cfg, log, err
}
