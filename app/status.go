package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Status is the state of the pipeline.
type Status struct {
	At     time.Time     `json:"at"`
	Topics []TopicStatus `json:"topics"`
	Groups []GroupStatus `json:"groups"`
	// Items counts the items that can be recommended, as catalog has noted last.
	Items processors.ItemCounts `json:"items"`
}

// TopicStatus is the size and growth of a topic.
type TopicStatus struct {
	Topic string `json:"topic"`
	// Records is the number of offsets on the log: in a compacted topic, also those of records that
	// compaction has removed. PerSecond is the rate of growth in the interval.
	Records   int64   `json:"records"`
	PerSecond float64 `json:"per_second"`
}

// GroupStatus is the progress of a consumer group.
type GroupStatus struct {
	Group string `json:"group"`
	Lag   int64  `json:"lag"`
	// Undecided counts offsets behind the beginning of an open transaction: the group waits for its
	// end. UndecidedIn names the partitions, as topic/partition.
	Undecided   int64    `json:"undecided,omitempty"`
	UndecidedIn []string `json:"undecided_in,omitempty"`
	// PerSecond is the rate at which the group committed records in the interval.
	PerSecond float64 `json:"per_second"`
	// Intents counts partitions with a batch intent: their batch is in work, or uncertain.
	Intents     int `json:"ranges_in_work"`
	DeadLetters int `json:"dead_letters_open"`
}

// Look compares two snapshots of the log, taken one interval apart.
func (k *Kafka) Look(ctx context.Context, interval time.Duration) (Status, error) {
	before, err := k.snapshot(ctx)
	if err != nil {
		return Status{}, err
	}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return Status{}, ctx.Err()
	case <-timer.C:
	}
	after, err := k.snapshot(ctx)
	if err != nil {
		return Status{}, err
	}
	open, err := k.letters.Open(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("read dead letters: %w", err)
	}
	items, err := processors.ReadItemCounts(ctx, k)
	if err != nil {
		return Status{}, err
	}
	seconds := after.at.Sub(before.at).Seconds()
	out := Status{At: after.at.UTC(), Items: items}
	for topic, b := range after.topics {
		out.Topics = append(
			out.Topics,
			TopicStatus{
				Topic: topic, Records: b.records,
				PerSecond: float64(b.end-before.topics[topic].end) / seconds,
			},
		)
	}
	for group, g := range after.groups {
		out.Groups = append(
			out.Groups,
			GroupStatus{
				Group: group, Lag: g.lag, Intents: g.intents, DeadLetters: open[group],
				Undecided: g.undecided, UndecidedIn: g.undecidedIn,
				PerSecond: float64(g.position-before.groups[group].position) / seconds,
			},
		)
	}
	slices.SortFunc(
		out.Topics,
		func(a, b TopicStatus) int { return strings.Compare(a.Topic, b.Topic) },
	)
	slices.SortFunc(
		out.Groups,
		func(a, b GroupStatus) int { return strings.Compare(a.Group, b.Group) },
	)
	return out, nil
}

type logView struct {
	at     time.Time
	topics map[string]struct{ records, end int64 }
	groups map[string]groupView
}

type groupView struct {
	lag, position int64
	intents       int
	undecided     int64
	undecidedIn   []string
}

func (k *Kafka) snapshot(ctx context.Context) (logView, error) {
	v := logView{
		at: now(), topics: make(map[string]struct{ records, end int64 }),
		groups: make(map[string]groupView),
	}
	var names []string
	for _, t := range schemas.Topics(schemas.DefaultTopicsConfig()) {
		names = append(names, t.Name)
	}
	for _, d := range processors.Table() {
		if d.Forwards != "" {
			names = append(names, record.MisplacedTopic(d.Name))
		}
	}
	bounds, err := k.conn.Offsets(ctx, names...)
	if err != nil {
		return v, fmt.Errorf(
			"read the ends of the topics (were they created? \"slipstream migrate\" does): %w", err,
		)
	}
	for tp, b := range bounds {
		name := tp.Topic
		t := v.topics[name]
		t.records += b.End - b.First
		t.end += b.End
		v.topics[name] = t
	}
	lags, err := admin.Lag(ctx, k.conn, k.GroupTopics())
	if err != nil {
		return v, fmt.Errorf("read the positions of the groups: %w", err)
	}
	for _, l := range lags {
		name := l.Group
		g := v.groups[name]
		g.lag += l.Lag
		g.position += max(0, l.Committed)
		if intent, err := record.ParseIntent(l.Metadata); err == nil && intent != nil {
			g.intents++
		}
		if l.Undecided > 0 {
			g.undecided += l.Undecided
			g.undecidedIn = append(g.undecidedIn, l.String())
		}
		v.groups[name] = g
	}
	return v, nil
}
