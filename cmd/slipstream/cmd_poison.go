package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// poisonFilter is a filter as flags give it.
type poisonFilter struct {
	group, reason, class, topic, state string
	since, until                       string
	limit                              int
}

func (f *poisonFilter) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(
		&f.group, "group", "", "only of this processor: "+strings.Join(processors.Groups(), ", "),
	)
	fl.StringVar(
		&f.reason, "reason", "", "only whose reason contains this text, ignoring case",
	)
	fl.StringVar(&f.class, "class", "", "only of this class: permanent, unknown, transient")
	fl.StringVar(&f.topic, "topic", "", "only from this topic")
	fl.StringVar(
		&f.since, "since", "", "only written since: a time (2026-01-31T12:00:00Z) or an age (2h)",
	)
	fl.StringVar(&f.until, "until", "", "only written before: a time or an age")
}

func (f *poisonFilter) filter(ids []string) (deadletter.Filter, error) {
	out := deadletter.Filter{
		IDs: ids, Group: f.group, Topic: f.topic, Reason: f.reason, Class: f.class,
		State: deadletter.State(f.state), Limit: f.limit,
	}
	var err error
	if out.Since, err = moment(f.since); err != nil {
		return out, fmt.Errorf("--since: %w", err)
	}
	if out.Until, err = moment(f.until); err != nil {
		return out, fmt.Errorf("--until: %w", err)
	}
	return out, nil
}

// narrow tells whether the filter restricts anything beside the state.
func (f *poisonFilter) narrow() bool {
	return f.group != "" || f.reason != "" || f.class != "" || f.topic != "" || f.since != "" ||
		f.until != ""
}

// which refuses a command that does not say which dead letters it is for, or says it twice.
func (f *poisonFilter) which(ids []string, all bool) error {
	const want = "ids, a filter (--group, --reason, --class, --topic, --since, --until) or --all"
	chosen := len(ids) > 0 || f.narrow()
	switch {
	case all && chosen:
		return errors.New("--all is every open dead letter, but ids or a filter choose some: say " +
			"which: " + want)
	case !all && !chosen:
		return errors.New("say which: " + want)
	}
	return nil
}

// moment reads a time or an age.
func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		if d < 0 {
			return time.Time{}, fmt.Errorf("the age %q is negative", s)
		}
		return time.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf(
			"%q is neither a time such as 2026-01-31T12:00:00Z nor an age such as 2h", s,
		)
	}
	return t, nil
}

func newPoison() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "poison",
		Short: "List, show, replay and drop dead letters",
		Long: `A dead letter is a record that a processor could not process. Its bytes are kept in
the topic <processor>.poison, with its error and origin in the headers. The other records of its
batch were processed.

Read the errors with list and show. Fix the cause, then replay the dead letters (replaying twice
counts once), or drop them with a reason.`,
	}
	cmd.AddCommand(newPoisonList(), newPoisonShow(), newPoisonReplay(), newPoisonDrop())
	return cmd
}

