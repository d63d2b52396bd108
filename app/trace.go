package app

import (
	"context"
	"fmt"
	"time"

	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Traced is the position of one event and the progress of the groups that read it.
type Traced struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	// BelongsIn is the partition that the event's user (or item) chooses, where that is another
	// one: the event is misplaced. nil: it is not.
	BelongsIn  *int      `json:"belongs_in,omitempty"`
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
	// State is done, in work, waiting or dead letter. Of a forwarded event it is the state where it
	// was forwarded to.
	State string `json:"state"`
	// Position is the committed offset of the group on the event's partition.
	Position int64 `json:"position"`
	// Forwarded is where the group has forwarded the event to, nil when it has not.
	Forwarded *TracedForward `json:"forwarded,omitempty"`
	// DeadLetter is the id for "poison show". Reason is the error.
	DeadLetter string `json:"dead_letter,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// TracedForward is the position of a misplaced event in the topic that a group forwards to.
type TracedForward struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	// Position is the committed offset of the group on that partition.
	Position int64 `json:"position"`
}

// tracedTopics are the topics that applications write.
func tracedTopics() []string {
	return []string{
		schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicItems, schemas.TopicUsers,
	}
}

// OpenTransactions returns how many offsets of the topics that applications write wait for the end
// of an open transaction, by partition. Partitions without one are left out. Trace finds none of
// these offsets: ask before it, since a transaction may end meanwhile.
func (k *Kafka) OpenTransactions(ctx context.Context) (map[record.TopicPartition]int64, error) {
	bounds, err := k.conn.Offsets(ctx, tracedTopics()...)
	if err != nil {
		return nil, fmt.Errorf("look for open transactions: %w", err)
	}
	open := make(map[record.TopicPartition]int64)
	for tp, b := range bounds {
		if b.HighWatermark > b.End {
			open[tp] = b.HighWatermark - b.End
		}
	}
	return open, nil
}

// Trace finds the records with an event id in the topics that applications write, and tells which
// groups are past them. Records before after are ignored.
func (k *Kafka) Trace(ctx context.Context, id string, after time.Time) ([]Traced, error) {
	var found []Traced
	for _, topic := range tracedTopics() {
		bounds, err := k.conn.Offsets(ctx, topic)
		if err != nil {
			return nil, fmt.Errorf("read the ends of %s: %w", topic, err)
		}
		for tp := range bounds {
			err := k.Read(ctx, topic, tp.Partition, 0, -1, func(r *record.Record) error {
				if r.Time.Before(after) || !carries(r, id) {
					return nil
				}
				t := Traced{
					Topic: topic, Partition: r.Partition, Offset: r.Offset, AcceptedAt: r.Time,
					Key: record.Readable(r.Key),
				}
				if n, ok := processors.BelongsIn(r, len(bounds)); ok && n != r.Partition {
					t.BelongsIn = &n
				}
				found = append(found, t)
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

// carries reports whether a record has the event id, as its readers take it: in a header, in a
// CloudEvent or in a plain value. A record without the header is found by its position as well,
// which is the id of an event that says none.
func carries(r *record.Record, id string) bool {
	if c := schemas.ContentOf(r); c.ID != "" && c.ID == id {
		return true
	}
	return r.Header(schemas.HeaderID) == "" &&
		id == fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)
}

// traceGroups adds the progress of the consumer groups to each event.
func (k *Kafka) traceGroups(ctx context.Context, found []Traced) error {
	lags, err := admin.Lag(ctx, k.conn, k.GroupTopics())
	if err != nil {
		return fmt.Errorf("read the positions of the groups: %w", err)
	}
	forwarded, err := k.forwarded(ctx, found)
	if err != nil {
		return err
	}
	letters, err := k.lettersAt(ctx, found, forwarded)
	if err != nil {
		return err
	}
	for i := range found {
		t := &found[i]
		for j := range lags {
			l := &lags[j]
			if l.Topic != t.Topic || l.Partition != t.Partition {
				continue
			}
			g := tracedGroup(l, t.Offset, letters)
			if d, ok := processors.Declared(g.Group); ok {
				g.Store = d.Fills
			}
			at, ok := forwarded[groupPosition{l.Group, record.Position{
				TopicPartition: l.TopicPartition, Offset: t.Offset,
			}}]
			for j := range lags {
				l := &lags[j]
				if !ok || l.Group != g.Group || l.TopicPartition != at.TopicPartition {
					continue
				}
				there := tracedGroup(l, at.Offset, letters)
				g.State, g.DeadLetter, g.Reason = there.State, there.DeadLetter, there.Reason
				g.Forwarded = &TracedForward{
					Topic: at.Topic, Partition: at.Partition, Offset: at.Offset,
					Position: l.Committed,
				}
			}
			t.Groups = append(t.Groups, g)
		}
	}
	return nil
}

// lettersAt returns the dead letters of events, where they stand and where they were forwarded to.
func (k *Kafka) lettersAt(
	ctx context.Context, found []Traced, forwarded map[groupPosition]record.Position,
) ([]deadletter.Letter, error) {
	f := deadletter.Filter{WithoutValues: true}
	for i := range found {
		f.Origins = append(f.Origins, record.Position{
			TopicPartition: record.TopicPartition{
				Topic: found[i].Topic, Partition: found[i].Partition,
			},
			Offset: found[i].Offset,
		})
	}
	for _, at := range forwarded {
		f.Origins = append(f.Origins, at)
	}
	letters, err := k.letters.List(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	return letters, nil
}

// tracedGroup returns the progress of a group with the record at an offset of a partition.
func tracedGroup(
	l *admin.PartitionLag, offset int64, letters []deadletter.Letter,
) TracedGroup {
	g := TracedGroup{Group: l.Group, Position: l.Committed, State: "waiting"}
	switch r, err := record.ParseIntent(l.Metadata); {
	case l.Committed > offset:
		g.State = "done"
	case err == nil && r != nil && offset >= r.First && offset <= r.Last:
		g.State = "in work"
	}
	for i := range letters {
		d := &letters[i]
		if d.Group == l.Group && d.Origin.Topic == l.Topic && d.Origin.Partition == l.Partition &&
			d.Origin.Offset == offset {
			g.State = "dead letter (" + string(d.State) + ")"
			g.DeadLetter, g.Reason = d.ID, d.Reason
		}
	}
	return g
}

// groupPosition is a record as one group reads it.
type groupPosition struct {
	group string
	at    record.Position
}

// forwarded returns where the groups have forwarded events to. An event that stands there twice
// counts where it stands first.
func (k *Kafka) forwarded(
	ctx context.Context, found []Traced,
) (map[groupPosition]record.Position, error) {
	since := make(map[string]time.Time) // by topic
	for i := range found {
		t := &found[i]
		if at, ok := since[t.Topic]; t.BelongsIn != nil && (!ok || t.AcceptedAt.Before(at)) {
			since[t.Topic] = t.AcceptedAt
		}
	}
	out := make(map[groupPosition]record.Position)
	for _, d := range processors.Table() {
		at, ok := since[d.Forwards]
		if !ok {
			continue
		}
		topic := record.MisplacedTopic(d.Name)
		n, err := k.conn.Partitions(ctx, topic)
		if err != nil {
			return nil, fmt.Errorf("look for what %s has forwarded: %w", d.Name, err)
		}
		for p := range n {
			// The clocks of the brokers of both partitions may differ.
			from, err := k.OffsetAt(ctx, topic, p, at.Add(-k.conn.Config().MaxAhead))
			if err != nil {
				return nil, err
			}
			err = k.Read(ctx, topic, p, from, -1, func(r *record.Record) error {
				o, err := record.OriginOf(r)
				key := groupPosition{d.Name, o.Position}
				if _, known := out[key]; err == nil && !known {
					out[key] = r.Position()
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
