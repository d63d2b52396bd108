package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/app/dev"
	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/producers/datasets"
	"github.com/slipstream-rec/slipstream/producers/simulator"
)

func newReplay() *cobra.Command {
	var (
		format, items string
		o             datasets.ReplayOptions
		tags          bool
	)
	cmd := &cobra.Command{
		Use:   "replay PATH",
		Short: "Replay a public data set, as it was downloaded, in time order",
		Long: `Replay a public data set, as it was downloaded (folder or zip), in time order: items,
users and friendships first, then interactions. Event ids are derived from the data, so replaying it
again counts once. Items and users are set back to what the data set says.

Detected formats: ` + formats(),
		Example: "  slipstream replay ml-100k/\n  slipstream replay ml-1m.zip --items items.csv " +
			"--rate 1000",
		Args: cobra.ExactArgs(1),
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	f := cmd.Flags()
	f.StringVar(&format, "format", "", "the format, instead of detecting it")
	f.StringVar(
		&items, "items", "",
		"CSV with more about the items: item_id,title,genres,directors,actors,… with lists "+
			"separated by |",
	)
	f.BoolVar(&tags, "tags", false, "use the tags that users gave as content of the items")
	f.Float64Var(&o.Rate, "rate", 0, "interactions per second; 0: as many as the log accepts")
	f.IntVar(&o.Limit, "limit", 0, "most interactions to replay; 0: all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		set, err := datasets.Open(
			ctx,
			datasets.Config{
				Path: args[0], Format: datasets.Format(format), Items: items, Tags: tags,
			},
		)
		if err != nil {
			return err
		}
		reportTimes(cmd.ErrOrStderr(), set)
		k, err := app.OpenKafka(ctx, cfg)
		if err != nil {
			return err
		}
		defer k.Close()
		if err := k.RequireTopics(ctx); err != nil {
			return err
		}
		total := set.Total()
		if n := total - set.Preamble(); o.Limit > 0 && o.Limit < n {
			total -= n - o.Limit
		}
		bar := progressbar.NewOptions(
			total,
			progressbar.OptionSetWriter(cmd.ErrOrStderr()),
			progressbar.OptionSetVisibility(dev.IsTerminal(cmd.ErrOrStderr())),
			progressbar.OptionSetDescription(
				"replaying "+string(set.Format()),
			),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("events"),
			progressbar.OptionThrottle(200*time.Millisecond),
			progressbar.OptionOnCompletion(func() { fmt.Fprintln(cmd.ErrOrStderr()) }),
		)
		o.Progress = func(p datasets.ReplayProgress) { _ = bar.Set(p.Done) }
		p, err := datasets.Replay(ctx, set, k, o)
		fmt.Fprintf(
			cmd.OutOrStdout(), "%d events written (%d interactions) in %.1f s\n", p.Done,
			p.Interactions, p.Elapsed.Seconds(),
		)
		return err
	}
	notNegative(cmd, "rate", "limit")
	return cmd
}

// reportTimes says what of the times is not in the data.
func reportTimes(w io.Writer, set *datasets.Dataset) {
	if n := set.Imputed(); n > 0 {
		fmt.Fprintf(
			w, "%d of %d interactions tell no time: each gets one within its user's period, and "+
				"the context %s=%s\n", n, set.Len(), datasets.ContextTime,
			datasets.ContextTimeImputed,
		)
	}
	if set.Shift() != 0 {
		fmt.Fprintf(
			w, "the timestamps only count: they begin at %s\n", set.Start().Format(time.DateOnly),
		)
	}
}

func formats() string {
	names := make([]string, 0, len(datasets.Formats()))
	for _, f := range datasets.Formats() {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

func newSimulate() *cobra.Command {
	c := simulator.DefaultConfig()
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Simulate an audience with latent tastes, friends and a movie-like catalog",
		Long: `Simulate an audience with latent tastes, friends and a movie-like catalog against a
running Slipstream. People look at their lists on the recommendations topic, click, watch, rate,
skip and make friends. The same seed gives the same world.`,
		Args: cobra.NoArgs,
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	f := cmd.Flags()
	f.IntVar(&c.Users, "users", c.Users, "people at the start")
	f.IntVar(&c.Items, "items", c.Items, "films at the start")
	f.Float64Var(&c.Rate, "rate", c.Rate, "events per second; 0: as many as the log accepts")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "decides the world")
	f.StringVar(
		&c.Run, "run", "",
		"name of this run over the world: the same seed and run give the same events (default: "+
			"the start time)",
	)
	f.IntVar(&c.Limit, "limit", 0, "end after this many events; 0: never")
	f.DurationVar(&c.Duration, "duration", 0, "end after this time; 0: never")
	f.IntVar(
		&c.Warmup, "warmup", c.Warmup, "events sent at once at the start, dated before it",
	)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.Validate(); err != nil {
			return err
		}
		cfg, log, err := s.load(cmd)
		if err != nil {
			return err
		}
		k, err := app.OpenKafka(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		defer k.Close()
		if err := k.RequireTopics(cmd.Context()); err != nil {
			return err
		}
		if c.Run == "" {
			c.Run = time.Now().UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(
			cmd.OutOrStdout(), "simulating %d people and %d films at %s; Ctrl-C ends it\n", c.Users,
			c.Items, pace(c.Rate),
		)
		begin := time.Now()
		n, err := app.Simulate(cmd.Context(), k, log, c, app.NewCurrentLists())
		fmt.Fprintf(
			cmd.OutOrStdout(), "%s written, catalog and people included, in %.1f s\n",
			counted(n, "event"),
			time.Since(begin).Seconds(),
		)
		return fault.IgnoreCanceled(err)
	}
	notNegative(cmd, "users", "items", "rate", "limit", "duration", "warmup")
	return cmd
}

// pace says a rate of events for a person.
func pace(rate float64) string {
	if rate == 0 {
		return "as many events/s as the log accepts"
	}
	return fmt.Sprintf("%g events/s", rate)
}
