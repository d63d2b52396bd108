package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/processors"
)

func newStatus() *cobra.Command {
	var (
		asJSON   bool
		interval time.Duration
	)
	cmd := &cobra.Command{
		Use: "status", Short: "Show lag, rates and dead letters", Args: cobra.NoArgs,
		Long: "Show how far each processor is behind the log, how fast topics grow and " +
			"processors move, and how many dead letters are open. It asks Kafka, so it works " +
			"while everything else is down. If a process answers at http.addr, it also shows " +
			"which of its engines are away, and since when.",
	}
	s := addSettings(cmd, kafkaFlags(map[string]string{"http": "http.addr"}), nil)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "how long to watch for the rates")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		p := processAt(cmd.Context(), cfg)
		k, err := app.OpenKafka(cmd.Context(), cfg)
		if err != nil {
			return errors.Join(err, p.trouble())
		}
		defer k.Close()
		st, err := k.Look(cmd.Context(), interval)
		if err != nil {
			return errors.Join(err, p.trouble())
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
				app.Status
				Process *process `json:"process,omitempty"`
			}{st, p})
		}
		if err := printStatus(cmd.OutOrStdout(), st); err != nil {
			return err
		}
		p.print(cmd.OutOrStdout())
		return nil
	}
	notNegative(cmd, "interval")
	return cmd
}

// process is what the process at http.addr says of itself.
type process struct {
	Addr   string            `json:"addr"`
	Status string            `json:"status"`
	Checks map[string]string `json:"checks"`
	Notes  map[string]string `json:"notes,omitempty"`
}

// processTimeout bounds the question to the process at http.addr: it need not run here.
const processTimeout = 3 * time.Second

// processAt asks the process at http.addr how it is; nil if none answers.
func processAt(ctx context.Context, cfg config.Config) *process {
	ctx, cancel := context.WithTimeout(ctx, processTimeout)
	defer cancel()
	_, body, err := readiness(ctx, cfg.HTTP.Addr, cfg.HTTP.CertFile != "")
	p := &process{Addr: cfg.HTTP.Addr}
	if err != nil || json.Unmarshal(body, p) != nil || p.Status == "" {
		return nil
	}
	return p
}

// lines are what is not well, and what was not.
func (p *process) lines() []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(p.Checks)) {
		if text := p.Checks[name]; text != "ok" {
			lines = append(lines, name+": "+text)
		} else if note := p.Notes[name]; note != "" {
			lines = append(lines, name+": "+note)
		}
	}
	return lines
}

// trouble is an error that says what the process says, nil if there is none.
func (p *process) trouble() error {
	if p == nil {
		return nil
	}
	return fmt.Errorf("the process at %s is %s\n  %s",
		p.Addr, p.Status, strings.Join(p.lines(), "\n  "))
}

// print shows what is to be said of the process. It says nothing if all is well.
func (p *process) print(w io.Writer) {
	if p == nil || p.Status == "ready" && len(p.lines()) == 0 {
		return
	}
	fmt.Fprintf(w, "\nThe process at %s is %s:\n", p.Addr, p.Status)
	for _, line := range p.lines() {
		fmt.Fprintf(w, "  %s\n", line)
	}
}

// printItems says how many items can be recommended, and how many of them the catalog lacks.
func printItems(w io.Writer, n processors.ItemCounts) {
	if n.Items == 0 {
		return
	}
	fmt.Fprintf(w, "\n%d items can be recommended. %d of them have no catalog entry", n.Items,
		n.WithoutEntry)
	if n.WithoutEntry > 0 {
		fmt.Fprint(w, ": only events name them (recommend.catalog_only leaves them out)")
	}
	fmt.Fprintln(w, ".")
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
	printItems(w, st.Items)
	for _, g := range st.Groups {
		if g.Undecided > 0 {
			fmt.Fprintf(w, "\n%s waits for the end of an open transaction: %d offsets in %s. "+
				"%s\n", g.Group, g.Undecided, strings.Join(g.UndecidedIn, ", "), hintProducers)
		}
	}
	return nil
}
