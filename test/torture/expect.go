//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/processors"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// position is a place on the log.
type position struct {
	topic     string
	partition int
	offset    int64
}

func (p position) String() string { return fmt.Sprintf("%s/%d/%d", p.topic, p.partition, p.offset) }

// sumKey names a sum: an item and an hour, or a user and a day, as Unix seconds.
type sumKey struct {
	id, action string
	start      int64
}

type letter struct {
	group string
	at    position
}

type edge struct {
	removed bool
	at      time.Time
	id      string
}

// expected is what the stores must hold, computed from the log by the plainest means: no batches,
// no windows, no stores.
type expected struct {
	ids    map[string]int // records by event id of ours
	rows   map[position]string
	lists  map[position]string
	hours  map[sumKey]uint64 // of items that people who were erased never touched
	days   map[sumKey]uint64
	users  map[string]*model.User
	edges  map[[2]string]edge
	items  map[string]string // id to title
	counts map[string]uint32 // events that the learner has counted for an item
	dead   map[letter]string // to what was planted
	erased map[string]time.Time
	// due is the record of the last event that moved a user's vector.
	due     map[string]record.Record
	records int
	repeats int
}

// readLog returns a topic's records, partition by partition, in order.
func readLog(ctx context.Context, conn *stream.Conn, topic string) ([]record.Record, error) {
	n, err := conn.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	var out []record.Record
	for p := range n {
		err := conn.Read(
			ctx,
			record.TopicPartition{Topic: topic, Partition: p},
			0,
			-1,
			func(r *record.Record) error {
				out = append(out, *r)
				return nil
			},
		)
		if err != nil {
			return nil, fmt.Errorf("read %s/%d: %w", topic, p, err)
		}
	}
	return out, nil
}

func at(r *record.Record) position { return position{r.Topic, r.Partition, r.Offset} }

// theLog is everything that was on the log at the end.
type theLog map[string][]record.Record

