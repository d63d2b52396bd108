package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/stream/record"
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
		Args: oneID,
		Long: `Show where an event is: topic, partition and offset, which processors (and so which
stores) are past it, or its dead letter. It reads the log only, so it needs no store. --since bounds
how far back it looks.

Behind the first record of an open Kafka transaction nothing can be read. While one is open, an
event that is not found may stand there: the command names the partitions and exits with 0, as for
an event that waits, and with --json prints an empty list. It exits with 1 when the event is not
found and no transaction is open.`,
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
		open, err := k.OpenTransactions(cmd.Context())
		if err != nil {
			return err
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
		if len(found) == 0 && len(open) > 0 {
			if !asJSON {
				return printWaiting(cmd.OutOrStdout(), args[0], open)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "[]")
			return printWaiting(cmd.ErrOrStderr(), args[0], open)
		}
		if len(found) == 0 {
			return fmt.Errorf(
				"no event with the id %q is on the log%s: check the id, and that the event was "+
					"answered with 202, or that the transaction it was written in was not aborted",
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

// printWaiting says that an event which was not found may stand behind an open transaction.
func printWaiting(w io.Writer, id string, open map[record.TopicPartition]int64) error {
	_, err := fmt.Fprintf(
		w, "no event with the id %q can be read so far. It may wait behind the beginning of an "+
			"open transaction:\n", id,
	)
	for _, tp := range slices.SortedFunc(maps.Keys(open), func(a, b record.TopicPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), a.Partition-b.Partition)
	}) {
		if err == nil {
			_, err = fmt.Fprintf(w, "  %s: %s\n", tp, counted(int(open[tp]), "offset"))
		}
	}
	if err == nil {
		_, err = fmt.Fprintf(
			w, "Trace it again when the transaction has ended. %s\n", hintProducers,
		)
	}
	return err
}

// hintProducers says how to find whoever keeps a transaction open.
const hintProducers = "\"kafka-transactions.sh describe-producers --topic TOPIC --partition N\" " +
	"shows the ProducerId, in the row with a CurrentTransactionStartOffset, and " +
	"\"kafka-transactions.sh list\" the transactional.id of that producer."

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
