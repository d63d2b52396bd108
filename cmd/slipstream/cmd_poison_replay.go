package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// correction is a correction as flags give it.
type correction struct{ value, patch string }

func (c *correction) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&c.value, "value", "", "the corrected value, or @FILE, of the one dead letter "+
		"that is chosen")
	fl.StringVar(&c.patch, "patch", "", "a JSON merge patch (RFC 7396), or @FILE, for the value "+
		"of each: {\"action\":\"like\",\"session\":null}")
	cmd.MarkFlagsMutuallyExclusive("value", "patch")
}

// read returns the correction, with the contents of files.
func (c *correction) read() (out deadletter.Correction, err error) {
	if out.Value, err = textOrFile(c.value); err != nil {
		return out, fmt.Errorf("--value: %w", err)
	}
	if out.Patch, err = textOrFile(c.patch); err != nil {
		return out, fmt.Errorf("--patch: %w", err)
	}
	return out, nil
}

// textOrFile returns a text, the contents of a file for @FILE, or nil for nothing.
func textOrFile(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	if name, ok := strings.CutPrefix(s, "@"); ok {
		return os.ReadFile(name) //nolint:gosec // the operator names it
	}
	return []byte(s), nil
}

func newPoisonReplay() *cobra.Command {
	var (
		f      poisonFilter
		c      correction
		all    bool
		dry    bool
		rate   float64
		reason string
	)
	cmd := &cobra.Command{
		Use:   "replay [ID…]",
		Short: "Return dead letters to their processor; replaying twice counts once",
		Long: `Return dead letters to their processor. Replaying twice counts once. A filter chooses
among those that are open; ids also choose what was replayed, or dropped.

With --value or --patch they are corrected. Each is decoded as its processor does first, and if one
cannot be, none is sent. The corrected event has the identity of the original: of the two, one
counts, so another event_id or source is refused. The original stays readable with "poison show".`,
		Example: `  slipstream poison replay 4c0e
  slipstream poison replay --class unknown --rate 100
  slipstream poison replay --reason '"action" "liked"' --patch '{"action":"like"}' --dry-run
  slipstream poison replay --all`,
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	f.add(cmd)
	c.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every open dead letter")
	addDryRun(cmd, &dry)
	cmd.Flags().Float64Var(&rate, "rate", 0, "most dead letters per second; 0: no limit")
	cmd.Flags().StringVar(&reason, "note", "", "a note to keep with the replay: why")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.which(args, all); err != nil {
			return err
		}
		filter, err := f.filter(args)
		if err != nil {
			return err
		}
		change, err := c.read()
		if err != nil {
			return err
		}
		return withLetters(s, cmd, func(d *deadletter.Store) error {
			if dry {
				plan, err := d.PlanReplay(cmd.Context(), filter, change)
				if err != nil {
					return err
				}
				return f.printPlan(cmd, "replay", &plan)
			}
			n, err := d.Replay(cmd.Context(), filter, deadletter.ReplayOptions{
				Rate: rate, Correction: change,
				Reason: reason, Progress: func(done, total int) {
					if done%1000 == 0 {
						fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d\n", done, total)
					}
				},
			})
			return f.done(cmd, "replayed", n, err)
		})
	}
	notNegative(cmd, "rate")
	return cmd
}

func newPoisonDrop() *cobra.Command {
	var (
		f      poisonFilter
		all    bool
		dry    bool
		reason string
	)
	cmd := &cobra.Command{
		Use: "drop [ID…] --because WHY", Short: "Mark dead letters as dropped, with a reason",
		Long: `Mark open dead letters as dropped, with a reason. They stay on the log until its
retention deletes them, and can be replayed by their ids until then. One that was replayed cannot be
dropped, since its event counts.`,
		Example: "  slipstream poison drop 4c0e --because \"test data\"",
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	f.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every open dead letter")
	addDryRun(cmd, &dry)
	cmd.Flags().StringVar(&reason, "because", "", "why (required, but in a dry run)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" && !dry {
			return errors.New("--because is missing: give the reason, which is kept")
		}
		if err := f.which(args, all); err != nil {
			return err
		}
		filter, err := f.filter(args)
		if err != nil {
			return err
		}
		return withLetters(s, cmd, func(d *deadletter.Store) error {
			if dry {
				plan, err := d.PlanDrop(cmd.Context(), filter)
				if err != nil {
					return err
				}
				return f.printPlan(cmd, "drop", &plan)
			}
			n, err := d.Drop(cmd.Context(), filter, reason)
			return f.done(cmd, "dropped", n, err)
		})
	}
	return cmd
}

func addDryRun(cmd *cobra.Command, dry *bool) {
	cmd.Flags().BoolVar(dry, "dry-run", false, "only tell what would be done")
}

// done tells how many were replayed or dropped. Where that failed and there was none, the error
// says it all.
func (f *poisonFilter) done(cmd *cobra.Command, what string, n int, err error) error {
	if n > 0 || err == nil {
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", what, counted(n, "dead letter"))
	}
	if n == 0 && err == nil {
		f.hint(cmd.ErrOrStderr())
	}
	return err
}

// hint says what may be wrong where nothing matches. It is no error: a script that clears up finds
// nothing most of the time.
func (f *poisonFilter) hint(w io.Writer) {
	fmt.Fprintln(w, "no open dead letter matches: \"slipstream poison list\" shows those that are "+
		"open, with their reasons")
	if f.reason != "" {
		fmt.Fprintln(w, "--reason finds whole words that stand side by side in the reason as they "+
			"are given, with their quotes and commas: '\"action\" \"liked\"'")
	}
}

// printPlan prints what a dry run has found.
func (f *poisonFilter) printPlan(cmd *cobra.Command, what string, p *deadletter.Plan) error {
	w := cmd.OutOrStdout()
	if p.Count+p.Refused == 0 {
		defer f.hint(cmd.ErrOrStderr())
	}
	fmt.Fprintf(w, "would %s %s (dry run: nothing was done)\n", what,
		counted(p.Count, "dead letter"))
	if len(p.Reasons) > 0 {
		tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(tw, "COUNT\tGROUP\tCLASS\tEXAMPLE\tREASON")
		for _, r := range p.Reasons {
			fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\n",
				r.Count, r.Group, r.Class, r.Example, firstLine(r.Reason, 100))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	for _, c := range p.Changes {
		fmt.Fprintf(w, "%s\n  - %s\n  + %s\n", c.ID, firstLine(record.Readable(c.Before), 500),
			firstLine(record.Readable(c.After), 500))
	}
	if p.Refused > 0 {
		return fmt.Errorf("%s refused:\n%w",
			counted(p.Refused, "dead letter"), errors.Join(p.Problems...))
	}
	return nil
}