func readAll(ctx context.Context, conn *stream.Conn) (theLog, error) {
	out := make(theLog)
	topics := []string{
		schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicItems, schemas.TopicUsers,
		schemas.TopicRecommendations, schemas.TopicErasures,
	}
	for _, g := range processors.Groups() {
		topics = append(topics, record.PoisonTopic(g))
	}
	for _, t := range topics {
		var err error
		if out[t], err = readLog(ctx, conn, t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// expect replays the log.
func expect(log theLog) (*expected, error) {
	x := &expected{
		ids: make(map[string]int), rows: make(map[position]string),
		lists: make(map[position]string), hours: make(map[sumKey]uint64),
		days:  make(map[sumKey]uint64),
		users: make(map[string]*model.User), edges: make(map[[2]string]edge),
		items: make(map[string]string), counts: make(map[string]uint32),
		dead:   make(map[letter]string),
		erased: make(map[string]time.Time), due: make(map[string]record.Record),
	}
	groups := make(map[string][]string)
	for _, p := range plants() {
		groups[p.name] = processors.Readers(p.topic)
	}
	for topic, records := range log {
		for i := range records {
			r := &records[i]
			if name := r.Header(plantedHeader); name != "" && !strings.HasSuffix(
				topic, record.PoisonTopic(""),
			) {
				for _, g := range groups[name] {
					x.dead[letter{g, at(r)}] = name
				}
			}
			if r.Header(schemas.HeaderSource) == source && r.Header(plantedHeader) == "" &&
				r.Header(schemas.HeaderType) != string(schemas.KindUserErased) {
				x.ids[r.Header(schemas.HeaderID)]++
			}
		}
	}
	// Erasures stand in line in several topics; here they are collected first, which must come to
	// the same.
	for _, topic := range []string{
		schemas.TopicInteractions, schemas.TopicFriendships, schemas.TopicUsers,
	} {
		for i := range log[topic] {
			r := &log[topic][i]
			if r.Header(schemas.HeaderType) != string(schemas.KindUserErased) ||
				r.Header(plantedHeader) != "" {
				continue
			}
			u, err := schemas.DecodeUser(r)
			if err != nil {
				return nil, err
			}
			x.ids[u.EventID]++
			when := u.OccurredAt // markers carry the time of the erasure
			if topic == schemas.TopicUsers {
				when = r.LogTime()
			}
			if when.After(x.erased[u.UserID]) {
				x.erased[u.UserID] = when
			}
		}
	}
	if err := x.replayInteractions(log[schemas.TopicInteractions]); err != nil {
		return nil, err
	}
	x.replayFriendships(log[schemas.TopicFriendships])
	for i := range log[schemas.TopicItems] {
		if it, err := schemas.DecodeItem(&log[schemas.TopicItems][i]); err == nil {
			x.items[it.ItemID] = it.Title // one partition per item, in order
		}
	}
	for i := range log[schemas.TopicRecommendations] {
		r := &log[schemas.TopicRecommendations][i]
		list, err := schemas.DecodeRecommendation(r)
		if errors.Is(err, schemas.ErrErasureMarker) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("a published list at %s: %w", at(r), err)
		}
		if !x.covered(list.UserID, list.GeneratedAt, r.LogTime()) {
			x.lists[at(r)] = list.UserID
		}
	}
	return x, nil
}

// covered tells whether an event of a user is erased: it happened, or the log took it,
// not later.
func (x *expected) covered(user string, occurred, recorded time.Time) bool {
	erased, ok := x.erased[user]
	return ok && (!occurred.After(erased) || !recorded.After(erased))
}

func (x *expected) replayInteractions(records []record.Record) error {
	table := model.NewTable(model.Default())
	learner, sums := model.NewLearner(table), model.NewSums(table)
	signals := table.Config().Signals
	seen := make(map[string]bool)
	for i := range records {
		r := &records[i]
		e, err := schemas.DecodeInteraction(r)
		if errors.Is(err, schemas.ErrErasureMarker) {
			u, err := schemas.DecodeUser(r)
			if err != nil {
				return err
			}
			if id := "erasure " + u.Source + " " + u.EventID; !seen[id] {
				seen[id] = true
				delete(x.users, u.UserID)
				delete(x.due, u.UserID)
			}
			continue
		}
		if err != nil {
			if r.Header(plantedHeader) == "" {
				return fmt.Errorf("a record that was not planted at %s: %w", at(r), err)
			}
			continue
		}
		x.records++
		id := e.Source + " " + e.EventID
		if seen[id] {
			x.repeats++
			continue
		}
		seen[id] = true
		if x.covered(e.UserID, e.OccurredAt, r.LogTime()) {
			continue
		}
		x.rows[at(r)] = e.EventID
		if !strings.HasPrefix(e.ItemID, leaversItems) {
			x.hours[sumKey{e.ItemID, string(e.Action), e.OccurredAt.Truncate(time.Hour).Unix()}]++
		}
		x.days[sumKey{e.UserID, string(e.Action), e.OccurredAt.Truncate(24 * time.Hour).Unix()}]++
		var value float64
		if e.Value != nil {
			value = *e.Value
		}
		strength := signals.Strength(string(e.Action), value, e.Value != nil)
		if strength == 0 {
			continue
		}
		u := x.users[e.UserID]
		if u == nil {
			u = new(model.User)
			x.users[e.UserID] = u
		}
		sums.Reset()
		learner.Gradients(
			u,
			model.Event{
				Item: table.Intern(e.ItemID), Strength: strength, At: e.OccurredAt.Unix(),
				Seed: uint64(r.Offset),
			},
			sums,
		)
		table.Apply(sums)
		x.due[e.UserID] = *r
	}
	for id := range x.itemsSeen(table) {
		x.counts[id] = table.Count(table.Lookup(model.KeyOf(id)))
	}
	return nil
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
		if err != nil || x.covered(f.UserID, f.OccurredAt, r.LogTime()) ||
			x.covered(f.FriendID, f.OccurredAt, r.LogTime()) {
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
