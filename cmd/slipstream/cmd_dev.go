package main

import (
	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/app/dev"
	"github.com/slipstream-rec/slipstream/config"
)

func newDev() *cobra.Command {
	o := dev.Options{Version: version}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process, with nothing installed",
		Long: `Run everything in one process: a Kafka broker on localhost (any Kafka client can
connect), stores in one SQLite file, all processors and the API. The data in --data outlives the
process. With --demo a simulated audience uses a movie-like catalog. A fifth of it is in the
hold-out and gets what is popular (recommend.holdout_share), so that the difference shows.

The embedded broker is for development on one machine. It holds its log in memory and on disk, up
to 1 GiB.`,
		Example: "  slipstream dev --demo\n  slipstream dev --http 127.0.0.1:9090 --kafka " +
			"127.0.0.1:19092 --data /tmp/slipstream",
		Args: cobra.NoArgs,
	}
	s := addSettings(
		cmd,
		map[string]string{
			"http": "http.addr", "data": "data_dir", "log-level": "log.level",
			"log-format": "log.format",
		},
		func(c *config.Config) {
			dev.Defaults(c)
			if o.Demo {
				dev.DemoDefaults(c)
			}
		},
	)
	cmd.Flags().BoolVar(&o.Demo, "demo", false, "play a simulated audience")
	cmd.Flags().Float64Var(&o.DemoRate, "demo-rate", 50, "events a second of the audience")
	cmd.Flags().BoolVar(&o.Fresh, "fresh", false, "delete the data of earlier runs first")
	cmd.Flags().StringVar(
		&o.Kafka, "kafka", "127.0.0.1:9092", "loopback address of the embedded Kafka listener",
	)
	cmd.Flags().StringSliceVar(
		&o.Only, "only", nil, "processors to run, as for slipstream run (default all)",
	)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := app.ParseOnly(o.Only); err != nil {
			return err
		}
		cfg, log, err := s.load(cmd)
		if err != nil {
			return err
		}
		o.Out, o.Log = cmd.OutOrStdout(), log
		return dev.Run(cmd.Context(), cfg, o)
	}
	profiled(cmd)
	notNegative(cmd, "demo-rate")
	return cmd
}
