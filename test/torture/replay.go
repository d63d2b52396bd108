//go:build linux

package torture

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// The settings that the rules of the log depend on.
const (
	// recentIDs is stream.recent_ids: after so many offsets of a partition an id counts again.
	recentIDs = 100_000
	// accumulation is stream.learn_interval.
	accumulation = 2 * time.Second
	// maxAhead is stream.max_clock_skew.
	maxAhead = 5 * time.Minute
)

// happened is the rule for the time of an event: one that says it is much later than the log counts
// as of when the log took it. client is what it said then.
func happened(r *record.Record, said time.Time) (at, client time.Time) {
	if r.Time.IsZero() || !said.After(r.Time.Add(maxAhead)) {
		return said, time.Time{}
	}
	return r.Time, said
}

// learning replays interactions.
type learning struct {
	*expected
	learner *model.Learner
	sums    *model.Sums
	table   *model.Table
	actions *schemas.Actions
	// misplacedEvents are those that count but stand in a partition that is not the user's.
	misplacedEvents map[position]*learnedEvent
}

// learnedEvent is an event that moves its user's vector.
type learnedEvent struct {
	schemas.Interaction
	at   position
	rule *schemas.Rule
}

// replayInteractions judges every record where it stands, then learns from those that stand in
// their user's partition, then from those that were forwarded there.
func (x *expected) replayInteractions(log theLog) error {
	table := model.NewTable(model.Default())
	l := &learning{
		expected: x, learner: model.NewLearner(table), sums: model.NewSums(table), table: table,
		actions:         schemas.DefaultActions(),
		misplacedEvents: make(map[position]*learnedEvent),
	}
	var seen map[string]int64
	partition := -1
	for i := range log.topics[schemas.TopicInteractions] {
		r := &log.topics[schemas.TopicInteractions][i]
		if r.Partition != partition {
			partition, seen = r.Partition, make(map[string]int64)
		}
		if err := l.judge(r, seen, &log); err != nil {
			return err
		}
	}
	l.forwarded(log.topics[record.MisplacedTopic(schemas.GroupEmbed)])
	for id := range x.itemsSeen(table) {
		x.counts[id] = table.Count(table.Lookup(model.KeyOf(id)))
	}
	return nil
}

// judge decides whether a record counts. seen are the offsets of the ids of its partition.
func (l *learning) judge(r *record.Record, seen map[string]int64, log *theLog) error {
	repeated := func(id string) bool {
		before, ok := seen[id]
		seen[id] = r.Offset
		return ok && r.Offset-before <= log.recentIDs
	}
	e, err := schemas.DecodeInteraction(r)
	if err == nil {
		err = l.actions.Check(&e)
	}
	if errors.Is(err, schemas.ErrErasureMarker) {
		// What the erasure covers does not count, wherever the marker stands.
		if p := l.users[string(r.Key)]; p != nil {
			p.markers = append(p.markers, at(r))
		}
		return nil
	}
	if err != nil {
		if r.Header(plantedHeader) == "" {
			return fmt.Errorf("a record that was not planted at %s: %w", at(r), err)
		}
		return nil
	}
	l.records++
	l.seen(e.Source, e.EventID)
	if repeated(e.Source + " " + e.EventID) {
		l.repeats++
		return nil
	}
	e.OccurredAt, e.ClientTime = happened(r, e.OccurredAt)
	if !e.ClientTime.IsZero() {
		l.ahead++
	}
	if l.covered(e.UserID, e.OccurredAt, r.Time) {
		return nil
	}
	l.count(r, &e)
	x := &learnedEvent{e, at(r), l.actions.Find(e.Action, e.Value)}
	switch {
	case !x.rule.Teaches():
	case record.PartitionOf([]byte(e.UserID), log.partitions) == r.Partition:
		p := l.learn(x)
		if x.rule.Weight > 0 {
			p.own = append(p.own, p.History[len(p.History)-1])
		}
		p.due, p.markers = []position{x.at}, nil
	default:
		l.misplacedEvents[x.at] = x
		l.misplaced[letter{schemas.GroupEmbed, x.at}] = true
	}
	return nil
}

// count expects the row of an event and adds to the sums.
func (x *expected) count(r *record.Record, e *schemas.Interaction) {
	x.rows[at(r)] = wantedRow{e.EventID, e.OccurredAt, e.ClientTime}
	if !strings.HasPrefix(e.ItemID, leaversItems) {
		x.hours[sumKey{e.ItemID, string(e.Action), e.OccurredAt.Truncate(time.Hour).Unix()}]++
	}
	x.days[sumKey{e.UserID, string(e.Action), e.OccurredAt.Truncate(day).Unix()}]++
}

