package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Traced is the position of one event and the progress of the groups that read it.
type Traced struct {
	Topic      string    `json:"topic"`
	Partition  int       `json:"partition"`
	Offset     int64     `json:"offset"`
	AcceptedAt time.Time `json:"accepted_at"`
	// Key is hexadecimal after 0x when it is not text.
	Key    string        `json:"key"`
	Groups []TracedGroup `json:"groups"`
}

// TracedGroup is the progress of one consumer group with an event.
type TracedGroup struct {
	Group string `json:"group"`
	// Store is the store that the group fills.
	Store string `json:"store"`
	// State is done, in work, waiting or dead letter.
	State    string `json:"state"`
	Position int64  `json:"position"`
	// DeadLetter is the id for "poison show". Reason is the error.
	DeadLetter string `json:"dead_letter,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// Trace finds the records with an event id in the topics that applications write, and tells which
// groups are past them. Records before after are ignored.
func (k *Kafka) Trace(ctx context.Context, id string, after time.Time) ([]Traced, error) {
	topics := []string{
		schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicItems, schemas.TopicUsers,
	}
	var found []Traced
	for _, topic := range topics {
		bounds, err := k.conn.Offsets(ctx, topic)
		if err != nil {
			return nil, fmt.Errorf("read the ends of %s: %w", topic, err)
		}
		for tp := range bounds {
			err := k.Read(ctx, topic, tp.Partition, 0, -1, func(r *record.Record) error {
				if r.Time.Before(after) || !carries(r, id) {
					return nil
				}
				found = append(
					found,
					Traced{
						Topic: topic, Partition: r.Partition, Offset: r.Offset, AcceptedAt: r.Time,
						Key: record.Readable(r.Key),
					},
				)
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
	return found, k.traceGroups(ctx, found)
}

// carries reports whether a record has the event id, in its headers or in a plain value.
func carries(r *record.Record, id string) bool {
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

// traceGroups adds the progress of the consumer groups to each event.
func (k *Kafka) traceGroups(ctx context.Context, found []Traced) error {
	lags, err := admin.Lag(ctx, k.conn, k.GroupTopics())
	if err != nil {
		return fmt.Errorf("read the positions of the groups: %w", err)
	}
	letters, err := k.DeadLetters().List(ctx, deadletter.Filter{})
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	for i := range found {
		t := &found[i]
		for _, l := range lags {
			if l.Topic != t.Topic || l.Partition != t.Partition {
				continue
			}
			g := TracedGroup{Group: l.Group, Position: l.Committed, State: "waiting"}
			if d, ok := processors.Declared(g.Group); ok {
				g.Store = d.Fills
			}
			switch r, err := record.ParseIntent(l.Metadata); {
			case l.Committed > t.Offset:
				g.State = "done"
			case err == nil && r != nil && t.Offset >= r.First && t.Offset <= r.Last:
				g.State = "in work"
			}
			for j := range letters {
				d := &letters[j]
				if d.Group == l.Group && d.Origin.Topic == l.Topic &&
					d.Origin.Partition == t.Partition &&
					d.Origin.Offset == t.Offset {
					g.State = "dead letter (" + string(d.State) + ")"
					g.DeadLetter, g.Reason = d.ID, d.Reason
				}
			}
			t.Groups = append(t.Groups, g)
		}
	}
	return nil
}
