package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
)

// traced is where one event is.
type traced struct {
	Topic      string        `json:"topic"`
	Partition  int           `json:"partition"`
	Offset     int64         `json:"offset"`
	AcceptedAt time.Time     `json:"accepted_at"`
	Key        string        `json:"key"`
	Groups     []tracedGroup `json:"groups"`
}

type tracedGroup struct {
	Group string `json:"group"`
	// Store is what the group fills.
	Store string `json:"store"`
	// State is done, in work, waiting or dead letter.
	State    string `json:"state"`
	Position int64  `json:"position"`
	// DeadLetter is the id to ask "poison show" for, and Reason why.
	DeadLetter string `json:"dead_letter,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

var groupStores = map[string]string{
	schemas.GroupEmbed: "vectors of users", schemas.GroupCatalog: "vectors of items", schemas.GroupBefriend: "friendships",
	schemas.GroupAggregate: "aggregates", schemas.GroupRecommend: "recommendations", schemas.GroupErase: "erasures",
}

func newTrace() *cobra.Command {
	var (
		since  time.Duration
		asJSON bool
	)
	cmd := &cobra.Command{
		Use: "trace EVENT_ID", Short: "Show where an event is: its place on the log, and which processors and stores are past it", Args: cobra.ExactArgs(1),
		Long: `Show where an event is: topic, partition and offset, which processors (and so which stores) are past it, or its dead letter. It reads the log, so it needs
no store; --since bounds how far back it looks.`,
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	cmd.Flags().DurationVar(&since, "since", 0, "look only at events that the log took within this time; 0 is all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		k, err := openKafka(cmd.Context(), cfg, nil)
		if err != nil {
			return err
		}
		defer k.Close()
		var after time.Time
		if since > 0 {
			after = now().Add(-since)
		}
		found, err := k.trace(cmd.Context(), args[0], after)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("no event with the id %q is on the log: check the id, or that the event was answered with 202", args[0])
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(found)
		}
		for _, t := range found {
			fmt.Fprintf(cmd.OutOrStdout(), "%s partition %d offset %d, key %s, taken by the log at %s\n", t.Topic, t.Partition, t.Offset, t.Key, t.AcceptedAt.Format(time.RFC3339Nano))
			for _, g := range t.Groups {
				line := fmt.Sprintf("  %-10s %-12s %s", g.Group, g.State, g.Store)
				if g.DeadLetter != "" {
					line += fmt.Sprintf(" — %s (slipstream poison show %s)", firstLine(g.Reason, 120), g.DeadLetter)
				}
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
		}
		return nil
	}
	return cmd
}

// trace finds the records with an event id in the topics that applications write, and says who is past them.
func (k *kafka) trace(ctx context.Context, id string, after time.Time) ([]traced, error) {
	topics := []string{schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicItems, schemas.TopicUsers}
	var found []traced
	for _, topic := range topics {
		bounds, err := k.conn.Offsets(ctx, k.prefix+topic)
		if err != nil {
			return nil, fmt.Errorf("read the ends of %s: %w", topic, err)
		}
		for tp := range bounds {
			err := k.Read(ctx, topic, tp.Partition, 0, -1, func(r *schemas.Record) error {
				if r.Time.Before(after) || !carries(r, id) {
					return nil
				}
				found = append(found, traced{Topic: topic, Partition: r.Partition, Offset: r.Offset, AcceptedAt: r.Time, Key: string(r.Key)})
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found, k.whoIsPast(ctx, found)
}

// carries tells whether a record has the event id, in its headers or in a plain value.
func carries(r *schemas.Record, id string) bool {
	if h := r.Header(schemas.HeaderID); h != "" {
		return h == id
	}
	if id == fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset) {
		return true
	}
	if !strings.Contains(string(r.Value), id) {
		return false
	}
	var plain struct {
		EventID string `json:"event_id"`
	}
	return json.Unmarshal(r.Value, &plain) == nil && plain.EventID == id
}

func (k *kafka) whoIsPast(ctx context.Context, found []traced) error {
	lags, err := stream.Lag(ctx, k.conn, k.groupTopics())
	if err != nil {
		return fmt.Errorf("read the positions of the groups: %w", err)
	}
	letters, err := k.deadLetters().List(ctx, stream.DeadLetterFilter{})
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	for i := range found {
		t := &found[i]
		for _, l := range lags {
			if l.Topic != k.prefix+t.Topic || l.Partition != t.Partition {
				continue
			}
			g := tracedGroup{Group: strings.TrimPrefix(l.Group, k.prefix), Position: l.Committed, State: "waiting"}
			g.Store = groupStores[g.Group]
			switch r, err := stream.ParseRange(l.Metadata); {
			case l.Committed > t.Offset:
				g.State = "done"
			case err == nil && r != nil && t.Offset >= r.First && t.Offset <= r.Last:
				g.State = "in work"
			}
			for j := range letters {
				d := &letters[j]
				if d.Group == l.Group && d.Origin.Topic == l.Topic && d.Origin.Partition == t.Partition && d.Origin.Offset == t.Offset {
					g.State, g.DeadLetter, g.Reason = "dead letter ("+string(d.State)+")", d.ID, d.Reason
				}
			}
			t.Groups = append(t.Groups, g)
		}
	}
	return nil
}