func (l *learning) learn(x *learnedEvent) *person {
	p := l.users[x.UserID]
	if p == nil {
		p = &person{User: new(model.User)}
		l.users[x.UserID] = p
	}
	l.sums.Reset()
	l.learner.Gradients(p.User, model.Event{
		Item: l.table.Intern(x.ItemID), Strength: float32(x.rule.Weight),
		Takes: x.rule.Takes || x.rule.Refuses, Label: x.rule.Label(),
		Retracts: x.rule.Meaning.Bad(), At: x.OccurredAt.Unix(),
		Seed: uint64(x.at.offset),
	}, l.sums)
	l.table.Apply(l.sums)
	return p
}

// forwarded learns once from each event that was forwarded, and from those that were not: they are
// expected all the same.
func (l *learning) forwarded(records []record.Record) {
	learn := func(x *learnedEvent) {
		p := l.learn(x)
		p.mixed = true
		if x.rule.Weight > 0 {
			p.moved = append(p.moved, p.History[len(p.History)-1])
		}
	}
	last := make(map[string]position)
	for _, from := range l.origins(records, schemas.GroupEmbed) {
		if x := l.misplacedEvents[from]; x != nil {
			learn(x)
			last[x.UserID] = from
			delete(l.misplacedEvents, from)
		}
	}
	for user, from := range last {
		l.users[user].due = append(l.users[user].due, from)
	}
	for from, x := range l.misplacedEvents {
		l.notForwarded.add("%s at %s", x.EventID, from)
		learn(x)
	}
}

// origins returns where the records of a topic of misplaced ones stood first, each once. One that
// had no business there is noted.
func (x *expected) origins(records []record.Record, group string) []position {
	var out []position
	known := make(map[position]bool)
	for i := range records {
		r := &records[i]
		o, err := record.OriginOf(r)
		if err != nil {
			x.wronglyForwarded.add("%s: %v", at(r), err)
			continue
		}
		from := position{o.Topic, o.Partition, o.Offset}
		if known[from] {
			x.forwardedTwice++
			continue
		}
		known[from] = true
		if x.misplaced[letter{group, from}] {
			out = append(out, from)
		} else if gone, err := schemas.DecodeInteraction(r); group != schemas.GroupEmbed ||
			err != nil || x.erased[gone.UserID].IsZero() {
			// Who forwards may not know of an erasure yet.
			x.wronglyForwarded.add("%s, which stood at %s", at(r), from)
		}
	}
	return out
}

// itemsSeen yields the items that the learner knows, but for those of people who were erased.
func (x *expected) itemsSeen(table *model.Table) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range x.hours {
			if table.Lookup(model.KeyOf(k.id)) != model.None && !yield(k.id) {
				return
			}
		}
	}
}

func (x *expected) replayFriendships(records []record.Record) {
	for i := range records {
		r := &records[i]
		f, err := schemas.DecodeFriendship(r)
		if err != nil {
			continue
		}
		x.seen(f.Source, f.EventID)
		f.OccurredAt, _ = happened(r, f.OccurredAt)
		if x.covered(f.UserID, f.OccurredAt, r.Time) ||
			x.covered(f.FriendID, f.OccurredAt, r.Time) {
			continue
		}
		low, high := f.Pair()
		old, ok := x.edges[[2]string{low, high}]
		if ok &&
			(f.OccurredAt.Before(old.at) || f.OccurredAt.Equal(old.at) && f.EventID <= old.id) {
			continue
		}
		x.edges[[2]string{low, high}] = edge{f.Removed, f.OccurredAt, f.EventID}
	}
}

// replayItems finds the newest record of each item: by the log's time, then partition, then offset.
// Within a partition the time of the log never falls.
func (x *expected) replayItems(log theLog) error {
	for i := range log.topics[schemas.TopicItems] {
		r := &log.topics[schemas.TopicItems][i]
		it, err := schemas.DecodeItem(r)
		if err != nil {
			if r.Header(plantedHeader) == "" {
				return fmt.Errorf("a record that was not planted at %s: %w", at(r), err)
			}
			continue
		}
		x.seen(it.Source, it.EventID)
		if record.PartitionOf([]byte(it.ItemID), log.partitions) != r.Partition {
			x.misplaced[letter{schemas.GroupCatalog, at(r)}] = true
		}
		old, ok := x.items[it.ItemID]
		if next := (catalogItem{it.Title, r.Time, at(r)}); !ok || next.newer(old) {
			x.items[it.ItemID] = next
		}
	}
	forwarded := make(map[position]bool)
	records := log.topics[record.MisplacedTopic(schemas.GroupCatalog)]
	for _, from := range x.origins(records, schemas.GroupCatalog) {
		forwarded[from] = true
	}
	for key := range x.misplaced {
		if key.group == schemas.GroupCatalog && !forwarded[key.at] {
			x.notForwarded.add("the item at %s", key.at)
		}
	}
	return nil
}

func (c catalogItem) newer(old catalogItem) bool {
	if c.at.partition == old.at.partition {
		return c.at.offset > old.at.offset
	}
	return c.time.After(old.time) ||
		c.time.Equal(old.time) && c.at.partition > old.at.partition
}
