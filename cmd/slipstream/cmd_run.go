package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/fault"
)

// startLimit is how long a start waits for engines that are not reachable yet.
const startLimit = 2 * time.Minute

func newRun() *cobra.Command {
	var only []string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the processors and the API on Kafka, Qdrant, Neo4j and ClickHouse",
		Long: `Run the processors and the API on Kafka, Qdrant, Neo4j and ClickHouse. Missing
topics, collections, constraints and tables are created. It waits up to two minutes for engines that
are not reachable. Start more instances with the same settings to scale out. With --only, processors
scale separately.

SIGTERM and Ctrl-C finish what is in flight, commit positions and leave the consumer groups, so that
another instance takes over at once.`,
		Example: "  slipstream run\n  slipstream run --only embed,catalog\n  " +
			"KAFKA_BROKERS=kafka:9092 QDRANT_ADDR=qdrant:6334 slipstream run",
		Args: cobra.NoArgs,
	}
	s := addSettings(cmd, kafkaFlags(storeFlags(), map[string]string{"http": "http.addr"}), nil)
	cmd.Flags().StringSliceVar(
		&only, "only", nil,
		"processors to run here, separated by commas: "+strings.Join(app.ProcessorNames(), ", ")+
			" (default all)",
	)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := app.ParseOnly(only); err != nil {
			return err
		}
		cfg, log, err := s.load(cmd)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		a, err := app.Open(
			ctx, cfg,
			app.Options{Only: only, WaitForEngines: startLimit, Version: version, Log: log},
		)
		if err != nil {
			return err
		}
		log.Info(
			"starting", "version", version, "processors", a.Only(), "log_id", a.LogID(), "http",
			cfg.HTTP.Addr,
		)
		err = errors.Join(fault.IgnoreCanceled(a.Run(ctx)), a.Close())
		if err == nil { // else main tells it
			log.Info("stopped")
		}
		return err
	}
	profiled(cmd)
	return cmd
}

func newMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create or upgrade topics, collections, constraints and tables",
		Long: `Create missing topics, collections, constraints and tables, and write the log id into
each store. Running it again changes nothing.

--raise-epoch is for a log whose offsets start again: its topics were restored from a backup, or
created again with another number of partitions. Every new record then counts as newer than what the
stores hold. Stop the processors first.

Topics of an older version are altered so that their records get the broker's time.

--change-clock-skew makes the configured stream.max_clock_skew that of the log. What stands in the
stores was made with the former one, so each store has to be rebuilt before the processors start
again. Stop them first.`,
		Args: cobra.NoArgs,
	}
	raise := cmd.Flags().Bool(
		"raise-epoch", false,
		"raise the log's epoch after its topics were restored or repartitioned",
	)
	change := cmd.Flags().Bool(
		"change-clock-skew", false,
		"make the configured stream.max_clock_skew that of the log; then rebuild every store",
	)
	s := addSettings(cmd, kafkaFlags(storeFlags()), nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		k, err := app.OpenKafka(ctx, cfg)
		if err != nil {
			return err
		}
		defer k.Close()
		e, err := app.OpenReal(ctx, cfg)
		if err != nil {
			return err
		}
		defer e.Close()
		if *change {
			if err := k.ChangeSkew(ctx, cfg, e); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "max_clock_skew: %s\nNow run \"slipstream rebuild "+
				"--store\" for qdrant, neo4j and clickhouse.\n", cfg.Stream.MaxClockSkew)
			return nil
		}
		id, err := app.Migrate(ctx, cfg, k, e)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "topics: ready")
		for _, s := range e.Stores {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ready\n", s.Name)
		}
		fmt.Fprintln(cmd.OutOrStdout(), "log id:", id)
		epoch, err := k.Epoch(ctx)
		if *raise && err == nil {
			epoch, err = k.RaiseEpoch(ctx)
		}
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), "epoch:", epoch)
		}
		return err
	}
	return cmd
}

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the effective configuration, secrets hidden",
		Long: `Show the effective configuration as YAML, with secrets hidden. Later sources win:
defaults, the file named by --config or SLIPSTREAM_CONFIG, the environment, flags. The output is a
valid configuration file once the secrets are filled in.`,
		Args: cobra.NoArgs,
	}
	s := addSettings(
		cmd, kafkaFlags(storeFlags(), map[string]string{"http": "http.addr", "data": "data_dir"}),
		nil,
	)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), cfg.Redacted())
		return err
	}
	return cmd
}
