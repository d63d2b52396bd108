package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
)

// status is how the pipeline stands.
type status struct {
	At     time.Time     `json:"at"`
	Topics []topicStatus `json:"topics"`
	Groups []groupStatus `json:"groups"`
}

type topicStatus struct {
	Topic string `json:"topic"`
	// Records is what the log keeps; PerSecond is the rate at which it grew while we looked.
	Records   int64   `json:"records"`
	PerSecond float64 `json:"per_second"`
}

type groupStatus struct {
	Group string `json:"group"`
	Lag   int64  `json:"lag"`
	// PerSecond is the rate at which the group's positions moved while we looked.
	PerSecond float64 `json:"per_second"`
	// InDoubt counts partitions with a range that is being worked on.
	InDoubt     int `json:"ranges_in_work"`
	DeadLetters int `json:"dead_letters_open"`
}

// look compares two views of the log, taken interval apart.
func (k *kafka) look(ctx context.Context, interval time.Duration) (status, error) {
	before, err := k.snapshot(ctx)
	if err != nil {
		return status{}, err
	}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return status{}, ctx.Err()
	case <-timer.C:
	}
	after, err := k.snapshot(ctx)
	if err != nil {
		return status{}, err
	}
	open, err := k.openLetters(ctx)
	if err != nil {
		return status{}, err
	}
	seconds := after.at.Sub(before.at).Seconds()
	out := status{At: after.at.UTC()}
	for topic, b := range after.topics {
		out.Topics = append(out.Topics, topicStatus{Topic: topic, Records: b.records, PerSecond: float64(b.end-before.topics[topic].end) / seconds})
	}
	for group, g := range after.groups {
		out.Groups = append(out.Groups, groupStatus{Group: group, Lag: g.lag, InDoubt: g.inDoubt, DeadLetters: open[group], PerSecond: float64(g.position-before.groups[group].position) / seconds})
	}
	slices.SortFunc(out.Topics, func(a, b topicStatus) int { return strings.Compare(a.Topic, b.Topic) })
	slices.SortFunc(out.Groups, func(a, b groupStatus) int { return strings.Compare(a.Group, b.Group) })
	return out, nil
}

type logView struct {
	at     time.Time
	topics map[string]struct{ records, end int64 }
	groups map[string]struct {
		lag, position int64
		inDoubt       int
	}
}

func (k *kafka) snapshot(ctx context.Context) (logView, error) {
	v := logView{at: now(), topics: make(map[string]struct{ records, end int64 }), groups: make(map[string]struct {
		lag, position int64
		inDoubt       int
	})}
	var names []string
	for _, t := range schemas.Topics(schemas.DefaultTopicsConfig()) {
		if t.In || t.Out || t.Name == schemas.TopicProfiles || t.Name == schemas.TopicItemUpdates {
			names = append(names, k.prefix+t.Name)
		}
	}
	bounds, err := k.conn.Offsets(ctx, names...)
	if err != nil {
		return v, fmt.Errorf("read the ends of the topics (were they created? \"slipstream migrate\" does): %w", err)
	}
	for tp, b := range bounds {
		name := strings.TrimPrefix(tp.Topic, k.prefix)
		t := v.topics[name]
		t.records += b.HighWatermark - b.First
		t.end += b.HighWatermark
		v.topics[name] = t
	}
	lags, err := stream.Lag(ctx, k.conn, k.groupTopics())
	if err != nil {
		return v, fmt.Errorf("read the positions of the groups: %w", err)
	}
	for _, l := range lags {
		name := strings.TrimPrefix(l.Group, k.prefix)
		g := v.groups[name]
		g.lag += l.Lag
		g.position += max(0, l.Committed)
		if l.Metadata != "" {
			g.inDoubt++
		}
		v.groups[name] = g
	}
	return v, nil
}

func (k *kafka) openLetters(ctx context.Context) (map[string]int, error) {
	letters, err := k.deadLetters().List(ctx, stream.DeadLetterFilter{State: stream.DeadLetterOpen})
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	out := make(map[string]int)
	for i := range letters {
		out[strings.TrimPrefix(letters[i].Group, k.prefix)]++
	}
	return out, nil
}

func newStatus() *cobra.Command {
	var (
		asJSON   bool
		interval time.Duration
	)
	cmd := &cobra.Command{
		Use: "status", Short: "Show lag, rates and dead letters", Args: cobra.NoArgs,
		Long: "Show how far each processor is behind the log, how fast topics grow and processors move, and how many dead letters wait. It asks Kafka only, so it works while everything else is down.",
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "how long to watch for the rates")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		k, err := openKafka(cmd.Context(), cfg, nil)
		if err != nil {
			return err
		}
		defer k.Close()
		st, err := k.look(cmd.Context(), interval)
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(st)
		}
		return printStatus(cmd.OutOrStdout(), st)
	}
	return cmd
}

func printStatus(w io.Writer, st status) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "PROCESSOR\tLAG\tPER SECOND\tRANGES IN WORK\tDEAD LETTERS\t")
	for _, g := range st.Groups {
		fmt.Fprintf(tw, "%s\t%d\t%.1f\t%d\t%d\t\n", g.Group, g.Lag, g.PerSecond, g.InDoubt, g.DeadLetters)
	}
	fmt.Fprintln(tw, "\t\t\t\t\t")
	fmt.Fprintln(tw, "TOPIC\tRECORDS\tPER SECOND\t\t\t")
	for _, t := range st.Topics {
		fmt.Fprintf(tw, "%s\t%d\t%.1f\t\t\t\n", t.Topic, t.Records, t.PerSecond)
	}
	return tw.Flush()
}
