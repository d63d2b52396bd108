package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app"
)

func newStatus() *cobra.Command {
	var (
		asJSON   bool
		interval time.Duration
	)
	cmd := &cobra.Command{
		Use: "status", Short: "Show lag, rates and dead letters", Args: cobra.NoArgs,
		Long: "Show how far each processor is behind the log, how fast topics grow and " +
			"processors move, and how many dead letters are open. It asks Kafka only, so it " +
			"works while everything else is down.",
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "how long to watch for the rates")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		k, err := app.OpenKafka(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		defer k.Close()
		st, err := k.Look(cmd.Context(), interval)
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(st)
		}
		return printStatus(cmd.OutOrStdout(), st)
	}
	notNegative(cmd, "interval")
	return cmd
}

func printStatus(w io.Writer, st app.Status) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "PROCESSOR\tLAG\tPER SECOND\tBATCHES IN WORK\tDEAD LETTERS\t")
	for _, g := range st.Groups {
		fmt.Fprintf(
			tw, "%s\t%d\t%.1f\t%d\t%d\t\n", g.Group, g.Lag, g.PerSecond, g.Intents, g.DeadLetters,
		)
	}
	fmt.Fprintln(tw, "\t\t\t\t\t")
	fmt.Fprintln(tw, "TOPIC\tRECORDS\tPER SECOND\t\t\t")
	for _, t := range st.Topics {
		fmt.Fprintf(tw, "%s\t%d\t%.1f\t\t\t\n", t.Topic, t.Records, t.PerSecond)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, g := range st.Groups {
		if g.Undecided > 0 {
			fmt.Fprintf(w, "\n%s waits for the end of an open transaction: %d offsets in %s. "+
				"%s\n", g.Group, g.Undecided, strings.Join(g.UndecidedIn, ", "), hintProducers)
		}
	}
	return nil
}
