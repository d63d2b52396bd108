package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/processors"
)

func newTrace() *cobra.Command {
	var (
		since  time.Duration
		asJSON bool
	)
	cmd := &cobra.Command{
		Use: "trace EVENT_ID",
		Short: "Show where an event is: its position on the log, and which processors and stores " +
			"are past it",
		Args: cobra.ExactArgs(1),
		Long: `Show where an event is: topic, partition and offset, which processors (and so which
stores) are past it, or its dead letter. It reads the log only, so it needs no store. --since bounds
how far back it looks.`,
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	cmd.Flags().DurationVar(
		&since, "since", 0, "search only events accepted within this time; 0: all",
	)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		k, err := app.OpenKafka(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		defer k.Close()
		var after time.Time
		if since > 0 {
			after = time.Now().Add(-since)
		}
		found, err := k.Trace(cmd.Context(), args[0], after)
		if err != nil {
			return err
		}
		if n := k.SkippedBatches(); n > 0 {
			fmt.Fprintf(
				cmd.ErrOrStderr(),
				"%d batches of the log cannot be read and were skipped: an event in one of "+
					"them is not found. \"slipstream poison list\" has them\n",
				n,
			)
		}
		if len(found) == 0 {
			return fmt.Errorf(
				"no event with the id %q is on the log%s: check the id, and that the event was "+
					"answered with 202, or that the transaction it was written in has committed",
				args[0], within(since),
			)
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(found)
		}
		for _, t := range found {
			printTraced(cmd.OutOrStdout(), &t)
		}
		return nil
	}
	notNegative(cmd, "since")
	return cmd
}

// printTraced prints one event with a line for each group.
func printTraced(w io.Writer, t *app.Traced) {
	fmt.Fprintf(
		w, "%s partition %d offset %d, key %s, accepted at %s\n",
		t.Topic, t.Partition, t.Offset, t.Key, t.AcceptedAt.Format(time.RFC3339Nano),
	)
	if t.BelongsIn != nil {
		fmt.Fprintf(w, "  misplaced: it belongs in partition %d\n", *t.BelongsIn)
	}
	for _, g := range t.Groups {
		line := fmt.Sprintf("  %-10s %-12s %s", g.Group, g.State, g.Store)
		if g.DeadLetter != "" {
			reason := firstLine(g.Reason, 120)
			line += fmt.Sprintf(" — %s (slipstream poison show %s)", reason, g.DeadLetter)
		}
		fmt.Fprintln(w, line)
		d, _ := processors.Declared(g.Group)
		switch f := g.Forwarded; {
		case f != nil:
			fmt.Fprintf(w, "  %-10s forwarded to %s partition %d offset %d\n",
				"", f.Topic, f.Partition, f.Offset)
		case t.BelongsIn != nil && d.Forwards == t.Topic && g.State == "done":
			fmt.Fprintf(w, "  %-10s not forwarded: it came twice, has no effect, was erased or "+
				"replaced, or is older than the forwarding (then a rebuild forwards it)\n", "")
		}
	}
}

// within says the bound of a search.
func within(since time.Duration) string {
	if since == 0 {
		return ""
	}
	return fmt.Sprintf(", looking back %s (--since)", since)
}
