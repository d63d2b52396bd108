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
	after                              string
}

func (f *poisonFilter) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(
		&f.group, "group", "", "only of this processor: "+strings.Join(processors.Groups(), ", "),
	)
	fl.StringVar(
		&f.reason, "reason", "", "only whose reason has these words side by side, as they stand "+
			"there, each of them whole, ignoring case",
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
		State: deadletter.State(f.state), Limit: f.limit, After: f.after,
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
counts once), or drop them with a reason. Where the event itself is wrong, replay it with a
correction. With --dry-run, replay and drop only tell what they would do.

An id may be shortened to its beginning, where no other id begins so.`,
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
	cmd.Flags().StringVar(
		&f.after, "after", "", "go on behind the page before: what its last line says",
	)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := f.filter(nil)
		if err != nil {
			return err
		}
		return withLetters(s, cmd, func(d *deadletter.Store) error {
			return listLetters(cmd, d, filter, asJSON)
		})
	}
	notNegative(cmd, "limit")
	return cmd
}

// listPage is how many dead letters are in memory at once.
const listPage = 100

// listLetters prints dead letters page by page.
func listLetters(
	cmd *cobra.Command, d *deadletter.Store, f deadletter.Filter, asJSON bool,
) error {
	w, limit := cmd.OutOrStdout(), f.Limit
	f.WithoutValues = !asJSON
	for shown := 0; ; {
		n := listPage
		if limit > 0 {
			n = min(n, limit-shown)
		}
		f.Limit = n + 1 // one more, to know whether there are more
		letters, err := d.List(cmd.Context(), f)
		if err != nil {
			return err
		}
		more := len(letters) > n
		letters = letters[:min(n, len(letters))]
		if err := printLetters(w, letters, asJSON, shown == 0); err != nil || !more {
			return err
		}
		shown += n
		f.After = deadletter.PageEnd(&letters[n-1])
		if shown == limit {
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "there are more: --after %s\n", f.After)
			return err
		}
	}
}

func printLetters(w io.Writer, letters []deadletter.Letter, asJSON, first bool) error {
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
		if !first {
			return nil
		}
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
	// Original is the value that failed first, where a corrected one has failed since. Correction
	// is the value that replays send in place of Value.
	Original      any    `json:"original_value,omitempty"`
	OriginalHex   string `json:"original_value_hex,omitempty"`
	Correction    any    `json:"correction,omitempty"`
	CorrectionHex string `json:"correction_hex,omitempty"`
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
	v.Value, v.ValueHex = shownValue(l.Value)
	if l.Original != nil {
		v.Original, v.OriginalHex = shownValue(l.Original)
	}
	if l.Correction != nil {
		v.Correction, v.CorrectionHex = shownValue(l.Correction)
	}
	return v
}

// shownValue returns a value as JSON or text, or in hexadecimal.
func shownValue(value []byte) (any, string) {
	switch {
	case record.IsJSON(value):
		return json.RawMessage(value), ""
	case utf8.Valid(value):
		return string(value), ""
	default:
		return nil, hex.EncodeToString(value)
	}
}

func newPoisonShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ID",
		Short: "Show one dead letter: its error, origin, headers and payload (decoded, or in " +
			"hex), and its correction",
		Args: oneID,
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