// withLetters runs f on the dead letters of the configured installation.
func withLetters(s *settings, cmd *cobra.Command, f func(*deadletter.Store) error) error {
	cfg, _, err := s.load(cmd)
	if err != nil {
		return err
	}
	k, err := app.OpenKafka(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	defer k.Close()
	return f(k.DeadLetters())
}

func newPoisonList() *cobra.Command {
	var (
		f      poisonFilter
		asJSON bool
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, newest first",
		Example: "  slipstream poison list --since 24h --class permanent", Args: cobra.NoArgs,
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	f.add(cmd)
	cmd.Flags().StringVar(&f.state, "state", "open", "open, replayed, dropped, or empty for all")
	cmd.Flags().IntVar(&f.limit, "limit", 100, "most dead letters to list; 0: all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := f.filter(nil)
		if err != nil {
			return err
		}
		return withLetters(s, cmd, func(d *deadletter.Store) error {
			letters, err := d.List(cmd.Context(), filter)
			if err != nil {
				return err
			}
			return printLetters(cmd.OutOrStdout(), letters, asJSON)
		})
	}
	notNegative(cmd, "limit")
	return cmd
}

func printLetters(w io.Writer, letters []deadletter.Letter, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		for i := range letters {
			if err := enc.Encode(letterView(&letters[i])); err != nil {
				return err
			}
		}
		return nil
	}
	if len(letters) == 0 {
		_, err := fmt.Fprintln(w, "no dead letters")
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tWRITTEN\tGROUP\tPOSITION\tCLASS\tSTATE\tREASON")
	for _, l := range letters {
		fmt.Fprintf(
			tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.WrittenAt.Format(time.RFC3339), l.Group,
			l.Origin, l.Class, l.State, firstLine(l.Reason, 100),
		)
	}
	return tw.Flush()
}

// counted returns a number with its noun, which takes an s unless there is one.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func firstLine(s string, n int) string {
	s, _, _ = strings.Cut(s, "\n")
	if utf8.RuneCountInString(s) > n {
		return string([]rune(s)[:n]) + "…"
	}
	return s
}

// letter is a dead letter as JSON.
type letter struct {
	ID           string            `json:"id"`
	Group        string            `json:"group"`
	Topic        string            `json:"topic"`
	Partition    int               `json:"partition"`
	Offset       int64             `json:"offset"`
	LastOffset   *int64            `json:"last_offset,omitempty"`
	Class        string            `json:"class"`
	Reason       string            `json:"reason"`
	Attempts     int               `json:"attempts"`
	State        string            `json:"state"`
	Resolution   string            `json:"resolution,omitempty"`
	Time         time.Time         `json:"time"`
	FirstFailure time.Time         `json:"first_failure"`
	LastFailure  time.Time         `json:"last_failure"`
	WrittenAt    time.Time         `json:"set_aside"`
	Key          string            `json:"key"`
	Headers      map[string]string `json:"headers"`
	// Value is the value if it is JSON or text; ValueHex is its hexadecimal form otherwise.
	Value    any    `json:"value,omitempty"`
	ValueHex string `json:"value_hex,omitempty"`
}

func letterView(l *deadletter.Letter) letter {
	v := letter{
		ID: l.ID, Group: l.Group, Topic: l.Origin.Topic, Partition: l.Origin.Partition,
		Offset: l.Origin.Offset, Class: l.Class.String(), Reason: l.Reason,
		Attempts: l.Attempts, State: string(l.State), Resolution: l.Resolution, Time: l.Time,
		FirstFailure: l.FirstFailure, LastFailure: l.LastFailure,
		WrittenAt: l.WrittenAt, Key: record.Readable(l.Key),
		Headers: make(map[string]string, len(l.Headers)),
	}
	if l.Undecodable {
		v.LastOffset = &l.LastOffset
	}
	for _, h := range l.Headers {
		v.Headers[h.Key] = record.Readable(h.Value)
	}
	switch {
	case record.IsJSON(l.Value):
		v.Value = json.RawMessage(l.Value)
	case utf8.Valid(l.Value):
		v.Value = string(l.Value)
	default:
		v.ValueHex = hex.EncodeToString(l.Value)
	}
	return v
}

func newPoisonShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one dead letter: its error, origin, headers and payload (decoded, or in hex)",
		Args:  oneID,
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withLetters(s, cmd, func(d *deadletter.Store) error {
			l, err := d.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			enc.SetEscapeHTML(false)
			return enc.Encode(letterView(&l))
		})
	}
	return cmd
}

func newPoisonReplay() *cobra.Command {
	var (
		f      poisonFilter
		all    bool
		rate   float64
		reason string
	)
	cmd := &cobra.Command{
		Use:   "replay [ID…]",
		Short: "Return dead letters to their processor; replaying twice counts once",
		Example: "  slipstream poison replay 4c0e…\n  slipstream poison replay --reason \"no " +
			"such column\" --rate 100\n  slipstream poison replay --all",
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	f.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every open dead letter")
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
		return withLetters(s, cmd, func(d *deadletter.Store) error {
			n, err := d.Replay(cmd.Context(), filter, deadletter.ReplayOptions{
				Rate:   rate,
				Reason: reason, Progress: func(done, total int) {
					if done%1000 == 0 {
						fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d\n", done, total)
					}
				},
			})
			fmt.Fprintf(cmd.OutOrStdout(), "replayed %s\n", counted(n, "dead letter"))
			return err
		})
	}
	notNegative(cmd, "rate")
	return cmd
}

func newPoisonDrop() *cobra.Command {
	var (
		f      poisonFilter
		all    bool
		reason string
	)
	cmd := &cobra.Command{
		Use: "drop [ID…] --because WHY", Short: "Mark dead letters as dropped, with a reason",
		Example: "  slipstream poison drop 4c0e… --because \"test data\"",
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	f.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every open dead letter")
	cmd.Flags().StringVar(&reason, "because", "", "why (required)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
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
			n, err := d.Drop(cmd.Context(), filter, reason)
			fmt.Fprintf(cmd.OutOrStdout(), "dropped %s\n", counted(n, "dead letter"))
			return err
		})
	}
	return cmd
}
